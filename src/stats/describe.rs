//! Descriptive statistics: means, spread, quantiles, kurtosis and kernel density.

use serde::{Deserialize, Serialize};

use super::exact::ExactValues;
use super::undefined::Undefined;

/// A summary of one sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of values.
    pub n: usize,
    /// Arithmetic mean.
    pub mean: f64,
    /// Standard deviation with n − 1 in the denominator; none for a single value.
    pub sd: Option<f64>,
    /// Smallest value.
    pub min: f64,
    /// First quartile.
    pub q25: f64,
    /// Median.
    pub median: f64,
    /// Third quartile.
    pub q75: f64,
    /// Largest value.
    pub max: f64,
}

/// Summary of at least one finite value.
pub fn describe(values: &[f64]) -> Result<Summary, Undefined> {
    let mean = mean(values)?;
    let sorted = sorted(values);
    Ok(Summary {
        n: values.len(),
        mean,
        sd: sd(values).ok(),
        min: quantile_sorted(&sorted, 0.0),
        q25: quantile_sorted(&sorted, 0.25),
        median: quantile_sorted(&sorted, 0.5),
        q75: quantile_sorted(&sorted, 0.75),
        max: quantile_sorted(&sorted, 1.0),
    })
}

/// Arithmetic mean, exactly summed: it lies between the extremes and does not depend on the order.
pub fn mean(values: &[f64]) -> Result<f64, Undefined> {
    Undefined::check_count(values.len(), 1)?;
    Undefined::check_finite(values)?;
    Ok(mean_of_finite(values))
}

/// The mean of at least one value; all must be finite.
pub(super) fn mean_of_finite(values: &[f64]) -> f64 {
    let exact = ExactValues::new(values, values.len());
    let (low, high) = range(values);
    (exact.value(exact.total()) / values.len() as f64).clamp(low, high)
}

/// Smallest and largest of at least one finite value.
pub(super) fn range(values: &[f64]) -> (f64, f64) {
    values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &value| (low.min(value), high.max(value)))
}

/// Σ wᵢxᵢ / Σ wᵢ with weights wᵢ ≥ 0.
pub fn weighted_mean(values: &[f64], weights: &[f64]) -> Result<f64, Undefined> {
    Undefined::check_lengths(values.len(), weights.len())?;
    Undefined::check_count(values.len(), 1)?;
    Undefined::check_finite(values)?;
    let total = check_weights(weights)?;
    let sum: f64 = values.iter().zip(weights).map(|(value, weight)| value * (weight / total)).sum();
    let (low, high) = range(values);
    Ok(sum.clamp(low, high))
}

/// The sum of the weights, which must be non-negative with a positive, finite sum.
pub(super) fn check_weights(weights: &[f64]) -> Result<f64, Undefined> {
    let total: f64 = weights.iter().sum();
    let usable = weights.iter().all(|weight| weight.is_finite() && *weight >= 0.0);
    if usable && total > 0.0 && total.is_finite() { Ok(total) } else { Err(Undefined::BadWeights) }
}

/// Standard deviation with n − 1 in the denominator; needs two values.
pub fn sd(values: &[f64]) -> Result<f64, Undefined> {
    Undefined::check_count(values.len(), 2)?;
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Ok((squares / (values.len() - 1) as f64).sqrt())
}

/// Relative spread up to which values count as constant; smaller deviations are rounding.
const CONSTANT: f64 = 1e-12;

/// Excess kurtosis m₄/m₂² − 3, with mₖ the mean of (x − x̄)ᵏ: 0 for a normal distribution, large for heavy
/// tails. None if the values do not vary.
#[cfg(test)]
pub fn excess_kurtosis(values: &[f64]) -> Result<Option<f64>, Undefined> {
    let mean = mean(values)?;
    let sum = |power| values.iter().map(|value| (value - mean).powi(power)).sum::<f64>();
    let (low, high) = range(values);
    Ok(excess_kurtosis_of_sums(values.len(), sum(2), sum(4), low.abs().max(high.abs())))
}

/// Excess kurtosis m₄/m₂² − 3 from the sums of squared and fourth-power deviations of `n` values. `largest`
/// is the largest magnitude of a value.
pub fn excess_kurtosis_of_sums(n: usize, squares: f64, fourths: f64, largest: f64) -> Option<f64> {
    let n = n as f64;
    let variance = squares / n;
    let varies = variance.sqrt() > CONSTANT * largest;
    Some(fourths / n / (variance * variance) - 3.0).filter(|kurtosis| varies && kurtosis.is_finite())
}

/// The `p` quantile, 0 ≤ `p` ≤ 1, interpolated linearly (Hyndman and Fan 1996, type 7, as in NumPy and R).
pub fn quantile(values: &[f64], p: f64) -> Result<f64, Undefined> {
    Undefined::check_count(values.len(), 1)?;
    Undefined::check_finite(values)?;
    if !(0.0..=1.0).contains(&p) {
        return Err(Undefined::Setting { name: "p", expected: "between 0 and 1", got: p });
    }
    Ok(quantile_sorted(&sorted(values), p))
}

/// [`quantile`] of finite values in ascending order. `p` is clamped to 0..=1; no values give 0.
pub fn quantile_sorted(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let position = p.clamp(0.0, 1.0) * last as f64;
    let below = (position.floor() as usize).min(last);
    let above = (below + 1).min(last);
    let part = position - below as f64;
    (sorted[below] * (1.0 - part) + sorted[above] * part).clamp(sorted[below], sorted[above])
}

/// Gaussian kernel density at each place of `at`. None if the values do not vary; needs two values.
///
/// The bandwidth is Silverman's rule, 0.9 · min(sd, IQR/1.34) · n^(−1/5), or with sd alone if the IQR is 0
/// (Silverman 1986, *Density estimation for statistics and data analysis*, equation 3.31).
pub fn kernel_density(values: &[f64], at: &[f64]) -> Result<Option<Vec<f64>>, Undefined> {
    let summary = describe(values)?;
    let sd = sd(values)?;
    let middle = (summary.q75 - summary.q25) / 1.34;
    let spread = if middle > 0.0 { sd.min(middle) } else { sd };
    let n = values.len() as f64;
    let width = 0.9 * spread * n.powf(-0.2);
    if width <= CONSTANT * summary.max.abs().max(summary.min.abs()) {
        return Ok(None);
    }
    let height = 1.0 / (n * width * (2.0 * std::f64::consts::PI).sqrt());
    let density = |place: &f64| {
        let kernel = |value: &f64| (-0.5 * ((place - value) / width).powi(2)).exp();
        height * values.iter().map(kernel).sum::<f64>()
    };
    Ok(Some(at.iter().map(density).collect()))
}

/// A sorted copy.
pub(super) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_worked_sample() {
        // 2, 4, 4, 4, 5, 5, 7, 9: mean 5, squared deviations sum to 32.
        let summary = describe(&[9.0, 4.0, 2.0, 5.0, 4.0, 7.0, 4.0, 5.0]).expect("described");
        assert_eq!(summary.mean, 5.0);
        assert!((summary.sd.expect("two values or more") - (32.0f64 / 7.0).sqrt()).abs() < 1e-15);
        assert_eq!((summary.min, summary.q25, summary.median, summary.q75), (2.0, 4.0, 4.5, 5.5));
        assert_eq!(summary.max, 9.0);
    }

    #[test]
    fn a_mean_of_equal_values_is_that_value() {
        assert_eq!(mean(&[0.1; 3]), Ok(0.1));
        assert_eq!(sd(&[0.1; 7]), Ok(0.0));
    }

    #[test]
    fn quantiles_interpolate_between_order_statistics() {
        assert_eq!(quantile(&[10.0, 0.0], 0.25), Ok(2.5));
        assert_eq!(quantile(&[3.0], 0.9), Ok(3.0));
        assert!(matches!(quantile(&[3.0], 1.5), Err(Undefined::Setting { .. })));
    }

    #[test]
    fn kurtosis_by_hand() {
        // Deviations ±1: m₂ = m₄ = 1. One of ten values at 10: deviations −1 and 9, m₂ = 9, m₄ = 657.
        assert_eq!(excess_kurtosis(&[4.0, 6.0, 6.0, 4.0]), Ok(Some(-2.0)));
        let mut values = [0.0; 10];
        values[3] = 10.0;
        let found = excess_kurtosis(&values).expect("values").expect("they vary");
        assert!((found - (657.0 / 81.0 - 3.0)).abs() < 1e-12, "{found}");
        assert_eq!(excess_kurtosis(&[0.1; 9]), Ok(None));
        assert_eq!(excess_kurtosis(&[]), Err(Undefined::TooFew { need: 1, got: 0 }));
    }

    #[test]
    fn a_kernel_density_is_one_in_all_and_agrees_with_scipy() {
        // scipy.stats.gaussian_kde(values, bw_method=w / sd), w = 0.9 · min(sd, 3 / 1.34) · 5^(−1/5).
        let values = [0.0, 1.0, 1.5, 4.0, 4.5];
        let found = kernel_density(&values, &[0.0, 1.2, 3.0]).expect("values").expect("they vary");
        for (found, expected) in
            found.iter().zip([0.14045631722349064, 0.17062873700058806, 0.13090268253410775])
        {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        let grid: Vec<f64> = (-1000..1500).map(|i| f64::from(i) / 100.0).collect();
        let total: f64 = kernel_density(&values, &grid).expect("values").expect("they vary").iter().sum();
        assert!((total / 100.0 - 1.0).abs() < 1e-9, "{total}");
        assert_eq!(kernel_density(&[2.0; 4], &[2.0]), Ok(None));
        assert_eq!(kernel_density(&[2.0], &[2.0]), Err(Undefined::TooFew { need: 2, got: 1 }));
    }

    #[test]
    fn weights_pull_the_mean() {
        assert_eq!(weighted_mean(&[0.0, 1.0], &[1.0, 3.0]), Ok(0.75));
        assert_eq!(weighted_mean(&[0.0, 1.0], &[0.0, 0.0]), Err(Undefined::BadWeights));
        assert_eq!(weighted_mean(&[0.0, 1.0], &[1.0, -1.0]), Err(Undefined::BadWeights));
        let mismatch = Undefined::LengthMismatch { first: 1, second: 2 };
        assert_eq!(weighted_mean(&[0.0], &[1.0, 1.0]), Err(mismatch));
    }

    #[test]
    fn what_is_missing_has_a_reason() {
        assert_eq!(mean(&[]), Err(Undefined::TooFew { need: 1, got: 0 }));
        assert_eq!(sd(&[1.0]), Err(Undefined::TooFew { need: 2, got: 1 }));
        assert_eq!(mean(&[1.0, f64::NAN]), Err(Undefined::NotFinite { index: 1 }));
        assert_eq!(describe(&[1.0]).expect("one value").sd, None);
    }
}
