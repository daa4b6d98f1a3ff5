//! Holm's adjustment (Holm 1979), and intervals that agree with it.
//!
//!   sort p₁ ≤ … ≤ p_m; reject the k-th at α/(m − k + 1) as long as all before it are rejected
//!   interval of comparison i: difference ± q·SE, q = quantile of the permutations' |t| at the level of i
//!   level of i: α/(m − k + 1) if i is rejected as the k-th, else the level at which the procedure stopped
//!
//! The interval excludes 0 exactly if the adjusted p is below α: test and interval use one permutation
//! distribution, and q is the least |t| that the test does not reject. So the chance that any interval excludes
//! 0 wrongly is at most α. All intervals together do not hold the true differences with probability 1 − α; the
//! regions of Guilbaud (2008) do, but end at 0 for most rejected comparisons.

use super::permutation::{LEVEL, Permuted, p_value};
use super::undefined::Undefined;

/// One comparison in Holm's procedure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HolmStep {
    /// The adjusted p.
    pub p_adjusted: f64,
    /// Whether it is below the level.
    pub rejected: bool,
    /// Comparisons left when this one was tested, itself included: it was tested at level / `left`. Equal p count
    /// as tested at once; what follows the first one not rejected, with it.
    pub left: usize,
}

/// Holm's procedure at `level`, in the order given.
pub fn holm_steps(p_values: &[f64], level: f64) -> Vec<HolmStep> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut steps = vec![HolmStep { p_adjusted: 1.0, rejected: false, left: 1 }; p_values.len()];
    let mut before: Option<(f64, HolmStep)> = None;
    for (rank, &i) in order.iter().enumerate() {
        let largest = before.map_or(0.0, |(_, step)| step.p_adjusted);
        let p_adjusted = largest.max(p_values[i] * (p_values.len() - rank) as f64).min(1.0);
        let rejected = p_adjusted < level;
        let left = match before {
            Some((p, step)) if p == p_values[i] || !step.rejected => step.left,
            _ => p_values.len() - rank,
        };
        steps[i] = HolmStep { p_adjusted, rejected, left };
        before = Some((p_values[i], steps[i]));
    }
    steps
}

/// The adjusted p-values of [`holm_steps`].
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    holm_steps(p_values, LEVEL).into_iter().map(|step| step.p_adjusted).collect()
}

impl Permuted {
    /// The interval of `difference` at the level at which Holm's procedure tested it.
    ///
    /// Undefined where it would be unbounded: the permutations are too few to reject at that level, too many of them
    /// have no spread, or a difference without spread is not rejected.
    pub fn interval(&self, difference: f64, step: HolmStep) -> Result<(f64, f64), Undefined> {
        let q = self.quantile(step.left)?;
        let varies = self.standard_error > 0.0;
        let reach = if varies { q * self.standard_error } else { 0.0 };
        // Both bounds hold already, up to rounding.
        let reach = match step.rejected {
            true => reach.min(difference.abs() * (1.0 - f64::EPSILON)),
            false if varies && reach.is_finite() => reach.max(difference.abs()),
            false => return Err(Undefined::TooFewDistinct),
        };
        Ok((difference - reach, difference + reach))
    }

    /// The least |t| of the permutations that is not rejected at `LEVEL` / `left`.
    fn quantile(&self, left: usize) -> Result<f64, Undefined> {
        let rejects = |reached: usize| p_value(reached, self.permutations) * (left as f64) < LEVEL;
        // The first count that is not rejected is the guess or one less, up to rounding.
        let guess = (LEVEL * (self.permutations + 1) as f64 / left as f64) as usize;
        let accepted = (guess.saturating_sub(2)..=guess + 1).find(|&reached| !rejects(reached));
        match accepted.and_then(|reached| reached.checked_sub(1)) {
            Some(last_rejected) => self.largest.get(last_rejected).copied().ok_or(Undefined::TooFewDistinct),
            None => Err(Undefined::Setting {
                name: "permutations",
                expected: "at least 20 times the comparisons that are adjusted together",
                got: self.permutations as f64,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::describe::mean;
    use super::super::permutation::{sign_flip, welch_permutation};
    use super::*;
    use crate::base::Stream;

    #[test]
    fn holm_by_hand() {
        // Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.06 after the running maximum.
        let steps = holm_steps(&[0.03, 0.01, 0.04, 0.02], 0.05);
        let expected = [0.06, 0.04, 0.06, 0.06];
        assert!(steps.iter().zip(expected).all(|(step, e)| (step.p_adjusted - e).abs() < 1e-15), "{steps:?}");
        // The procedure stops at the second; the rest is tested there.
        assert_eq!(steps.iter().map(|step| step.left).collect::<Vec<_>>(), [3, 4, 3, 3]);
        assert_eq!(holm(&[0.9, 0.8]), vec![1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn equal_p_values_are_tested_at_one_level() {
        let steps = holm_steps(&[0.001, 0.02, 0.001, 0.001], 0.05);
        assert_eq!(steps.iter().map(|step| step.left).collect::<Vec<_>>(), [4, 1, 4, 4]);
        assert!(steps.iter().all(|step| step.rejected));
    }

    /// |t| of 999 permutations: 9.99, 9.98 … 0.01.
    fn falling(p: f64) -> Permuted {
        let largest = (0..52).map(|nth| 9.99 - 0.01 * f64::from(nth)).collect();
        Permuted { p, permutations: 999, standard_error: 0.1, largest }
    }

    #[test]
    fn the_quantile_is_the_least_statistic_that_is_not_rejected() {
        // At 5 %, 48 of 999 permutations may reach the observed |t| (p = 0.049); 49 give p = 0.05.
        assert_eq!(falling(0.0).quantile(1), Ok(9.99 - 0.01 * 48.0));
        // At 0.05/40 none may: (0 + 1)/1000 · 40 < 0.05.
        assert_eq!(falling(0.0).quantile(40), Ok(9.99));
        let refused = falling(0.0).quantile(50).expect_err("1/1000 · 50 is not below 0.05");
        assert!(refused.to_string().starts_with("`permutations` must be at least 20 times"), "{refused}");
    }

    #[test]
    fn without_spread_a_difference_is_exact_or_undecided() {
        let constant = welch_permutation(&[0.1; 20], &[0.2; 20], 999, 1, "t").expect("defined");
        let step = holm_steps(&[constant.p], LEVEL)[0];
        assert_eq!(constant.interval(-0.1, step), Ok((-0.1, -0.1)));
        // Two of six arrangements are as extreme.
        let tiny = welch_permutation(&[0.1; 2], &[0.2; 2], 999, 1, "t").expect("defined");
        let step = holm_steps(&[tiny.p], LEVEL)[0];
        assert_eq!(tiny.interval(-0.1, step), Err(Undefined::TooFewDistinct));
    }

    fn sample(stream: &mut Stream, n: usize, shift: f64, grid: bool) -> Vec<f64> {
        let value = |stream: &mut Stream| shift + 0.2 * stream.normal();
        (0..n).map(|_| value(stream)).map(|x| if grid { (5.0 * x).round() / 5.0 } else { x }).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

        /// With ties (`grid`), small samples and few permutations, in families of several comparisons.
        #[test]
        fn an_interval_excludes_zero_exactly_if_the_adjusted_p_is_below_the_level(
            seed in 0u64..1_000_000,
            sizes in prop::collection::vec((2usize..14, 2usize..14), 1..7),
            grid in any::<bool>(),
            pairs in any::<bool>(),
            permutations in 19usize..400,
        ) {
            let mut stream = Stream::new(seed, "adjusted");
            let tests: Vec<(f64, Permuted)> = sizes
                .iter()
                .map(|&(n_a, n_b)| {
                    let shift = 0.5 * stream.unit();
                    let a = sample(&mut stream, n_a, shift, grid);
                    if pairs {
                        (mean(&a).expect("values"), sign_flip(&a, permutations, seed, "p").expect("defined"))
                    } else {
                        let b = sample(&mut stream, n_b, 0.0, grid);
                        let difference = mean(&a).expect("values") - mean(&b).expect("values");
                        (difference, welch_permutation(&a, &b, permutations, seed, "p").expect("defined"))
                    }
                })
                .collect();
            let p_values: Vec<f64> = tests.iter().map(|(_, test)| test.p).collect();
            for ((difference, test), step) in tests.iter().zip(holm_steps(&p_values, LEVEL)) {
                match test.interval(*difference, step) {
                    Ok((low, high)) => {
                        prop_assert!(low <= *difference && *difference <= high);
                        prop_assert_eq!(low > 0.0 || high < 0.0, step.p_adjusted < LEVEL, "{} {:?}", difference, step);
                    }
                    Err(_) => prop_assert!(!step.rejected),
                }
            }
        }
    }

    #[test]
    fn one_comparison_of_large_normal_samples_has_the_textbook_interval() {
        let mut stream = Stream::new(5, "normal");
        let (a, b) = (sample(&mut stream, 400, 0.03, false), sample(&mut stream, 300, 0.0, false));
        let test = welch_permutation(&a, &b, 20_000, 3, "t").expect("defined");
        let step = holm_steps(&[test.p], LEVEL)[0];
        let difference = mean(&a).expect("many") - mean(&b).expect("many");
        let (low, high) = test.interval(difference, step).expect("defined");
        // Half its width is 1.96 standard errors; the quantile's Monte Carlo error is about 0.013.
        let q = (high - low) / 2.0 / test.standard_error;
        assert!((q - 1.96).abs() < 0.06, "{q}");
    }
}
