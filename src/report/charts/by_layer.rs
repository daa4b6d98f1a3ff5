//! Mean score with interval by layer, controls in grey beside the method that they are a control of: all methods,
//! or the sparse ones alone.

use super::facts::Facts;
use super::layers::{ByLayer, Panel, Places, Site, sites};
use super::marks::Mark;
use super::{Chart, Heading, Kind, chart_name, pairing_parts};
use crate::report::schema::Cell;
use crate::report::view::{BEYOND_TOKEN, Pairing, RowKey, View};

/// All methods, a chart for each site (Figure 2 of Cunningham et al. 2023).
pub fn charts<'a>(view: &View<'a>, pairing: Pairing<'a>, marks: &[Mark]) -> Vec<Chart<'a>> {
    let methods: Vec<usize> = view.single_methods().map(|(nth, _)| nth).collect();
    let chart = |site: &Site<'a>| {
        let what = format!("Mean score by {}", named(site));
        chart(view, pairing, marks, site, &methods, (Kind::ByLayer, what, String::new()))
    };
    sites(&view.hooks).iter().filter_map(chart).collect()
}

/// Decompositions of which the k largest codes are kept, beside the autoencoders (Figure 18 there): a difference
/// that is left is not one of sparsity. None without both.
pub fn topk_charts<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    facts: &Facts,
) -> Vec<Chart<'a>> {
    let of = |is: &dyn Fn(&str) -> bool| -> Vec<(usize, &'a str)> {
        view.single_methods().filter(|(_, method)| is(method)).collect()
    };
    let baselines = of(&|method| facts.topk_variant(method).is_some());
    let autoencoders = of(&|method| facts.is_autoencoder(method));
    if baselines.is_empty() || autoencoders.is_empty() {
        return Vec::new();
    }
    let methods: Vec<usize> = autoencoders.iter().chain(&baselines).map(|(nth, _)| *nth).collect();
    let mut matched: Vec<(&str, Vec<&str>)> = Vec::new();
    for (_, method) in &baselines {
        let Some(reference) = facts.topk_variant(method).flatten() else { continue };
        match matched.iter_mut().find(|(other, _)| *other == reference) {
            Some((_, methods)) => methods.push(method),
            None => matched.push((reference, vec![method])),
        }
    }
    let remark: String = matched
        .iter()
        .map(|(reference, methods)| {
            let keep = if methods.len() == 1 { "keeps" } else { "keep" };
            format!(" {} {keep} as many codes as {reference} has active.", methods.join(" and "))
        })
        .collect();
    let chart = |site: &Site<'a>| {
        let what = format!("Sparse baselines beside autoencoders by {}", named(site));
        chart(view, pairing, marks, site, &methods, (Kind::TopkBaselines, what, remark.clone()))
    };
    sites(&view.hooks).iter().filter_map(chart).collect()
}

fn named(site: &Site<'_>) -> String {
    if site.name.is_empty() { "hook point".to_string() } else { format!("layer, {}", site.name) }
}

fn chart<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    site: &Site<'a>,
    methods: &[usize],
    (kind, what, remark): (Kind, String, String),
) -> Option<Chart<'a>> {
    let exists = |method: usize, control: Option<usize>| {
        site.columns.iter().any(|(hook, _)| {
            let control = control.map(|control| view.controls[control]);
            let key = RowKey { hook, method: view.methods[method], control };
            view.scorers.iter().any(|scorer| view.cell(pairing, key, scorer).is_some())
        })
    };
    let places = Places::new(view, methods, exists);
    let panel = |scorer: &'a str| {
        let value = |key| {
            let cell = view.cell(pairing, key, scorer)?;
            Some((cell.mean?, interval(cell)))
        };
        let title = if scorer == BEYOND_TOKEN {
            format!("{scorer}: within token types, token identity earns nothing")
        } else {
            scorer.to_string()
        };
        Panel { title, points: places.points(view, marks, &site.columns, value) }
    };
    let panels = view.scorers.iter().map(|scorer| panel(scorer));
    let panels: Vec<Panel> = panels.filter(|panel| !panel.points.is_empty()).collect();
    if panels.is_empty() {
        return None;
    }
    let counts: Vec<usize> = view
        .summary
        .cells
        .iter()
        .filter(|cell| cell.explainer == pairing.explainer && cell.simulator == pairing.simulator)
        .filter(|cell| cell.protocol == pairing.protocol)
        .filter(|cell| site.columns.iter().any(|(hook, _)| *hook == cell.hook))
        .filter(|cell| methods.iter().any(|method| view.methods[*method] == cell.method))
        .filter(|cell| cell.mean.is_some())
        .map(|cell| cell.n_scored)
        .collect();
    let mut parts = vec![site.file_part()];
    parts.extend(pairing_parts(view, pairing));
    let legend = places.legend(view, marks, str::to_string);
    let heading = Heading {
        name: chart_name(kind, &parts),
        kind,
        pairing: Some(pairing),
        title: format!("{what}: explained and simulated by {}", pairing.label()),
        caption: format!("{}{remark}", caption(view, pairing, &counts)),
    };
    Some(heading.over(ByLayer::new(site, "mean score", &places, panels, legend)))
}

fn caption(view: &View<'_>, pairing: Pairing<'_>, counts: &[usize]) -> String {
    let least = counts.iter().min().copied().unwrap_or(0);
    let most = counts.iter().max().copied().unwrap_or(0);
    let n = if least == most { least.to_string() } else { format!("{least} to {most}") };
    let mut text = format!(
        "Mean score (a correlation, no unit) with {}, {n} features a mark, protocol {}; constant predictions count as 0.",
        view.interval_name(pairing),
        pairing.protocol
    );
    if !view.controls.is_empty() {
        text.push_str(" Grey: controls, to the right of the method they belong to.");
    }
    text.push_str(" Given these dictionaries and this corpus. The panels have scales of their own.");
    text
}

fn interval(cell: &Cell) -> Option<(f64, f64)> {
    Some((cell.ci_low.filter(|low| low.is_finite())?, cell.ci_high.filter(|high| high.is_finite())?))
}
