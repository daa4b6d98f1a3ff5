//! The charts of the index page: the first two large, the others as thumbnails. They are inlined in this order up to
//! the page's size limit and linked as files beyond it.

use minijinja::context;
use minijinja::value::Value;

use crate::report::charts::{Chart, Heading, Kind};
use crate::report::escape::{visible, xml};

/// Charts that lead the page, one of each kind.
const LEAD: [Kind; 2] = [Kind::Averaged, Kind::ByLayer];

/// The part of the file name that tells the order of a chart of patching on a task; none for other charts.
fn order_of<'c>(chart: &'c Chart<'_>) -> Option<&'c str> {
    let is_of_task = matches!(chart.heading.kind, Kind::PatchingFeatures | Kind::PatchingEdit);
    chart.heading.name.as_str().split_once('.').filter(|_| is_of_task).map(|(_, order)| order)
}

/// Whether a chart of patching is one of the main order, which is drawn first.
fn is_main_order(charts: &[Chart<'_>], chart: &Chart<'_>) -> bool {
    let order = order_of(chart);
    order.is_some() && order == charts.iter().find_map(order_of)
}

/// Indices of charts in the order in which they are inlined, and how many of them lead the page: of the first
/// explainer, the means over layers and the means by layer. Those of patching in the main order follow, its other
/// charts and those of dictionaries, then the rest.
pub fn by_worth(charts: &[Chart<'_>]) -> (Vec<usize>, usize) {
    let first = charts.iter().find_map(|chart| chart.heading.pairing);
    let lead: Vec<usize> = LEAD
        .iter()
        .filter_map(|kind| {
            let leads = |chart: &Chart<'_>| chart.heading.kind == *kind && chart.heading.pairing == first;
            charts.iter().position(leads)
        })
        .collect();
    let mut order: Vec<usize> = (0..charts.len()).collect();
    order.sort_by_key(|nth| {
        let Heading { pairing, .. } = charts[*nth].heading;
        let place = lead.iter().position(|other| other == nth).unwrap_or(lead.len());
        (place, !is_main_order(charts, &charts[*nth]), pairing.is_some() && pairing != first, *nth)
    });
    (order, lead.len())
}

/// The figures of the page: the leading ones, those of patching on a task (large, then thumbnails), and the thumbnails
/// of all others.
#[derive(Default)]
pub struct Figures {
    pub lead: Vec<Value>,
    pub task: [Vec<Value>; 2],
    /// Those of erasure.
    pub erasure: Vec<Value>,
    pub others: Vec<Value>,
}

/// The figures of the page in this order.
pub fn figures(charts: &[Chart<'_>], (order, n_lead): (&[usize], usize), inline: &[usize]) -> Figures {
    let mut figures = Figures::default();
    for (place, nth) in order.iter().enumerate() {
        let chart = &charts[*nth];
        let list = match order_of(chart) {
            _ if place < n_lead => &mut figures.lead,
            Some(_) => &mut figures.task[usize::from(!is_main_order(charts, chart))],
            None if matches!(chart.heading.kind, Kind::ErasureAccuracy | Kind::ErasureKl) => {
                &mut figures.erasure
            }
            None => &mut figures.others,
        };
        list.push(figure(chart, inline.contains(nth)));
    }
    figures
}

fn figure(chart: &Chart<'_>, inline: bool) -> Value {
    let title = visible(&chart.heading.title);
    let mut caption = visible(&chart.heading.caption);
    if inline && chart.is_brief() {
        caption.push_str(" Here are the scores that must be read together; the files have all.");
    }
    context! {
        alt => format!("{title}; the numbers are in the tables"),
        title,
        caption,
        file => chart.heading.name.as_str(),
        svg => inline.then(|| Value::from_safe_string(described(chart))),
    }
}

/// The drawing with a text alternative.
pub fn described(chart: &Chart<'_>) -> String {
    let label = format!("{}; the numbers are in the tables", xml(&chart.heading.title));
    chart.inline_svg().replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1)
}
