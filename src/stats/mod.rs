//! Statistics on slices of f64: estimates with intervals, tests and verdicts.
//!
//! In: slices of numbers and a named seed stream.
//! Out: estimates, intervals, p-values, verdicts, or the reason why there is none.
//! Never: imports candle, knows the word feature.
//!
//! Each value belongs to one independent unit, chosen by the caller. All results are finite. Resampling draws
//! from [`crate::base::Stream`]s named by chunk, so results do not depend on the number of threads.
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
//! Sources: Efron and Tibshirani 1993, *An Introduction to the Bootstrap*; Chung and Romano 2013, *Exact and
//! asymptotically robust permutation tests*; Phipson and Smyth 2010, *Permutation p-values should never be
//! zero*; Holm 1979, *A simple sequentially rejective multiple test procedure*; Romano and Wolf 2005, *Exact and
//! approximate stepdown methods for multiple hypothesis testing*; Piepho 2004, *An algorithm for a letter-based
//! representation of all-pairwise comparisons*; Bonett and Wright 2000,
//! *Sample size requirements for estimating Pearson, Kendall and Spearman correlations*; Wilson 1927, *Probable
//! inference, the law of succession, and statistical inference*; Hyndman and Fan
//! 1996, *Sample quantiles in statistical packages*.

mod adjusted;
mod between_runs;
mod bootstrap;
mod correlation;
mod describe;
mod difference;
mod endpoints;
mod exact;
mod letters;
mod normal;
mod permutation;
mod proportion;
mod rank;
mod resamples;
mod simultaneous;
mod swap;
mod undefined;
mod verdict;

#[cfg(test)]
mod coverage_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod scipy_tests;
#[cfg(test)]
mod simultaneous_tests;

pub use adjusted::{HolmStep, holm, holm_steps};
pub use between_runs::{RunChange, RunSeries, RunTest, RunVerdict};
pub use bootstrap::{Bootstrap, Estimate, Interval, IntervalMethod, normal_interval};
pub use correlation::{pearson, weighted_pearson};
#[cfg(test)]
pub use describe::excess_kurtosis;
pub use describe::{
    Summary, describe, excess_kurtosis_of_sums, kernel_density, mean, quantile, quantile_sorted, sd,
    weighted_mean,
};
pub use difference::{Difference, DifferenceTest};
pub use endpoints::{acceleration, bca_endpoints, percentile_endpoints};
pub use letters::letters;
#[cfg(test)]
pub use permutation::welch_t;
pub use permutation::{Permuted, sign_flip, sign_flip_p, welch_permutation, welch_permutation_p};
pub use proportion::wilson_interval;
pub use rank::{spearman, spearman_interval};
pub use resamples::{Resampled, Resamples};
pub use simultaneous::{MaxT, Row, RowMean, Separation};
pub use swap::swap_p;
pub use undefined::Undefined;
pub use verdict::{Family, Judgement, Verdict, judge, smallest_detectable_difference};
