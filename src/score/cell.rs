//! Summary of the scores of one cell, with intervals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::scorer::ScoreOutcome;
use crate::base::{Missing, Tally};
use crate::stats::{Bootstrap, Interval, IntervalMethod, Undefined, mean, weighted_mean};

/// Outcome of one walked feature under one scorer.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureOutcome {
    /// Its score, or why it was not scored (not eligible, failed).
    pub outcome: Result<ScoreOutcome, Missing>,
    /// Share of tokens on which it fires: its weight in `mean_by_density`. Ignored if it was not scored.
    pub density: f64,
    /// Tokens behind the score ([`super::repeating_tokens`]). Ignored if it was not scored.
    pub n_tokens: usize,
}

/// Summary of one cell: hook point, method, protocol, explainer, simulator and scorer. A number that does not exist
/// is `None`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Mean over scored features, constant predictions as 0.
    pub mean: Option<f64>,
    /// Interval of `mean`; needs two scored features.
    pub interval: Option<Interval>,
    /// BCa interval, if a normal interval was requested.
    pub interval_beside: Option<Interval>,
    /// Mean over the features whose score is a number, as older tools report.
    pub mean_defined: Option<f64>,
    /// Features whose score is a number.
    pub n_defined: usize,
    /// Scored features whose prediction is constant.
    pub n_constant: usize,
    /// Mean over scored features weighted by density, constant predictions as 0.
    pub mean_by_density: Option<f64>,
    /// Mean number of tokens behind a score. For `beyond_token`: tokens whose type repeats.
    pub tokens_per_feature: Option<f64>,
    /// Features walked: scored, undefined, failed and skipped.
    pub n_requested: usize,
    /// Features in `mean`: `n_defined` + `n_constant`.
    pub n_scored: usize,
    /// Counts of outcomes of all walked features.
    pub tally: Tally,
    /// Reasons of undefined and failed features, with counts.
    pub reasons: BTreeMap<String, usize>,
}

/// Estimates a cell of a method with several training seeds. Means are over the features of each seed, then over
/// seeds. The interval resamples seeds first and features second. With one seed this is the plain mean and
/// interval.
pub fn cell_over_seeds(seeds: &[&[FeatureOutcome]], bootstrap: &Bootstrap) -> Result<Cell, Undefined> {
    let seeds: Vec<Scores> = seeds.iter().map(|features| Scores::of(features)).collect();
    let mut tally = Tally::default();
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for scores in &seeds {
        scores.add_to(&mut tally, &mut reasons);
    }
    let groups: Vec<Vec<f64>> =
        seeds.iter().map(|scores| scores.values.clone()).filter(|values| !values.is_empty()).collect();
    let (interval, interval_beside) = intervals(&groups, bootstrap)?;
    Ok(Cell {
        mean: mean_of(seeds.iter().map(|scores| mean(&scores.values))),
        interval,
        interval_beside,
        mean_defined: mean_of(seeds.iter().map(|scores| mean(&scores.defined))),
        n_defined: seeds.iter().map(|scores| scores.defined.len()).sum(),
        n_constant: seeds.iter().map(|scores| scores.values.len() - scores.defined.len()).sum(),
        mean_by_density: mean_of(seeds.iter().map(|scores| weighted_mean(&scores.values, &scores.densities))),
        tokens_per_feature: mean(
            &seeds.iter().flat_map(|scores| scores.n_tokens.clone()).collect::<Vec<f64>>(),
        )
        .ok(),
        n_requested: tally.requested(),
        n_scored: tally.scored,
        tally,
        reasons,
    })
}

/// Mean over the seeds that have a value.
fn mean_of(values: impl Iterator<Item = Result<f64, Undefined>>) -> Option<f64> {
    mean(&values.flatten().collect::<Vec<f64>>()).ok()
}

/// The requested interval, and BCa beside a normal one; none if there are too few values.
fn intervals(
    groups: &[Vec<f64>],
    bootstrap: &Bootstrap,
) -> Result<(Option<Interval>, Option<Interval>), Undefined> {
    let of = |method: IntervalMethod| {
        let estimate = Bootstrap { method, ..bootstrap.clone() }.mean_by_group(groups);
        match estimate {
            Ok(estimate) => Ok(Some(estimate.interval)),
            Err(Undefined::TooFew { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    };
    let beside = match bootstrap.method {
        IntervalMethod::Normal => of(IntervalMethod::Bca)?,
        _ => None,
    };
    Ok((of(bootstrap.method)?, beside))
}

/// The features of one seed, sorted by outcome.
#[derive(Default)]
struct Scores {
    values: Vec<f64>,
    densities: Vec<f64>,
    n_tokens: Vec<f64>,
    defined: Vec<f64>,
    missing: Vec<Missing>,
}

impl Scores {
    fn of(features: &[FeatureOutcome]) -> Self {
        let mut scores = Self::default();
        for feature in features {
            let value = match &feature.outcome {
                Ok(ScoreOutcome::Score(value)) => {
                    scores.defined.push(*value);
                    *value
                }
                Ok(ScoreOutcome::ConstantPrediction) => 0.0,
                Ok(ScoreOutcome::Undefined(why)) => {
                    scores.missing.push(Missing::Undefined(why.reason().to_owned()));
                    continue;
                }
                Err(missing) => {
                    scores.missing.push(missing.clone());
                    continue;
                }
            };
            scores.values.push(value);
            scores.densities.push(feature.density);
            scores.n_tokens.push(feature.n_tokens as f64);
        }
        scores
    }

    fn add_to(&self, tally: &mut Tally, reasons: &mut BTreeMap<String, usize>) {
        tally.scored += self.values.len();
        for missing in &self.missing {
            tally.miss(missing);
            if let Missing::Undefined(reason) | Missing::Failed(reason) = missing {
                *reasons.entry(reason.clone()).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::scorer::NoScore;
    use super::*;

    fn cell(features: &[FeatureOutcome], bootstrap: &Bootstrap) -> Result<Cell, Undefined> {
        cell_over_seeds(&[features], bootstrap)
    }

    fn settings(method: IntervalMethod) -> Bootstrap {
        Bootstrap { method, confidence: 0.95, resamples: 1000, seed: 1, stream: "cell".to_owned() }
    }

    fn scored(value: f64, density: f64) -> FeatureOutcome {
        FeatureOutcome { outcome: Ok(ScoreOutcome::Score(value)), density, n_tokens: 640 }
    }

    fn other(outcome: Result<ScoreOutcome, Missing>, density: f64) -> FeatureOutcome {
        FeatureOutcome { outcome, density, n_tokens: 340 }
    }

    fn mixed() -> Vec<FeatureOutcome> {
        vec![
            scored(0.4, 0.01),
            scored(0.8, 0.03),
            other(Ok(ScoreOutcome::ConstantPrediction), 0.04),
            other(Ok(ScoreOutcome::Undefined(NoScore::ConstantTruth)), 0.9),
            other(Err(Missing::Failed("timeout".into())), 0.9),
            other(Err(Missing::Skipped("too_few_firing_fragments".into())), 0.0),
        ]
    }

    #[test]
    fn nothing_is_lost_and_constant_predictions_count_as_zero() {
        let cell = cell(&mixed(), &settings(IntervalMethod::Bca)).expect("estimated");
        let near = |got: Option<f64>, expected: f64| (got.expect("defined") - expected).abs() < 1e-12;
        assert!(near(cell.mean, 0.4));
        assert!(near(cell.mean_defined, 0.6));
        assert!(near(cell.mean_by_density, (0.4 * 0.01 + 0.8 * 0.03) / 0.08));
        assert_eq!((cell.n_defined, cell.n_constant, cell.n_scored, cell.n_requested), (2, 1, 3, 6));
        assert!(near(cell.tokens_per_feature, 540.0));
        assert_eq!((cell.tally.undefined, cell.tally.failed), (1, 1));
        assert_eq!(cell.tally.skipped["too_few_firing_fragments"], 1);
        assert_eq!((cell.reasons["constant_truth"], cell.reasons["timeout"]), (1, 1));
        let interval = cell.interval.expect("three scores");
        assert!(interval.low >= 0.0 && interval.low < 0.4 && interval.high > 0.4 && interval.high <= 0.8);
    }

    #[test]
    fn too_few_scores_leave_numbers_out_and_never_as_zero() {
        let one = cell(&[scored(0.3, 0.1)], &settings(IntervalMethod::Bca)).expect("estimated");
        assert_eq!((one.mean, one.interval), (Some(0.3), None));
        let none = cell(&mixed()[3..], &settings(IntervalMethod::Bca)).expect("estimated");
        assert_eq!((none.mean, none.mean_defined, none.mean_by_density), (None, None, None));
        assert_eq!(none.n_requested, 3);
        let never = cell(&[scored(0.3, 0.0)], &settings(IntervalMethod::Bca)).expect("estimated");
        assert_eq!(never.mean_by_density, None);
        assert_eq!(cell(&[], &settings(IntervalMethod::Bca)).expect("estimated").n_requested, 0);
    }

    #[test]
    fn a_normal_interval_has_bca_beside_it() {
        let cell = cell(&mixed(), &settings(IntervalMethod::Normal)).expect("estimated");
        assert_eq!(cell.interval.expect("three scores").method, IntervalMethod::Normal);
        assert_eq!(cell.interval_beside.expect("three scores").method, IntervalMethod::Bca);
    }

    #[test]
    fn seeds_count_the_same_whatever_their_number_of_features() {
        let first = [scored(0.2, 0.1), scored(0.4, 0.1)];
        let second = [scored(0.9, 0.1), scored(0.9, 0.1), scored(0.9, 0.1), scored(0.9, 0.1)];
        let cell = cell_over_seeds(&[&first, &second], &settings(IntervalMethod::Bca)).expect("estimated");
        assert!((cell.mean.expect("defined") - 0.6).abs() < 1e-15);
        assert_eq!(cell.n_scored, 6);
        assert!(cell.interval.expect("two seeds").low < 0.4);
    }
}
