//! The rows of every table, as unescaped text; each format escapes them its own way.

use crate::report::number::{
    DASH, count, count_or_dash, estimate, fixed, p_value, percent, score, significant,
};
use crate::report::schema::{Cell, DifferenceRow, Family, QualityRow, Verdict};
use crate::report::view::{BEYOND_TOKEN, Pairing, RowKey, View, interval_words};

/// One row: a method at a hook point, or a control of it.
pub struct Row {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Control, if it is one.
    pub control: Option<String>,
    /// `mean [low, high]` per scorer of the view; † where the interval is not the usual kind.
    pub scores: Vec<String>,
    /// Scored / requested.
    pub n: String,
    /// Predictions that did not vary, counted as 0.
    pub constant: String,
    /// Features whose score does not exist.
    pub undefined: String,
    /// Features that failed.
    pub failed: String,
    /// Features left out, with reasons.
    pub skipped: String,
    /// Eligible / walked.
    pub eligible: String,
    /// Mean tokens per feature that `beyond_token` rests on.
    pub repeating: String,
    /// Remarks.
    pub note: String,
}

/// Fills a row.
pub fn row<'a>(view: &View<'a>, pairing: Pairing<'a>, key: RowKey<'a>) -> Row {
    let cells: Vec<Option<&Cell>> =
        view.scorers.iter().map(|scorer| view.cell(pairing, key, scorer)).collect();
    let (usual, _) = view.usual_interval(pairing);
    let present: Vec<&Cell> = cells.iter().flatten().copied().collect();
    let notes: Vec<&str> = unique(present.iter().filter_map(|cell| cell.note.as_deref()));
    Row {
        hook: key.hook.to_string(),
        method: key.method.to_string(),
        control: key.control.map(str::to_string),
        scores: cells.iter().map(|cell| score_text(*cell, usual)).collect(),
        n: per_scorer(&present, |cell| format!("{}/{}", cell.n_scored, cell.n_requested)),
        constant: per_scorer(&present, |cell| cell.n_constant.to_string()),
        undefined: per_scorer(&present, |cell| cell.tally.undefined.to_string()),
        failed: per_scorer(&present, |cell| cell.tally.failed.to_string()),
        skipped: per_scorer(&present, skipped_text),
        eligible: per_scorer(&present, |cell| percent(cell.eligible_share)),
        repeating: present
            .iter()
            .find(|cell| cell.scorer == BEYOND_TOKEN)
            .map_or_else(|| DASH.to_string(), |cell| significant(cell.tokens_repeating)),
        note: notes.join("; "),
    }
}

fn score_text(cell: Option<&Cell>, usual: &str) -> String {
    let Some(cell) = cell else { return DASH.to_string() };
    let mut text = estimate(cell.mean, cell.ci_low, cell.ci_high);
    if cell.bca_low.is_some() && cell.bca_high.is_some() {
        text.push_str(&format!("; BCa [{}, {}]", score(cell.bca_low), score(cell.bca_high)));
    }
    let unusual = cell.interval_method.as_deref().is_some_and(|method| method != usual);
    if unusual && cell.ci_low.is_some() { format!("{text} †") } else { text }
}

fn skipped_text(cell: &Cell) -> String {
    let total: usize = cell.tally.skipped.values().sum();
    if total == 0 {
        return "0".to_string();
    }
    let reasons: Vec<String> = cell.tally.skipped.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    reasons.join(", ")
}

fn unique<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// What most scorers say, then the exceptions by name: `40/52; beyond_token 31/52`.
fn per_scorer(cells: &[&Cell], value: impl Fn(&Cell) -> String) -> String {
    let values: Vec<(&str, String)> = cells.iter().map(|cell| (cell.scorer.as_str(), value(cell))).collect();
    let frequency = |text: &str| values.iter().filter(|(_, other)| other == text).count();
    // Of equally frequent values the first stands for all, so the text is the same every time.
    let mut usual: Option<&String> = None;
    for (_, text) in &values {
        if usual.is_none_or(|best| frequency(text) > frequency(best)) {
            usual = Some(text);
        }
    }
    let Some(usual) = usual else { return DASH.to_string() };
    let mut parts = vec![usual.clone()];
    parts.extend(
        values.iter().filter(|(_, text)| text != usual).map(|(scorer, text)| format!("{scorer} {text}")),
    );
    parts.join("; ")
}

/// How a control is named in a row.
pub fn control_label(control: &str) -> String {
    format!("control: {control}")
}

/// What a control is, in words.
pub fn control_words(control: &str) -> &'static str {
    match control {
        "shuffled" => "each feature gets another feature's explanation, same fragments scored",
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
    let converged = match row.converged {
        Some(true) => "yes".to_string(),
        Some(false) => "no".to_string(),
        None => DASH.to_string(),
    };
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
        row.density_median.map_or_else(|| DASH.to_string(), |density| significant(Some(density))),
        fixed(row.mmcs_between_seeds, 3),
        converged,
        row.note.clone().unwrap_or_default(),
    ]
}

/// The tokens on which features were counted as dead, for the head of the table.
pub fn dead_unit(rows: &[QualityRow]) -> String {
    let mut counts: Vec<usize> = rows.iter().map(|row| row.n_tokens).collect();
    counts.sort_unstable();
    counts.dedup();
    match counts.as_slice() {
        [] => DASH.to_string(),
        [one] => format!("{} evaluation tokens", count(*one)),
        [first, .., last] => format!("{} to {} evaluation tokens", count(*first), count(*last)),
    }
}

/// A comparison as text.
pub struct DifferenceText {
    /// Hook point.
    pub hook: String,
    /// Explainer, with the simulator where it differs.
    pub pairing: String,
    /// Score.
    pub scorer: String,
    /// `topk − sae`.
    pub compared: String,
    /// `40 / 38`.
    pub n: String,
    /// `0.05 [0.01, 0.09]`.
    pub difference: String,
    /// Unadjusted.
    pub p: String,
    /// Adjusted.
    pub p_adjusted: String,
    /// In words, with the names in it.
    pub verdict: String,
}

impl DifferenceText {
    /// Everything but the verdict, in the order of the columns.
    pub fn cells(&self) -> [&str; 8] {
        [
            &self.hook,
            &self.pairing,
            &self.scorer,
            &self.compared,
            &self.n,
            &self.difference,
            &self.p,
            &self.p_adjusted,
        ]
    }
}

/// The comparisons of one family, as text.
pub fn differences(rows: &[DifferenceRow], family: Family, margin: Option<f64>) -> Vec<DifferenceText> {
    rows.iter()
        .filter(|row| row.family == family)
        .map(|row| DifferenceText {
            hook: row.hook.clone(),
            pairing: Pairing { protocol: "", explainer: &row.explainer, simulator: &row.simulator }.label(),
            scorer: row.scorer.clone(),
            compared: format!("{} − {}", row.method_a, row.method_b),
            n: format!("{} / {}", row.n_a, row.n_b),
            difference: estimate(row.difference, row.ci_low, row.ci_high),
            p: p_value(row.p),
            p_adjusted: p_value(row.p_adjusted),
            verdict: comparison(row, margin),
        })
        .collect()
}

/// What a comparison says, as a sentence about this score and nothing more.
pub fn comparison(row: &DifferenceRow, margin: Option<f64>) -> String {
    let (a, b) = (&row.method_a, &row.method_b);
    match row.verdict {
        None => DASH.to_string(),
        Some(Verdict::Higher) => format!("{a} higher than {b} in this score"),
        Some(Verdict::Lower) => format!("{a} lower than {b} in this score"),
        Some(Verdict::WithinMargin) => match margin {
            Some(margin) => format!("equal within the margin (± {margin})"),
            None => "equal within the margin".to_string(),
        },
        Some(Verdict::NoDifference) => "no difference detected".to_string(),
    }
}
