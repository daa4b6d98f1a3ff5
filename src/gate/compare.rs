//! Two runs, cell by cell.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::GateError;
use super::inputs::{InputChange, Inputs, incomparable};
use super::run_folder::{FeatureScore, RunFolder};
use crate::report::{Cell, QualityRow};
use crate::stats::{self, Bootstrap, Difference, DifferenceTest, Family, IntervalMethod, Verdict};

/// Resamples and permutations of a planned comparison: enough that the smallest p, 5e-5, is still below 0.05 adjusted
/// over 900 cells.
const PLANNED: (usize, usize) = (10_000, 20_000);
/// Of an exploratory one: enough to show whether p is small.
const EXPLORATORY: (usize, usize) = (1_000, 1_000);
/// Where a run states no margin.
const MARGIN: f64 = 0.05;

/// Everything that two runs differ in.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Comparison {
    /// Folder of the first run.
    pub a: String,
    /// Folder of the second; differences are second minus first.
    pub b: String,
    /// Inputs that differ: before anything is said of the code.
    pub inputs: Vec<InputChange>,
    /// What stands in one run alone or may not be compared, with the reason.
    pub not_compared: Vec<String>,
    /// Changes inside ± this do not matter.
    pub margin: f64,
    /// The scorer of the planned comparisons.
    pub primary: String,
    /// Who explains and simulates in them.
    pub pair: (String, String),
    /// In the order of the second run.
    pub cells: Vec<CellChange>,
    /// Dictionaries, in the order of the second run.
    pub quality: Vec<QualityChange>,
}

/// One cell in both runs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CellChange {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Protocol.
    pub protocol: String,
    /// Who explained.
    pub explainer: String,
    /// Who simulated.
    pub simulator: String,
    /// None, or the control's name.
    pub control: Option<String>,
    /// The score.
    pub scorer: String,
    /// Its mean in the first run.
    pub mean_a: Option<f64>,
    /// In the second.
    pub mean_b: Option<f64>,
    /// Features behind the first.
    pub n_a: usize,
    /// Behind the second.
    pub n_b: usize,
    /// Features compared with themselves, where the dictionary is the same; none where the samples are independent.
    pub n_pairs: Option<usize>,
    /// Second minus first: of the means, or of the pairs.
    pub difference: Option<f64>,
    /// Lower end of its 95 % interval.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
    /// Permutation p, unadjusted.
    pub p: Option<f64>,
    /// Adjusted over the planned comparisons; none for the others.
    pub p_adjusted: Option<f64>,
    /// Planned, or not.
    pub family: Family,
    /// What follows; none where a number it needs is missing, which `reason` then says.
    pub verdict: Option<Verdict>,
    /// Every pair agrees to the last digit.
    pub identical: bool,
    /// Why there is no difference.
    pub reason: Option<String>,
    /// Of each run: scored, undefined, failed, skipped.
    pub tallies: [[usize; 4]; 2],
}

/// One dictionary in both runs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct QualityChange {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// None, or the control's name.
    pub control: Option<String>,
    /// Whether it is the same dictionary.
    pub same_dictionary: bool,
    /// First and second run's value by column; columns that neither has are left out.
    pub values: BTreeMap<&'static str, [Option<f64>; 2]>,
}

/// Compares two runs; refuses where they have no protocol, explainer and simulator in common.
pub fn compare(a: &RunFolder, b: &RunFolder) -> Result<Comparison, GateError> {
    let why = incomparable(a, b);
    if !why.is_empty() {
        return Err(GateError::NotComparable { a: a.name(), b: b.name(), why });
    }
    let (inputs_a, inputs_b) = (Inputs::of(&a.facts), Inputs::of(&b.facts));
    let redefined = inputs_a.redefined(&inputs_b);
    let mut not_compared: Vec<String> =
        redefined.iter().map(|metric| format!("{metric}: the two runs define it differently")).collect();
    let of_a: HashMap<CellKey<'_>, &Cell> = a.summary.cells.iter().map(|cell| (key(cell), cell)).collect();
    let of_b: HashMap<CellKey<'_>, &Cell> = b.summary.cells.iter().map(|cell| (key(cell), cell)).collect();
    let both: Vec<(&Cell, &Cell)> = b
        .summary
        .cells
        .iter()
        .filter(|cell| !redefined.contains(&cell.scorer))
        .filter_map(|cell| Some((*of_a.get(&key(cell))?, cell)))
        .collect();
    not_compared.extend(alone(&a.summary.cells, &of_b, "first"));
    not_compared.extend(alone(&b.summary.cells, &of_a, "second"));
    let margin = b.summary.margin.or(a.summary.margin).unwrap_or(MARGIN);
    let pair = b.first_pair();
    let primary = b.primary();
    let mut cells: Vec<(CellChange, Option<Difference>)> = both
        .par_iter()
        .map(|(cell_a, cell_b)| {
            let planned = cell_b.control.is_none()
                && cell_b.scorer == primary
                && (cell_b.explainer.as_str(), cell_b.simulator.as_str()) == pair;
            change((a, cell_a), (b, cell_b), if planned { Family::Primary } else { Family::Exploratory })
        })
        .collect();
    let known: Vec<(Family, &Difference)> = cells
        .iter()
        .filter_map(|(cell, difference)| difference.as_ref().map(|difference| (cell.family, difference)))
        .collect();
    let mut judged = stats::judge(&known, margin).into_iter();
    for (cell, difference) in &mut cells {
        if let Some(judgement) = difference.as_ref().and_then(|_| judged.next()) {
            cell.p_adjusted = judgement.p_adjusted;
            cell.verdict = Some(judgement.verdict);
        }
    }
    Ok(Comparison {
        a: a.folder.display().to_string(),
        b: b.folder.display().to_string(),
        inputs: inputs_a.changes(&inputs_b),
        not_compared,
        margin,
        primary: primary.to_string(),
        pair: (pair.0.to_string(), pair.1.to_string()),
        cells: cells.into_iter().map(|(cell, _)| cell).collect(),
        quality: quality(a, b),
    })
}

type CellKey<'a> = [&'a str; 7];

fn key(cell: &Cell) -> CellKey<'_> {
    let control = cell.control.as_deref().unwrap_or_default();
    [&cell.hook, &cell.method, &cell.protocol, &cell.explainer, &cell.simulator, control, &cell.scorer]
}

/// Methods, explainers and scorers that one run alone has, each said once.
fn alone(cells: &[Cell], other: &HashMap<CellKey<'_>, &Cell>, which: &str) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for (what, place) in
        [("hook point", 0), ("method", 1), ("protocol", 2), ("explainer", 3), ("control", 5), ("scorer", 6)]
    {
        for cell in cells {
            let name = key(cell)[place];
            let line = format!("{what} {name}: in the {which} run alone");
            if !name.is_empty() && !said.contains(&line) && !other.keys().any(|key| key[place] == name) {
                said.push(line);
            }
        }
    }
    said
}

fn change(
    (a, cell_a): (&RunFolder, &Cell),
    (b, cell_b): (&RunFolder, &Cell),
    family: Family,
) -> (CellChange, Option<Difference>) {
    let (scores_a, scores_b) = (a.scores(cell_a), b.scores(cell_b));
    let dictionary = |run: &RunFolder, cell: &Cell| {
        run.dictionary(&cell.hook, &cell.method, cell.control.as_deref()).map(str::to_string)
    };
    let same = dictionary(a, cell_a).is_some_and(|digest| dictionary(b, cell_b).as_ref() == Some(&digest));
    let pairs = if same { paired(&scores_a, &scores_b) } else { Vec::new() };
    let (resamples, permutations) = if family == Family::Primary { PLANNED } else { EXPLORATORY };
    let test = DifferenceTest {
        bootstrap: Bootstrap {
            method: IntervalMethod::Bca,
            confidence: 0.95,
            resamples,
            seed: 0,
            stream: format!("compare {}", key(cell_b).join("/")),
        },
        permutations,
    };
    let values = |scores: &[FeatureScore]| scores.iter().map(|score| score.score).collect::<Vec<f64>>();
    // Two pairs are no sample: then the independent comparison says more.
    let (found, n_pairs) = if pairs.len() > 2 {
        let (of_a, of_b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        (test.paired(&of_b, &of_a), Some(pairs.len()))
    } else {
        (test.unpaired(&values(&scores_b), &values(&scores_a)), None)
    };
    let identical = n_pairs.is_some()
        && scores_a.len() == scores_b.len()
        && pairs.len() == scores_a.len()
        && pairs.iter().all(|(a, b)| a == b);
    let reason = found.as_ref().err().map(ToString::to_string);
    let found = found.ok();
    let tally = |cell: &Cell| {
        let tally = &cell.tally;
        [tally.scored, tally.undefined, tally.failed, tally.skipped.values().sum()]
    };
    let change = CellChange {
        hook: cell_b.hook.clone(),
        method: cell_b.method.clone(),
        protocol: cell_b.protocol.clone(),
        explainer: cell_b.explainer.clone(),
        simulator: cell_b.simulator.clone(),
        control: cell_b.control.clone(),
        scorer: cell_b.scorer.clone(),
        mean_a: cell_a.mean,
        mean_b: cell_b.mean,
        n_a: scores_a.len(),
        n_b: scores_b.len(),
        n_pairs: n_pairs.filter(|_| found.is_some()),
        difference: found.as_ref().map(|found| found.difference),
        ci_low: found.as_ref().map(|found| found.interval.low),
        ci_high: found.as_ref().map(|found| found.interval.high),
        p: found.as_ref().map(|found| found.p),
        p_adjusted: None,
        family,
        verdict: None,
        identical,
        reason,
        tallies: [tally(cell_a), tally(cell_b)],
    };
    (change, found)
}

/// Scores of the features that both runs scored.
fn paired(a: &[FeatureScore], b: &[FeatureScore]) -> Vec<(f64, f64)> {
    let of_b: HashMap<(Option<u32>, usize), f64> =
        b.iter().map(|score| ((score.training, score.feature), score.score)).collect();
    a.iter().filter_map(|score| Some((score.score, *of_b.get(&(score.training, score.feature))?))).collect()
}

fn quality(a: &RunFolder, b: &RunFolder) -> Vec<QualityChange> {
    let of_a = |row: &QualityRow| {
        let same = |other: &&QualityRow| {
            (&other.hook, &other.method, &other.control) == (&row.hook, &row.method, &row.control)
        };
        a.summary.quality.iter().find(same)
    };
    let mut changes = Vec::new();
    for row_b in &b.summary.quality {
        let Some(row_a) = of_a(row_b) else { continue };
        let columns = QUALITY_COLUMNS.into_iter();
        let values = columns
            .map(|(name, value)| (name, [value(row_a), value(row_b)]))
            .filter(|(_, values)| values.iter().any(Option::is_some))
            .collect();
        let dictionary = |run: &RunFolder| {
            run.dictionary(&row_b.hook, &row_b.method, row_b.control.as_deref()).map(str::to_string)
        };
        changes.push(QualityChange {
            hook: row_b.hook.clone(),
            method: row_b.method.clone(),
            control: row_b.control.clone(),
            same_dictionary: dictionary(a).is_some_and(|digest| dictionary(b).as_ref() == Some(&digest)),
            values,
        });
    }
    changes
}

/// A column of the quality table as a number.
type Column = fn(&QualityRow) -> Option<f64>;

/// Columns compared.
const QUALITY_COLUMNS: [(&str, Column); 6] = [
    ("l0", |row| row.l0),
    ("fvu", |row| row.fvu),
    ("loss_recovered_zero", |row| row.loss_recovered_zero),
    ("loss_recovered_mean", |row| row.loss_recovered_mean),
    ("dead", |row| row.dead.map(|dead| dead as f64)),
    ("near_dead", |row| row.near_dead.map(|dead| dead as f64)),
];
