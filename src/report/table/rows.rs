//! The rows of every table as unescaped text; each format escapes them.

use crate::base::distinct;
use crate::report::list::grouped;
use crate::report::number::{
    DASH, count, count_or_dash, estimate, estimate_of, fixed, p_value, percent, score, significant, span,
};
use crate::report::schema::{Cell, DifferenceRow, Family, QualityRow, Verdict};
use crate::report::view::{BEYOND_TOKEN, ELSEWHERE, Pairing, RANDOM_DIRECTION, RowKey, View, interval_words};

/// A row of scores: a method at a hook point, or a control of that method.
pub struct Row {
    pub hook: String,
    pub method: String,
    pub control: Option<String>,
    /// `mean [low, high]` for each scorer of the view, with † if the interval is not of the usual kind.
    pub scores: Vec<String>,
    /// What became of the features, in the order of [`COUNTS`].
    pub counts: [String; 8],
}

/// Column heads of [`Row::counts`].
pub const COUNTS: [&str; 8] = [
    "scored/requested",
    "constant",
    "undefined",
    "failed",
    "skipped",
    "eligible",
    "repeating tokens",
    "note",
];

pub fn row<'a>(view: &View<'a>, pairing: Pairing<'a>, key: RowKey<'a>) -> Row {
    let cells: Vec<Option<&Cell>> =
        view.scorers.iter().map(|scorer| view.cell(pairing, key, scorer)).collect();
    let (usual, _) = view.usual_interval(pairing);
    let present: Vec<&Cell> = cells.iter().flatten().copied().collect();
    let beyond_token = present.iter().find(|cell| cell.scorer == BEYOND_TOKEN);
    Row {
        hook: key.hook.to_string(),
        method: format!("{}{}", key.method, view.mark(key.hook, key.method)),
        control: key.control.map(str::to_string),
        scores: cells.iter().map(|cell| score_text(*cell, usual)).collect(),
        counts: [
            per_scorer(&present, |cell| format!("{}/{}", cell.n_scored, cell.n_requested)),
            per_scorer(&present, |cell| cell.n_constant.to_string()),
            per_scorer(&present, |cell| cell.tally.undefined.to_string()),
            per_scorer(&present, |cell| cell.tally.failed.to_string()),
            per_scorer(&present, skipped_text),
            per_scorer(&present, |cell| percent(cell.eligible_share)),
            significant(beyond_token.and_then(|cell| cell.tokens_repeating)),
            distinct(present.iter().filter_map(|cell| cell.note.as_deref())).join("; "),
        ],
    }
}

fn score_text(cell: Option<&Cell>, usual: &str) -> String {
    let Some(cell) = cell else { return DASH.to_string() };
    let mut text = estimate_of(cell);
    if cell.bca_low.is_some() && cell.bca_high.is_some() {
        text.push_str(&format!("; BCa [{}, {}]", score(cell.bca_low), score(cell.bca_high)));
    }
    let unusual = cell.interval_method.as_deref().is_some_and(|method| method != usual);
    if unusual && cell.ci_low.is_some() { format!("{text} †") } else { text }
}

fn skipped_text(cell: &Cell) -> String {
    if cell.tally.skipped.values().sum::<usize>() == 0 {
        return "0".to_string();
    }
    let reasons: Vec<String> = cell.tally.skipped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    reasons.join(", ")
}

/// The most frequent value (the first of equally frequent ones), then the exceptions by scorer:
/// `40/52; beyond_token 31/52`.
fn per_scorer(cells: &[&Cell], value: impl Fn(&Cell) -> String) -> String {
    let values = || cells.iter().map(|cell| (value(cell), cell.scorer.as_str()));
    let groups = grouped(values());
    // `max_by_key` returns the last maximum, hence `rev`.
    let most_frequent = groups.iter().rev().max_by_key(|(_, scorers)| scorers.len());
    let Some((usual, _)) = most_frequent else { return DASH.to_string() };
    let exceptions = values().filter(|(text, _)| text != usual);
    let exceptions = exceptions.map(|(text, scorer)| format!("{scorer} {text}"));
    std::iter::once(usual.clone()).chain(exceptions).collect::<Vec<_>>().join("; ")
}

pub fn control_label(control: &str) -> String {
    format!("control: {control}")
}

pub fn control_words(control: &str) -> &'static str {
    match control {
        "shuffled" => "each feature gets another feature's explanation, same fragments scored",
        RANDOM_DIRECTION => {
            "output scores of a random direction in each feature's place, which changes activations by the same norm"
        }
        "random_weights" => {
            "the whole pipeline on the subject with the entries of each weight tensor permuted"
        }
        "random_weights_and_embeddings" => {
            "the same with embeddings and unembedding permuted too: what a token is reaches the stream as noise"
        }
        "oracle" => {
            "each feature gets the labelled concept of the generated text that fits it best on the fit split, \
             predicted as its mean where the concept holds and its mean elsewhere"
        }
        _ => "a control of the suite",
    }
}

/// The note below a table: what an interval is, and what † marks.
pub fn table_note(view: &View<'_>, pairing: Pairing<'_>) -> String {
    let mut note = format!(
        "Mean score over features with {}, given these dictionaries and this corpus. Scored/requested counts \
         features walked; a constant prediction counts as 0 in the mean, undefined, failed and skipped features \
         never enter it. Where scorers differ, the usual count stands first and exceptions follow by name.",
        view.interval_name(pairing)
    );
    if let Some(chosen) = view.chosen_note() {
        note.push_str(&format!(" {chosen}"));
    }
    if let Some(elsewhere) = view.elsewhere_note() {
        note.push_str(&format!(" {elsewhere}"));
    }
    let halves = view.chance_is_half();
    if !halves.is_empty() {
        note.push_str(&format!(" Chance is 0.5 in {}, 0 in the others.", halves.join(", ")));
    }
    let unusual: Vec<&str> = view.unusual_intervals(pairing).into_iter().map(interval_words).collect();
    if !unusual.is_empty() {
        note.push_str(&format!(" † interval by another method: {}.", unusual.join(", ")));
    }
    note
}

/// Column heads of the quality table.
pub const QUALITY_HEAD: [&str; 14] = [
    "hook point",
    "method",
    "features",
    "L0",
    "FVU",
    "loss recovered (zero)",
    "loss recovered (mean)",
    "alive",
    "dead",
    "near-dead (< 1e-3)",
    "density, median",
    "MMCS, seeds",
    "converged",
    "note",
];

/// The cells of a quality row, in the order of [`QUALITY_HEAD`].
pub fn quality_cells(row: &QualityRow) -> [String; 14] {
    let method = match &row.control {
        Some(control) => format!("{} ({})", row.method, control_label(control)),
        None => row.method.clone(),
    };
    let mark = if row.elsewhere.is_some() { ELSEWHERE } else { "" };
    let method = format!("{method}{mark}");
    let converged = row.converged.map_or(DASH, |converged| if converged { "yes" } else { "no" });
    [
        row.hook.clone(),
        method,
        count(row.n_features),
        significant(row.l0),
        fixed(row.fvu, 3),
        fixed(row.loss_recovered_zero, 3),
        fixed(row.loss_recovered_mean, 3),
        count_or_dash(row.alive),
        count_or_dash(row.dead),
        count_or_dash(row.near_dead),
        significant(row.density_median),
        fixed(row.mmcs_between_seeds, 3),
        converged.to_string(),
        row.note.clone().unwrap_or_default(),
    ]
}

/// The number of tokens on which dead features were counted, for the note of the table.
pub fn dead_unit(rows: &[QualityRow]) -> String {
    // Rows without a count are not measured.
    let counts: Vec<usize> = rows.iter().filter(|row| row.dead.is_some()).map(|row| row.n_tokens).collect();
    span(&counts, count).map_or_else(|| DASH.to_string(), |n| format!("{n} evaluation tokens"))
}

/// Whether the intervals of planned comparisons are adjusted, as their verdicts are. They are not in older runs.
fn has_adjusted_intervals(rows: &[DifferenceRow]) -> bool {
    rows.iter().any(|row| row.adjusted_low.is_some())
}

/// What the brackets in [`differences`] hold.
pub fn interval_of_differences(rows: &[DifferenceRow], family: Family) -> &'static str {
    match family == Family::Primary && has_adjusted_intervals(rows) {
        true => "adjusted 95 % interval, which excludes 0 exactly if p adjusted is below 0.05",
        false => "interval of this difference alone, not adjusted",
    }
}

/// The comparisons of one family: hook point, explainer, score, methods compared, n, difference, p, adjusted p and
/// verdict.
pub fn differences(rows: &[DifferenceRow], family: Family, margin: Option<f64>) -> Vec<[String; 9]> {
    let adjusted = family == Family::Primary && has_adjusted_intervals(rows);
    let interval = |row: &DifferenceRow| match adjusted {
        true => (row.adjusted_low, row.adjusted_high),
        false => (row.ci_low, row.ci_high),
    };
    let text = |row: &DifferenceRow| {
        [
            row.hook.clone(),
            Pairing::without_protocol(&row.explainer, &row.simulator).label(),
            row.scorer.clone(),
            format!("{} − {}", row.method_a, row.method_b),
            format!("{} / {}", row.n_a, row.n_b),
            estimate(row.difference, interval(row).0, interval(row).1),
            p_value(row.p),
            p_value(row.p_adjusted),
            verdict(row, margin),
        ]
    };
    rows.iter().filter(|row| row.family == family).map(text).collect()
}

fn verdict(row: &DifferenceRow, margin: Option<f64>) -> String {
    let (a, b) = (&row.method_a, &row.method_b);
    let text = match (row.verdict, margin) {
        (None, _) => return DASH.to_string(),
        (Some(Verdict::Higher), _) => format!("{a} higher than {b} in this score"),
        (Some(Verdict::Lower), _) => format!("{a} lower than {b} in this score"),
        (Some(Verdict::WithinMargin), Some(margin)) => format!("equal within the margin (± {margin})"),
        (Some(Verdict::WithinMargin), None) => "equal within the margin".to_string(),
        (Some(Verdict::NoDifference), _) => "no difference detected".to_string(),
    };
    row.note.as_ref().map_or(text.clone(), |note| format!("{text}; {note}"))
}
