//! Dictionaries in a plane: sparsity against unexplained variance, and mean scores against sparsity, size or
//! training.

use super::facts::Facts;
use super::marks::Mark;
use super::scatter::{Band, Panel, Point, VARIES, finish};
use super::{Chart, Heading, Kind, chart_name, pairing_parts};
use crate::report::number::{count, estimate, fixed, significant};
use crate::report::schema::QualityRow;
use crate::report::view::{Pairing, RowKey, View};

/// What the horizontal axis of most charts counts.
pub const L0_LABEL: &str = "L0: features active per token (log scale)";

fn quality<'a>(view: &View<'a>, hook: &str, method: &str) -> Option<&'a QualityRow> {
    view.summary.quality.iter().find(|row| row.hook == hook && row.method == method && row.control.is_none())
}

fn sparsity(view: &View<'_>, hook: &str, method: &str) -> Option<f64> {
    quality(view, hook, method)?.l0.filter(|l0| l0.is_finite() && *l0 > 0.0)
}

/// Hook points with scores, then those that have dictionaries alone.
pub fn hooks_of_quality<'a>(view: &View<'a>) -> Vec<&'a str> {
    let mut hooks = view.hooks.clone();
    for row in &view.summary.quality {
        if !hooks.contains(&row.hook.as_str()) {
            hooks.push(&row.hook);
        }
    }
    hooks
}

/// A panel for each hook point: L0 against `what`, which `value` says of a dictionary, with its range over
/// trainings. Marks of `counts` stay at their heights.
pub fn panels_of_quality<'a>(
    view: &View<'a>,
    marks: &[Mark],
    (what, counts): (&str, bool),
    value: impl Fn(&QualityRow) -> Option<(f64, Option<(f64, f64)>)>,
) -> Vec<Panel<'a>> {
    let panel = |hook: &str| {
        let methods = view.methods.iter().zip(marks).zip(&view.sweeps);
        let points = methods.filter_map(|((method, mark), sweep)| {
            let x = sparsity(view, hook, method)?;
            let (y, interval) = value(quality(view, hook, method)?).filter(|(y, _)| y.is_finite())?;
            let movable = !counts;
            let number = if counts { count(y as usize) } else { fixed(Some(y), 3) };
            let words = format!("{method}: L0 {}, {what} {number}", significant(Some(x)));
            Some(Point { mark: *mark, sweep: *sweep, x, y, interval, movable, words })
        });
        Panel { title: hook.to_string(), points: points.collect() }
    };
    hooks_of_quality(view).into_iter().map(panel).collect()
}

/// L0 against fraction of variance unexplained; none where nothing reconstructs.
pub fn fvu_chart<'a>(view: &View<'a>, marks: &[Mark]) -> Option<Chart<'a>> {
    let panels = panels_of_quality(view, marks, ("FVU", false), |row| {
        Some((row.fvu?, row.fvu_least.zip(row.fvu_largest)))
    });
    let without_fvu = |method: &&str| {
        let rows = || view.summary.quality.iter().filter(|row| row.method == **method);
        rows().next().is_some() && rows().all(|row| row.fvu.is_none())
    };
    let left_out: Vec<&str> = view.methods.iter().copied().filter(without_fvu).collect();
    let mut caption =
        "Each mark is one dictionary, over all evaluation tokens. Down and to the left is better: fewer \
                       features active, less variance lost. Given these dictionaries and this corpus."
            .to_string();
    if view.sweeps.contains(&None) {
        caption.push_str(" Marks that would hide each other are moved apart, with a line to their place.");
    }
    if view.sweeps.iter().any(Option::is_some) {
        caption.push_str(" Lines join the points of a sweep along which L0 changes.");
    }
    caption.push_str(match view.summary.quality.iter().any(|row| row.fvu_least.is_some()) {
        true => " Bars: least and largest of several trainings.",
        false => " One training each, so no interval.",
    });
    if !left_out.is_empty() {
        caption.push_str(&format!(" Not reconstructions, so not drawn: {}.", left_out.join(", ")));
    }
    let heading = Heading {
        name: chart_name(Kind::SparsityFvu, &[]),
        kind: Kind::SparsityFvu,
        pairing: None,
        title: "Sparsity and reconstruction".to_string(),
        caption,
    };
    let band = Band { y_label: "FVU: variance unexplained".to_string(), counts: false, panels };
    finish(view, marks, vec![band], L0_LABEL, heading)
}

/// What mean scores are drawn against.
struct Across<'x> {
    kind: Kind,
    title: &'static str,
    label: &'static str,
    /// In a word.
    short: &'static str,
    /// What the caption calls it.
    what: String,
    /// Its value at a hook point for a method.
    x: &'x dyn Fn(&str, &str) -> Option<f64>,
    /// Whether only sweeps along which it changes are drawn.
    sweeps_only: bool,
}

/// Mean scores against L0; none where L0 is unknown.
pub fn l0_chart<'a>(view: &View<'a>, pairing: Pairing<'a>, marks: &[Mark]) -> Option<Chart<'a>> {
    let across = Across {
        kind: Kind::ScoreL0,
        title: "Score and sparsity",
        label: L0_LABEL,
        short: "L0",
        what: "the number of features active per token".to_string(),
        x: &|hook, method| sparsity(view, hook, method),
        sweeps_only: false,
    };
    score_chart(view, pairing, marks, &across)
}

/// Mean scores against the number of features; none where no sweep varies it, for other methods of different
/// sizes differ in all else too.
pub fn size_chart<'a>(view: &View<'a>, pairing: Pairing<'a>, marks: &[Mark]) -> Option<Chart<'a>> {
    let size = |hook: &str, method: &str| Some(quality(view, hook, method)?.n_features as f64);
    if !view.methods.iter().any(|method| varies(view, method, &size)) {
        return None;
    }
    let across = Across {
        kind: Kind::ScoreSize,
        title: "Score and dictionary size",
        label: "features in the dictionary (log scale)",
        short: "features",
        what: "the number of features in the dictionary".to_string(),
        x: &size,
        sweeps_only: true,
    };
    score_chart(view, pairing, marks, &across)
}

/// Mean scores against the rows that a training saw where a sweep varies those, else against the seconds that a
/// fit took; none where neither is known of two methods.
pub fn training_chart<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    facts: &Facts,
) -> Option<Chart<'a>> {
    let rows = |hook: &str, method: &str| facts.rows(hook, method);
    if view.methods.iter().any(|method| varies(view, method, &rows)) {
        let across = Across {
            kind: Kind::ScoreTraining,
            title: "Score and length of training",
            label: "activations seen in training, repeats included (log scale)",
            short: "activations",
            what: "the activations that the fit saw".to_string(),
            x: &rows,
            sweeps_only: true,
        };
        return score_chart(view, pairing, marks, &across);
    }
    // Less than this is the clock's own grain: directions that are drawn, not searched for.
    let seconds = |hook: &str, method: &str| facts.seconds(hook, method).filter(|seconds| *seconds >= 1e-3);
    let timed = |method: &&&str| view.hooks.iter().any(|hook| seconds(hook, method).is_some());
    if view.methods.iter().filter(timed).count() < 2 {
        return None;
    }
    let across = Across {
        kind: Kind::ScoreTraining,
        title: "Score and time of the fit",
        label: "seconds of the fit (log scale)",
        short: "seconds",
        what: "the wall-clock time of the fit, on the machine of this run and with other fits beside it"
            .to_string(),
        x: &seconds,
        sweeps_only: false,
    };
    score_chart(view, pairing, marks, &across)
}

/// Whether a method is a point of a sweep along which `x` changes.
fn varies(view: &View<'_>, method: &str, x: &dyn Fn(&str, &str) -> Option<f64>) -> bool {
    let points = || view.methods.iter().zip(&view.sweeps);
    let Some((_, Some(sweep))) = points().find(|(other, _)| **other == method) else { return false };
    let others = || points().filter(|(_, of)| **of == Some(*sweep));
    view.hooks.iter().any(|hook| {
        let values: Vec<f64> = others().filter_map(|(other, _)| x(hook, other)).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        values.iter().any(|value| *value > VARIES * least)
    })
}

fn score_chart<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    marks: &[Mark],
    across: &Across<'_>,
) -> Option<Chart<'a>> {
    let wanted = |method: &str| !across.sweeps_only || varies(view, method, across.x);
    let wanted: Vec<bool> = view.methods.iter().map(|method| wanted(method)).collect();
    let mut counts = Vec::new();
    let mut drawn = vec![false; view.methods.len()];
    let mut panel = |hook: &'a str, scorer: &'a str| {
        let methods = view.methods.iter().zip(marks).zip(&view.sweeps).enumerate();
        let points = methods.filter_map(|(nth, ((method, mark), sweep))| {
            let x = (across.x)(hook, method).filter(|x| x.is_finite() && *x > 0.0 && wanted[nth])?;
            let cell = view.cell(pairing, RowKey { hook, method, control: None }, scorer)?;
            let y = cell.mean.filter(|mean| mean.is_finite())?;
            counts.push(cell.n_scored);
            drawn[nth] = true;
            let interval = cell.ci_low.zip(cell.ci_high);
            let numbers = estimate(cell.mean, cell.ci_low, cell.ci_high);
            let words = format!("{method}: {} {}, {scorer} {numbers}", across.short, significant(Some(x)));
            Some(Point { mark: *mark, sweep: *sweep, x, y, interval, movable: false, words })
        });
        Panel { title: hook.to_string(), points: points.collect() }
    };
    let mut bands = Vec::new();
    for scorer in view.main_scorers() {
        let panels = view.hooks.iter().map(|hook| panel(hook, scorer)).collect();
        bands.push(Band { y_label: scorer.to_string(), counts: false, panels });
    }
    let caption = score_caption(view, pairing, across, &counts, &drawn)?;
    let heading = Heading {
        name: chart_name(across.kind, &pairing_parts(view, pairing)),
        kind: across.kind,
        pairing: Some(pairing),
        title: format!("{}: explained and simulated by {}", across.title, pairing.label()),
        caption,
    };
    finish(view, marks, bands, across.label, heading)
}

/// What the marks are, from the features that each rests on, and which methods have one; none where none has.
fn score_caption<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    across: &Across<'_>,
    counts: &[usize],
    drawn: &[bool],
) -> Option<String> {
    let n = match (counts.iter().min()?, counts.iter().max()?) {
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    let lines = match view.sweeps.iter().zip(drawn).any(|(sweep, drawn)| sweep.is_some() && *drawn) {
        true => " Lines join the points of a sweep along which that changes.",
        false => "",
    };
    let mut left_out: Vec<&str> = Vec::new();
    for (method, _) in view.methods.iter().zip(drawn).filter(|(_, drawn)| !**drawn) {
        if !left_out.contains(&view.line_of(method)) {
            left_out.push(view.line_of(method));
        }
    }
    let left_out = match (left_out.is_empty(), across.sweeps_only) {
        (true, _) => String::new(),
        (false, true) => format!(" Not drawn, for they do not vary it: {}.", left_out.join(", ")),
        (false, false) => format!(" Not drawn, for it is not known of them: {}.", left_out.join(", ")),
    };
    Some(format!(
        "Each mark is the mean score over {n} features of one dictionary, with {}, against {}; constant predictions \
         count as 0.{lines} Given these dictionaries and this corpus. Marks that would hide each other are moved \
         sideways, with a line to their place.{left_out}",
        view.interval_name(pairing),
        across.what
    ))
}
