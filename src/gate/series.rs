//! The numbers of one run that the gate tests. They are stored in the accepted file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::curve::{CurveNumber, curve_numbers};
use super::run_folder::{FeatureScore, RunFolder};
use crate::stats::{mean, sd};

/// The numbers of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunNumbers {
    /// Digest of the resolved suite and its inputs.
    pub run: String,
    /// The run's seed.
    pub seed: u64,
    /// Requests to language models, cached ones included; null in an offline run.
    pub questions: Option<f64>,
    /// Their cost; null if prices are unknown or answers came from the cache.
    pub dollars: Option<f64>,
    /// Seconds of all stages / seconds of the calibration kernel in the same run; null if a stage was reused.
    pub relative_seconds: Option<f64>,
    /// Peak memory of the process; null if a stage was reused.
    pub peak_memory_bytes: Option<f64>,
    /// Scores under the suite's own explainer and simulator, without controls.
    pub cells: Vec<CellNumbers>,
    /// Dictionaries, without controls.
    pub quality: Vec<QualityNumbers>,
    /// Patching on a task; absent without one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patching: Vec<CurveNumber>,
}

/// One cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellNumbers {
    pub hook: String,
    pub method: String,
    pub scorer: String,
    /// Mean over features; over trainings if there are several.
    pub mean: Option<f64>,
    /// Variance of `mean` within the run.
    pub variance: Option<f64>,
    /// Number of features in the mean.
    pub n: usize,
    /// Features walked.
    pub walked: usize,
    /// Features that failed.
    pub failed: usize,
    /// Features that are undefined or have a constant prediction.
    pub without_number: usize,
    /// `chosen` if the suite lists the features; absent if they are a random sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<String>,
}

/// One dictionary; each field as in `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct QualityNumbers {
    pub hook: String,
    pub method: String,
    /// Mean number of active features.
    pub l0: Option<f64>,
    /// Fraction of variance unexplained.
    pub fvu: Option<f64>,
    /// Loss recovered against zero ablation.
    pub loss_recovered: Option<f64>,
    /// Dead features / features.
    pub dead_share: Option<f64>,
}

impl RunNumbers {
    pub fn of(run: &RunFolder) -> Self {
        let (explainer, simulator) = run.first_pair();
        let real = run.summary.cells.iter().filter(|cell| {
            cell.control.is_none() && cell.explainer == explainer && cell.simulator == simulator
        });
        let cells = real.map(|cell| CellNumbers {
            hook: cell.hook.clone(),
            method: cell.method.clone(),
            scorer: cell.scorer.clone(),
            mean: cell.mean,
            variance: variance_of_mean(&run.scores(cell)),
            n: cell.n_scored,
            walked: cell.n_requested,
            failed: cell.tally.failed,
            without_number: cell.tally.undefined + cell.n_constant,
            features: cell.features.clone(),
        });
        let rows = run.summary.quality.iter().filter(|row| row.control.is_none());
        let quality = rows.map(|row| QualityNumbers {
            hook: row.hook.clone(),
            method: row.method.clone(),
            l0: row.l0,
            fvu: row.fvu,
            loss_recovered: row.loss_recovered_zero,
            dead_share: row.dead.filter(|_| row.n_features > 0).map(|n| n as f64 / row.n_features as f64),
        });
        let usage = &run.facts.llm_usage;
        let questions: f64 = usage.values().map(|usage| usage.requests + usage.cached).sum();
        let paid: Option<f64> =
            usage.values().map(|usage| usage.dollars.filter(|_| usage.cached == 0.0)).sum();
        let stages = &run.facts.stages;
        let whole = !stages.is_empty() && stages.iter().all(|stage| !stage.reused);
        let seconds: f64 = stages.iter().map(|stage| stage.seconds).sum();
        let peak = stages.iter().filter_map(|stage| stage.peak_memory_bytes).reduce(f64::max);
        let unit = run.facts.machine.calibration_seconds.filter(|unit| *unit > 0.0);
        Self {
            run: run.summary.run.clone(),
            seed: run.facts.seed,
            questions: (questions > 0.0).then_some(questions),
            dollars: paid.filter(|paid| *paid > 0.0),
            relative_seconds: unit.filter(|_| whole).map(|unit| seconds / unit),
            peak_memory_bytes: peak.filter(|_| whole),
            cells: cells.collect(),
            quality: quality.collect(),
            patching: curve_numbers(run),
        }
    }

    pub fn cell(&self, hook: &str, method: &str, scorer: &str) -> Option<&CellNumbers> {
        self.cells.iter().find(|cell| cell.hook == hook && cell.method == method && cell.scorer == scorer)
    }

    pub fn dictionary(&self, hook: &str, method: &str) -> Option<&QualityNumbers> {
        self.quality.iter().find(|row| row.hook == hook && row.method == method)
    }
}

/// s²/n over features. With several trainings: the larger of that and s²/n over the trainings' means.
fn variance_of_mean(scores: &[FeatureScore]) -> Option<f64> {
    let of = |values: &[f64]| sd(values).ok().map(|sd| sd * sd / values.len() as f64);
    let mut trainings: BTreeMap<Option<u32>, Vec<f64>> = BTreeMap::new();
    for score in scores {
        trainings.entry(score.training).or_default().push(score.score);
    }
    let all: Vec<f64> = scores.iter().map(|score| score.score).collect();
    let over_features = of(&all)?;
    let means: Vec<f64> = trainings.values().filter_map(|values| mean(values).ok()).collect();
    Some(of(&means).map_or(over_features, |between| between.max(over_features)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(training: Option<u32>, feature: usize, score: f64) -> FeatureScore {
        FeatureScore { training, feature, score }
    }

    #[test]
    fn the_variance_of_a_mean_is_that_over_features_or_over_trainings() {
        let one: Vec<FeatureScore> =
            [0.1, 0.2, 0.3, 0.4].iter().enumerate().map(|(i, s)| score(None, i, *s)).collect();
        // s² = 0.05/3, over 4 features.
        assert!((variance_of_mean(&one).expect("defined") - 0.05 / 12.0).abs() < 1e-15);
        let two =
            [score(Some(0), 0, 0.0), score(Some(0), 1, 0.0), score(Some(1), 0, 1.0), score(Some(1), 1, 1.0)];
        // Means 0 and 1: s² = 0.5 over 2 trainings, above (1/3)/4 over features.
        assert!((variance_of_mean(&two).expect("defined") - 0.25).abs() < 1e-15);
        assert_eq!(variance_of_mean(&[]), None);
        assert_eq!(variance_of_mean(&[score(None, 0, 0.5)]), None);
    }
}
