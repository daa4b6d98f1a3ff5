//! Bootstrap resamples of units that several statistics share: statistics of one resample are of the same units, so that
//! ratios and differences of means are resampled together.

use rayon::prelude::*;

use super::bootstrap::{Bootstrap, Draws, Interval, IntervalMethod};
use super::describe::{mean_of_finite, range};
use super::endpoints::percentile_endpoints;
use super::undefined::Undefined;

/// Resamples per seed stream. Fixed, so that the draws do not depend on the threads.
const CHUNK: usize = 500;

/// Resamples of `n` units.
#[derive(Debug, Clone)]
pub struct Resamples {
    bootstrap: Bootstrap,
    n: usize,
}

/// A statistic: its value, its values on the resamples, and its values without each unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Resampled {
    /// On all units.
    pub point: f64,
    resampled: Vec<f64>,
    without: Vec<f64>,
}

impl Resamples {
    /// Resamples of `n` units; there must be two.
    pub fn new(bootstrap: Bootstrap, n: usize) -> Result<Self, Undefined> {
        bootstrap.check()?;
        Undefined::check_count(n, 2)?;
        if bootstrap.resamples == 0 {
            return Err(Undefined::Setting { name: "resamples", expected: "at least 1", got: 0.0 });
        }
        Ok(Self { bootstrap, n })
    }

    /// The mean over units of each list of values, one value per unit.
    pub fn means(&self, lists: &[&[f64]]) -> Result<Vec<Resampled>, Undefined> {
        for list in lists {
            Undefined::check_lengths(self.n, list.len())?;
            Undefined::check_finite(list)?;
        }
        let n = self.n as f64;
        let ranges: Vec<(f64, f64)> = lists.iter().map(|list| range(list)).collect();
        let chunk = |index: usize| -> Vec<Vec<f64>> {
            let part = index.to_string();
            let mut draws = Draws::new(self.bootstrap.seed, &[&self.bootstrap.stream, "units", &part]);
            let length = CHUNK.min(self.bootstrap.resamples - index * CHUNK);
            let mut found: Vec<Vec<f64>> = lists.iter().map(|_| Vec::with_capacity(length)).collect();
            let mut times = vec![0.0f64; self.n];
            for _ in 0..length {
                times.fill(0.0);
                (0..self.n).for_each(|_| times[draws.below(self.n)] += 1.0);
                for ((found, list), (low, high)) in found.iter_mut().zip(lists).zip(&ranges) {
                    let sum: f64 = times.iter().zip(*list).map(|(times, value)| times * value).sum();
                    found.push((sum / n).clamp(*low, *high));
                }
            }
            found
        };
        let chunks: Vec<Vec<Vec<f64>>> =
            (0..self.bootstrap.resamples.div_ceil(CHUNK)).into_par_iter().map(chunk).collect();
        let resampled = |(nth, list): (usize, &&[f64])| {
            let point = mean_of_finite(list);
            let sum = point * n;
            Resampled {
                point,
                resampled: chunks.iter().flat_map(|chunk| chunk[nth].iter().copied()).collect(),
                without: list.iter().map(|value| (sum - value) / (n - 1.0)).collect(),
            }
        };
        Ok(lists.iter().enumerate().map(resampled).collect())
    }

    /// The interval of a statistic. An end is infinite if the statistic is infinite on too many resamples. The method
    /// `Normal` becomes `Percentile`.
    pub fn interval(&self, statistic: &Resampled) -> Interval {
        let mut sorted = statistic.resampled.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        if statistic.is_finite() {
            let mean = mean_of_finite(&statistic.without);
            let factor = (self.n - 1) as f64;
            let influences: Vec<f64> =
                statistic.without.iter().map(|value| factor * (mean - value)).collect();
            return self.bootstrap.interval(&sorted, statistic.point, &[&influences]);
        }
        let confidence = self.bootstrap.confidence;
        let (low, high) = percentile_endpoints(&sorted, confidence);
        Interval { low, high, confidence, method: IntervalMethod::Percentile }
    }
}

impl Resampled {
    /// A function of several statistics of the same resamples, in order. There must be one.
    pub fn of(parts: &[&Self], function: impl Fn(&[f64]) -> f64) -> Self {
        let mut values = vec![0.0; parts.len()];
        let mut at = |pick: &dyn Fn(&Self) -> f64| {
            values.iter_mut().zip(parts).for_each(|(value, part)| *value = pick(part));
            function(&values)
        };
        let (resamples, units) =
            parts.first().map_or((0, 0), |part| (part.resampled.len(), part.without.len()));
        Self {
            point: at(&|part| part.point),
            resampled: (0..resamples).map(|nth| at(&|part| part.resampled[nth])).collect(),
            without: (0..units).map(|nth| at(&|part| part.without[nth])).collect(),
        }
    }

    /// Whether it is finite on every resample, and without any unit.
    pub fn is_finite(&self) -> bool {
        let all = self.resampled.iter().chain(&self.without);
        self.point.is_finite() && all.into_iter().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resamples(n: usize) -> Resamples {
        let bootstrap = Bootstrap {
            method: IntervalMethod::Bca,
            confidence: 0.95,
            resamples: 4000,
            seed: 3,
            stream: "test".into(),
        };
        Resamples::new(bootstrap, n).expect("defined")
    }

    #[test]
    fn means_agree_with_the_plain_bootstrap() {
        let values: Vec<f64> = (0..50).map(|i| f64::from(i * i % 31)).collect();
        let all = resamples(50);
        let means = all.means(&[&values]).expect("defined");
        let (shared, plain) = (all.interval(&means[0]), all.bootstrap.mean(&values).expect("defined"));
        assert!((means[0].point - plain.point).abs() < 1e-12);
        let width = plain.interval.high - plain.interval.low;
        // The draws differ: the ends differ by Monte Carlo error alone.
        assert!((shared.low - plain.interval.low).abs() < 0.1 * width);
        assert!((shared.high - plain.interval.high).abs() < 0.1 * width);
        assert_eq!(shared.method, IntervalMethod::Bca);
    }

    #[test]
    fn what_two_lists_share_cancels_in_a_function_of_their_means() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i % 9) + 1.0).collect();
        let b: Vec<f64> = a.iter().map(|value| 2.0 * value).collect();
        let all = resamples(40);
        let means = all.means(&[&a, &b]).expect("defined");
        let ratio = Resampled::of(&[&means[1], &means[0]], |means| means[0] / means[1]);
        let interval = all.interval(&ratio);
        assert!((ratio.point - 2.0).abs() < 1e-12);
        assert!(interval.high - interval.low < 1e-9, "the same resamples");
        let open = Resampled::of(&[&means[0]], |means| if means[0] > 5.5 { f64::INFINITY } else { means[0] });
        assert!(!open.is_finite() && all.interval(&open).high.is_infinite());
    }

    #[test]
    fn the_number_of_threads_changes_nothing_and_bad_values_are_named() {
        let values: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11)).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| resamples(40).means(&[&values]).expect("defined"))
        };
        assert_eq!(with(1), with(3));
        assert_eq!(resamples(2).means(&[&[1.0, f64::NAN]]), Err(Undefined::NotFinite { index: 1 }));
        assert_eq!(resamples(3).means(&[&[1.0]]), Err(Undefined::LengthMismatch { first: 3, second: 1 }));
    }
}
