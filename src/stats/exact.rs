//! Exact sums of f64 values in integers.
//!
//! Resamples of the same values must have bit-equal sums: the BCa bias correction and permutation p-values
//! count ties, and floating-point sums in another order would break ties at random. So values are stored as
//! integers times one power of two.

/// Rounding is below 2⁻⁵³ of the largest value for up to 512 terms.
#[derive(Debug, Clone)]
pub(super) struct ExactValues {
    units: Vec<i64>,
    per_unit: f64,
}

impl ExactValues {
    /// `values` must be finite. Any sum of up to `terms` of them fits an i64.
    pub(super) fn new(values: &[f64], terms: usize) -> Self {
        let largest = values.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        if largest == 0.0 {
            return Self { units: vec![0; values.len()], per_unit: 1.0 };
        }
        let room = 61 - (terms.max(1) as f64).log2().ceil() as i32;
        // In this range both the power and its inverse are normal numbers.
        let power = (room - largest.log2().ceil() as i32).clamp(-1000, 1000);
        let scale = 2f64.powi(power);
        let units = values.iter().map(|value| (value * scale).round() as i64).collect();
        Self { units, per_unit: 1.0 / scale }
    }

    pub(super) fn units(&self) -> &[i64] {
        &self.units
    }

    /// The number that a sum of units represents.
    pub(super) fn value(&self, units: i64) -> f64 {
        units as f64 * self.per_unit
    }

    /// The sum of all values.
    pub(super) fn total(&self) -> i64 {
        self.units.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_in_any_order() {
        let values = [0.1, 0.2, 0.7, -0.3, 1e-9, 0.25];
        let exact = ExactValues::new(&values, values.len());
        let sum: f64 = values.iter().sum();
        assert!((exact.value(exact.total()) - sum).abs() < 1e-15);
        let backwards: i64 = exact.units().iter().rev().sum();
        assert_eq!(backwards, exact.total());
    }

    #[test]
    fn extreme_scales_neither_overflow_nor_vanish() {
        for scale in [1e-290, 1e-30, 1.0, 1e30, 1e290] {
            let exact = ExactValues::new(&[scale, 3.0 * scale, -scale], 1000);
            assert!((exact.value(exact.total()) / (3.0 * scale) - 1.0).abs() < 1e-12, "scale {scale}");
        }
        assert_eq!(ExactValues::new(&[0.0, 0.0], 2).total(), 0);
    }
}
