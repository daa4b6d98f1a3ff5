//! A summary indexed for reading: its hook points, methods, scorers and controls in a fixed order, and the cell of
//! each combination.

use std::collections::{BTreeSet, HashMap};

use super::list::grouped;
use super::recorded::{ScoreFacts, unrecorded_scores};
use super::schema::{Cell, QualityRow, Summary};
use crate::base::distinct;

/// The score to which token identity contributes nothing.
pub const BEYOND_TOKEN: &str = "beyond_token";
/// The control of output scores: a random direction in each feature's place.
pub const RANDOM_DIRECTION: &str = "random_direction";
/// Marks a dictionary that is applied where it was not trained.
pub const ELSEWHERE: &str = " ‡";

/// Protocol, explainer and simulator: what one table of scores is about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Pairing<'a> {
    pub protocol: &'a str,
    pub explainer: &'a str,
    pub simulator: &'a str,
}

impl<'a> Pairing<'a> {
    /// For places that show one protocol only.
    pub fn without_protocol(explainer: &'a str, simulator: &'a str) -> Self {
        Self { protocol: "", explainer, simulator }
    }

    pub fn of(cell: &'a Cell) -> Self {
        Self { protocol: &cell.protocol, explainer: &cell.explainer, simulator: &cell.simulator }
    }

    /// `token_lookup`, or `token_activation → neuron_to_graph` where the two differ.
    pub fn label(&self) -> String {
        if self.explainer == self.simulator {
            self.explainer.to_string()
        } else {
            format!("{} → {}", self.explainer, self.simulator)
        }
    }
}

/// One row of a table: a method at a hook point, or a control of that method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowKey<'a> {
    pub hook: &'a str,
    pub method: &'a str,
    pub control: Option<&'a str>,
}

impl<'a> RowKey<'a> {
    /// The row of a method itself.
    pub fn of(hook: &'a str, method: &'a str) -> Self {
        Self { hook, method, control: None }
    }
}

/// A summary indexed for reading. Lists are in order of appearance, the control of output scores last.
pub struct View<'a> {
    pub summary: &'a Summary,
    pub pairings: Vec<Pairing<'a>>,
    pub hooks: Vec<&'a str>,
    pub methods: Vec<&'a str>,
    /// Of each method: the sweep that it belongs to.
    pub sweeps: Vec<Option<&'a str>>,
    pub controls: Vec<&'a str>,
    /// The primary scorer first, then in the order that the run records.
    pub scorers: Vec<&'a str>,
    facts: Vec<ScoreFacts>,
    /// Controls that are their own explainer. They belong to the table of every explainer.
    self_explaining: Vec<&'a str>,
    cells: HashMap<(Pairing<'a>, RowKey<'a>, &'a str), &'a Cell>,
}

fn explains_itself(cell: &Cell) -> bool {
    cell.control.as_ref() == Some(&cell.explainer)
}

impl<'a> View<'a> {
    pub fn new(summary: &'a Summary) -> Self {
        let cells = &summary.cells;
        let mut scorers = distinct(cells.iter().map(|cell| cell.scorer.as_str()));
        let facts = if summary.scores.is_empty() { unrecorded_scores() } else { summary.scores.clone() };
        scorers.sort_by_key(|scorer| {
            let order =
                facts.iter().find(|known| known.name == *scorer).map_or(u32::MAX, |known| known.order);
            (summary.primary.as_deref() != Some(*scorer), order)
        });
        let methods = distinct(cells.iter().map(|cell| cell.method.as_str()));
        let sweep =
            |method: &&str| summary.quality.iter().find(|row| row.method == *method)?.sweep.as_deref();
        let mut controls = distinct(cells.iter().filter_map(|cell| cell.control.as_deref()));
        // The first control is that of the main scores.
        controls.sort_by_key(|control| *control == RANDOM_DIRECTION);
        let (own, others): (Vec<&Cell>, Vec<&Cell>) = cells.iter().partition(|cell| explains_itself(cell));
        let key = |cell: &'a Cell| {
            let control = cell.control.as_deref();
            (Pairing::of(cell), RowKey { control, ..RowKey::of(&cell.hook, &cell.method) }, &*cell.scorer)
        };
        Self {
            summary,
            pairings: distinct(others.into_iter().map(Pairing::of)),
            self_explaining: distinct(own.into_iter().map(|cell| cell.explainer.as_str())),
            hooks: distinct(cells.iter().map(|cell| cell.hook.as_str())),
            sweeps: methods.iter().map(sweep).collect(),
            methods,
            controls,
            scorers,
            facts,
            cells: cells.iter().map(|cell| (key(cell), cell)).collect(),
        }
    }

    /// The name of the line or group that a method belongs to: its sweep, or the method itself.
    pub fn line_of(&self, method: &'a str) -> &'a str {
        let nth = self.methods.iter().position(|other| *other == method);
        nth.and_then(|nth| self.sweeps[nth]).unwrap_or(method)
    }

    /// Methods that belong to no sweep, with their indices in `methods`.
    pub fn single_methods(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let all = self.methods.iter().zip(&self.sweeps).enumerate();
        all.filter(|(_, (_, sweep))| sweep.is_none()).map(|(nth, (method, _))| (nth, *method))
    }

    /// The scorers of this run whose chance level is 0.5.
    pub fn chance_is_half(&self) -> Vec<&'a str> {
        let is_half =
            |name: &&str| self.facts.iter().any(|known| known.name == **name && known.chance == 0.5);
        self.scorers.iter().copied().filter(is_half).collect()
    }

    /// What an explanation without information scores; 0 for a score that the run does not record.
    pub fn chance(&self, scorer: &str) -> f64 {
        self.facts.iter().find(|known| known.name == scorer).map_or(0.0, |known| known.chance)
    }

    /// The cell of a combination, if the run has it.
    pub fn cell(&self, pairing: Pairing<'a>, row: RowKey<'a>, scorer: &'a str) -> Option<&'a Cell> {
        self.cells.get(&(self.source(pairing, row), row, scorer)).copied()
    }

    /// The pairing that a row's scores come from: the table's own, except for controls that are their own explainer.
    pub fn source(&self, pairing: Pairing<'a>, row: RowKey<'a>) -> Pairing<'a> {
        match row.control.filter(|control| self.self_explaining.contains(control)) {
            Some(control) => Pairing { explainer: control, simulator: control, ..pairing },
            None => pairing,
        }
    }

    /// The quality of a row's dictionary.
    pub fn quality(&self, key: RowKey<'_>) -> Option<&'a QualityRow> {
        let rows = self.summary.quality.iter();
        let mut of_method = rows.filter(|row| row.hook == key.hook && row.method == key.method);
        of_method.find(|row| row.control.as_deref() == key.control)
    }

    /// Rows of one table at one hook point: the methods, then each control's methods.
    pub fn rows(&self, pairing: Pairing<'a>, hook: &'a str) -> Vec<RowKey<'a>> {
        let controls = std::iter::once(None).chain(self.controls.iter().map(|name| Some(*name)));
        controls
            .flat_map(|control| self.methods.iter().map(move |method| RowKey { hook, method, control }))
            .filter(|row| self.scorers.iter().any(|scorer| self.cell(pairing, *row, scorer).is_some()))
            .collect()
    }

    /// A control's cells at a hook point, one for each method that has the control.
    pub fn control_cells(
        &self,
        pairing: Pairing<'a>,
        hook: &'a str,
        control: &'a str,
        scorer: &'a str,
    ) -> Vec<&'a Cell> {
        let key = |method| RowKey { hook, method, control: Some(control) };
        self.methods.iter().filter_map(|method| self.cell(pairing, key(method), scorer)).collect()
    }

    /// The unit of a score in words.
    pub fn unit(&self, scorer: &str) -> &'static str {
        let in_nats = |known: &ScoreFacts| known.name == scorer && known.unit == "nats";
        if self.facts.iter().any(in_nats) { "nats" } else { "a correlation, no unit" }
    }

    /// Whether the run has output scores, which the control of random directions always accompanies.
    pub fn has_output_scores(&self) -> bool {
        self.controls.contains(&RANDOM_DIRECTION)
    }

    /// The scorers of this run whose smaller values are better.
    pub fn lower_is_better(&self) -> Vec<&'a str> {
        let is_lower =
            |name: &&str| self.facts.iter().any(|known| known.name == **name && !known.higher_is_better);
        self.scorers.iter().copied().filter(is_lower).collect()
    }

    /// The two scores that must be read together: the first scorer and `beyond_token`, or the first two without it.
    pub fn main_scorers(&self) -> Vec<&'a str> {
        let Some((first, rest)) = self.scorers.split_first() else { return Vec::new() };
        let second = rest.iter().find(|scorer| **scorer == BEYOND_TOKEN).or(rest.first());
        std::iter::once(first).chain(second).copied().collect()
    }

    /// The scores of a feature at a glance: the first scorer, and `beyond_token` where the run has it. Each with its
    /// index in `scorers`, and whether a larger value is better.
    pub fn glance_scorers(&self) -> Vec<(usize, &'a str, bool)> {
        let scorers = self.scorers.iter().copied().enumerate();
        let shown = scorers.filter(|(nth, scorer)| *nth == 0 || *scorer == BEYOND_TOKEN);
        let higher = |scorer| {
            self.facts.iter().find(|known| known.name == scorer).is_none_or(|known| known.higher_is_better)
        };
        shown.map(|(nth, scorer)| (nth, scorer, higher(scorer))).collect()
    }

    /// The most frequent interval of a table in words: `95 % BCa interval over features`.
    pub fn interval_name(&self, pairing: Pairing<'a>) -> String {
        let (method, confidence) = self.usual_interval(pairing);
        let percent = (confidence * 1000.0).round() / 10.0;
        let mut cells = self.summary.cells.iter().filter(|cell| Pairing::of(cell) == pairing).peekable();
        let chosen = cells.peek().is_some() && cells.all(Cell::is_of_chosen);
        let features = if chosen { "the chosen features" } else { "features" };
        format!("{percent} % {} interval over {features}", interval_words(method))
    }

    /// Mark of a dictionary at a hook point or on a model where it was not trained; empty for others.
    pub fn mark(&self, hook: &str, method: &str) -> &'static str {
        let row = self.summary.quality.iter().find(|row| row.hook == hook && row.method == method);
        if row.is_some_and(|row| row.elsewhere.is_some()) { ELSEWHERE } else { "" }
    }

    /// What the mark means and which dictionaries have it; none if none has.
    pub fn elsewhere_note(&self) -> Option<String> {
        let rows = self.summary.quality.iter().filter(|row| row.control.is_none());
        let marked = rows.filter_map(|row| Some((row.elsewhere.as_deref()?, row)));
        let one = |(trained, row): (&str, &QualityRow)| format!("{} at {} ({trained})", row.method, row.hook);
        let named: Vec<String> = marked.map(one).collect();
        let words = "not applied where it was trained, so its numbers say nothing about the method";
        (!named.is_empty()).then(|| format!("{}: {words}: {}.", ELSEWHERE.trim(), named.join(", ")))
    }

    /// What chosen features are and how many each method has; none if all features are random samples.
    pub fn chosen_note(&self) -> Option<String> {
        let cells = self.summary.cells.iter().filter(|cell| cell.is_of_chosen() && cell.control.is_none());
        let counts = distinct(cells.map(|cell| (cell.method.as_str(), cell.n_requested)));
        let methods = grouped(counts);
        let one = |(method, counts): &(&str, Vec<usize>)| {
            let most = counts.iter().max().copied().unwrap_or(0);
            format!("{most} chosen features of {method}")
        };
        let named: Vec<String> = methods.iter().map(one).collect();
        let words = "Their means and intervals are over the chosen features: not a sample of the dictionary";
        (!named.is_empty()).then(|| format!("{}. {words}.", named.join(", ")))
    }

    /// Interval methods of a table's cells, each with its confidence.
    fn intervals(&self, pairing: Pairing<'a>) -> impl Iterator<Item = (&'a str, f64)> {
        let cells = self.summary.cells.iter().filter(move |cell| Pairing::of(cell) == pairing);
        cells.filter_map(|cell| Some((cell.interval_method.as_deref()?, cell.confidence)))
    }

    /// The interval method of most cells of a table, and its confidence.
    pub fn usual_interval(&self, pairing: Pairing<'a>) -> (&'a str, f64) {
        let mut counts = grouped(self.intervals(pairing).map(|interval| (interval, ())));
        counts.sort_by_key(|(_, cells)| std::cmp::Reverse(cells.len()));
        counts.first().map_or(("bca", 0.95), |(interval, _)| *interval)
    }

    /// Interval methods of a table that differ from the usual one.
    pub fn unusual_intervals(&self, pairing: Pairing<'a>) -> BTreeSet<&'a str> {
        let (usual, _) = self.usual_interval(pairing);
        self.intervals(pairing).map(|(method, _)| method).filter(|method| *method != usual).collect()
    }
}

pub fn interval_words(method: &str) -> &str {
    match method {
        "bca" => "BCa",
        "percentile" => "percentile bootstrap",
        "normal" => "normal (± 1.96 SE)",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(method: &str, scorer: &str, control: Option<&str>) -> Cell {
        Cell {
            hook: "blocks.0.hook_resid_post".into(),
            method: method.into(),
            protocol: "standard".into(),
            explainer: "neuron_to_graph".into(),
            simulator: "neuron_to_graph".into(),
            control: control.map(Into::into),
            scorer: scorer.into(),
            confidence: 0.95,
            interval_method: Some("bca".into()),
            ..Cell::default()
        }
    }

    #[test]
    fn controls_come_last_and_the_primary_scorer_first() {
        let summary = Summary {
            primary: Some("population".into()),
            cells: vec![
                cell("sae", "top_only", Some("shuffled")),
                cell("sae", "top_only", None),
                cell("topk", "beyond_token", None),
                cell("topk", "population", None),
            ],
            ..Summary::default()
        };
        let view = View::new(&summary);
        assert_eq!(view.scorers, ["population", "beyond_token", "top_only"]);
        assert_eq!(view.main_scorers(), ["population", "beyond_token"]);
        assert!(view.chance_is_half().is_empty());
        let rows: Vec<_> = view
            .rows(view.pairings[0], view.hooks[0])
            .into_iter()
            .map(|row| (row.method, row.control))
            .collect();
        assert_eq!(rows, [("sae", None), ("topk", None), ("sae", Some("shuffled"))]);
        assert_eq!(view.interval_name(view.pairings[0]), "95 % BCa interval over features");
    }

    #[test]
    fn chosen_features_are_named_and_are_no_sample() {
        let chosen = |method: &str, n: usize| Cell {
            features: Some("chosen".into()),
            n_requested: n,
            ..cell(method, "top_only", None)
        };
        let mut summary = Summary { cells: vec![chosen("sae", 12), chosen("pca", 3)], ..Summary::default() };
        let view = View::new(&summary);
        assert_eq!(view.interval_name(view.pairings[0]), "95 % BCa interval over the chosen features");
        let note = view.chosen_note().expect("chosen");
        assert!(note.contains("over the chosen features: not a sample of the dictionary"), "{note}");
        assert!(note.contains("12 chosen features of sae, 3 chosen features of pca"), "{note}");
        summary.cells.push(cell("topk", "top_only", None));
        let view = View::new(&summary);
        assert_eq!(view.interval_name(view.pairings[0]), "95 % BCa interval over features");
        assert!(view.chosen_note().is_some_and(|note| !note.contains("topk")));
        summary.cells.retain(|cell| cell.features.is_none());
        assert_eq!(View::new(&summary).chosen_note(), None);
    }

    #[test]
    fn a_control_that_explains_by_itself_stands_beside_every_explainer() {
        let mut oracle = cell("sae", "top_only", Some("oracle"));
        (oracle.explainer, oracle.simulator) = ("oracle".into(), "oracle".into());
        let summary = Summary { cells: vec![cell("sae", "top_only", None), oracle], ..Summary::default() };
        let view = View::new(&summary);
        assert_eq!(view.pairings.iter().map(Pairing::label).collect::<Vec<_>>(), ["neuron_to_graph"]);
        let rows = view.rows(view.pairings[0], view.hooks[0]);
        assert_eq!(rows.iter().map(|row| row.control).collect::<Vec<_>>(), [None, Some("oracle")]);
        assert_eq!(
            view.cell(view.pairings[0], rows[1], "top_only").map(|cell| &*cell.explainer),
            Some("oracle")
        );
        assert_eq!(view.control_cells(view.pairings[0], view.hooks[0], "oracle", "top_only").len(), 1);
    }
}
