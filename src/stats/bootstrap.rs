//! Bootstrap confidence intervals (Efron and Tibshirani 1993, chapters 13–14).
//!
//!   θ*_b = statistic of resample b: n units drawn with replacement, b = 1 … B
//!   percentile interval: the (1 ∓ confidence)/2 quantiles of θ*
//!   BCa interval: see `endpoints.rs`
//!
//! Resamples are drawn in chunks, each from its own named seed stream, so results do not depend on threads.

use rand::RngCore;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::describe::{mean_of_finite, range, sd};
use super::endpoints::{acceleration, bca_endpoints, percentile_endpoints};
use super::exact::ExactValues;
use super::normal::normal_quantile;
use super::undefined::Undefined;
use crate::base::Stream;

/// Resamples per seed stream. Fixed, so that the draws do not depend on the threads.
const CHUNK: usize = 500;

/// The method of an interval: the one requested, or the one used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    /// Bias-corrected and accelerated bootstrap.
    Bca,
    /// Quantiles of the bootstrap distribution.
    Percentile,
    /// Percentile interval, used where BCa is degenerate.
    PercentileBcaDegenerate,
    /// Mean ± z standard errors, without resampling; z = 1.96 at 95 %.
    Normal,
}

/// A confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower endpoint.
    pub low: f64,
    /// Upper endpoint.
    pub high: f64,
    /// Nominal coverage, such as 0.95.
    pub confidence: f64,
    /// The method used.
    pub method: IntervalMethod,
}

/// A statistic with its confidence interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The statistic of the sample.
    pub point: f64,
    /// Its interval.
    pub interval: Interval,
    /// Number of units, over all groups.
    pub n: usize,
    /// Resamples drawn; 0 for the normal interval.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u64,
}

/// How to resample. The unit is one value (or one group of values); units are independent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// The interval wanted: `Bca`, `Percentile` or `Normal`.
    pub method: IntervalMethod,
    /// Nominal coverage, strictly between 0 and 1.
    pub confidence: f64,
    /// Number of resamples.
    pub resamples: usize,
    /// Seed; together with `stream` it fixes every draw.
    pub seed: u64,
    /// Name of the seed stream, one per use.
    pub stream: String,
}

impl Bootstrap {
    /// The mean over units; needs two values.
    pub fn mean(&self, values: &[f64]) -> Result<Estimate, Undefined> {
        self.check_values(values)?;
        let point = mean_of_finite(values);
        if self.method == IntervalMethod::Normal {
            return self.normal(values, point, values.len());
        }
        let sorted = self.mean_distribution(values);
        Ok(self.estimate(&sorted, point, &deviations(values, point), values.len()))
    }

    /// Any statistic that is finite on every resample. `Normal`, for means only, becomes `Percentile`.
    #[cfg(test)]
    pub fn statistic<F>(&self, values: &[f64], statistic: F) -> Result<Estimate, Undefined>
    where
        F: Fn(&[f64]) -> f64 + Sync,
    {
        self.check_values(values)?;
        let point = statistic(values);
        let sorted = self.sorted_resample("statistic", |draws| {
            let resample: Vec<f64> = values.iter().map(|_| values[draws.below(values.len())]).collect();
            statistic(&resample)
        });
        Undefined::check_finite(&[point])?;
        Undefined::check_finite(&sorted)?;
        Ok(self.estimate(&sorted, point, &jackknife(values, &statistic)?, values.len()))
    }

    /// The mean of group means, all groups weighted equally: groups are resampled, then units within each.
    ///
    /// A group is one repetition of the experiment, such as a training seed. The BCa acceleration comes from
    /// leaving out one group at a time. The spread between k groups is underestimated by (k − 1)/k, so with
    /// two or three groups the interval is too narrow. One group is treated by [`Bootstrap::mean`].
    pub fn mean_by_group(&self, groups: &[Vec<f64>]) -> Result<Estimate, Undefined> {
        let groups: Vec<&[f64]> =
            groups.iter().map(Vec::as_slice).filter(|group| !group.is_empty()).collect();
        if let [only] = groups[..] {
            return self.mean(only);
        }
        self.check()?;
        Undefined::check_count(groups.len(), 2)?;
        groups.iter().try_for_each(|group| Undefined::check_finite(group))?;
        let means: Vec<f64> = groups.iter().map(|group| mean_of_finite(group)).collect();
        let (point, n) = (mean_of_finite(&means), groups.iter().map(|group| group.len()).sum());
        if self.method == IntervalMethod::Normal {
            return self.normal(&means, point, n);
        }
        let sorted = self.sorted_resample("groups", |draws| {
            let drawn = groups.iter().map(|_| {
                let group = groups[draws.below(groups.len())];
                let sum: f64 = group.iter().map(|_| group[draws.below(group.len())]).sum();
                sum / group.len() as f64
            });
            drawn.sum::<f64>() / groups.len() as f64
        });
        Ok(self.estimate(&sorted, point, &deviations(&means, point), n))
    }

    /// The bootstrap distribution of the mean, ascending. `values` must be finite and not empty.
    pub(super) fn mean_distribution(&self, values: &[f64]) -> Vec<f64> {
        let sampler = MeanSampler::new(values);
        self.sorted_resample("mean", |draws| sampler.draw(draws))
    }

    /// Calls `draw` once per resample and sorts the results. Seed, stream and `part` fix every draw.
    pub(super) fn sorted_resample(&self, part: &str, draw: impl Fn(&mut Draws) -> f64 + Sync) -> Vec<f64> {
        let chunk = |index: usize| {
            let mut draws = Draws::new(self.seed, &[&self.stream, part, &index.to_string()]);
            let length = CHUNK.min(self.resamples - index * CHUNK);
            (0..length).map(|_| draw(&mut draws)).collect::<Vec<f64>>()
        };
        let chunks: Vec<Vec<f64>> = (0..self.resamples.div_ceil(CHUNK)).into_par_iter().map(chunk).collect();
        let mut sorted = chunks.concat();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    }

    /// The interval of a bootstrap distribution in ascending order.
    pub(super) fn interval(&self, sorted: &[f64], point: f64, influences: &[&[f64]]) -> Interval {
        let confidence = self.confidence;
        let ((low, high), method) = if self.method != IntervalMethod::Bca {
            (percentile_endpoints(sorted, confidence), IntervalMethod::Percentile)
        } else if let Some(endpoints) = bca_endpoints(sorted, point, acceleration(influences), confidence) {
            (endpoints, IntervalMethod::Bca)
        } else {
            (percentile_endpoints(sorted, confidence), IntervalMethod::PercentileBcaDegenerate)
        };
        Interval { low, high, confidence, method }
    }

    pub(super) fn check(&self) -> Result<(), Undefined> {
        check_confidence(self.confidence)?;
        if self.resamples == 0 && self.method != IntervalMethod::Normal {
            return Err(Undefined::Setting { name: "resamples", expected: "at least 1", got: 0.0 });
        }
        Ok(())
    }

    fn check_values(&self, values: &[f64]) -> Result<(), Undefined> {
        self.check()?;
        Undefined::check_count(values.len(), 2)?;
        Undefined::check_finite(values)
    }

    fn estimate(&self, sorted: &[f64], point: f64, influence: &[f64], n: usize) -> Estimate {
        let interval = self.interval(sorted, point, &[influence]);
        Estimate { point, interval, n, resamples: self.resamples, seed: self.seed }
    }

    fn normal(&self, values: &[f64], point: f64, n: usize) -> Result<Estimate, Undefined> {
        let interval = normal_interval(values, self.confidence)?;
        Ok(Estimate { point, interval, n, resamples: 0, seed: self.seed })
    }
}

pub(super) fn check_confidence(got: f64) -> Result<(), Undefined> {
    let (name, expected) = ("confidence", "strictly between 0 and 1");
    if got > 0.0 && got < 1.0 { Ok(()) } else { Err(Undefined::Setting { name, expected, got }) }
}

/// Mean ± z·sd/√n. At 95 % z is 1.96, the rounded multiplier of the published protocol.
pub fn normal_interval(values: &[f64], confidence: f64) -> Result<Interval, Undefined> {
    check_confidence(confidence)?;
    let z = if confidence == 0.95 { 1.96 } else { normal_quantile(0.5 + confidence / 2.0) };
    let reach = z * sd(values)? / (values.len() as f64).sqrt();
    let mean = mean_of_finite(values);
    Ok(Interval { low: mean - reach, high: mean + reach, confidence, method: IntervalMethod::Normal })
}

/// Jackknife influences of a mean.
pub(super) fn deviations(values: &[f64], mean: f64) -> Vec<f64> {
    values.iter().map(|value| value - mean).collect()
}

/// Jackknife influences of a statistic: (n − 1) · (mean of the leave-one-out values − each of them).
#[cfg(test)]
fn jackknife(values: &[f64], statistic: &impl Fn(&[f64]) -> f64) -> Result<Vec<f64>, Undefined> {
    let without = |left_out: usize| {
        let kept = values.iter().enumerate().filter(|(i, _)| *i != left_out);
        statistic(&kept.map(|(_, value)| *value).collect::<Vec<f64>>())
    };
    let without: Vec<f64> = (0..values.len()).map(without).collect();
    Undefined::check_finite(&without)?;
    let mean = mean_of_finite(&without);
    Ok(without.iter().map(|value| (values.len() - 1) as f64 * (mean - value)).collect())
}

/// Draws means of resamples with exact sums, so that resamples of the same values tie.
pub(super) struct MeanSampler {
    exact: ExactValues,
    n: usize,
    low: f64,
    high: f64,
}

impl MeanSampler {
    pub(super) fn new(values: &[f64]) -> Self {
        let (low, high) = range(values);
        Self { exact: ExactValues::new(values, values.len()), n: values.len(), low, high }
    }

    pub(super) fn draw(&self, draws: &mut Draws) -> f64 {
        let units = self.exact.units();
        let sum: i64 = (0..self.n).map(|_| units[draws.below(self.n)]).sum();
        (self.exact.value(sum) / self.n as f64).clamp(self.low, self.high)
    }
}

/// Draws indices, two per 64-bit word. Scaling a 32-bit word favours some indices by less than n/2³².
pub(super) struct Draws {
    stream: Stream,
    spare: Option<u32>,
}

impl Draws {
    pub(super) fn new(seed: u64, parts: &[&str]) -> Self {
        Self { stream: Stream::named(seed, parts), spare: None }
    }

    /// An index in `0..n`, for n below 2³².
    #[inline]
    pub(super) fn below(&mut self, n: usize) -> usize {
        let word = self.spare.take().unwrap_or_else(|| {
            let both = self.stream.next_u64();
            self.spare = Some((both >> 32) as u32);
            both as u32
        });
        ((u64::from(word) * n as u64) >> 32) as usize
    }

    /// 64 random bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.stream.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(method: IntervalMethod) -> Bootstrap {
        Bootstrap { method, confidence: 0.95, resamples: 2000, seed: 7, stream: "test".into() }
    }

    #[test]
    fn one_value_has_no_interval_and_constant_values_a_degenerate_one() {
        let bca = plan(IntervalMethod::Bca);
        assert_eq!(bca.mean(&[0.3]), Err(Undefined::TooFew { need: 2, got: 1 }));
        let constant = bca.mean(&[0.3; 5]).expect("five values");
        assert_eq!(constant.interval.method, IntervalMethod::PercentileBcaDegenerate);
        assert_eq!((constant.point, constant.interval.low, constant.interval.high), (0.3, 0.3, 0.3));
    }

    #[test]
    fn the_published_interval_is_mean_and_1_96_standard_errors() {
        let normal = plan(IntervalMethod::Normal).mean(&[1.0, 2.0, 3.0, 6.0]).expect("four values");
        let reach = 1.96 * (14.0f64 / 3.0).sqrt() / 2.0;
        assert!((normal.interval.low - (3.0 - reach)).abs() < 1e-14);
        assert!((normal.interval.high - (3.0 + reach)).abs() < 1e-14);
        assert_eq!(normal.resamples, 0);
    }

    #[test]
    fn the_fast_path_agrees_with_the_general_one() {
        let values: Vec<f64> = (0..60).map(|i| f64::from(i * i % 37) / 37.0).collect();
        let fast = plan(IntervalMethod::Bca).mean(&values).expect("defined");
        let general = plan(IntervalMethod::Bca)
            .statistic(&values, |x| x.iter().sum::<f64>() / x.len() as f64)
            .expect("defined");
        assert!((fast.point - general.point).abs() < 1e-14);
        // Different draws: the endpoints differ by Monte Carlo error alone, a few percent of the width.
        let width = fast.interval.high - fast.interval.low;
        assert!((fast.interval.low - general.interval.low).abs() < 0.1 * width);
        assert!((fast.interval.high - general.interval.high).abs() < 0.1 * width);
    }

    #[test]
    fn groups_that_differ_widen_the_interval() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i % 10) / 10.0).collect();
        let shifted: Vec<f64> = values.iter().map(|value| value + 1.0).collect();
        let plan = plan(IntervalMethod::Bca);
        let same = plan.mean_by_group(&vec![values.clone(); 4]).expect("defined").interval;
        let groups = [values.clone(), shifted.clone(), values.clone(), shifted];
        let apart = plan.mean_by_group(&groups).expect("defined");
        assert_eq!(apart.n, 160);
        assert!((apart.point - 0.95).abs() < 1e-12);
        assert!(apart.interval.high - apart.interval.low > 3.0 * (same.high - same.low));
        let one = plan.mean_by_group(std::slice::from_ref(&values)).expect("defined");
        assert_eq!(one, plan.mean(&values).expect("defined"));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11)).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| plan(IntervalMethod::Bca).mean(&values).expect("defined"))
        };
        assert_eq!(with(1), with(3));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let mut wrong = plan(IntervalMethod::Bca);
        wrong.confidence = 1.0;
        let error = wrong.mean(&[1.0, 2.0]).expect_err("refused");
        assert_eq!(error.to_string(), "`confidence` must be strictly between 0 and 1, got 1");
    }
}
