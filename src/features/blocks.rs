use rayon::prelude::*;

use crate::base::Matrix;

use super::FeatureError;

/// Bits of an f32 that are all set in NaN and in infinities only.
const EXPONENT: u32 = 0x7f80_0000;

/// Codes of which most are zero, row after row: row `i` has `values[offsets[i]..offsets[i + 1]]` at
/// the features `indices[..]` of the same range, each feature at most once; the others are zero.
#[derive(Debug, Clone, Copy)]
pub struct SparseCodes<'a> {
    /// Where each row starts, and the end: rows + 1 entries.
    pub offsets: &'a [usize],
    /// Feature of each value.
    pub indices: &'a [u32],
    /// The values that may be other than zero.
    pub values: &'a [f32],
}

/// Of each fragment of a block and each feature, row-major [fragments, features].
#[derive(Debug)]
pub(super) struct FragmentMaxima {
    /// Largest code over the positions that count.
    pub maxima: Vec<f32>,
    /// Positions, of those that count, whose code is positive.
    pub firing: Vec<u32>,
}

/// The shape that a block of codes must have.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockShape {
    pub n_features: usize,
    pub positions: usize,
    pub first_scored: usize,
    /// Number of the block's first fragment, for messages.
    pub first_fragment: usize,
}

impl BlockShape {
    fn whole_fragments(&self, rows: usize, cols: usize) -> Result<usize, FeatureError> {
        let n_fragments = rows / self.positions;
        if cols == self.n_features && rows == n_fragments * self.positions {
            return Ok(n_fragments);
        }
        Err(FeatureError::BlockShape {
            rows,
            cols,
            n_fragments,
            positions: self.positions,
            n_features: self.n_features,
        })
    }

    fn not_finite(&self, feature: usize, nth_fragment: usize, value: f32) -> FeatureError {
        FeatureError::NotFinite { feature, fragment: self.first_fragment + nth_fragment, value }
    }

    /// Maxima and firing counts per fragment, one worker per fragment.
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

/// `codes` is [fragments · positions, features].
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
                // One instruction, where `f32::max` takes care of NaN.
                *max = if value > *max { value } else { *max };
                *count += u32::from(value > 0.0);
            }
        }
        Ok(())
    })
}

/// As `dense_maxima`, from sparse rows: absent codes are zero.
pub(super) fn sparse_maxima(
    shape: BlockShape,
    codes: SparseCodes<'_>,
) -> Result<FragmentMaxima, FeatureError> {
    check_sparse(shape, codes)?;
    let n_fragments = shape.whole_fragments(codes.offsets.len() - 1, shape.n_features)?;
    let n_scored = shape.positions.saturating_sub(shape.first_scored);
    shape.reduce(n_fragments, |fragment, maxima, firing| {
        let mut given = vec![0; maxima.len()];
        for position in 0..shape.positions {
            let row = fragment * shape.positions + position;
            let range = codes.offsets[row]..codes.offsets[row + 1];
            for (&feature, &value) in codes.indices[range.clone()].iter().zip(&codes.values[range]) {
                let feature = feature as usize;
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

fn check_sparse(shape: BlockShape, codes: SparseCodes<'_>) -> Result<(), FeatureError> {
    let problem = if codes.offsets.first() != Some(&0) {
        Some("`offsets` must start with 0".to_string())
    } else if codes.offsets.windows(2).any(|pair| pair[0] > pair[1]) {
        Some("`offsets` must not fall".to_string())
    } else if codes.indices.len() != codes.values.len() {
        Some(format!("{} indices but {} values", codes.indices.len(), codes.values.len()))
    } else if codes.offsets.last() != Some(&codes.values.len()) {
        Some(format!("`offsets` must end with the number of values, {}", codes.values.len()))
    } else {
        codes
            .indices
            .iter()
            .find(|&&feature| feature as usize >= shape.n_features)
            .map(|feature| format!("feature {feature} of a dictionary of {} features", shape.n_features))
    };
    problem.map_or(Ok(()), |problem| Err(FeatureError::SparseShape(problem)))
}
