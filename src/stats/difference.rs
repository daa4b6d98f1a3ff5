//! Difference of two means: bootstrap intervals and a permutation p-value.
//!
//!   unpaired: mean(a) − mean(b), each sample resampled separately; p of the studentised permutation test
//!   paired:   mean(a_i − b_i), differences resampled; p of the sign-flip test

use serde::{Deserialize, Serialize};

use super::bootstrap::{Bootstrap, Interval, MeanSampler, deviations};
use super::describe::mean_of_finite;
use super::permutation::{Permuted, sign_flip, welch_permutation};
use super::undefined::Undefined;

/// Coverage of the interval that must lie inside ± margin: two one-sided tests at 5 %.
const EQUIVALENCE_CONFIDENCE: f64 = 0.90;

/// The difference of two means, with intervals and a p-value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Number of units in the first sample.
    pub n_a: usize,
    /// Number of units in the second sample.
    pub n_b: usize,
    /// First mean minus second mean.
    pub difference: f64,
    /// Interval of the difference.
    pub interval: Interval,
    /// The 90 % interval, on which the verdict *within the margin* rests.
    pub equivalence: Interval,
    /// Two-sided p of the permutation test, unadjusted.
    pub p: f64,
    /// The permutation test that p is of.
    pub permuted: Permuted,
}

/// Settings of a comparison. The interval method `Normal` becomes `Percentile` here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DifferenceTest {
    /// Resampling of the intervals, seed and stream.
    pub bootstrap: Bootstrap,
    /// Number of permutations, or of sign flips.
    pub permutations: usize,
}

impl DifferenceTest {
    /// Compares independent samples of at least two values each; p is that of [`welch_permutation`].
    pub fn unpaired(&self, a: &[f64], b: &[f64]) -> Result<Difference, Undefined> {
        self.check(a.len().min(b.len()))?;
        Undefined::check_finite(a)?;
        Undefined::check_finite(b)?;
        let (mean_a, mean_b) = (mean_of_finite(a), mean_of_finite(b));
        let (sampler_a, sampler_b) = (MeanSampler::new(a), MeanSampler::new(b));
        let sorted = self
            .bootstrap
            .sorted_resample("difference", |draws| sampler_a.draw(draws) - sampler_b.draw(draws));
        let influence_b: Vec<f64> = b.iter().map(|value| mean_b - value).collect();
        let permuted =
            welch_permutation(a, b, self.permutations, self.bootstrap.seed, &self.bootstrap.stream)?;
        let influences = [&deviations(a, mean_a)[..], &influence_b];
        Ok(self.difference((a.len(), b.len()), mean_a - mean_b, &sorted, &influences, permuted))
    }

    /// Compares values of the same units in the same order; p is that of [`sign_flip`].
    pub fn paired(&self, a: &[f64], b: &[f64]) -> Result<Difference, Undefined> {
        Undefined::check_lengths(a.len(), b.len())?;
        self.check(a.len())?;
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
        Undefined::check_finite(&differences)?;
        let point = mean_of_finite(&differences);
        let sorted = self.bootstrap.mean_distribution(&differences);
        let influence = deviations(&differences, point);
        let permuted =
            sign_flip(&differences, self.permutations, self.bootstrap.seed, &self.bootstrap.stream)?;
        Ok(self.difference((a.len(), b.len()), point, &sorted, &[&influence], permuted))
    }

    fn check(&self, n: usize) -> Result<(), Undefined> {
        Undefined::check_count(n, 2)?;
        self.bootstrap.check()?;
        if self.bootstrap.resamples == 0 || self.permutations == 0 {
            let (name, expected) = ("resamples and permutations", "at least 1");
            return Err(Undefined::Setting { name, expected, got: 0.0 });
        }
        Ok(())
    }

    fn difference(
        &self,
        (n_a, n_b): (usize, usize),
        difference: f64,
        sorted: &[f64],
        influences: &[&[f64]],
        permuted: Permuted,
    ) -> Difference {
        let interval = self.bootstrap.interval(sorted, difference, influences);
        let narrower = Bootstrap { confidence: EQUIVALENCE_CONFIDENCE, ..self.bootstrap.clone() };
        let equivalence = narrower.interval(sorted, difference, influences);
        Difference { n_a, n_b, difference, interval, equivalence, p: permuted.p, permuted }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bootstrap::IntervalMethod;
    use super::*;

    fn test() -> DifferenceTest {
        let bootstrap = Bootstrap {
            method: IntervalMethod::Bca,
            confidence: 0.95,
            resamples: 4000,
            seed: 11,
            stream: "difference".into(),
        };
        DifferenceTest { bootstrap, permutations: 10_000 }
    }

    #[test]
    fn swapping_the_samples_turns_the_sign() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i % 9) / 9.0).collect();
        let b: Vec<f64> = (0..35).map(|i| f64::from(i % 7) / 9.0).collect();
        let (ab, ba) = (test().unpaired(&a, &b).expect("defined"), test().unpaired(&b, &a).expect("defined"));
        assert!((ab.difference + ba.difference).abs() < 1e-15);
        assert!((ab.interval.low + ba.interval.high).abs() < 0.02);
        assert!((ab.p - ba.p).abs() < 0.03);
        assert!(ab.interval.low < ab.equivalence.low && ab.equivalence.high < ab.interval.high);
    }

    #[test]
    fn pairing_removes_what_the_pairs_share() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i % 9)).collect();
        let noise = |i: usize| if i.is_multiple_of(2) { 0.05 } else { -0.05 };
        let b: Vec<f64> = a.iter().enumerate().map(|(i, value)| value - 0.1 + noise(i)).collect();
        let (paired, unpaired) = (test().paired(&a, &b), test().unpaired(&a, &b));
        let (paired, unpaired) = (paired.expect("defined"), unpaired.expect("defined"));
        assert!((paired.difference - 0.1).abs() < 1e-12);
        assert!(paired.p < 0.001 && unpaired.p > 0.5);
        assert!(paired.interval.high - paired.interval.low < 0.05);
    }

    #[test]
    fn what_cannot_be_compared_has_a_reason() {
        assert_eq!(test().unpaired(&[1.0], &[1.0, 2.0]), Err(Undefined::TooFew { need: 2, got: 1 }));
        let mismatch = Undefined::LengthMismatch { first: 3, second: 2 };
        assert_eq!(test().paired(&[1.0, 2.0, 3.0], &[1.0, 2.0]), Err(mismatch));
        let constant = test().unpaired(&[1.0; 4], &[0.5; 4]).expect("defined");
        assert_eq!(constant.interval.method, IntervalMethod::PercentileBcaDegenerate);
        assert_eq!((constant.interval.low, constant.interval.high), (0.5, 0.5));
    }
}
