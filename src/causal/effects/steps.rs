//! What a unit of a code adds to activations.

use crate::base::Matrix;
use crate::causal::direction::norm;
use crate::causal::{CausalError, Writer};

/// What one unit of a code adds to each row of a text, `[n, width]`.
pub struct Steps(Matrix);

impl Steps {
    /// Those of a feature. With `along`, a direction of norm 1: steps in that direction, with the feature's norms.
    pub fn of(
        writer: &Writer<'_>,
        feature: usize,
        inputs: &Matrix,
        along: Option<&[f32]>,
    ) -> Result<Self, CausalError> {
        let own = Self(writer.delta(inputs, feature, &vec![1.0; inputs.rows()])?);
        let Some(direction) = along else { return Ok(own) };
        let norms: Vec<f64> = (0..own.0.rows()).map(|row| own.norm(row)).collect();
        let turned = |row: usize, col: usize| (norms[row] * f64::from(direction[col])) as f32;
        Ok(Self(Matrix::from_fn(own.0.rows(), own.0.cols(), turned)))
    }

    /// Norm of the step at a row.
    pub fn norm(&self, row: usize) -> f64 {
        norm(self.0.row(row))
    }

    /// `rows` with `change(row)` steps added to each. Rows with a change of 0 keep their bits.
    pub fn added(&self, rows: &Matrix, change: impl Fn(usize) -> f64) -> Matrix {
        let mut changed = rows.clone();
        for row in 0..rows.rows() {
            let change = change(row) as f32;
            if change != 0.0 {
                changed
                    .row_mut(row)
                    .iter_mut()
                    .zip(self.0.row(row))
                    .for_each(|(x, step)| *x += change * step);
            }
        }
        changed
    }
}
