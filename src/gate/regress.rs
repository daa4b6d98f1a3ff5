//! The nightly gate: tests one run against accepted runs.
//!
//! Each group of quantities has a level α: the probability that at least one of its lines is called worse although
//! nothing changed. The levels of the groups that gate sum to 5 %. A group divides its level equally among its
//! kinds; [`RunTest::judge`] adjusts p-values within a kind by Holm's procedure.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::GateError;
use super::accepted::AcceptedRuns;
use super::inputs::{InputChange, Inputs};
use super::patching;
use super::quantities::{Kind, Runs};
use super::run_folder::RunFolder;
use super::series::RunNumbers;
use crate::base::distinct;
use crate::stats::{RunChange, RunSeries, RunTest, RunVerdict};

const SCORES_LEVEL: f64 = 0.025;
const QUALITY_LEVEL: f64 = 0.01;
/// Of the quality's level, what patching on a task has in runs with a task.
const PATCHING_SHARE: f64 = 0.5;
const TALLIES_LEVEL: f64 = 0.005;
const COST_LEVEL: f64 = 0.01;

/// Level of each kind in groups that do not fail the gate.
const WATCHED_LEVEL: f64 = 0.05;

/// Confidence of the intervals printed.
const CONFIDENCE: f64 = 0.95;

/// What the gate found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GateReport {
    /// The run's folder.
    pub run: String,
    /// The accepted file.
    pub against: String,
    /// The suite's name.
    pub suite: String,
    /// The run's seed.
    pub seed: u64,
    /// Number of accepted runs.
    pub n_runs: usize,
    /// Inputs that differ from those of the accepted runs.
    pub inputs: Vec<InputChange>,
    /// What is tested, group by group.
    pub groups: Vec<GateGroup>,
    /// Cells that every accepted run has and this one has not. Any of them fails the gate.
    pub missing: Vec<String>,
    /// What the reader must know.
    pub notes: Vec<String>,
    /// Nothing that gates is worse, and nothing is missing.
    pub passed: bool,
}

/// Quantities with a common level.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GateGroup {
    /// `scores`, `quality`, `patching` (of runs with a task), `tallies`, `cost and time`, `watched`, `cells`.
    pub name: &'static str,
    /// What its numbers are.
    pub what: String,
    /// Whether a worse line fails the gate. Otherwise it is only shown.
    pub gates: bool,
    /// Probability that any of its lines is called worse although nothing changed.
    pub level: f64,
    /// In the order of the run.
    pub lines: Vec<GateLine>,
    /// What could not be tested, with the reason.
    pub not_tested: Vec<String>,
}

/// One quantity.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GateLine {
    /// Method, or the run as a whole.
    pub subject: String,
    /// Which of its numbers: a scorer, `fvu`, `seconds`.
    pub quantity: String,
    /// Whether larger is better.
    pub higher_is_better: bool,
    /// Whether numbers are natural logarithms, so that changes are ratios.
    pub relative: bool,
    /// Changes inside ± this do not matter.
    pub margin: f64,
    /// Hook points averaged over.
    pub n_hooks: usize,
    /// Features behind the run's number; null if it is not a mean over features.
    pub n_features: Option<usize>,
    /// The numbers.
    #[serde(flatten)]
    pub change: RunChange,
}

impl GateGroup {
    /// Lines that are worse and fail the gate.
    pub fn failures(&self) -> impl Iterator<Item = &GateLine> {
        self.lines.iter().filter(|line| self.gates && line.change.verdict == RunVerdict::Worse)
    }
}

impl GateReport {
    /// Everything that is worse.
    pub fn failures(&self) -> Vec<(&GateGroup, &GateLine)> {
        self.groups.iter().flat_map(|group| group.failures().map(move |line| (group, line))).collect()
    }
}

/// Tests a run against accepted ones.
///
/// # Errors
/// The run has another protocol, explainer, simulator, primary scorer or definition of it.
pub fn regress(run: &RunFolder, accepted: &AcceptedRuns, against: &str) -> Result<GateReport, GateError> {
    let inputs = Inputs::of(&run.facts);
    let redefined = accepted.inputs.redefined(&inputs);
    check_comparable(run, accepted, &redefined, against)?;
    let now = RunNumbers::of(run);
    let runs = Runs { accepted, now: &now, same_machine: accepted.inputs.same_machine(&inputs) };
    let changes = accepted.inputs.changes(&inputs);
    let groups: Vec<GateGroup> =
        groups(&runs).into_iter().map(|group| group.judge(&redefined)).collect::<Result<_, _>>()?;
    let missing = [runs.missing(), patching::missing(&accepted.runs, &now)].concat();
    Ok(GateReport {
        run: run.folder.display().to_string(),
        against: against.to_string(),
        suite: run.summary.suite.clone(),
        seed: run.facts.seed,
        n_runs: accepted.runs.len(),
        notes: notes(&runs, &changes),
        inputs: changes,
        passed: missing.is_empty() && groups.iter().all(|group| group.failures().next().is_none()),
        groups,
        missing,
    })
}

fn check_comparable(
    run: &RunFolder,
    accepted: &AcceptedRuns,
    redefined: &BTreeSet<String>,
    against: &str,
) -> Result<(), GateError> {
    let (explainer, simulator) = run.first_pair();
    let protocol = run.summary.cells.first().map_or("", |cell| cell.protocol.as_str());
    let mut why: Vec<String> = [
        ("protocol", accepted.protocol.as_str(), protocol),
        ("explainer", &accepted.explainer, explainer),
        ("simulator", &accepted.simulator, simulator),
        ("primary scorer", &accepted.primary, run.primary()),
    ]
    .into_iter()
    .filter(|(_, before, after)| before != after)
    .map(|(what, before, after)| format!("{what} `{before}` was accepted and the run has `{after}`"))
    .collect();
    why.extend(other_sample(run, accepted));
    if redefined.contains(&accepted.primary) {
        why.push(format!(
            "the definition of `{}` has changed: accept runs of this version",
            accepted.primary
        ));
    }
    if why.is_empty() {
        return Ok(());
    }
    Err(GateError::NotComparable { a: format!("`{against}`"), b: run.name(), expected: "comparable", why })
}

/// The methods that have chosen features on one side and a random sample on the other.
fn other_sample(run: &RunFolder, accepted: &AcceptedRuns) -> Option<String> {
    let former = || accepted.runs.iter().flat_map(|run| &run.cells);
    let cells = run.summary.cells.iter().filter(|cell| cell.control.is_none());
    let other = cells.filter(|cell| {
        let mut same = former().filter(|former| former.hook == cell.hook && former.method == cell.method);
        same.any(|former| former.features != cell.features)
    });
    let methods = distinct(other.map(|cell| cell.method.as_str()));
    (!methods.is_empty()).then(|| {
        format!(
            "{} has chosen features on one side and a random sample of the dictionary on the other",
            methods.join(", ")
        )
    })
}

/// A group before it is judged.
struct Group {
    name: &'static str,
    what: String,
    gates: bool,
    level: f64,
    kinds: Vec<Kind>,
    not_tested: Vec<String>,
}

/// Every group, in the order of the report.
fn groups(runs: &Runs<'_>) -> Vec<Group> {
    let AcceptedRuns { primary, explainer, simulator, .. } = runs.accepted;
    let (cost, not_tested) = runs.cost();
    let group = |name, what: String, level, kinds| {
        let (gates, not_tested) = (true, Vec::new());
        Group { name, what, gates, level, kinds, not_tested }
    };
    let scores = format!(
        "mean `{primary}` by {explainer} → {simulator}, averaged over hook points; one test per method, adjusted \
         over methods (Holm)"
    );
    let quality =
        "dictionaries, averaged over hook points; adjusted over methods, the level shared among columns";
    let tallies = format!(
        "features that failed, and features whose `{primary}` is undefined or has a constant prediction, of those \
         walked"
    );
    let cost_what = "of the whole run; seconds in units of the calibration kernel's in the same run";
    let watched = "the other scores, exploratory: they do not fail the gate";
    let cells = format!(
        "`{primary}` of every cell by itself, exploratory, with the smallest drop that it could have shown"
    );
    let of_task = of_task(runs);
    let share = if of_task.is_empty() { 0.0 } else { PATCHING_SHARE };
    let patching = "features that remove half of the divergence and area under the curve, of each method at each hook \
                    point in each order; adjusted over them, the level shared between the two numbers";
    let patching = group("patching", patching.into(), share * QUALITY_LEVEL, of_task);
    let other_scores = runs.other_scorers().into_iter().map(|scorer| runs.scores(scorer)).collect();
    let mut groups = vec![
        group("scores", scores, SCORES_LEVEL, vec![runs.scores(primary)]),
        group("quality", quality.into(), (1.0 - share) * QUALITY_LEVEL, runs.quality()),
        group("tallies", tallies, TALLIES_LEVEL, runs.tallies()),
        Group { not_tested, ..group("cost and time", cost_what.into(), COST_LEVEL, cost) },
        Group { gates: false, ..group("watched", watched.into(), WATCHED_LEVEL, other_scores) },
        Group { gates: false, ..group("cells", cells, WATCHED_LEVEL, vec![runs.cells()]) },
    ];
    if share > 0.0 {
        groups.insert(2, patching);
    }
    groups
}

/// The kinds of patching; none if the accepted runs have no task.
fn of_task(runs: &Runs<'_>) -> Vec<Kind> {
    let margins = runs.accepted.margins.patching();
    let kinds = patching::kinds(&runs.accepted.runs, runs.now, margins);
    kinds.into_iter().filter(|kind| !kind.quantities.is_empty()).collect()
}

impl Group {
    /// Tests every kind at its share of the level. Redefined scorers are not tested.
    fn judge(mut self, redefined: &BTreeSet<String>) -> Result<GateGroup, GateError> {
        let mut not_tested = Vec::new();
        self.kinds.retain(|kind| {
            let changed = redefined.contains(&kind.name);
            if changed {
                not_tested.push(format!("{}: its definition has changed", kind.name));
            }
            !changed && !kind.quantities.is_empty()
        });
        not_tested.extend(self.not_tested);
        let level = self.level / if self.gates { self.kinds.len().max(1) as f64 } else { 1.0 };
        let mut lines = Vec::new();
        for Kind { name, higher_is_better, relative, margin, quantities } in self.kinds {
            let test = RunTest {
                higher_is_better,
                margin: if relative { margin.ln_1p() } else { margin },
                level,
                confidence: CONFIDENCE,
            };
            let series: Vec<RunSeries> = quantities.iter().map(|one| one.series.clone()).collect();
            let changes =
                test.judge(&series).map_err(|source| GateError::Statistics { what: name.clone(), source })?;
            lines.extend(quantities.into_iter().zip(changes).map(|(one, change)| GateLine {
                subject: one.subject,
                quantity: name.clone(),
                higher_is_better,
                relative,
                margin,
                n_hooks: one.n_hooks,
                n_features: one.n_features,
                change,
            }));
        }
        let Self { name, what, gates, level, .. } = self;
        Ok(GateGroup { name, what, gates, level, lines, not_tested })
    }
}

fn notes(runs: &Runs<'_>, changes: &[InputChange]) -> Vec<String> {
    if !runs.same_machine {
        return vec![
            "another processor or instruction set than the accepted runs': numbers are tested as if the seed \
             had changed; time and memory are not tested"
                .into(),
        ];
    }
    let Some(twin) = runs.accepted.runs.iter().find(|run| run.seed == runs.now.seed) else {
        return Vec::new();
    };
    if !changes.is_empty() {
        return Vec::new();
    }
    let means = |run: &RunNumbers| run.cells.iter().map(|cell| cell.mean).collect::<Vec<_>>();
    let seed = twin.seed;
    vec![match means(twin) == means(runs.now) {
        true => format!("every score agrees to the last digit with the accepted run of seed {seed}"),
        false => format!(
            "scores differ from those of the accepted run of the same seed ({seed}), and no input changed: the code \
             computes something else"
        ),
    }]
}
