//! The quantities that the gate tests: one number of every accepted run and of the new run.

use std::slice;

use super::accepted::AcceptedRuns;
use super::series::{CellNumbers, QualityNumbers, RunNumbers};
use crate::base::distinct;
use crate::stats::RunSeries;

/// Added to the count of failed features, so that a count of 0 still has a variance.
const HALF_A_FEATURE: f64 = 0.5;

/// One quantity of one method, or of the whole run.
pub(super) struct Quantity {
    pub(super) subject: String,
    pub(super) n_hooks: usize,
    pub(super) n_features: Option<usize>,
    pub(super) series: RunSeries,
}

impl Quantity {
    /// A quantity whose variance within a run is unknown.
    fn plain(subject: &str, n_hooks: usize, former: Vec<f64>, now: f64) -> Self {
        let series = RunSeries { former, now, within_former: None, within_now: None };
        Self { subject: subject.to_string(), n_hooks, n_features: None, series }
    }
}

/// Quantities that are judged together: one column of the results, for every method.
pub(super) struct Kind {
    pub(super) name: String,
    pub(super) higher_is_better: bool,
    /// Numbers are natural logarithms, the margin is a ratio.
    pub(super) relative: bool,
    pub(super) margin: f64,
    pub(super) quantities: Vec<Quantity>,
}

impl Kind {
    /// Relative quantities are stored as logarithms; those that are not positive in every run are left out.
    pub(super) fn new(
        name: &str,
        higher_is_better: bool,
        relative: bool,
        margin: f64,
        mut quantities: Vec<Quantity>,
    ) -> Self {
        if relative {
            quantities
                .retain(|one| one.series.former.iter().chain([&one.series.now]).all(|value| *value > 0.0));
            for one in &mut quantities {
                one.series.former.iter_mut().for_each(|value| *value = value.ln());
                one.series.now = one.series.now.ln();
            }
        }
        Self { name: name.to_string(), higher_is_better, relative, margin, quantities }
    }
}

/// A cell at one hook point, in every accepted run and in the new one. All have a mean.
struct CellsAt<'a> {
    hook: &'a str,
    former: Vec<&'a CellNumbers>,
    now: &'a CellNumbers,
}

/// The runs that are compared.
pub(super) struct Runs<'a> {
    pub(super) accepted: &'a AcceptedRuns,
    pub(super) now: &'a RunNumbers,
    pub(super) same_machine: bool,
}

impl Runs<'_> {
    /// Methods in the order of the accepted runs.
    fn methods(&self) -> Vec<&str> {
        distinct(self.accepted.runs.iter().flat_map(|run| &run.cells).map(|cell| cell.method.as_str()))
    }

    fn hooks(&self) -> Vec<&str> {
        distinct(self.accepted.runs.iter().flat_map(|run| &run.cells).map(|cell| cell.hook.as_str()))
    }

    /// A number of every accepted run and of the new one, if all have it.
    fn values(&self, value: impl Fn(&RunNumbers) -> Option<f64>) -> Option<(Vec<f64>, f64)> {
        let former: Option<Vec<f64>> = self.accepted.runs.iter().map(&value).collect();
        former.zip(value(self.now))
    }

    /// Cells of one method at the hook points where every run has a mean.
    fn cells_of(&self, method: &str, scorer: &str) -> Vec<CellsAt<'_>> {
        let at = |hook| {
            let cell = |run| RunNumbers::cell(run, hook, method, scorer).filter(|cell| cell.mean.is_some());
            let former: Option<Vec<&CellNumbers>> = self.accepted.runs.iter().map(cell).collect();
            Some(CellsAt { hook, former: former?, now: cell(self.now)? })
        };
        self.hooks().into_iter().filter_map(at).collect()
    }

    /// Cells of the primary scorer that every accepted run has and the new one has not.
    pub(super) fn missing(&self) -> Vec<String> {
        let primary = &self.accepted.primary;
        let mut missing = Vec::new();
        for method in self.methods() {
            for hook in self.hooks() {
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

    /// Scorers of the new run, without the primary one.
    pub(super) fn other_scorers(&self) -> Vec<&str> {
        let mut scorers = distinct(self.now.cells.iter().map(|cell| cell.scorer.as_str()));
        scorers.retain(|scorer| *scorer != self.accepted.primary);
        scorers
    }

    /// A score of each method, averaged over hook points.
    pub(super) fn scores(&self, scorer: &str) -> Kind {
        let quantity = |method: &str| {
            let cells = self.cells_of(method, scorer);
            (!cells.is_empty()).then(|| score_quantity(method.to_string(), &cells))
        };
        let quantities = self.methods().into_iter().filter_map(quantity).collect();
        Kind::new(scorer, true, false, self.accepted.margins.score, quantities)
    }

    /// The primary score of each method at each hook point.
    pub(super) fn cells(&self) -> Kind {
        let primary = &self.accepted.primary;
        let mut quantities = Vec::new();
        for method in self.methods() {
            for cells in self.cells_of(method, primary) {
                quantities
                    .push(score_quantity(format!("{method} at {}", cells.hook), slice::from_ref(&cells)));
            }
        }
        Kind::new(primary, true, false, self.accepted.margins.score, quantities)
    }

    /// Each column of the quality table, for each method, averaged over hook points.
    pub(super) fn quality(&self) -> Vec<Kind> {
        type Column = fn(&QualityNumbers) -> Option<f64>;
        let margins = &self.accepted.margins;
        let columns: [(&str, bool, bool, f64, Column); 4] = [
            ("fvu", false, false, margins.fvu, |row| row.fvu),
            ("loss_recovered", true, false, margins.loss_recovered, |row| row.loss_recovered),
            ("dead_share", false, false, margins.dead_share, |row| row.dead_share),
            ("l0", false, true, margins.l0, |row| row.l0),
        ];
        let rows = self.accepted.runs.iter().flat_map(|run| &run.quality);
        let hooks = distinct(rows.map(|row| row.hook.as_str()));
        let kind = |(name, higher_is_better, relative, margin, column)| {
            let quantity = |method: &str| {
                let at = |hook: &&str| {
                    self.values(|run| run.dictionary(hook, method).and_then::<f64, Column>(column))
                };
                let found: Vec<(Vec<f64>, f64)> = hooks.iter().filter_map(at).collect();
                let (former, now) = mean_over_hooks(&found)?;
                Some(Quantity::plain(method, found.len(), former, now))
            };
            let quantities = self.methods().into_iter().filter_map(quantity).collect();
            Kind::new(name, higher_is_better, relative, margin, quantities)
        };
        columns.into_iter().map(kind).collect()
    }

    /// Failed and unscored features, as shares of the features walked over all hook points.
    pub(super) fn tallies(&self) -> Vec<Kind> {
        type Count = fn(&CellNumbers) -> usize;
        let margins = &self.accepted.margins;
        let columns: [(&str, f64, Count); 2] = [
            ("failed", margins.failed, |cell| cell.failed),
            ("unscored", margins.unscored, |cell| cell.without_number),
        ];
        let kind = |(name, margin, count)| {
            let quantities = self.methods().into_iter().filter_map(|method| self.tally(method, count));
            Kind::new(name, false, false, margin, quantities.collect())
        };
        columns.into_iter().map(kind).collect()
    }

    /// The share counted / walked of one method; `None` if a run walked no feature.
    ///
    /// Its variance within a run is that of a binomial share, p (1 − p) / walked. p is the share over all accepted
    /// runs, (counted + ½) / (walked + 1).
    fn tally(&self, method: &str, count: fn(&CellNumbers) -> usize) -> Option<Quantity> {
        let of_run = |run: &RunNumbers| {
            let cells = run.cells.iter();
            let cells = cells.filter(|cell| cell.method == method && cell.scorer == self.accepted.primary);
            cells.fold((0, 0), |(counted, walked), cell| (counted + count(cell), walked + cell.walked))
        };
        let former: Vec<(usize, usize)> = self.accepted.runs.iter().map(of_run).collect();
        let now = of_run(self.now);
        if now.1 == 0 || former.iter().any(|(_, walked)| *walked == 0) {
            return None;
        }
        let share = |(counted, walked): (usize, usize)| counted as f64 / walked as f64;
        let (counted, walked) = former.iter().fold((0, 0), |sum, run| (sum.0 + run.0, sum.1 + run.1));
        let expected = (counted as f64 + HALF_A_FEATURE) / (walked as f64 + 2.0 * HALF_A_FEATURE);
        let binomial = |walked: usize| expected * (1.0 - expected) / walked as f64;
        let cells = self.now.cells.iter().filter(|cell| cell.method == method);
        Some(Quantity {
            subject: method.to_string(),
            n_hooks: distinct(cells.map(|cell| cell.hook.as_str())).len(),
            n_features: Some(now.1),
            series: RunSeries {
                former: former.iter().copied().map(share).collect(),
                now: share(now),
                within_former: Some(binomial(walked / former.len())),
                within_now: Some(binomial(now.1)),
            },
        })
    }

    /// Questions, dollars, time and memory of the whole run, and why some of them are not tested.
    pub(super) fn cost(&self) -> (Vec<Kind>, Vec<String>) {
        type Column = fn(&RunNumbers) -> Option<f64>;
        const OTHER_MACHINE: &str = "another processor or instruction set than the accepted runs'";
        const NO_QUESTIONS: &str = "no language model was asked in every one of the runs";
        const NO_DOLLARS: &str = "prices are not known, or answers came from the cache";
        const NO_SECONDS: &str = "not every run computed every stage and timed the calibration kernel";
        const NO_MEMORY: &str = "not every run computed every stage and recorded its memory";
        let margins = &self.accepted.margins;
        // Name, margin, whether it depends on the machine, why a run may lack it, value.
        let columns: [(&str, f64, bool, &str, Column); 4] = [
            ("questions", margins.questions, false, NO_QUESTIONS, |run| run.questions),
            ("dollars", margins.dollars, false, NO_DOLLARS, |run| run.dollars),
            ("seconds", margins.seconds, true, NO_SECONDS, |run| run.relative_seconds),
            ("memory", margins.memory, true, NO_MEMORY, |run| run.peak_memory_bytes),
        ];
        let (mut kinds, mut not_tested) = (Vec::new(), Vec::new());
        for (name, margin, of_machine, why, column) in columns {
            let other_machine = of_machine && !self.same_machine;
            let Some((former, now)) = self.values(column).filter(|_| !other_machine) else {
                not_tested.push(format!("{name}: {}", if other_machine { OTHER_MACHINE } else { why }));
                continue;
            };
            let quantity = Quantity::plain("run", self.hooks().len(), former, now);
            kinds.push(Kind::new(name, false, true, margin, vec![quantity]));
        }
        (kinds, not_tested)
    }
}

/// The mean over H hook points of a score.
///
/// Its variance within a run is Σ_h variance_h / H²; `within_former` is the mean of that over the accepted runs.
fn score_quantity(subject: String, cells: &[CellsAt<'_>]) -> Quantity {
    let hooks = cells.len() as f64;
    let means = |cells: &CellsAt<'_>| {
        (cells.former.iter().filter_map(|cell| cell.mean).collect(), cells.now.mean.unwrap_or_default())
    };
    let means: Vec<(Vec<f64>, f64)> = cells.iter().map(means).collect();
    let (former, now) = mean_over_hooks(&means).unwrap_or_default();
    let variance = |of: &dyn Fn(&CellsAt<'_>) -> Option<f64>| {
        cells.iter().map(of).sum::<Option<f64>>().map(|sum| sum / (hooks * hooks))
    };
    let within: Option<Vec<f64>> =
        (0..former.len()).map(|run| variance(&|cells| cells.former[run].variance)).collect();
    Quantity {
        subject,
        n_hooks: cells.len(),
        n_features: Some(cells.iter().map(|cells| cells.now.n).sum()),
        series: RunSeries {
            former,
            now,
            within_former: within.map(|within| within.iter().sum::<f64>() / within.len() as f64),
            within_now: variance(&|cells| cells.now.variance),
        },
    }
}

/// Averages (values of accepted runs, new value) over hook points; `None` without a hook point.
fn mean_over_hooks(found: &[(Vec<f64>, f64)]) -> Option<(Vec<f64>, f64)> {
    let hooks = found.len() as f64;
    let n_runs = found.first()?.0.len();
    let former = (0..n_runs).map(|run| found.iter().map(|(former, _)| former[run]).sum::<f64>() / hooks);
    Some((former.collect(), found.iter().map(|(_, now)| now).sum::<f64>() / hooks))
}
