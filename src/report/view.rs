//! A summary sorted for reading: which hook points, methods, scorers and controls there are, in a
//! steady order, and the cell where they meet.

use std::collections::{BTreeSet, HashMap};

use super::schema::{Cell, Summary};

/// The score that token identity cannot earn.
pub const BEYOND_TOKEN: &str = "beyond_token";

/// Scorers in the order that tables and panels show them; others follow as they come.
const SCORER_ORDER: [&str; 10] = [
    "top_and_random",
    BEYOND_TOKEN,
    "top_only",
    "random_only",
    "population",
    "detection",
    "detection_auroc",
    "fuzzing",
    "fuzzing_auroc",
    "surprisal",
];

/// Scores of which a judge that knows nothing has 0.5 and not 0.
const CHANCE_IS_HALF: [&str; 5] = ["detection", "detection_auroc", "fuzzing", "fuzzing_auroc", "surprisal"];

/// What one table is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pairing<'a> {
    /// Protocol.
    pub protocol: &'a str,
    /// Who explained.
    pub explainer: &'a str,
    /// Who simulated.
    pub simulator: &'a str,
}

impl Pairing<'_> {
    /// `token_lookup`, or `token_activation → neuron_to_graph` where the two differ.
    pub fn label(&self) -> String {
        if self.explainer == self.simulator {
            self.explainer.to_string()
        } else {
            format!("{} → {}", self.explainer, self.simulator)
        }
    }
}

/// One row of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowKey<'a> {
    /// Hook point.
    pub hook: &'a str,
    /// Method.
    pub method: &'a str,
    /// None for the real thing.
    pub control: Option<&'a str>,
}

/// A summary indexed for reading.
pub struct View<'a> {
    /// What it was made from.
    pub summary: &'a Summary,
    /// In order of appearance.
    pub pairings: Vec<Pairing<'a>>,
    /// In order of appearance.
    pub hooks: Vec<&'a str>,
    /// In order of appearance.
    pub methods: Vec<&'a str>,
    /// Of each method the sweep that it is a point of, if it is one.
    pub sweeps: Vec<Option<&'a str>>,
    /// In order of appearance.
    pub controls: Vec<&'a str>,
    /// The primary scorer first, then the usual order.
    pub scorers: Vec<&'a str>,
    /// Controls that explain by themselves, whoever else explains.
    on_their_own: Vec<&'a str>,
    cells: HashMap<(Pairing<'a>, RowKey<'a>, &'a str), &'a Cell>,
}

fn in_order<'a, T: PartialEq + Copy>(items: impl Iterator<Item = T> + 'a) -> Vec<T> {
    let mut seen: Vec<T> = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

fn pairing(cell: &Cell) -> Pairing<'_> {
    Pairing { protocol: &cell.protocol, explainer: &cell.explainer, simulator: &cell.simulator }
}

/// Whether a cell is of a control that explains by itself: it stands beside every explainer.
fn is_on_its_own(cell: &Cell) -> bool {
    cell.control.as_ref() == Some(&cell.explainer)
}

impl<'a> View<'a> {
    /// What a method is called where the points of a sweep are one line: the sweep's name.
    pub fn line_of(&self, method: &'a str) -> &'a str {
        let nth = self.methods.iter().position(|other| *other == method);
        nth.and_then(|nth| self.sweeps[nth]).unwrap_or(method)
    }

    /// Methods that are no point of a sweep, with their places among all.
    pub fn single_methods(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let all = self.methods.iter().zip(&self.sweeps).enumerate();
        all.filter(|(_, (_, sweep))| sweep.is_none()).map(|(nth, (method, _))| (nth, *method))
    }

    /// The scores shown of which chance is 0.5.
    pub fn chance_is_half(&self) -> Vec<&'a str> {
        self.scorers.iter().copied().filter(|scorer| CHANCE_IS_HALF.contains(scorer)).collect()
    }

    /// Indexes a summary.
    pub fn new(summary: &'a Summary) -> Self {
        let cells = &summary.cells;
        let mut scorers = in_order(cells.iter().map(|cell| cell.scorer.as_str()));
        let rank = |scorer: &str| {
            let usual = SCORER_ORDER.iter().position(|known| *known == scorer).unwrap_or(SCORER_ORDER.len());
            (summary.primary.as_deref() != Some(scorer), usual)
        };
        scorers.sort_by_key(|scorer| rank(scorer));
        let methods = in_order(cells.iter().map(|cell| cell.method.as_str()));
        let sweep = |method: &&str| {
            summary.quality.iter().find(|row| row.method == *method).and_then(|row| row.sweep.as_deref())
        };
        Self {
            summary,
            pairings: in_order(cells.iter().filter(|cell| !is_on_its_own(cell)).map(pairing)),
            on_their_own: in_order(
                cells.iter().filter(|cell| is_on_its_own(cell)).map(|cell| cell.explainer.as_str()),
            ),
            hooks: in_order(cells.iter().map(|cell| cell.hook.as_str())),
            sweeps: methods.iter().map(sweep).collect(),
            methods,
            controls: in_order(cells.iter().filter_map(|cell| cell.control.as_deref())),
            scorers,
            cells: cells
                .iter()
                .map(|cell| {
                    let row =
                        RowKey { hook: &cell.hook, method: &cell.method, control: cell.control.as_deref() };
                    ((pairing(cell), row, cell.scorer.as_str()), cell)
                })
                .collect(),
        }
    }

    /// The cell at a crossing, if the run has it.
    pub fn cell(&self, pairing: Pairing<'a>, row: RowKey<'a>, scorer: &'a str) -> Option<&'a Cell> {
        self.cells.get(&(self.home(pairing, row), row, scorer)).copied()
    }

    /// The explainer and simulator that a row of a table has its scores from: the table's own, but for
    /// controls that explain by themselves.
    pub fn home(&self, pairing: Pairing<'a>, row: RowKey<'a>) -> Pairing<'a> {
        match row.control.filter(|control| self.on_their_own.contains(control)) {
            Some(control) => Pairing { explainer: control, simulator: control, ..pairing },
            None => pairing,
        }
    }

    /// Rows of one table at one hook point: the methods, then each control's methods.
    pub fn rows(&self, pairing: Pairing<'a>, hook: &'a str) -> Vec<RowKey<'a>> {
        let controls = std::iter::once(None).chain(self.controls.iter().map(|name| Some(*name)));
        controls
            .flat_map(|control| self.methods.iter().map(move |method| RowKey { hook, method, control }))
            .filter(|row| self.scorers.iter().any(|scorer| self.cell(pairing, *row, scorer).is_some()))
            .collect()
    }

    /// A control's cells at a hook point, one per method that has it.
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

    /// The two scores that must be read together: the primary one and `beyond_token`; where one is
    /// missing, the first two there are.
    pub fn main_scorers(&self) -> Vec<&'a str> {
        let mut main: Vec<&str> = self.scorers.iter().copied().take(1).collect();
        let second =
            self.scorers.iter().copied().find(|scorer| *scorer == BEYOND_TOKEN && !main.contains(scorer));
        main.extend(second.or_else(|| self.scorers.get(1).copied()));
        main
    }

    /// `95 % BCa interval over features`, as most cells have it.
    pub fn interval_name(&self, pairing: Pairing<'a>) -> String {
        let (method, confidence) = self.usual_interval(pairing);
        format!("{} % {} interval over features", percent_number(confidence), interval_words(method))
    }

    /// The interval method that most cells of a table have, and its confidence.
    pub fn usual_interval(&self, pairing: Pairing<'a>) -> (&'a str, f64) {
        let mut counts: Vec<(&str, f64, usize)> = Vec::new();
        for cell in self.summary.cells.iter().filter(|cell| self::pairing(cell) == pairing) {
            let Some(method) = cell.interval_method.as_deref() else { continue };
            match counts.iter_mut().find(|(name, level, _)| *name == method && *level == cell.confidence) {
                Some((_, _, n)) => *n += 1,
                None => counts.push((method, cell.confidence, 1)),
            }
        }
        counts.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
        counts.first().map_or(("bca", 0.95), |(method, confidence, _)| (method, *confidence))
    }

    /// Interval methods of a table that differ from the usual one.
    pub fn unusual_intervals(&self, pairing: Pairing<'a>) -> BTreeSet<&'a str> {
        let (usual, _) = self.usual_interval(pairing);
        self.summary
            .cells
            .iter()
            .filter(|cell| self::pairing(cell) == pairing)
            .filter_map(|cell| cell.interval_method.as_deref())
            .filter(|method| *method != usual)
            .collect()
    }
}

fn percent_number(confidence: f64) -> String {
    let percent = (confidence * 1000.0).round() / 10.0;
    format!("{percent}")
}

/// An interval method in words.
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
