//! Compares two runs cell by cell.
//!
//! A cell is one score of one method at one hook point, under one explainer and simulator. If both runs have the
//! same dictionary, its features are compared in pairs; otherwise the two samples are independent. Planned
//! comparisons are those of the primary scorer for the suite's own explainer and simulator.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;

use super::GateError;
use super::inputs::{InputChange, Inputs, incomparable};
use super::patching::{PatchingChange, patching_changes};
use super::run_folder::{FeatureScore, RunFolder};
use crate::base::distinct;
use crate::report::{Cell, QualityRow};
use crate::stats::{self, Bootstrap, Difference, DifferenceTest, Family, IntervalMethod, Verdict};

/// (resamples, permutations) of a planned comparison. The smallest p, 5e-5, stays below 0.05 over 900 cells.
const PLANNED: (usize, usize) = (10_000, 20_000);
/// (resamples, permutations) of an exploratory comparison.
const EXPLORATORY: (usize, usize) = (1_000, 1_000);
/// Margin of a run that states none.
const DEFAULT_MARGIN: f64 = 0.05;

/// All differences between two runs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Comparison {
    /// Folder of the first run.
    pub a: String,
    /// Folder of the second; differences are second minus first.
    pub b: String,
    /// Inputs that differ. They may explain a change of the numbers.
    pub inputs: Vec<InputChange>,
    /// What only one run has or what may not be compared, with the reason.
    pub not_compared: Vec<String>,
    /// Changes inside ± this do not matter.
    pub margin: f64,
    /// The scorer of the planned comparisons.
    pub primary: String,
    /// Explainer and simulator of the planned comparisons.
    pub pair: (String, String),
    /// In the order of the second run.
    pub cells: Vec<CellChange>,
    /// Dictionaries, in the order of the second run.
    pub quality: Vec<QualityChange>,
    /// Patching on a task, in the order of the second run; absent without one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patching: Vec<PatchingChange>,
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
    /// Explainer.
    pub explainer: String,
    /// Simulator.
    pub simulator: String,
    /// Name of the control; null if it is none.
    pub control: Option<String>,
    /// Scorer.
    pub scorer: String,
    /// Mean score in the first run.
    pub mean_a: Option<f64>,
    /// Mean score in the second run.
    pub mean_b: Option<f64>,
    /// Number of features in the first run.
    pub n_a: usize,
    /// Number of features in the second run.
    pub n_b: usize,
    /// Number of paired features if the dictionary is the same; null if the samples are independent.
    pub n_pairs: Option<usize>,
    /// Second minus first: difference of the means, or mean difference of the pairs.
    pub difference: Option<f64>,
    /// Lower end of its 95 % interval, unadjusted.
    pub ci_low: Option<f64>,
    /// Upper end of the interval.
    pub ci_high: Option<f64>,
    /// Lower end of the interval that excludes 0 exactly if `p_adjusted` is below 0.05; null where nothing was
    /// adjusted, or where too few scores differ.
    pub adjusted_low: Option<f64>,
    /// Upper end of that interval.
    pub adjusted_high: Option<f64>,
    /// Permutation p-value, unadjusted.
    pub p: Option<f64>,
    /// p-value adjusted over the planned comparisons; null for the others.
    pub p_adjusted: Option<f64>,
    /// Planned or exploratory.
    pub family: Family,
    /// Verdict; null if a number is missing (see `reason`).
    pub verdict: Option<Verdict>,
    /// Whether every pair agrees to the last digit.
    pub identical: bool,
    /// Why there is no difference.
    pub reason: Option<String>,
    /// Features scored, undefined, failed and skipped, for each run.
    pub tallies: [[usize; 4]; 2],
}

/// One dictionary in both runs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct QualityChange {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Name of the control; null if it is none.
    pub control: Option<String>,
    /// Whether both runs have the same dictionary.
    pub same_dictionary: bool,
    /// Values of the first and second run by column, without columns that neither has.
    pub values: BTreeMap<&'static str, [Option<f64>; 2]>,
}

/// Compares two runs.
///
/// # Errors
/// The runs have no protocol, explainer and simulator in common.
pub fn compare(a: &RunFolder, b: &RunFolder) -> Result<Comparison, GateError> {
    let why = incomparable(a, b);
    if !why.is_empty() {
        return Err(GateError::NotComparable { a: a.name(), b: b.name(), expected: "comparable", why });
    }
    let (inputs_a, inputs_b) = (Inputs::of(&a.facts), Inputs::of(&b.facts));
    let redefined = inputs_a.redefined(&inputs_b);
    let mut not_compared: Vec<String> =
        redefined.iter().map(|metric| format!("{metric}: the two runs define it differently")).collect();
    let [of_a, of_b]: [HashMap<CellKey<'_>, &Cell>; 2] =
        [a, b].map(|run| run.summary.cells.iter().map(|cell| (key(cell), cell)).collect());
    not_compared.extend(other_samples(&of_a, &b.summary.cells));
    not_compared.extend(only_in(&a.summary.cells, &of_b, "first"));
    not_compared.extend(only_in(&b.summary.cells, &of_a, "second"));
    let (patching, of_one_run) = patching_changes(&a.summary, &b.summary);
    not_compared.extend(of_one_run);
    let margin = b.summary.margin.or(a.summary.margin).unwrap_or(DEFAULT_MARGIN);
    let pair = b.first_pair();
    let primary = b.primary();
    let mut cells: Vec<(CellChange, Option<Difference>)> = b
        .summary
        .cells
        .par_iter()
        .filter(|cell| !redefined.contains(&cell.scorer))
        .filter_map(|cell_b| {
            let cell_a = *of_a.get(&key(cell_b)).filter(|cell_a| cell_a.features == cell_b.features)?;
            let planned = cell_b.control.is_none()
                && cell_b.scorer == primary
                && (cell_b.explainer.as_str(), cell_b.simulator.as_str()) == pair;
            let family = if planned { Family::Primary } else { Family::Exploratory };
            Some(change((a, cell_a), (b, cell_b), family))
        })
        .collect();
    judge(&mut cells, margin);
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
        patching,
    })
}

/// Fills in adjusted p-values and intervals, and verdicts.
fn judge(cells: &mut [(CellChange, Option<Difference>)], margin: f64) {
    let known: Vec<(Family, &Difference)> =
        cells.iter().filter_map(|(cell, difference)| Some((cell.family, difference.as_ref()?))).collect();
    let judgements = stats::judge(&known, margin);
    let with_difference = cells.iter_mut().filter(|(_, difference)| difference.is_some());
    for ((cell, _), judgement) in with_difference.zip(judgements) {
        cell.p_adjusted = judgement.p_adjusted;
        let adjusted = judgement.adjusted.and_then(Result::ok);
        (cell.adjusted_low, cell.adjusted_high) = adjusted.unzip();
        cell.verdict = Some(judgement.verdict);
    }
}

type CellKey<'a> = [&'a str; 7];

fn key(cell: &Cell) -> CellKey<'_> {
    let control = cell.control.as_deref().unwrap_or_default();
    [&cell.hook, &cell.method, &cell.protocol, &cell.explainer, &cell.simulator, control, &cell.scorer]
}

/// Hook points, methods, explainers and so on that only one run has.
fn only_in(cells: &[Cell], other: &HashMap<CellKey<'_>, &Cell>, which: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (what, place) in
        [("hook point", 0), ("method", 1), ("protocol", 2), ("explainer", 3), ("control", 5), ("scorer", 6)]
    {
        for cell in cells {
            let name = key(cell)[place];
            let line = format!("{what} {name}: only in the {which} run");
            if !name.is_empty() && !found.contains(&line) && !other.keys().any(|key| key[place] == name) {
                found.push(line);
            }
        }
    }
    found
}

/// Methods whose features are chosen in one run and a random sample in the other.
fn other_samples(of_a: &HashMap<CellKey<'_>, &Cell>, cells_b: &[Cell]) -> Vec<String> {
    let other =
        |cell_b: &&Cell| of_a.get(&key(cell_b)).is_some_and(|cell_a| cell_a.features != cell_b.features);
    let line = |cell: &Cell| {
        let names = ["a random sample of the dictionary", "chosen features"];
        let (first, second) = if cell.is_of_chosen() { (names[0], names[1]) } else { (names[1], names[0]) };
        format!("method {} at {}: {first} in the first run, {second} in the second", cell.method, cell.hook)
    };
    distinct(cells_b.iter().filter(other).map(line))
}

fn change(
    (a, cell_a): (&RunFolder, &Cell),
    (b, cell_b): (&RunFolder, &Cell),
    family: Family,
) -> (CellChange, Option<Difference>) {
    let (scores_a, scores_b) = (a.scores(cell_a), b.scores(cell_b));
    let same = same_dictionary(a, b, &cell_b.hook, &cell_b.method, cell_b.control.as_deref());
    let pairs = if same { paired(&scores_a, &scores_b) } else { Vec::new() };
    let test = difference_test(cell_b, family);
    // With one or two pairs, the comparison of independent samples says more.
    let (found, n_pairs) = if pairs.len() > 2 {
        let (of_a, of_b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        (test.paired(&of_b, &of_a), Some(pairs.len()))
    } else {
        let values = |scores: &[FeatureScore]| scores.iter().map(|score| score.score).collect::<Vec<f64>>();
        (test.unpaired(&values(&scores_b), &values(&scores_a)), None)
    };
    let identical = n_pairs.is_some()
        && scores_a.len() == scores_b.len()
        && pairs.len() == scores_a.len()
        && pairs.iter().all(|(a, b)| a == b);
    let reason = found.as_ref().err().map(ToString::to_string);
    let found = found.ok();
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
        adjusted_low: None,
        adjusted_high: None,
        p: found.as_ref().map(|found| found.p),
        p_adjusted: None,
        family,
        verdict: None,
        identical,
        reason,
        tallies: [cell_a, cell_b].map(|cell| {
            let tally = &cell.tally;
            [tally.scored, tally.undefined, tally.failed, tally.skipped.values().sum()]
        }),
    };
    (change, found)
}

fn difference_test(cell: &Cell, family: Family) -> DifferenceTest {
    let (resamples, permutations) = if family == Family::Primary { PLANNED } else { EXPLORATORY };
    let bootstrap = Bootstrap {
        method: IntervalMethod::Bca,
        confidence: 0.95,
        resamples,
        seed: 0,
        stream: format!("compare {}", key(cell).join("/")),
    };
    DifferenceTest { bootstrap, permutations }
}

/// Whether both runs are known to have the same dictionary.
fn same_dictionary(a: &RunFolder, b: &RunFolder, hook: &str, method: &str, control: Option<&str>) -> bool {
    let digest = a.dictionary(hook, method, control);
    digest.is_some() && digest == b.dictionary(hook, method, control)
}

/// Scores of the features that both runs scored, (first, second).
fn paired(a: &[FeatureScore], b: &[FeatureScore]) -> Vec<(f64, f64)> {
    let of_b: HashMap<(Option<u32>, usize), f64> =
        b.iter().map(|score| ((score.training, score.feature), score.score)).collect();
    a.iter().filter_map(|score| Some((score.score, *of_b.get(&(score.training, score.feature))?))).collect()
}

/// Changes of the dictionaries that both runs have.
fn quality(a: &RunFolder, b: &RunFolder) -> Vec<QualityChange> {
    let change = |row_b: &QualityRow| {
        let QualityRow { hook, method, control, .. } = row_b;
        let same = |row: &&QualityRow| (&row.hook, &row.method, &row.control) == (hook, method, control);
        let row_a = a.summary.quality.iter().find(same)?;
        let values = QUALITY_COLUMNS
            .into_iter()
            .map(|(name, value)| (name, [value(row_a), value(row_b)]))
            .filter(|(_, values)| values.iter().any(Option::is_some))
            .collect();
        Some(QualityChange {
            hook: hook.clone(),
            method: method.clone(),
            control: control.clone(),
            same_dictionary: same_dictionary(a, b, hook, method, control.as_deref()),
            values,
        })
    };
    b.summary.quality.iter().filter_map(change).collect()
}

type Column = fn(&QualityRow) -> Option<f64>;

/// Columns of the quality table that are compared.
const QUALITY_COLUMNS: [(&str, Column); 6] = [
    ("l0", |row| row.l0),
    ("fvu", |row| row.fvu),
    ("loss_recovered_zero", |row| row.loss_recovered_zero),
    ("loss_recovered_mean", |row| row.loss_recovered_mean),
    ("dead", |row| row.dead.map(|dead| dead as f64)),
    ("near_dead", |row| row.near_dead.map(|dead| dead as f64)),
];
