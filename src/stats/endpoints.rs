//! Endpoints of bootstrap intervals (Efron and Tibshirani 1993, equations 13.5 and 14.9–14.15).
//!
//!   BCa: quantiles α₁, α₂ of the bootstrap distribution, α₁ = Φ(z₀ + (z₀ + z_α) / (1 − a (z₀ + z_α)))
//!   bias correction z₀ = Φ⁻¹(share of the distribution below the point estimate), acceleration a

use super::describe::quantile_sorted;
use super::normal::{normal_cdf, normal_quantile};

/// The (1 ∓ confidence)/2 quantiles of a bootstrap distribution in ascending order.
pub fn percentile_endpoints(sorted: &[f64], confidence: f64) -> (f64, f64) {
    let alpha = (1.0 - confidence) / 2.0;
    (quantile_sorted(sorted, alpha), quantile_sorted(sorted, 1.0 - alpha))
}

/// BCa endpoints from a bootstrap distribution in ascending order, or none if BCa is degenerate.
///
/// For z₀, values equal to `point` count one half. BCa is degenerate if the whole distribution lies on one
/// side of the point, if the acceleration does not exist, or if the correction leaves the range in which it
/// is monotone.
pub fn bca_endpoints(
    sorted: &[f64],
    point: f64,
    acceleration: Option<f64>,
    confidence: f64,
) -> Option<(f64, f64)> {
    let acceleration = acceleration?;
    let below = sorted.partition_point(|value| *value < point);
    let up_to = sorted.partition_point(|value| *value <= point);
    let share = (below + up_to) as f64 / (2 * sorted.len()) as f64;
    if !(share > 0.0 && share < 1.0) {
        return None;
    }
    let bias = normal_quantile(share);
    let z = normal_quantile((1.0 - confidence) / 2.0);
    let level = |z: f64| {
        let moved = bias + z;
        let shrink = 1.0 - acceleration * moved;
        (shrink > 0.0).then(|| normal_cdf(bias + moved / shrink))
    };
    Some((quantile_sorted(sorted, level(z)?), quantile_sorted(sorted, level(-z)?)))
}

/// BCa acceleration from jackknife influences, one slice per independent sample. None if nothing varies.
///
/// a = Σ(ΣU³/n³) / 6(Σ(ΣU²/n²))^{3/2}, with Uᵢ = (n − 1)(mean of the leave-one-out values − the value without
/// unit i). For a mean, Uᵢ = xᵢ − x̄.
pub fn acceleration(influences: &[&[f64]]) -> Option<f64> {
    let moment = |power: i32| -> f64 {
        let of = |sample: &&[f64]| sample.iter().map(|u| (u / sample.len() as f64).powi(power)).sum::<f64>();
        influences.iter().map(of).sum()
    };
    let acceleration = moment(3) / (6.0 * moment(2).powf(1.5));
    acceleration.is_finite().then_some(acceleration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_bias_or_acceleration_bca_is_percentile() {
        let sorted: Vec<f64> = (0..=1000).map(f64::from).collect();
        let (low, high) = bca_endpoints(&sorted, 500.0, Some(0.0), 0.95).expect("not degenerate");
        let (expected_low, expected_high) = percentile_endpoints(&sorted, 0.95);
        assert!((low - expected_low).abs() < 1e-9 && (high - expected_high).abs() < 1e-9);
        assert_eq!((expected_low.round(), expected_high.round()), (25.0, 975.0));
    }

    #[test]
    fn degenerate_cases_have_no_bca() {
        let sorted = [1.0, 2.0, 3.0];
        assert_eq!(bca_endpoints(&sorted, 0.0, Some(0.0), 0.95), None);
        assert_eq!(bca_endpoints(&sorted, 9.0, Some(0.0), 0.95), None);
        assert_eq!(bca_endpoints(&sorted, 2.0, None, 0.95), None);
        assert_eq!(bca_endpoints(&sorted, 2.0, Some(0.9), 0.95), None);
        assert_eq!(acceleration(&[&[0.0, 0.0]]), None);
    }

    #[test]
    fn a_symmetric_sample_has_no_acceleration() {
        assert!(acceleration(&[&[-1.0, 0.0, 1.0]]).expect("varies").abs() < 1e-15);
        // U = (-1, -1, 2): sum of cubes 6, of squares 6; a = 6 / (6 * 6^1.5).
        let a = acceleration(&[&[-1.0, -1.0, 2.0]]).expect("varies");
        assert!((a - 1.0 / 6f64.powf(1.5)).abs() < 1e-15);
    }
}
