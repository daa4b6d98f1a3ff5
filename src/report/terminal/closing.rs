//! What a run ends with on one screen: the highest and the lowest cell of the scores that must be read together,
//! what has no score, what the reader must know, and where to go on.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::look::Look;
use super::text::{cut, left, width, wrap_at_most};
use crate::report::escape::visible;
use crate::report::number::{DASH, estimate, score};
use crate::report::schema::{Cell, ScoreLine, ScoreStatus, Summary};
use crate::report::view::{Pairing, RowKey, View};

/// Columns of the words on the left.
const LABEL: usize = 12;

/// Lines of the reasons why there is no score, and of the first warning.
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
    /// What the controls have in the same score.
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
    /// How many have which reason.
    pub reasons: BTreeMap<String, usize>,
}

/// What a run ends with.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Closing {
    /// The suite's name.
    pub suite: String,
    /// Of the primary score and of `beyond_token`, as far as the run has them.
    pub extremes: Vec<Extremes>,
    /// What has no score.
    pub unscored: Unscored,
    /// What the reader of the results must know.
    pub warnings: Vec<String>,
    /// The page with everything on it.
    pub page: String,
    /// Commands that go on from here.
    pub next: Vec<String>,
}

impl Closing {
    /// Gathers what a run ends with. `lines` are those of `scores.jsonl`.
    pub fn new(summary: &Summary, lines: &[ScoreLine], warnings: &[String], page: String) -> Self {
        let view = View::new(summary);
        let pairing = view.pairings.first().copied();
        let scorers = view.main_scorers();
        let extremes = |pairing: Pairing<'_>| {
            scorers.iter().filter_map(|scorer| of_scorer(&view, pairing, scorer)).collect()
        };
        Self {
            suite: summary.suite.clone(),
            extremes: pairing.map(extremes).unwrap_or_default(),
            unscored: Unscored::of(lines),
            warnings: warnings.to_vec(),
            page,
            next: Vec::new(),
        }
    }

    /// The screen: within 24 lines of 80 columns, save that a path or a command is never cut.
    pub fn screen(&self, look: Look) -> String {
        let mut lines = Vec::new();
        let head = format!(
            "{}: {} of {} score lines have a score",
            self.suite,
            self.unscored.lines - self.unscored.unscored,
            self.unscored.lines
        );
        lines.push(look.bold(&cut(&head, look.width)));
        for extremes in &self.extremes {
            lines.push(String::new());
            extremes.draw(&mut lines, look);
        }
        lines.push(String::new());
        if self.unscored.unscored > 0 {
            labelled(&mut lines, "no score", &self.unscored.in_words(), look);
        }
        match self.warnings.as_slice() {
            [] => {}
            [only] => labelled(&mut lines, "warning", only, look),
            [first, ..] => {
                let text = format!(
                    "{}, all in manifest.json and on the page; the first: {first}",
                    self.warnings.len()
                );
                labelled(&mut lines, "warnings", &text, look);
            }
        }
        lines.push(format!("{}{}", left("page", LABEL), visible(&self.page)));
        for (nth, command) in self.next.iter().enumerate() {
            lines.push(format!("{}{}", left(if nth == 0 { "next" } else { "" }, LABEL), visible(command)));
        }
        lines.join("\n") + "\n"
    }
}

/// A text beside its word, in at most two lines.
fn labelled(lines: &mut Vec<String>, label: &str, text: &str, look: Look) {
    let wrapped = wrap_at_most(text, look.width.saturating_sub(LABEL), MOST_LINES);
    for (nth, line) in wrapped.iter().enumerate() {
        lines.push(format!("{}{line}", left(if nth == 0 { label } else { "" }, LABEL)));
    }
}

fn of_scorer(view: &View<'_>, pairing: Pairing<'_>, scorer: &str) -> Option<Extremes> {
    let cells: Vec<&Cell> = view
        .summary
        .cells
        .iter()
        .filter(|cell| {
            cell.control.is_none() && cell.scorer == scorer && cell.mean.is_some_and(f64::is_finite)
        })
        .filter(|cell| (&*cell.explainer, &*cell.simulator) == (pairing.explainer, pairing.simulator))
        .collect();
    let mean = |cell: &Cell| cell.mean.unwrap_or(f64::NAN);
    let first = *cells.first()?;
    let (mut highest, mut lowest) = (first, first);
    for &cell in &cells {
        if mean(cell) > mean(highest) {
            highest = cell;
        }
        if mean(cell) < mean(lowest) {
            lowest = cell;
        }
    }
    Some(Extremes {
        scorer: scorer.into(),
        explainer: pairing.explainer.into(),
        simulator: pairing.simulator.into(),
        n_cells: cells.len(),
        highest: highest.clone(),
        lowest: lowest.clone(),
        controls: view
            .controls
            .iter()
            .filter_map(|control| control_range(view, pairing, control, scorer))
            .collect(),
    })
}

/// A control's means, by the same explainer or by the control itself where it explains.
fn control_range(view: &View<'_>, pairing: Pairing<'_>, control: &str, scorer: &str) -> Option<ControlRange> {
    let mut means: Vec<f64> = Vec::new();
    for cell in &view.summary.cells {
        let row = RowKey { hook: &cell.hook, method: &cell.method, control: cell.control.as_deref() };
        let home = view.home(pairing, row);
        let is_here = (&*cell.explainer, &*cell.simulator) == (home.explainer, home.simulator);
        if is_here && cell.control.as_deref() == Some(control) && cell.scorer == scorer {
            means.extend(cell.mean.filter(|mean| mean.is_finite()));
        }
    }
    means.sort_by(f64::total_cmp);
    let (low, high) = (*means.first()?, *means.last()?);
    Some(ControlRange { control: control.into(), low, high, n_cells: means.len() })
}

impl Extremes {
    fn draw(&self, lines: &mut Vec<String>, look: Look) {
        let pairing = Pairing { protocol: "", explainer: &self.explainer, simulator: &self.simulator };
        let head = format!("{} of {}, {} cells", self.scorer, pairing.label(), self.n_cells);
        lines.push(look.bold(&cut(&head, look.width)));
        let estimates =
            [&self.highest, &self.lowest].map(|cell| estimate(cell.mean, cell.ci_low, cell.ci_high));
        let columns = estimates.iter().map(|text| width(text)).max().unwrap_or(0);
        for ((name, cell), shown) in
            [("highest", &self.highest), ("lowest", &self.lowest)].into_iter().zip(estimates)
        {
            let n = format!("n {}/{}", cell.n_scored, cell.n_requested);
            let start = format!("  {}{}  {n}  ", left(name, LABEL - 2), left(&shown, columns));
            let place = format!("{} · {}", cell.method, cell.hook);
            lines.push(format!("{start}{}", cut(&place, look.width.saturating_sub(width(&start)))));
        }
        if !self.controls.is_empty() {
            let controls: Vec<String> = self.controls.iter().map(ControlRange::in_words).collect();
            let text = cut(&controls.join(" · "), look.width.saturating_sub(LABEL));
            lines.push(look.dim(&format!("  {}{text}", left("controls", LABEL - 2))));
        }
    }
}

impl ControlRange {
    fn in_words(&self) -> String {
        let (low, high) = (score(Some(self.low)), score(Some(self.high)));
        if low == high {
            format!("{} {low}", self.control)
        } else {
            format!("{} {low}…{high}", self.control)
        }
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

/// The feature to look at first: the highest score of the cell with the highest mean of the primary scorer, as
/// `HOOK/METHOD/FEATURE`.
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
    let best = scored.fold(None::<(&ScoreLine, f64)>, |best, (line, score)| match best {
        Some((_, other)) if other >= score => best,
        _ => Some((line, score)),
    });
    best.map(|(line, _)| format!("{}/{}/{}", line.hook, line.dictionary(), line.feature))
}
