//! Covariance of activations, from blocks of rows.
//!
//!   C = (1/N) Σ_t (x_t − μ)(x_t − μ)ᵀ      x_t [d], μ [d], C [d, d] f64
//!
//! Rows are centred in f64 and rounded to f32. Products are summed in f32 over stretches of 128 rows, and the
//! sums of stretches in f64. C is symmetric, so of each panel of [`NR`] columns only the rows up to the
//! panel's last column are computed.

use crate::base::Matrix;

use super::panels::{KC, NR, PackedTiles, pack_columns};
use super::vector::{Vectorised, vectorised};
use rayon::prelude::*;

/// Rows summed in f32 before the sum is added in f64.
///
/// Rounding errors of such a sum, relative to the two columns' standard deviations, are about 1e-7 and
/// independent between stretches: 1e-6/√N after N rows. Sampling moves an eigenvalue by √(2/N) of itself.
/// Down to eigenvalues of 1e-5 of the largest, rounding is therefore at most a tenth of the sampling error,
/// for any N.
const STRETCH: usize = KC;

/// `centred = rows − mean`, subtracted in f64.
struct Centre<'a> {
    rows: &'a [f32],
    mean: &'a [f64],
    centred: &'a mut [f32],
}

impl Vectorised for Centre<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let width = self.mean.len();
        for (out, row) in self.centred.chunks_exact_mut(width).zip(self.rows.chunks_exact(width)) {
            for ((slot, &value), mean) in out.iter_mut().zip(row).zip(self.mean) {
                *slot = (f64::from(value) - mean) as f32;
            }
        }
    }
}

/// `sums += products`.
struct AddTo<'a> {
    sums: &'a mut [f64],
    products: &'a [f32],
}

impl Vectorised for AddTo<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (sum, product) in self.sums.iter_mut().zip(self.products) {
            *sum += f64::from(*product);
        }
    }
}

/// Both factors of one stretch's products, centred and packed. Reused from block to block.
#[derive(Default)]
struct Stretch {
    /// `[ceil(d / NR), rows, NR]`.
    panels: Vec<f32>,
    columns: PackedTiles,
}

impl Stretch {
    fn fill(&mut self, rows: &[f32], mean: &[f64], centred: &mut Vec<f32>) {
        centred.resize(rows.len(), 0.0);
        vectorised(Centre { rows, mean, centred });
        let width = mean.len();
        let size = rows.len() / width * NR;
        self.panels.resize(width.div_ceil(NR) * size, 0.0);
        for (nth, panel) in self.panels.chunks_exact_mut(size).enumerate() {
            pack_columns(centred, width, nth * NR..width.min((nth + 1) * NR), panel);
        }
        self.columns.fill_transposed(centred, width);
    }

    fn rows(&self, width: usize) -> usize {
        self.panels.len() / (width.div_ceil(NR) * NR)
    }
}

/// Covariance `[d, d]` of all rows of `blocks` about `mean`, and the number of rows; or the first error.
pub fn covariance<E>(
    mean: &[f64],
    blocks: impl Iterator<Item = Result<Matrix, E>>,
) -> Result<(Vec<f64>, usize), E> {
    let width = mean.len();
    // `[ceil(d / NR), d, NR]`; rows below a panel's last column stay 0.
    let mut sums = vec![0.0f64; width.div_ceil(NR) * width * NR];
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut rows = 0;
    for block in blocks {
        let block = block?;
        rows += block.rows();
        if width == 0 {
            continue;
        }
        stretches.resize_with(block.rows().div_ceil(STRETCH), Stretch::default);
        stretches
            .par_iter_mut()
            .zip(block.data().par_chunks(STRETCH * width))
            .for_each_init(Vec::new, |centred, (stretch, rows)| stretch.fill(rows, mean, centred));
        // By symmetry, each panel needs only the rows up to its last column.
        let tasks = sums.par_chunks_mut(width * NR).enumerate().rev().with_max_len(1);
        tasks.for_each_init(
            || vec![0.0f32; width * NR],
            |products, (nth, sums)| {
                let end = width.min((nth + 1) * NR);
                for stretch in &stretches {
                    let rows = stretch.rows(width);
                    let panel = &stretch.panels[nth * rows * NR..][..rows * NR];
                    let products = &mut products[..stretch.columns.rows_of_whole_tiles(end) * NR];
                    stretch.columns.add_products(0..rows, panel, products, true);
                    vectorised(AddTo { sums, products });
                }
            },
        );
    }
    let n = rows.max(1) as f64;
    let mut covariance = vec![0.0; width * width];
    for col in 0..width {
        for row in 0..=col {
            let value = sums[(col / NR * width + row) * NR + col % NR] / n;
            covariance[row * width + col] = value;
            covariance[col * width + row] = value;
        }
    }
    Ok((covariance, rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use std::convert::Infallible;

    /// Columns with means far from zero and sizes that span three orders.
    fn sample(n: usize, width: usize) -> (Matrix, Vec<f64>) {
        let mut stream = Stream::new(2, "rows");
        let size = |col: usize| 10f64.powf(3.0 * col as f64 / width as f64);
        let rows = Matrix::from_fn(n, width, |_, col| (size(col) * (stream.normal() + 2.0)) as f32);
        let sum = |col: usize| rows.iter_rows().map(|row| f64::from(row[col])).sum::<f64>();
        let mean = (0..width).map(|col| sum(col) / n as f64).collect();
        (rows, mean)
    }

    fn in_blocks(rows: &Matrix, mean: &[f64]) -> (Vec<f64>, usize) {
        let blocks = (0..rows.rows()).step_by(256).map(|start| {
            let picked: Vec<usize> = (start..(start + 256).min(rows.rows())).collect();
            Ok::<_, Infallible>(rows.select_rows(&picked))
        });
        covariance(mean, blocks).expect("infallible")
    }

    #[test]
    fn matches_the_definition_across_blocks() {
        for (n, width) in [(700, 5), (700, 45), (3, 33), (130, 64)] {
            let (rows, mean) = sample(n, width);
            let (got, counted) = in_blocks(&rows, &mean);
            assert_eq!(counted, n);
            let exact = |i: usize, j: usize| {
                let product = |row: &[f32]| (f64::from(row[i]) - mean[i]) * (f64::from(row[j]) - mean[j]);
                rows.iter_rows().map(product).sum::<f64>() / n as f64
            };
            for i in 0..width {
                for j in 0..width {
                    let size = (exact(i, i) * exact(j, j)).sqrt();
                    let error = (got[i * width + j] - exact(i, j)).abs();
                    assert!(error < 1e-6 * size, "{n} {width} at {i} {j}: {error:e} of {size}");
                }
            }
        }
    }

    #[test]
    fn small_eigenvalues_survive_large_ones() {
        use crate::linalg::symmetric_eigen;
        // One direction across all columns with 10⁵ times the variance of the others.
        let (n, width) = (20_000, 24);
        let mut stream = Stream::new(4, "one large direction");
        let mut data = Vec::with_capacity(n * width);
        for _ in 0..n {
            let along = stream.normal() * (1e5f64 / width as f64).sqrt();
            data.extend((0..width).map(|_| (along + stream.normal()) as f32));
        }
        let rows = Matrix::from_vec(n, width, data).expect("a matrix");
        let sum = |col: usize| rows.iter_rows().map(|row| f64::from(row[col])).sum::<f64>();
        let mean: Vec<f64> = (0..width).map(|col| sum(col) / n as f64).collect();
        let mut exact = vec![0.0f64; width * width];
        for row in rows.iter_rows() {
            for i in 0..width {
                for j in 0..width {
                    let product = (f64::from(row[i]) - mean[i]) * (f64::from(row[j]) - mean[j]);
                    exact[i * width + j] += product / n as f64;
                }
            }
        }
        let expected = symmetric_eigen(&exact, width).expect("eigenvalues").values;
        let got = symmetric_eigen(&in_blocks(&rows, &mean).0, width).expect("eigenvalues").values;
        for (got, expected) in got.iter().zip(&expected) {
            let sampling = (2.0 / n as f64).sqrt() * expected;
            assert!((got - expected).abs() < 0.1 * sampling, "{got} {expected}");
        }
    }
}
