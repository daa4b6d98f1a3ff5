//! The screen that a run ends with: the highest and lowest cell of the main scores, the features without a score,
//! warnings, and the next commands.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::look::Look;
use super::text::{cut, pad_right, width, wrap_at_most};
use crate::report::escape::visible;
use crate::report::number::{DASH, estimate_of, score};
use crate::report::schema::{Cell, ScoreLine, ScoreStatus, Summary};
use crate::report::view::{Pairing, RowKey, View};

/// Width of the labels on the left, in columns.
const LABEL: usize = 12;

/// Lines of the reasons without a score, and of the first warning, at most.
const MOST_LINES: usize = 2;

/// The highest and the lowest mean that a score has over hook points and methods.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Extremes {
    /// The score.
    pub scorer: String,
    /// Who explained: the suite's first explainer.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// Cells with a mean, controls left out.
    pub n_cells: usize,
    /// The cell with the highest mean; the first of equals.
    pub highest: Cell,
    /// The cell with the lowest mean; the first of equals.
    pub lowest: Cell,
    /// The means of the controls in the same score.
    pub controls: Vec<ControlRange>,
}

/// The means of one control.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ControlRange {
    /// Its name.
    pub control: String,
    /// Lowest mean.
    pub low: f64,
    /// Highest mean.
    pub high: f64,
    /// Cells with a mean.
    pub n_cells: usize,
}

/// Lines of `scores.jsonl` without a control that have no score.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct Unscored {
    /// Lines in all: features walked, under each explainer.
    pub lines: usize,
    /// Lines without a score.
    pub unscored: usize,
    /// Number of lines by reason.
    pub reasons: BTreeMap<String, usize>,
}

/// What a run ends with.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Closing {
    /// The suite's name.
    pub suite: String,
    /// Of the primary score and of `beyond_token`, if the run has them.
    pub extremes: Vec<Extremes>,
    /// Lines without a score.
    pub unscored: Unscored,
    /// Warnings about the results.
    pub warnings: Vec<String>,
    /// Path of the index page.
    pub page: String,
    /// Suggested next commands.
    pub next: Vec<String>,
}

impl Closing {
    /// Collects the closing screen. `lines` are those of `scores.jsonl`.
    pub fn new(summary: &Summary, lines: &[ScoreLine], warnings: &[String], page: String) -> Self {
        let view = View::new(summary);
        let scorers = view.main_scorers();
        let extremes = view.pairings.first().map(|pairing| {
            scorers.iter().filter_map(|scorer| Extremes::of(&view, *pairing, scorer)).collect()
        });
        Self {
            suite: summary.suite.clone(),
            extremes: extremes.unwrap_or_default(),
            unscored: Unscored::of(lines),
            warnings: warnings.to_vec(),
            page,
            next: Vec::new(),
        }
    }

    /// The screen: at most 24 lines of 80 columns, except that paths and commands are never cut.
    pub fn screen(&self, look: Look) -> String {
        let Unscored { lines: total, unscored, .. } = self.unscored;
        let head = format!("{}: {} of {total} score lines have a score", self.suite, total - unscored);
        let mut lines = vec![look.bold(&cut(&head, look.width))];
        for extremes in &self.extremes {
            lines.push(String::new());
            extremes.draw(&mut lines, look);
        }
        lines.push(String::new());
        if unscored > 0 {
            push_labelled(&mut lines, "no score", &self.unscored.in_words(), look);
        }
        match self.warnings.as_slice() {
            [] => {}
            [only] => push_labelled(&mut lines, "warning", only, look),
            [first, ..] => {
                let n = self.warnings.len();
                let text = format!("{n}, all in manifest.json and on the page; the first: {first}");
                push_labelled(&mut lines, "warnings", &text, look);
            }
        }
        lines.push(format!("{}{}", pad_right("page", LABEL), visible(&self.page)));
        for (nth, command) in self.next.iter().enumerate() {
            let label = if nth == 0 { "next" } else { "" };
            lines.push(format!("{}{}", pad_right(label, LABEL), visible(command)));
        }
        lines.join("\n") + "\n"
    }
}

/// A text in at most [`MOST_LINES`] lines beside its label.
fn push_labelled(lines: &mut Vec<String>, label: &str, text: &str, look: Look) {
    let wrapped = wrap_at_most(text, look.width.saturating_sub(LABEL), MOST_LINES);
    for (nth, line) in wrapped.iter().enumerate() {
        lines.push(format!("{}{line}", pad_right(if nth == 0 { label } else { "" }, LABEL)));
    }
}

/// Whether a cell comes from a pairing's explainer and simulator, under any protocol.
fn is_of(cell: &Cell, pairing: Pairing<'_>) -> bool {
    cell.explainer == pairing.explainer && cell.simulator == pairing.simulator
}

impl Extremes {
    fn of(view: &View<'_>, pairing: Pairing<'_>, scorer: &str) -> Option<Self> {
        let of_scorer = view.summary.cells.iter().filter(|cell| cell.scorer == scorer);
        let real = of_scorer.filter(|cell| cell.control.is_none() && is_of(cell, pairing));
        let with_mean = real.filter_map(|cell| Some((cell, cell.mean.filter(|mean| mean.is_finite())?)));
        let cells: Vec<(&Cell, f64)> = with_mean.collect();
        let first_best = |better: fn(&f64, &f64) -> bool| {
            let cells = cells.iter().copied();
            cells.reduce(|best, other| if better(&other.1, &best.1) { other } else { best })
        };
        let controls = view.controls.iter();
        Some(Self {
            scorer: scorer.into(),
            explainer: pairing.explainer.into(),
            simulator: pairing.simulator.into(),
            n_cells: cells.len(),
            highest: first_best(f64::gt)?.0.clone(),
            lowest: first_best(f64::lt)?.0.clone(),
            controls: controls.filter_map(|name| ControlRange::of(view, pairing, name, scorer)).collect(),
        })
    }

    fn draw(&self, lines: &mut Vec<String>, look: Look) {
        let label = Pairing::without_protocol(&self.explainer, &self.simulator).label();
        let head = format!("{} of {label}, {} cells", self.scorer, self.n_cells);
        lines.push(look.bold(&cut(&head, look.width)));
        let shown = [&self.highest, &self.lowest].map(estimate_of);
        let columns = width(&shown[0]).max(width(&shown[1]));
        let cells = [("highest", &self.highest), ("lowest", &self.lowest)];
        for ((name, cell), shown) in cells.into_iter().zip(shown) {
            let chosen = if cell.is_of_chosen() { " chosen" } else { "" };
            let n = format!("n {}/{}{chosen}", cell.n_scored, cell.n_requested);
            let start = format!("  {}{}  {n}  ", pad_right(name, LABEL - 2), pad_right(&shown, columns));
            let place = format!("{} · {}", cell.method, cell.hook);
            lines.push(format!("{start}{}", cut(&place, look.width.saturating_sub(width(&start)))));
        }
        if !self.controls.is_empty() {
            let controls: Vec<String> = self.controls.iter().map(ControlRange::in_words).collect();
            let text = cut(&controls.join(" · "), look.width.saturating_sub(LABEL));
            lines.push(look.dim(&format!("  {}{text}", pad_right("controls", LABEL - 2))));
        }
    }
}

impl ControlRange {
    /// The means of a control under the same explainer, or under the control itself if it is its own explainer.
    fn of(view: &View<'_>, pairing: Pairing<'_>, control: &str, scorer: &str) -> Option<Self> {
        let is_here = |cell: &&Cell| {
            let control = cell.control.as_deref();
            let row = RowKey { control, ..RowKey::of(&cell.hook, &cell.method) };
            is_of(cell, view.source(pairing, row))
        };
        let cells = view.summary.cells.iter().filter(is_here);
        let cells = cells.filter(|cell| cell.control.as_deref() == Some(control) && cell.scorer == scorer);
        let mut means: Vec<f64> =
            cells.filter_map(|cell| cell.mean.filter(|mean| mean.is_finite())).collect();
        means.sort_by(f64::total_cmp);
        let (low, high) = (*means.first()?, *means.last()?);
        Some(Self { control: control.into(), low, high, n_cells: means.len() })
    }

    fn in_words(&self) -> String {
        let (low, high) = (score(Some(self.low)), score(Some(self.high)));
        let range = if low == high { low } else { format!("{low}…{high}") };
        format!("{} {range}", self.control)
    }
}

impl Unscored {
    fn of(lines: &[ScoreLine]) -> Self {
        let mut unscored = Self::default();
        for line in lines.iter().filter(|line| line.control.is_none()) {
            unscored.lines += 1;
            if line.status != ScoreStatus::Scored {
                unscored.unscored += 1;
                *unscored.reasons.entry(line.reason.clone().unwrap_or_else(|| DASH.into())).or_default() += 1;
            }
        }
        unscored
    }

    /// The most frequent reasons first.
    fn in_words(&self) -> String {
        let mut reasons: Vec<(&String, &usize)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let reasons: Vec<String> = reasons.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
        format!("{} of {}: {}", self.unscored, self.lines, reasons.join(" · "))
    }
}

/// A feature to start with, as `HOOK/METHOD/FEATURE`: the highest score in the cell with the highest mean of the
/// primary scorer.
pub fn next_feature(closing: &Closing, lines: &[ScoreLine]) -> Option<String> {
    let Extremes { scorer, highest, .. } = closing.extremes.first()?;
    let of_cell = lines.iter().filter(|line| {
        line.control.is_none()
            && line.hook == highest.hook
            && line.method == highest.method
            && line.explainer == highest.explainer
            && line.simulator == highest.simulator
    });
    let scored = of_cell.filter_map(|line| Some((line, line.scores.get(scorer).copied().flatten()?)));
    let (best, _) = scored.reduce(|best, other| if best.1 >= other.1 { best } else { other })?;
    Some(format!("{}/{}/{}", best.hook, best.dictionary(), best.feature))
}
