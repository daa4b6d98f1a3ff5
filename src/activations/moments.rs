//! Mean and total variance of rows in one pass.
//!
//!   mean = s + Σ(x − s)/N,   variance per dimension = (Σ(x − s)² − (Σ(x − s))²/N)/N      x, s [d]
//!
//! The shift s is the first row, so that a large mean costs no precision. All sums are in f64.

use super::error::ActivationError;
use crate::base::HookPoint;

pub(super) struct RunningMoments {
    hook: HookPoint,
    rows: usize,
    shift: Vec<f64>,
    sum: Vec<f64>,
    sum_of_squares: Vec<f64>,
}

impl RunningMoments {
    pub fn new(hook: HookPoint, width: usize) -> Self {
        Self { hook, rows: 0, shift: Vec::new(), sum: vec![0.0; width], sum_of_squares: vec![0.0; width] }
    }

    /// Adds rows `[n, d]`. Fails at the first row with a NaN or infinite value.
    pub fn add(&mut self, rows: &[f32]) -> Result<(), ActivationError> {
        let width = self.sum.len();
        for row in rows.chunks_exact(width) {
            if row.iter().any(|value| !value.is_finite()) {
                return Err(ActivationError::NotFinite { hook: self.hook, row: self.rows });
            }
            if self.rows == 0 {
                self.shift = row.iter().map(|&value| f64::from(value)).collect();
            }
            for (((&value, shift), sum), squares) in
                row.iter().zip(&self.shift).zip(&mut self.sum).zip(&mut self.sum_of_squares)
            {
                let shifted = f64::from(value) - shift;
                *sum += shifted;
                *squares += shifted * shifted;
            }
            self.rows += 1;
        }
        Ok(())
    }

    /// The mean row and the mean variance of a dimension. Fails if there are no rows or all rows are equal.
    pub fn finish(&self) -> Result<(Vec<f64>, f64), ActivationError> {
        if self.rows == 0 {
            return Err(ActivationError::Empty { hook: self.hook });
        }
        let n = self.rows as f64;
        let mean = self.sum.iter().zip(&self.shift).map(|(sum, shift)| sum / n + shift).collect();
        let sums = self.sum.iter().zip(&self.sum_of_squares);
        let total: f64 = sums.map(|(sum, squares)| (squares - sum * sum / n) / n).sum();
        if total <= 0.0 {
            return Err(ActivationError::Constant { hook: self.hook, rows: self.rows });
        }
        Ok((mean, total / self.sum.len() as f64))
    }
}
