//! Charts of dictionaries in a plane: FVU against L0, and mean scores against L0, size or training.

use super::axis::on_log_axis;
use super::scatter::{Band, EXACT, Panel, Point, VARIES, finish};
use super::{Chart, Heading, Inputs, Kind};
use crate::base::distinct;
use crate::report::number::{count, estimate_of, fixed, significant, span};
use crate::report::schema::QualityRow;
use crate::report::view::{Pairing, RowKey, View};

/// Label of the L0 axis.
pub const L0_LABEL: &str = "L0: features active per token (log scale)";

fn sparsity(view: &View<'_>, hook: &str, method: &str) -> Option<f64> {
    view.quality(RowKey::of(hook, method))?.l0.and_then(on_log_axis)
}

/// Hook points with scores, then those with dictionaries only.
pub fn hooks_of_quality<'a>(view: &View<'a>) -> Vec<&'a str> {
    let of_quality = view.summary.quality.iter().map(|row| row.hook.as_str());
    distinct(view.hooks.iter().copied().chain(of_quality))
}

/// A panel for each hook point: `value` of each dictionary, with its range over trainings, against L0. `what` names
/// the value, and whether it is a count.
pub fn panels_of_quality<'a>(
    inputs: &Inputs<'a>,
    (what, is_count): (&str, bool),
    value: impl Fn(&QualityRow) -> Option<(f64, Option<(f64, f64)>)>,
) -> Vec<Panel<'a>> {
    let Inputs { view, marks, .. } = inputs;
    let panel = |hook: &str| {
        let methods = view.methods.iter().zip(marks).zip(&view.sweeps);
        let points = methods.filter_map(|((method, mark), sweep)| {
            let x = sparsity(view, hook, method)?;
            let quality = view.quality(RowKey::of(hook, method))?;
            let (y, interval) = value(quality).filter(|(y, _)| y.is_finite())?;
            let number = if is_count { count(y as usize) } else { fixed(Some(y), 3) };
            let words = format!("{method}: L0 {}, {what} {number}", significant(Some(x)));
            Some(Point { name: method, mark: *mark, sweep: *sweep, x, y, interval, words })
        });
        Panel { title: hook.to_string(), points: points.collect() }
    };
    hooks_of_quality(view).into_iter().map(panel).collect()
}

/// FVU (fraction of variance unexplained) against L0; none where no dictionary reconstructs.
pub fn fvu_chart<'a>(inputs: &Inputs<'a>) -> Option<Chart<'a>> {
    let view = inputs.view;
    let panels =
        panels_of_quality(inputs, ("FVU", false), |row| Some((row.fvu?, row.fvu_least.zip(row.fvu_largest))));
    let without_fvu = |method: &&str| {
        let mut rows = view.summary.quality.iter().filter(|row| row.method == **method).peekable();
        rows.peek().is_some() && rows.all(|row| row.fvu.is_none())
    };
    let left_out: Vec<&str> = view.methods.iter().copied().filter(without_fvu).collect();
    let mut caption =
        "Each mark is one dictionary, over all evaluation tokens. Down and to the left is better: \
                       fewer features active, less variance lost. Given these dictionaries and this corpus."
            .to_string();
    if view.sweeps.contains(&None) {
        caption.push_str(&format!(" {EXACT}"));
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
    let title = "Sparsity and reconstruction".to_string();
    let heading = Heading::of_dictionaries(Kind::SparsityFvu, None, title, caption);
    let band = Band { y_label: "FVU: variance unexplained".to_string(), counts: false, panels };
    finish(inputs, vec![band], L0_LABEL, heading)
}

/// A quantity that mean scores are drawn against.
struct Across<'x> {
    kind: Kind,
    title: &'static str,
    label: &'static str,
    /// In one word.
    short: &'static str,
    /// In the caption.
    what: &'static str,
    /// Its value for (hook point, method).
    x: &'x dyn Fn(&str, &str) -> Option<f64>,
    /// Whether only sweeps along which it varies are drawn.
    sweeps_only: bool,
}

/// Mean scores against L0; none where L0 is unknown.
pub fn l0_chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let across = Across {
        kind: Kind::ScoreL0,
        title: "Score and sparsity",
        label: L0_LABEL,
        short: "L0",
        what: "the number of features active per token",
        x: &|hook, method| sparsity(inputs.view, hook, method),
        sweeps_only: false,
    };
    score_chart(inputs, pairing, &across)
}

/// Mean scores against the number of features, along sweeps that vary it. Other dictionaries of different sizes
/// also differ in other ways.
pub fn size_chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let size =
        |hook: &str, method: &str| Some(inputs.view.quality(RowKey::of(hook, method))?.n_features as f64);
    if !any_sweep_varies(inputs.view, &size) {
        return None;
    }
    let across = Across {
        kind: Kind::ScoreSize,
        title: "Score and dictionary size",
        label: "features in the dictionary (log scale)",
        short: "features",
        what: "the number of features in the dictionary",
        x: &size,
        sweeps_only: true,
    };
    score_chart(inputs, pairing, &across)
}

/// Mean scores against the rows seen in training if a sweep varies them, otherwise against the seconds of the fit;
/// none where neither is known for two methods.
pub fn training_chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>) -> Option<Chart<'a>> {
    let Inputs { view, facts, .. } = inputs;
    let rows = |hook: &str, method: &str| facts.rows(hook, method);
    if any_sweep_varies(view, &rows) {
        let across = Across {
            kind: Kind::ScoreTraining,
            title: "Score and length of training",
            label: "activations seen in training, repeats included (log scale)",
            short: "activations",
            what: "the activations that the fit saw",
            x: &rows,
            sweeps_only: true,
        };
        return score_chart(inputs, pairing, &across);
    }
    // Below the resolution of the clock: directions that are drawn at random, without a fit.
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
        what: "the wall-clock time of the fit, on the machine of this run and with other fits beside it",
        x: &seconds,
        sweeps_only: false,
    };
    score_chart(inputs, pairing, &across)
}

fn any_sweep_varies(view: &View<'_>, x: &dyn Fn(&str, &str) -> Option<f64>) -> bool {
    view.methods.iter().any(|method| varies(view, method, x))
}

/// Whether a method belongs to a sweep along which `x` varies.
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

fn score_chart<'a>(inputs: &Inputs<'a>, pairing: Pairing<'a>, across: &Across<'_>) -> Option<Chart<'a>> {
    let Inputs { view, marks, .. } = inputs;
    let is_wanted = |method: &&str| !across.sweeps_only || varies(view, method, across.x);
    let wanted: Vec<bool> = view.methods.iter().map(is_wanted).collect();
    let mut counts = Vec::new();
    let mut drawn = vec![false; view.methods.len()];
    let mut panel = |hook: &'a str, scorer: &'a str| {
        let methods = view.methods.iter().zip(marks).zip(&view.sweeps).enumerate();
        let points = methods.filter_map(|(nth, ((method, mark), sweep))| {
            let x = (across.x)(hook, method).and_then(on_log_axis).filter(|_| wanted[nth])?;
            let cell = view.cell(pairing, RowKey::of(hook, method), scorer)?;
            let y = cell.mean.filter(|mean| mean.is_finite())?;
            counts.push(cell.n_scored);
            drawn[nth] = true;
            let interval = cell.ci_low.zip(cell.ci_high);
            let (at, score) = (significant(Some(x)), estimate_of(cell));
            let words = format!("{method}: {} {at}, {scorer} {score}", across.short);
            Some(Point { name: method, mark: *mark, sweep: *sweep, x, y, interval, words })
        });
        Panel { title: hook.to_string(), points: points.collect() }
    };
    let mut bands = Vec::new();
    for scorer in view.main_scorers() {
        let panels = view.hooks.iter().map(|hook| panel(hook, scorer)).collect();
        bands.push(Band { y_label: scorer.to_string(), counts: false, panels });
    }
    let caption = score_caption(view, pairing, across, &counts, &drawn)?;
    let heading = Heading::of_pairing(view, pairing, (across.kind, None), across.title, caption);
    finish(inputs, bands, across.label, heading)
}

/// The caption, from the number of features of each mark and from which methods are drawn; none without marks.
fn score_caption<'a>(
    view: &View<'a>,
    pairing: Pairing<'a>,
    across: &Across<'_>,
    counts: &[usize],
    drawn: &[bool],
) -> Option<String> {
    let n = span(counts, |n| n.to_string())?;
    let lines = match view.sweeps.iter().zip(drawn).any(|(sweep, drawn)| sweep.is_some() && *drawn) {
        true => " Lines join the points of a sweep along which that changes.",
        false => "",
    };
    let left_out = view.methods.iter().zip(drawn).filter(|(_, drawn)| !**drawn);
    let left_out = distinct(left_out.map(|(method, _)| view.line_of(method)));
    let why = if across.sweeps_only { "they do not vary it" } else { "it is not known of them" };
    let left_out = match left_out.is_empty() {
        true => String::new(),
        false => format!(" Not drawn, for {why}: {}.", left_out.join(", ")),
    };
    Some(format!(
        "Each mark is the mean score over {n} features of one dictionary, with {}, against {}; constant predictions \
         count as 0.{lines} {EXACT} Given these dictionaries and this corpus.{left_out}",
        view.interval_name(pairing),
        across.what
    ))
}
