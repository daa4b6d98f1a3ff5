//! Charts of mean scores by layer, each method over the bands of its controls: all methods, or sparse ones only.

use super::controls::Value;
use super::layers::{ByLayer, Panel, Places, Site, sites};
use super::{Chart, Heading, Inputs, Kind};
use crate::report::list::grouped;
use crate::report::number::{estimate_of, score, span};
use crate::report::schema::Cell;
use crate::report::view::{BEYOND_TOKEN, Pairing, RowKey, View};

/// All methods, a chart for each site (Figure 2 of Cunningham et al. 2023).
pub fn charts<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Vec<Chart<'a>> {
    let methods: Vec<usize> = inputs.view.single_methods().map(|(nth, _)| nth).collect();
    let chart = |site: &Site<'a>| {
        let title = format!("Mean score by {}", axis(site));
        chart(inputs, pairing, site, &methods, (Kind::ByLayer, &title, ""))
    };
    sites(&inputs.view.hooks).iter().filter_map(chart).collect()
}

/// The k largest codes of decompositions beside autoencoders (Figure 18 of Cunningham et al. 2023): at equal
/// sparsity, a remaining difference has another cause. None without both.
pub fn topk_charts<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Vec<Chart<'a>> {
    let Inputs { view, facts, .. } = inputs;
    let of = |is: &dyn Fn(&str) -> bool| -> Vec<(usize, &'a str)> {
        view.single_methods().filter(|(_, method)| is(method)).collect()
    };
    let baselines = of(&|method| facts.topk_variant(method).is_some());
    let autoencoders = of(&|method| facts.is_autoencoder(method));
    if baselines.is_empty() || autoencoders.is_empty() {
        return Vec::new();
    }
    let methods: Vec<usize> = autoencoders.iter().chain(&baselines).map(|(nth, _)| *nth).collect();
    let references = baselines.iter().filter_map(|(_, method)| Some((facts.topk_variant(method)??, *method)));
    let remark = |(reference, methods): &(&str, Vec<&str>)| {
        let keep = if methods.len() == 1 { "keeps" } else { "keep" };
        format!(" {} {keep} as many codes as {reference} has active.", methods.join(" and "))
    };
    let remarks: String = grouped(references).iter().map(remark).collect();
    let chart = |site: &Site<'a>| {
        let title = format!("Sparse baselines beside autoencoders by {}", axis(site));
        chart(inputs, pairing, site, &methods, (Kind::TopkBaselines, &title, &remarks))
    };
    sites(&view.hooks).iter().filter_map(chart).collect()
}

fn axis(site: &Site<'_>) -> String {
    if site.name.is_empty() { "hook point".to_string() } else { format!("layer, {}", site.name) }
}

fn chart<'a>(
    inputs: &Inputs<'a>,
    pairing: Pairing<'a>,
    site: &Site<'a>,
    methods: &[usize],
    (kind, title, remark): (Kind, &str, &str),
) -> Option<Chart<'a>> {
    let Inputs { view, marks, .. } = inputs;
    let has_score = |key| view.scorers.iter().any(|scorer| view.cell(pairing, key, scorer).is_some());
    let places = Places::new(view, site, methods, has_score);
    let panel = |scorer: &'a str| {
        let value = |key: RowKey<'a>| {
            let cell = view.cell(pairing, key, scorer)?;
            Some(Value {
                value: cell.mean?,
                interval: cell.ci_low.zip(cell.ci_high).filter(is_interval),
                words: estimate_of(cell),
            })
        };
        let print = |value: f64| score(Some(value));
        let title = if scorer == BEYOND_TOKEN {
            format!("{scorer}: within token types, token identity earns nothing")
        } else {
            scorer.to_string()
        };
        places.panel((view, marks), site, title, value, print)
    };
    let panels = |scorers: &[&'a str]| -> Vec<Panel> {
        scorers.iter().map(|scorer| panel(scorer)).filter(|panel| !panel.points.is_empty()).collect()
    };
    let (all, main) = (panels(&view.scorers), panels(&view.main_scorers()));
    if all.is_empty() {
        return None;
    }
    let caption = caption(view, pairing, site, methods) + remark;
    let heading = Heading::of_pairing(view, pairing, (kind, Some(site.file_part())), title, caption);
    let legend = places.legend(view, marks, true, str::to_string);
    let figure = |panels, legend| ByLayer::new(site, ("mean score", false), &places, panels, legend);
    let brief = !main.is_empty() && main.len() < all.len();
    let chart = heading.over(figure(all, legend.clone()));
    Some(if brief { chart.with_brief(figure(main, legend)) } else { chart })
}

fn caption(view: &View<'_>, pairing: Pairing<'_>, site: &Site<'_>, methods: &[usize]) -> String {
    let is_drawn = |cell: &&Cell| {
        Pairing::of(cell) == pairing
            && site.columns.iter().any(|(hook, _)| *hook == cell.hook)
            && methods.iter().any(|method| view.methods[*method] == cell.method)
            && cell.mean.is_some()
    };
    let counts: Vec<usize> = view.summary.cells.iter().filter(is_drawn).map(|cell| cell.n_scored).collect();
    let n = span(&counts, |n| n.to_string()).unwrap_or_else(|| "0".to_string());
    let unit = match view.has_output_scores() {
        true => "a correlation, no unit; ablation_effect, steering_effect and damage in nats",
        false => "a correlation, no unit",
    };
    let mut text = format!(
        "Mean score ({unit}) with {}, {n} features a mark, protocol {}; constant predictions count as 0.",
        view.interval_name(pairing),
        pairing.protocol
    );
    if !view.controls.is_empty() {
        text.push_str(" Bands: controls.");
    }
    text.push_str(" Given these dictionaries and this corpus. The panels have scales of their own.");
    text
}

/// Whether both ends of an interval are numbers.
pub fn is_interval((low, high): &(f64, f64)) -> bool {
    low.is_finite() && high.is_finite()
}
