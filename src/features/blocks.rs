//! Per-fragment maxima and firing counts of a block of codes, dense or sparse.
//!
//!   maxima[f, j] = max over scored positions t of fragment f of code[f, t, j]
//!   firing[f, j] = number of scored positions t with code[f, t, j] > 0

use rayon::prelude::*;

use crate::base::Matrix;
use crate::linalg::SparseCodes;

use super::FeatureError;

/// Exponent bits of an f32: all set in NaN and infinities only.
const EXPONENT: u32 = 0x7f80_0000;

/// Row-major `[fragments, features]`.
#[derive(Debug)]
pub(super) struct FragmentMaxima {
    pub maxima: Vec<f32>,
    pub firing: Vec<u32>,
}

/// The expected shape of a block of codes.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
    pub n_features: usize,
    pub positions: usize,
    pub first_scored: usize,
    /// Index of the block's first fragment, for messages.
    pub first_fragment: usize,
}

impl BlockShape {
    fn whole_fragments(&self, rows: usize, cols: usize) -> Result<usize, FeatureError> {
        let n_fragments = rows / self.positions;
        FeatureError::check_shape([rows, cols], n_fragments, self.positions, self.n_features)?;
        Ok(n_fragments)
    }

    fn not_finite(&self, feature: usize, nth_fragment: usize, value: f32) -> FeatureError {
        FeatureError::NotFinite { feature, fragment: self.first_fragment + nth_fragment, value }
    }

    /// Maxima and counts, one task per fragment.
    fn reduce(
        &self,
        n_fragments: usize,
        fill: impl Fn(usize, &mut [f32], &mut [u32]) -> Result<(), FeatureError> + Sync,
    ) -> Result<FragmentMaxima, FeatureError> {
        let cells = n_fragments * self.n_features;
        let mut out = FragmentMaxima { maxima: vec![f32::NEG_INFINITY; cells], firing: vec![0; cells] };
        let width = self.n_features.max(1);
        out.maxima
            .par_chunks_mut(width)
            .zip(out.firing.par_chunks_mut(width))
            .enumerate()
            .try_for_each(|(fragment, (maxima, firing))| fill(fragment, maxima, firing))?;
        Ok(out)
    }
}

/// From dense codes `[fragments · positions, features]`.
pub(super) fn dense_maxima(shape: BlockShape, codes: &Matrix) -> Result<FragmentMaxima, FeatureError> {
    let n_fragments = shape.whole_fragments(codes.rows(), codes.cols())?;
    shape.reduce(n_fragments, |fragment, maxima, firing| {
        for position in 0..shape.positions {
            let row = codes.row(fragment * shape.positions + position);
            if row.iter().fold(0, |bad, value| bad | u32::from(value.to_bits() & EXPONENT == EXPONENT)) != 0 {
                let feature = row.iter().position(|value| !value.is_finite()).unwrap_or(0);
                return Err(shape.not_finite(feature, fragment, row[feature]));
            }
            if position < shape.first_scored {
                continue;
            }
            for ((max, count), &value) in maxima.iter_mut().zip(firing.iter_mut()).zip(row) {
                // One instruction; `f32::max` also handles NaN.
                *max = if value > *max { value } else { *max };
                *count += u32::from(value > 0.0);
            }
        }
        Ok(())
    })
}

/// From sparse rows; absent codes are zero.
pub(super) fn sparse_maxima(shape: BlockShape, codes: &SparseCodes) -> Result<FragmentMaxima, FeatureError> {
    let n_fragments = shape.whole_fragments(codes.rows(), codes.cols())?;
    let n_scored = shape.positions.saturating_sub(shape.first_scored);
    shape.reduce(n_fragments, |fragment, maxima, firing| {
        let mut given = vec![0; maxima.len()];
        for position in 0..shape.positions {
            for (feature, value) in codes.iter_row(fragment * shape.positions + position) {
                if !value.is_finite() {
                    return Err(shape.not_finite(feature, fragment, value));
                }
                if position >= shape.first_scored {
                    maxima[feature] = maxima[feature].max(value);
                    firing[feature] += u32::from(value > 0.0);
                    given[feature] += 1;
                }
            }
        }
        for (max, given) in maxima.iter_mut().zip(given) {
            if given < n_scored {
                *max = max.max(0.0);
            }
        }
        Ok(())
    })
}
