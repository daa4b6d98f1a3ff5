//! The top of the index page: facts about the run, warnings, the table of main scores, and the simulators in words.

use std::collections::BTreeMap;

use minijinja::context;
use minijinja::value::Value;

use crate::base::distinct;
use crate::report::escape::visible;
use crate::report::manifest::ManifestView;
use crate::report::number::{DASH, count, estimate_of, range};
use crate::report::schema::{Cell, QualityRow, Summary};
use crate::report::table::control_label;
use crate::report::view::{Pairing, RowKey, View};

/// Names that a list spells out; more are counted.
const NAMED: usize = 6;

/// Facts about the run, as (name, value).
pub fn facts(view: &View<'_>, manifest: Option<&ManifestView>) -> Vec<(String, String)> {
    let hooks = match view.hooks.as_slice() {
        [] => DASH.to_string(),
        [first, .., last] if view.hooks.len() > NAMED => {
            format!("{} of them, {first} to {last}", view.hooks.len())
        }
        few => few.join(", "),
    };
    let pairings: Vec<String> = view.pairings.iter().map(Pairing::label).collect();
    let mut facts = manifest.map(|manifest| manifest.facts.clone()).unwrap_or_default();
    let mut push = |name: &str, value: String| facts.push((name.to_string(), value));
    push("hook points", hooks);
    push("methods", view.methods.join(", "));
    push("explained and simulated by", pairings.join(", "));
    if let Some(chosen) = view.chosen_note() {
        push("features", chosen);
    }
    if let Some(manifest) = manifest {
        if let Some(seed) = manifest.seed {
            push("seed", seed.to_string());
        }
        push("cost of language models", cost(manifest));
    }
    let readable = |value: String| value.parse().map_or(value, count);
    facts.into_iter().map(|(name, value)| (visible(&name), visible(&readable(value)))).collect()
}

fn cost(manifest: &ManifestView) -> String {
    if manifest.usage.is_empty() {
        return "no language model was used".to_string();
    }
    let requests: u64 = manifest.usage.iter().map(|used| used.requests).sum();
    let dollars: Option<f64> = manifest.usage.iter().map(|used| used.dollars).sum();
    let paid =
        dollars.map_or_else(|| "prices not known".to_string(), |dollars| format!("{dollars:.2} dollars"));
    format!("{paid}, {} requests", count(requests as usize))
}

/// The first [`NAMED`] names, then how many more.
fn named(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The manifest's warnings, and those that follow from the results.
pub fn warnings(summary: &Summary, manifest: Option<&ManifestView>, has_scores: bool) -> Vec<String> {
    let mut warnings = manifest.map(|manifest| manifest.warnings.clone()).unwrap_or_default();
    let at = |row: &QualityRow| {
        let control =
            row.control.as_ref().map_or(String::new(), |control| format!(" ({})", control_label(control)));
        format!("{}{control} at {}", row.method, row.hook)
    };
    let mut warn_of = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            warnings.push(format!("{what}: {}.", named(&names)));
        }
    };
    let not_converged = summary.quality.iter().filter(|row| row.converged == Some(false));
    warn_of("Fitting did not converge, so the dictionary is in doubt", not_converged.map(at).collect());
    let dead = summary.quality.iter().filter_map(|row| {
        let dead = row.dead.filter(|dead| *dead > 0)?;
        Some(format!("{} of {} in {}", count(dead), count(row.n_features), at(row)))
    });
    warn_of("Dead features, which have no score", dead.collect());
    if let Some(wanted) = manifest.and_then(|manifest| manifest.per_cell) {
        let what = format!("Fewer features scored than the {wanted} asked for");
        warn_of(&what, too_few(summary, |cell| (!cell.is_of_chosen()).then_some(wanted)));
    }
    let chosen = too_few(summary, |cell| cell.is_of_chosen().then_some(cell.n_requested));
    warn_of("Fewer features scored than were chosen", chosen);
    let missing = [
        (summary.cells.is_empty(), "No feature was eligible at any hook point, so there are no scores."),
        (!has_scores, "`scores.jsonl` is not in this folder, so no distributions are drawn."),
        (manifest.is_none(), "`manifest.json` is not in this folder, so its settings are unknown."),
    ];
    warnings.extend(missing.into_iter().filter(|(is, _)| *is).map(|(_, text)| text.to_string()));
    warnings.iter().map(|text| visible(text)).collect()
}

/// Methods with fewer than the `wanted` features in the primary score, each with its smallest number over explainers.
/// Cells of which none are wanted are left out.
fn too_few(summary: &Summary, wanted: impl Fn(&Cell) -> Option<usize>) -> Vec<String> {
    let is_primary = |cell: &&Cell| summary.primary.as_ref().is_none_or(|primary| cell.scorer == *primary);
    let mut least: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for cell in summary.cells.iter().filter(is_primary).filter(|cell| cell.control.is_none()) {
        if wanted(cell).is_some_and(|wanted| cell.n_scored < wanted) {
            let n = least.entry((&cell.hook, &cell.method)).or_insert(usize::MAX);
            *n = (*n).min(cell.n_scored);
        }
    }
    least.into_iter().map(|((hook, method), n)| format!("{n} of {method} at {hook}")).collect()
}

/// Every simulator with its kind in words.
pub fn simulators(view: &View<'_>) -> Vec<(String, &'static str)> {
    let simulators = view.pairings.iter().map(|pairing| pairing.simulator);
    distinct(simulators).into_iter().map(|name| (visible(name), simulator_words(name))).collect()
}

fn simulator_words(name: &str) -> &'static str {
    match name {
        "neuron_to_graph" => "token patterns looked up in text, no language model; elsewhere one number",
        "neuron_to_graph_backoff" => "the same, but elsewhere each token's mean on the evidence",
        "token_lookup" => "each token's mean on the evidence, whatever its context",
        "token_lookup_fit" => "each token's mean on the text that dictionaries were fitted on",
        "oracle" => "two means, by whether a labelled concept of the generated text holds",
        _ => "a language model that reads the explanation and predicts 0 to 10 for each token",
    }
}

/// A column of the table of main scores.
type Column<'a> = (Pairing<'a>, &'a str);

/// The table of main scores: for each hook point its rows, with a column for each pairing and scorer.
pub fn glance<'a>(view: &View<'a>, main: &[&'a str]) -> Vec<Value> {
    let scorers = |pairing: &Pairing<'a>| main.iter().map(|scorer| (*pairing, *scorer)).collect::<Vec<_>>();
    let columns: Vec<Column<'a>> = view.pairings.iter().flat_map(scorers).collect();
    let hook = |hook: &&'a str| {
        let methods = view.methods.iter().filter_map(|method| method_row(view, &columns, hook, method));
        let controls = view.controls.iter().filter_map(|control| control_row(view, &columns, hook, control));
        context! { hook => visible(hook), rows => methods.chain(controls).collect::<Vec<_>>() }
    };
    view.hooks.iter().map(hook).collect()
}

fn method_row<'a>(view: &View<'a>, columns: &[Column<'a>], hook: &'a str, method: &'a str) -> Option<Value> {
    let cell = |(pairing, scorer): &Column<'a>| view.cell(*pairing, RowKey::of(hook, method), scorer);
    let cells: Vec<Option<&Cell>> = columns.iter().map(cell).collect();
    let shown = cells.iter().map(|cell| cell.map_or_else(|| DASH.to_string(), estimate_of));
    let shown: Vec<String> = shown.collect();
    let any = cells.iter().any(Option::is_some);
    let label = format!("{}{}", visible(method), view.mark(hook, method));
    any.then(|| context! { label, control => false, cells => shown })
}

/// A control in one row: the score of one method, or the lowest and highest mean of several.
fn control_row<'a>(
    view: &View<'a>,
    columns: &[Column<'a>],
    hook: &'a str,
    control: &'a str,
) -> Option<Value> {
    let cells = |(pairing, scorer): &Column<'a>| view.control_cells(*pairing, hook, control, scorer);
    let cells: Vec<Vec<&Cell>> = columns.iter().map(cells).collect();
    let of = match cells.iter().max_by_key(|cells| cells.len())?.as_slice() {
        [] => return None,
        [only] => format!("of {}", only.method),
        many => format!("of {} methods", many.len()),
    };
    let label = visible(&format!("{} {of}", control_label(control)));
    let cells: Vec<String> = cells.iter().map(|cells| range(cells, estimate_of)).collect();
    Some(context! { label, control => true, cells })
}
