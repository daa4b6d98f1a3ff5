//! The charts of the index page: the first two large, the others as thumbnails. They are inlined in this order up to
//! the page's size limit and linked as files beyond it.

use minijinja::context;
use minijinja::value::Value;

use crate::report::charts::{Chart, Heading, Kind};
use crate::report::escape::{visible, xml};

/// Charts that lead the page, one of each kind.
const LEAD: [Kind; 2] = [Kind::Averaged, Kind::ByLayer];

/// Indices of charts in the order in which they are inlined, and how many of them lead the page: of the first
/// explainer, the means over layers and the means by layer. Its other charts and those of dictionaries follow, then
/// the rest.
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
        (place, pairing.is_some() && pairing != first, *nth)
    });
    (order, lead.len())
}

/// The figures of the page in this order: leading ones, and thumbnails.
pub fn figures(
    charts: &[Chart<'_>],
    (order, n_lead): (&[usize], usize),
    inline: &[usize],
) -> (Vec<Value>, Vec<Value>) {
    let mut figures: Vec<Value> =
        order.iter().map(|nth| figure(&charts[*nth], inline.contains(nth))).collect();
    let thumbnails = figures.split_off(n_lead);
    (figures, thumbnails)
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
