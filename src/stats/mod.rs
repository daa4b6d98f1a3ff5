//! Statistics on slices of f64: estimates with intervals, tests and verdicts.
//!
//! In: slices of numbers and a named seed stream.
//! Out: estimates, intervals, p-values, verdicts, or the reason why there is none.
//! Never: imports candle, knows the word feature.
//!
//! One value per independent unit goes in; what the unit is, the caller knows. Every number that
//! comes out is finite. Resampling draws from [`crate::base::Stream`]s named by chunk, so a result
//! is the same for any number of threads.
//!
//! ```
//! use autointerp::stats::{Bootstrap, IntervalMethod};
//!
//! let bootstrap = Bootstrap {
//!     method: IntervalMethod::Bca,
//!     confidence: 0.95,
//!     resamples: 2_000,
//!     seed: 7,
//!     stream: "example".into(),
//! };
//! let mean = bootstrap.mean(&[0.9, 0.7, 0.8, 0.2, 0.6, 0.75, 0.5, 0.85])?;
//! assert_eq!(mean.n, 8);
//! assert!(mean.interval.low < mean.point && mean.point < mean.interval.high);
//! # Ok::<(), autointerp::stats::Undefined>(())
//! ```
//!
//! Sources: Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), chapters 13–14 (percentile
//! and BCa); Chung and Romano, *Exact and asymptotically robust permutation tests* (Annals of
//! Statistics 41, 2013: why the statistic is studentised); Phipson and Smyth, *Permutation p-values
//! should never be zero* (2010: the +1); Holm, *A simple sequentially rejective multiple test
//! procedure* (1979); Bonett and Wright, *Sample size requirements for estimating Pearson, Kendall and Spearman
//! correlations* (Psychometrika 65, 2000: the interval of a rank correlation); Hyndman and Fan, *Sample quantiles in statistical packages* (1996: type 7).

mod between_runs;
mod bootstrap;
mod correlation;
mod describe;
mod difference;
mod endpoints;
mod exact;
mod normal;
mod permutation;
mod rank;
mod undefined;
mod verdict;

#[cfg(test)]
mod coverage_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod scipy_tests;

pub use between_runs::{RunChange, RunSeries, RunTest, RunVerdict};
pub use bootstrap::{Bootstrap, Estimate, Interval, IntervalMethod, normal_interval};
pub use correlation::{pearson, weighted_pearson};
pub use describe::{
    Summary, describe, excess_kurtosis, excess_kurtosis_of_sums, kernel_density, mean, quantile,
    quantile_sorted, sd, weighted_mean,
};
pub use difference::{Difference, DifferenceTest};
pub use endpoints::{acceleration, bca_endpoints, percentile_endpoints};
pub use permutation::{sign_flip_p, welch_permutation_p, welch_t};
pub use rank::{spearman, spearman_interval};
pub use undefined::Undefined;
pub use verdict::{Family, Judgement, Verdict, holm, judge, smallest_detectable_difference};
