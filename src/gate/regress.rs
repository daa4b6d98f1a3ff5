//! The nightly gate: one run against accepted ones.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::GateError;
use super::accepted::AcceptedRuns;
use super::inputs::{InputChange, Inputs};
use super::run_folder::RunFolder;
use super::series::{CellNumbers, QualityNumbers, RunNumbers};
use crate::stats::{RunChange, RunSeries, RunTest, RunVerdict};

/// Chances that a night is called worse where nothing changed, by what is tested. They add up to 5 %.
const LEVELS: Levels = Levels { scores: 0.025, quality: 0.01, tallies: 0.005, cost: 0.01 };

/// What is only watched is called worse at this level.
const WATCHED_LEVEL: f64 = 0.05;

/// Confidence of the intervals printed.
const CONFIDENCE: f64 = 0.95;

/// A share of no feature out of n varies as one of half a feature does.
const HALF_A_FEATURE: f64 = 0.5;

struct Levels {
    scores: f64,
    quality: f64,
    tallies: f64,
    cost: f64,
}

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
    /// Accepted runs.
    pub n_runs: usize,
    /// Inputs that differ, said before anything else.
    pub inputs: Vec<InputChange>,
    /// What is tested, group by group.
    pub groups: Vec<GateGroup>,
    /// What accepted runs have and this one has not: worse, whatever the numbers.
    pub missing: Vec<String>,
    /// What the reader must know.
    pub notes: Vec<String>,
    /// Nothing that gates is worse and nothing is missing.
    pub passed: bool,
}

/// Lines judged together.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct GateGroup {
    /// `scores`, `quality`, `tallies`, `cost and time`, `watched`, `cells`.
    pub name: &'static str,
    /// What its numbers are.
    pub what: String,
    /// Whether a worse line fails the gate; else it is only shown.
    pub gates: bool,
    /// Chance that any of its lines is called worse where nothing changed.
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
    /// Numbers are natural logarithms and changes are ratios.
    pub relative: bool,
    /// Changes inside ± this do not matter.
    pub margin: f64,
    /// Hook points averaged over.
    pub n_hooks: usize,
    /// Features behind the run's number; none where it is no mean over features.
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

/// A quantity before it is judged.
struct Quantity {
    subject: String,
    n_hooks: usize,
    n_features: Option<usize>,
    series: RunSeries,
}

/// A cell at one hook point, in each accepted run and in the new one.
struct CellsAt<'a> {
    hook: &'a str,
    former: Vec<&'a CellNumbers>,
    now: &'a CellNumbers,
}

/// How the lines of one kind are judged.
struct Kind {
    quantity: String,
    relative: bool,
    test: RunTest,
}

/// Holds a run against accepted ones. Refuses where the numbers are of different kinds.
pub fn regress(run: &RunFolder, accepted: &AcceptedRuns, against: &str) -> Result<GateReport, GateError> {
    let inputs = Inputs::of(&run.facts);
    let redefined = accepted.inputs.redefined(&inputs);
    check_kind(run, accepted, &redefined, against)?;
    let now = RunNumbers::of(run);
    let gate = Gate {
        accepted,
        now: &now,
        redefined: &redefined,
        same_machine: accepted.inputs.same_machine(&inputs),
    };
    let changes = accepted.inputs.changes(&inputs);
    let missing = gate.missing();
    let groups =
        vec![gate.scores()?, gate.quality()?, gate.tallies()?, gate.cost()?, gate.watched()?, gate.cells()?];
    let passed = missing.is_empty() && groups.iter().all(|group| group.failures().next().is_none());
    Ok(GateReport {
        run: run.folder.display().to_string(),
        against: against.to_string(),
        suite: run.summary.suite.clone(),
        seed: run.facts.seed,
        n_runs: accepted.runs.len(),
        notes: gate.notes(&changes),
        inputs: changes,
        groups,
        missing,
        passed,
    })
}

fn check_kind(
    run: &RunFolder,
    accepted: &AcceptedRuns,
    redefined: &BTreeSet<String>,
    against: &str,
) -> Result<(), GateError> {
    let (explainer, simulator) = run.first_pair();
    let protocol = run.summary.cells.first().map_or("", |cell| cell.protocol.as_str());
    let mut why = Vec::new();
    for (what, before, after) in [
        ("protocol", accepted.protocol.as_str(), protocol),
        ("explainer", &accepted.explainer, explainer),
        ("simulator", &accepted.simulator, simulator),
        ("primary scorer", &accepted.primary, run.primary()),
    ] {
        if before != after {
            why.push(format!("{what} `{before}` was accepted and the run has `{after}`"));
        }
    }
    if redefined.contains(&accepted.primary) {
        why.push(format!("`{}` is defined differently since: accept runs of this version", accepted.primary));
    }
    if why.is_empty() {
        return Ok(());
    }
    Err(GateError::NotComparable { a: format!("`{against}`"), b: run.name(), why })
}

struct Gate<'a> {
    accepted: &'a AcceptedRuns,
    now: &'a RunNumbers,
    redefined: &'a BTreeSet<String>,
    same_machine: bool,
}

impl Gate<'_> {
    /// Methods in the order of the accepted runs.
    fn methods(&self) -> Vec<&str> {
        in_order(self.accepted.runs.iter().flat_map(|run| run.cells.iter().map(|cell| cell.method.as_str())))
    }

    fn hooks(&self) -> Vec<&str> {
        in_order(self.accepted.runs.iter().flat_map(|run| run.cells.iter().map(|cell| cell.hook.as_str())))
    }

    /// Cells of every accepted run and of this one, at the hook points where all have a mean.
    fn cells_of<'a>(&'a self, method: &str, scorer: &str) -> Vec<CellsAt<'a>> {
        let at = |hook: &'a str| {
            let has_mean = |cell: &&CellNumbers| cell.mean.is_some();
            let former: Option<Vec<&CellNumbers>> = self
                .accepted
                .runs
                .iter()
                .map(|run| run.cell(hook, method, scorer).filter(has_mean))
                .collect();
            Some(CellsAt {
                hook,
                former: former?,
                now: self.now.cell(hook, method, scorer).filter(has_mean)?,
            })
        };
        self.hooks().into_iter().filter_map(at).collect()
    }

    /// What accepted runs have and this one has not.
    fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for method in self.methods() {
            for hook in self.hooks() {
                let primary = &self.accepted.primary;
                let has_mean = |run: &RunNumbers| {
                    run.cell(hook, method, primary).is_some_and(|cell| cell.mean.is_some())
                };
                if self.accepted.runs.iter().all(has_mean) && !has_mean(self.now) {
                    missing.push(format!("{method} at {hook} has no `{primary}`: every accepted run has"));
                }
            }
        }
        missing
    }

    fn scores(&self) -> Result<GateGroup, GateError> {
        let margin = self.accepted.margins.score;
        self.group(Group {
            name: "scores",
            what: format!(
                "mean `{}` by {} → {}, averaged over hook points; one test per method, adjusted over methods (Holm)",
                self.accepted.primary, self.accepted.explainer, self.accepted.simulator
            ),
            gates: true,
            level: LEVELS.scores,
            kinds: vec![self.score_kind(&self.accepted.primary, margin)],
        })
    }

    fn watched(&self) -> Result<GateGroup, GateError> {
        let scorers = in_order(self.now.cells.iter().map(|cell| cell.scorer.as_str()));
        let others = scorers.into_iter().filter(|scorer| *scorer != self.accepted.primary);
        self.group(Group {
            name: "watched",
            what: "the other scores, exploratory: they do not fail the gate".into(),
            gates: false,
            level: WATCHED_LEVEL,
            kinds: others.map(|scorer| self.score_kind(scorer, self.accepted.margins.score)).collect(),
        })
    }

    /// A score of each method, averaged over hook points: the variance of the average is Σ over hook points of the
    /// variance of each mean, over their squared number.
    fn score_kind(&self, scorer: &str, margin: f64) -> Prepared {
        let series = |method: &str| {
            let cells = self.cells_of(method, scorer);
            let hooks = cells.len() as f64;
            let average =
                |run: usize| cells.iter().filter_map(|cells| cells.former[run].mean).sum::<f64>() / hooks;
            let variance = |of: &dyn Fn(&CellsAt<'_>) -> Option<f64>| {
                cells.iter().map(of).sum::<Option<f64>>().map(|sum| sum / (hooks * hooks))
            };
            let within: Option<Vec<f64>> = (0..self.accepted.runs.len())
                .map(|run| variance(&|cells| cells.former[run].variance))
                .collect();
            (!cells.is_empty()).then(|| Quantity {
                subject: method.to_string(),
                n_hooks: cells.len(),
                n_features: Some(cells.iter().map(|cells| cells.now.n).sum()),
                series: RunSeries {
                    former: (0..self.accepted.runs.len()).map(average).collect(),
                    now: cells.iter().filter_map(|cells| cells.now.mean).sum::<f64>() / hooks,
                    within_former: within.map(|within| within.iter().sum::<f64>() / within.len() as f64),
                    within_now: variance(&|cells| cells.now.variance),
                },
            })
        };
        self.kind(scorer, true, false, margin, self.methods().into_iter().filter_map(series).collect())
    }

    /// Every cell of the primary scorer by itself: what it could have shown.
    fn cells(&self) -> Result<GateGroup, GateError> {
        let primary = &self.accepted.primary;
        let mut quantities = Vec::new();
        for method in self.methods() {
            for CellsAt { hook, former, now } in self.cells_of(method, primary) {
                let within: Option<Vec<f64>> = former.iter().map(|cell| cell.variance).collect();
                quantities.push(Quantity {
                    subject: format!("{method} at {hook}"),
                    n_hooks: 1,
                    n_features: Some(now.n),
                    series: RunSeries {
                        former: former.iter().filter_map(|cell| cell.mean).collect(),
                        now: now.mean.unwrap_or_default(),
                        within_former: within.map(|within| within.iter().sum::<f64>() / within.len() as f64),
                        within_now: now.variance,
                    },
                });
            }
        }
        self.group(Group {
            name: "cells",
            what: format!("`{primary}` of every cell by itself, exploratory, with the smallest drop that it could have shown"),
            gates: false,
            level: WATCHED_LEVEL,
            kinds: vec![self.kind(primary, true, false, self.accepted.margins.score, quantities)],
        })
    }

    fn quality(&self) -> Result<GateGroup, GateError> {
        type Column = fn(&QualityNumbers) -> Option<f64>;
        let margins = &self.accepted.margins;
        let columns: [(&str, bool, bool, f64, Column); 4] = [
            ("fvu", false, false, margins.fvu, |row| row.fvu),
            ("loss_recovered", true, false, margins.loss_recovered, |row| row.loss_recovered),
            ("dead_share", false, false, margins.dead_share, |row| row.dead_share),
            ("l0", false, true, margins.l0, |row| row.l0),
        ];
        let kinds = columns.into_iter().map(|(name, higher, relative, margin, column)| {
            let series = |method: &str| {
                let at = |hook: &str| {
                    let value = |run: &RunNumbers| run.dictionary(hook, method).and_then(column);
                    let former: Option<Vec<f64>> = self.accepted.runs.iter().map(value).collect();
                    Some((former?, value(self.now)?))
                };
                let found: Vec<(Vec<f64>, f64)> = self.quality_hooks().into_iter().filter_map(at).collect();
                let hooks = found.len() as f64;
                let average = |run: usize| found.iter().map(|(former, _)| former[run]).sum::<f64>() / hooks;
                (!found.is_empty()).then(|| Quantity {
                    subject: method.to_string(),
                    n_hooks: found.len(),
                    n_features: None,
                    series: RunSeries {
                        former: (0..self.accepted.runs.len()).map(average).collect(),
                        now: found.iter().map(|(_, now)| now).sum::<f64>() / hooks,
                        within_former: None,
                        within_now: None,
                    },
                })
            };
            self.kind(name, higher, relative, margin, self.methods().into_iter().filter_map(series).collect())
        });
        self.group(Group {
            name: "quality",
            what: "dictionaries, averaged over hook points; adjusted over methods, the level shared among columns".into(),
            gates: true,
            level: LEVELS.quality,
            kinds: kinds.collect(),
        })
    }

    fn quality_hooks(&self) -> Vec<&str> {
        in_order(self.accepted.runs.iter().flat_map(|run| run.quality.iter().map(|row| row.hook.as_str())))
    }

    /// Features without a number among those walked, over all hook points.
    fn tallies(&self) -> Result<GateGroup, GateError> {
        let margins = &self.accepted.margins;
        type Count = fn(&CellNumbers) -> usize;
        let columns: [(&str, f64, Count); 2] = [
            ("failed", margins.failed, |cell| cell.failed),
            ("unscored", margins.unscored, |cell| cell.without_number),
        ];
        let kinds = columns.into_iter().map(|(name, margin, count)| {
            let series = |method: &str| {
                let of = |run: &RunNumbers| {
                    let primary = &self.accepted.primary;
                    let cells =
                        run.cells.iter().filter(|cell| cell.method == method && cell.scorer == *primary);
                    cells
                        .fold((0, 0), |(counted, walked), cell| (counted + count(cell), walked + cell.walked))
                };
                let former: Vec<(usize, usize)> = self.accepted.runs.iter().map(of).collect();
                let now = of(self.now);
                let share = |(counted, walked): (usize, usize)| counted as f64 / walked as f64;
                let all = former.iter().fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
                let expected = (all.0 as f64 + HALF_A_FEATURE) / (all.1 as f64 + 2.0 * HALF_A_FEATURE);
                let binomial = |walked: usize| expected * (1.0 - expected) / walked as f64;
                let walked_by_all = now.1 > 0 && former.iter().all(|(_, walked)| *walked > 0);
                walked_by_all.then(|| Quantity {
                    subject: method.to_string(),
                    n_hooks: in_order(
                        self.now
                            .cells
                            .iter()
                            .filter(|cell| cell.method == method)
                            .map(|cell| cell.hook.as_str()),
                    )
                    .len(),
                    n_features: Some(now.1),
                    series: RunSeries {
                        former: former.iter().copied().map(share).collect(),
                        now: share(now),
                        within_former: Some(binomial(all.1 / former.len())),
                        within_now: Some(binomial(now.1)),
                    },
                })
            };
            self.kind(name, false, false, margin, self.methods().into_iter().filter_map(series).collect())
        });
        self.group(Group {
            name: "tallies",
            what: format!(
                "features that failed, and features whose `{}` is undefined or has a constant prediction, of those walked",
                self.accepted.primary
            ),
            gates: true,
            level: LEVELS.tallies,
            kinds: kinds.collect(),
        })
    }

    fn cost(&self) -> Result<GateGroup, GateError> {
        type Number = fn(&RunNumbers) -> Option<f64>;
        let margins = &self.accepted.margins;
        let columns: [(&str, f64, bool, &str, Number); 4] = [
            (
                "questions",
                margins.questions,
                false,
                "no language model was asked in every one of the runs",
                |run| run.questions,
            ),
            (
                "dollars",
                margins.dollars,
                false,
                "prices are not known, or answers came from the cache",
                |run| run.dollars,
            ),
            (
                "seconds",
                margins.seconds,
                true,
                "not every run computed every stage and timed the calibration kernel",
                |run| run.relative_seconds,
            ),
            (
                "memory",
                margins.memory,
                true,
                "not every run computed every stage and told its memory",
                |run| run.peak_memory_bytes,
            ),
        ];
        let mut kinds = Vec::new();
        let mut not_tested = Vec::new();
        for (name, margin, of_machine, why, number) in columns {
            if of_machine && !self.same_machine {
                not_tested
                    .push(format!("{name}: another processor or instruction set than the accepted runs'"));
                continue;
            }
            let former: Option<Vec<f64>> = self.accepted.runs.iter().map(number).collect();
            let Some((former, now)) = former.zip(number(self.now)) else {
                not_tested.push(format!("{name}: {why}"));
                continue;
            };
            let quantity = Quantity {
                subject: "run".into(),
                n_hooks: self.hooks().len(),
                n_features: None,
                series: RunSeries { former, now, within_former: None, within_now: None },
            };
            kinds.push(self.kind(name, false, true, margin, vec![quantity]));
        }
        let mut group = self.group(Group {
            name: "cost and time",
            what: "of the whole run; seconds in units of the calibration kernel's in the same run".into(),
            gates: true,
            level: LEVELS.cost,
            kinds,
        })?;
        group.not_tested.extend(not_tested);
        Ok(group)
    }

    /// Quantities of one kind. Relative ones are judged on their logarithms; one without a logarithm is left out.
    fn kind(
        &self,
        quantity: &str,
        higher_is_better: bool,
        relative: bool,
        margin: f64,
        found: Vec<Quantity>,
    ) -> Prepared {
        let positive =
            |series: &RunSeries| series.former.iter().chain([&series.now]).all(|value| *value > 0.0);
        let logs = |mut one: Quantity| {
            one.series.former.iter_mut().for_each(|value| *value = value.ln());
            one.series.now = one.series.now.ln();
            one
        };
        let found = match relative {
            true => found.into_iter().filter(|one| positive(&one.series)).map(logs).collect(),
            false => found,
        };
        // The level is set when the group knows how many kinds share it.
        let test = RunTest {
            higher_is_better,
            margin: if relative { margin.ln_1p() } else { margin },
            level: 0.0,
            confidence: CONFIDENCE,
        };
        Prepared { kind: Kind { quantity: quantity.to_string(), relative, test }, margin, found }
    }

    fn group(&self, group: Group) -> Result<GateGroup, GateError> {
        let (mut kinds, mut not_tested) = (Vec::new(), Vec::new());
        for prepared in group.kinds {
            if self.redefined.contains(&prepared.kind.quantity) {
                not_tested.push(format!("{}: defined differently since", prepared.kind.quantity));
            } else if !prepared.found.is_empty() {
                kinds.push(prepared);
            }
        }
        let level = group.level / if group.gates { kinds.len().max(1) as f64 } else { 1.0 };
        let mut lines = Vec::new();
        for Prepared { kind, margin, found } in kinds {
            let series: Vec<RunSeries> = found.iter().map(|one| one.series.clone()).collect();
            let judged = RunTest { level, ..kind.test }
                .judge(&series)
                .map_err(|source| GateError::Statistics { what: kind.quantity.clone(), source })?;
            lines.extend(found.into_iter().zip(judged).map(|(one, change)| GateLine {
                subject: one.subject,
                quantity: kind.quantity.clone(),
                higher_is_better: kind.test.higher_is_better,
                relative: kind.relative,
                margin,
                n_hooks: one.n_hooks,
                n_features: one.n_features,
                change,
            }));
        }
        Ok(GateGroup {
            name: group.name,
            what: group.what,
            gates: group.gates,
            level: group.level,
            lines,
            not_tested,
        })
    }

    fn notes(&self, changes: &[InputChange]) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.same_machine {
            notes.push("another processor or instruction set than the accepted runs': numbers are held to what another seed may change; time and memory are not tested".into());
        }
        let twin = self.accepted.runs.iter().find(|run| run.seed == self.now.seed);
        if let Some(twin) = twin.filter(|_| self.same_machine && changes.is_empty()) {
            let same = |a: &CellNumbers, b: &CellNumbers| a.mean == b.mean;
            let alike = twin.cells.len() == self.now.cells.len()
                && twin.cells.iter().zip(&self.now.cells).all(|(a, b)| same(a, b));
            notes.push(match alike {
                true => format!("every score agrees to the last digit with the accepted run of seed {}", twin.seed),
                false => format!("scores differ from those of the accepted run of the same seed ({}), and no input changed: the code computes something else", twin.seed),
            });
        }
        notes
    }
}

/// A group before it is judged.
struct Group {
    name: &'static str,
    what: String,
    gates: bool,
    level: f64,
    kinds: Vec<Prepared>,
}

struct Prepared {
    kind: Kind,
    margin: f64,
    found: Vec<Quantity>,
}

fn in_order<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}
