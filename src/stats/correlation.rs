//! Pearson's correlation, plain and weighted.
//!
//!   r = Σ w (t − t̄)(p − p̄) / √(Σ w (t − t̄)² · Σ w (p − p̄)²)      weights w sum to 1

use super::describe::{check_weights, range};
use super::undefined::Undefined;

/// Relative variance up to which values count as constant: four digits above f64 rounding.
const CONSTANT: f64 = 1e-24;

/// Pearson's correlation in −1..=1, in two passes. If both sides are constant, the truth is reported.
pub fn pearson(truth: &[f64], prediction: &[f64]) -> Result<f64, Undefined> {
    check_pair(truth, prediction)?;
    correlate(truth, prediction, |_| 1.0, truth.len() as f64)
}

/// Pearson's correlation in which value i has weight `weights[i]` ≥ 0, on any scale. Values of weight 0 are
/// ignored, also in the check for constants.
pub fn weighted_pearson(truth: &[f64], prediction: &[f64], weights: &[f64]) -> Result<f64, Undefined> {
    check_pair(truth, prediction)?;
    Undefined::check_lengths(truth.len(), weights.len())?;
    let total = check_weights(weights)?;
    let got = weights.iter().filter(|weight| **weight > 0.0).count();
    Undefined::check_count(got, 2)?;
    correlate(truth, prediction, |i| weights[i], total)
}

fn check_pair(truth: &[f64], prediction: &[f64]) -> Result<(), Undefined> {
    Undefined::check_lengths(truth.len(), prediction.len())?;
    Undefined::check_count(truth.len(), 2)?;
    Undefined::check_finite(truth)?;
    Undefined::check_finite(prediction)
}

fn correlate(
    truth: &[f64],
    prediction: &[f64],
    weight: impl Fn(usize) -> f64,
    total: f64,
) -> Result<f64, Undefined> {
    let truth = Centred::new(truth, &weight, total);
    let prediction = Centred::new(prediction, &weight, total);
    if truth.is_constant() {
        return Err(Undefined::ConstantTruth);
    }
    if prediction.is_constant() {
        return Err(Undefined::ConstantPrediction);
    }
    let products = truth.values.iter().zip(&prediction.values).enumerate();
    let covariance = products.map(|(i, (a, b))| weight(i) / total * a * b).sum::<f64>();
    Ok((covariance / (truth.variance.sqrt() * prediction.variance.sqrt())).clamp(-1.0, 1.0))
}

/// Values minus their weighted mean, divided by the largest magnitude to avoid overflow of squares.
struct Centred {
    values: Vec<f64>,
    variance: f64,
}

impl Centred {
    fn new(values: &[f64], weight: &impl Fn(usize) -> f64, total: f64) -> Self {
        let (low, high) = range(values);
        let largest = low.abs().max(high.abs());
        let scale = if largest > 0.0 { largest } else { 1.0 };
        let share = |i: usize| weight(i) / total;
        let mean: f64 = values.iter().enumerate().map(|(i, value)| share(i) * (value / scale)).sum();
        let values: Vec<f64> = values.iter().map(|value| value / scale - mean).collect();
        let variance = values.iter().enumerate().map(|(i, value)| share(i) * value * value).sum();
        Self { values, variance }
    }

    fn is_constant(&self) -> bool {
        self.variance <= CONSTANT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_worked_tables() {
        // Deviations (-1, 0, 1) and (-1, 1, 0): covariance 1, both sums of squares 2.
        assert!((pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).expect("defined") - 0.5).abs() < 1e-15);
        assert!((pearson(&[1.0, 2.0, 4.0], &[-2.0, -4.0, -8.0]).expect("defined") + 1.0).abs() < 1e-15);
        assert!(pearson(&[-1.0, 0.0, 1.0], &[1.0, 0.0, 1.0]).expect("defined").abs() < 1e-15);
    }

    #[test]
    fn weights_are_repetitions() {
        let repeated = pearson(&[1.0, 1.0, 1.0, 2.0, 4.0], &[0.0, 0.0, 0.0, 3.0, 1.0]).expect("defined");
        let weighted = weighted_pearson(&[1.0, 2.0, 4.0], &[0.0, 3.0, 1.0], &[3.0, 1.0, 1.0]);
        assert!((weighted.expect("defined") - repeated).abs() < 1e-15);
        let zero = weighted_pearson(&[1.0, 1.0, 9.0], &[0.0, 3.0, 1.0], &[1.0, 1.0, 0.0]);
        assert_eq!(zero, Err(Undefined::ConstantTruth));
    }

    #[test]
    fn constants_are_told_apart_and_rounding_is_no_variation() {
        assert_eq!(pearson(&[1.0, 1.0], &[1.0, 2.0]), Err(Undefined::ConstantTruth));
        assert_eq!(pearson(&[1.0, 1.0], &[2.0, 2.0]), Err(Undefined::ConstantTruth));
        assert_eq!(pearson(&[1.0, 2.0], &[0.0, 0.0]), Err(Undefined::ConstantPrediction));
        let noise = [0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2];
        assert_eq!(pearson(&[1.0, 2.0, 3.0, 4.0], &noise), Err(Undefined::ConstantPrediction));
        assert_eq!(pearson(&noise, &[1.0, 2.0, 3.0, 4.0]), Err(Undefined::ConstantTruth));
    }

    #[test]
    fn scale_does_not_matter() {
        let expected = pearson(&[1.0, 2.0, 3.0], &[1.0, 3.0, 2.0]).expect("defined");
        for scale in [1e-200, 1e-30, 1e30, 1e200] {
            let truth = [1.0, 2.0, 3.0].map(|value: f64| value * scale);
            let r = pearson(&truth, &[1.0, 3.0, 2.0]).expect("defined");
            assert!((r - expected).abs() < 1e-14, "scale {scale}: {r}");
        }
    }

    #[test]
    fn bad_input_has_a_reason() {
        assert_eq!(pearson(&[1.0], &[1.0]), Err(Undefined::TooFew { need: 2, got: 1 }));
        let mismatch = Undefined::LengthMismatch { first: 2, second: 1 };
        assert_eq!(pearson(&[1.0, 2.0], &[1.0]), Err(mismatch));
        assert_eq!(pearson(&[1.0, f64::INFINITY], &[1.0, 2.0]), Err(Undefined::NotFinite { index: 1 }));
    }
}
