use crate::base::Matrix;

use super::product::{View, product_into};
use rayon::prelude::*;

/// Rows of the covariance computed by one task, at least and at most: tall ones read the data less often, and a
/// few are wanted for every thread.
const PANEL_ROWS: (usize, usize) = (32, 128);
const PANELS: usize = 4;

/// Covariance `[d, d]` in f64, row-major, of rows that come in blocks, about `mean` and divided by
/// the number of rows. Also that number. An error of `blocks` ends it.
///
/// Products are taken in f64: eigenvalues of activations span five orders of magnitude, and sums
/// of f32 products lose the small ones.
pub fn covariance<E>(
    mean: &[f64],
    blocks: impl Iterator<Item = Result<Matrix, E>>,
) -> Result<(Vec<f64>, usize), E> {
    let width = mean.len();
    let panel_rows = (width / PANELS).clamp(PANEL_ROWS.0, PANEL_ROWS.1);
    let mut sums = vec![0.0f64; width * width];
    let mut rows = 0;
    let mut centred: Vec<f64> = Vec::new();
    for block in blocks {
        let block = block?;
        rows += block.rows();
        centred.resize(block.rows() * width, 0.0);
        centred.par_chunks_mut(width.max(1) * 512).enumerate().for_each(|(chunk, part)| {
            let from = &block.data()[chunk * width * 512..][..part.len()];
            for (out, row) in part.chunks_exact_mut(width).zip(from.chunks_exact(width)) {
                for ((slot, &value), mean) in out.iter_mut().zip(row).zip(mean) {
                    *slot = f64::from(value) - mean;
                }
            }
        });
        let view = View::new(&centred, block.rows(), width);
        // The matrix is its own transpose, so entries left of the panel's own block are there already.
        sums.par_chunks_mut((panel_rows * width).max(1)).enumerate().for_each(|(panel, part)| {
            let start = panel * panel_rows;
            let left = view.transposed().rows(start, start + part.len() / width);
            let right = view.transposed().rows(start, width).transposed();
            let mut product = vec![0.0; part.len() / width * (width - start)];
            product_into(&mut product, left, right, false);
            for (sums, product) in part.chunks_exact_mut(width).zip(product.chunks_exact(width - start)) {
                sums[start..].iter_mut().zip(product).for_each(|(sum, value)| *sum += value);
            }
        });
    }
    let n = rows.max(1) as f64;
    for row in 0..width {
        for col in 0..=row {
            let value = sums[col * width + row] / n;
            sums[row * width + col] = value;
            sums[col * width + row] = value;
        }
    }
    Ok((sums, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use std::convert::Infallible;

    #[test]
    fn matches_the_definition_across_blocks() {
        let mut stream = Stream::new(2, "rows");
        let rows = Matrix::from_fn(700, 5, |_, col| 100.0 + (stream.normal() * (1.0 + col as f64)) as f32);
        let mean: Vec<f64> =
            (0..5).map(|col| rows.iter_rows().map(|row| f64::from(row[col])).sum::<f64>() / 700.0).collect();
        let blocks = (0..700).step_by(256).map(|start| {
            let picked: Vec<usize> = (start..(start + 256).min(700)).collect();
            Ok::<_, Infallible>(rows.select_rows(&picked))
        });
        let (got, n) = covariance(&mean, blocks).expect("infallible");
        assert_eq!(n, 700);
        for i in 0..5 {
            for j in 0..5 {
                let exact = rows
                    .iter_rows()
                    .map(|row| (f64::from(row[i]) - mean[i]) * (f64::from(row[j]) - mean[j]))
                    .sum::<f64>()
                    / 700.0;
                assert!((got[i * 5 + j] - exact).abs() < 1e-9 * (1.0 + exact.abs()), "{i} {j}");
            }
        }
    }
}
