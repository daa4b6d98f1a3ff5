//! Eigendecomposition of a symmetric matrix, and the orthogonal matrix nearest to a square one; all in f64.
//!
//!   A = V diag(λ) Vᵀ            A [n, n] symmetric, λ [n] descending, V [n, n] orthogonal
//!
//! 1. Householder tridiagonalisation: Qᵀ A Q = T, Q = H_0 H_1 … with H_k = 1 − β_k v_k v_kᵀ. Step k is the
//!    rank-2 update A ← A − v wᵀ − w vᵀ with p = β A v and w = p − (β/2)(pᵀ v) v (Golub and Van Loan 2013,
//!    §8.3.1).
//! 2. Implicit QL iteration with Wilkinson shifts: Givens rotations G_1 G_2 … make T diagonal. This is the QR
//!    iteration read from the lower corner (Golub and Van Loan 2013, §8.3.3; Wilkinson and Reinsch 1971,
//!    II/4).
//! 3. Eigenvectors: V = Q G_1 G_2 …. Blocks of reflections are multiplied in compact WY form, 1 − Y T Yᵀ
//!    (Schreiber and Van Loan 1989). Rotations are then applied to slabs of rows, on all threads.

use rayon::prelude::*;

use super::LinalgError;
use super::product::{View, product_into};
use super::vector::{Vectorised, vectorised};

/// QL steps allowed per eigenvalue; two or three are usual.
const MAX_ITERATIONS: usize = 60;

/// Rows of Q rotated by one task: with all their columns they stay in the L2 cache.
const SLAB: usize = 32;

/// Eigenvalues in descending order, and unit eigenvectors as rows.
#[derive(Debug, Clone)]
pub struct Eigen {
    /// `[d]`.
    pub values: Vec<f64>,
    /// `[d, d]`, row i belongs to `values[i]`. Its entry of largest magnitude is positive, whatever the
    /// solver.
    pub vectors: Vec<f64>,
}

/// Eigenvalues and eigenvectors of a symmetric `[size, size]` matrix.
pub fn symmetric_eigen(matrix: &[f64], size: usize) -> Result<Eigen, LinalgError> {
    if matrix.iter().any(|value| !value.is_finite()) {
        return Err(LinalgError::Eigen { size, why: "it holds a NaN or infinite value" });
    }
    // Scale to entries of at most 1: squares then neither overflow nor underflow.
    let largest = matrix.iter().fold(0.0f64, |most, value| value.abs().max(most));
    if size == 0 || largest == 0.0 {
        let vectors = (0..size * size).map(|at| f64::from(u8::from(at % (size + 1) == 0))).collect();
        return Ok(Eigen { values: vec![0.0; size], vectors });
    }
    let mut work: Vec<f64> = matrix.iter().map(|value| value / largest).collect();
    let Tridiagonal { mut diagonal, mut off_diagonal, reflections } =
        vectorised(Tridiagonalise { matrix: &mut work, size });
    let rotations = implicit_ql(&mut diagonal, &mut off_diagonal)
        .ok_or(LinalgError::Eigen { size, why: "the iteration did not converge" })?;
    let reflected = multiply_reflections(&reflections, size);
    let slabs: Vec<Vec<[f64; SLAB]>> = (0..size.div_ceil(SLAB))
        .into_par_iter()
        .map(|nth| {
            let rows = &reflected[nth * SLAB * size..size.min((nth + 1) * SLAB) * size];
            vectorised(RotateSlab { rows, size, rotations: &rotations })
        })
        .collect();
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| diagonal[b].total_cmp(&diagonal[a]).then(a.cmp(&b)));
    let mut vectors: Vec<f64> = Vec::with_capacity(size * size);
    for &index in &order {
        let start = vectors.len();
        for (slab, first) in slabs.iter().zip((0..).step_by(SLAB)) {
            vectors.extend_from_slice(&slab[index][..SLAB.min(size - first)]);
        }
        let vector = &mut vectors[start..];
        let largest = vector.iter().fold(0.0f64, |best, &v| if v.abs() > best.abs() { v } else { best });
        if largest < 0.0 {
            vector.iter_mut().for_each(|value| *value = -*value);
        }
    }
    Ok(Eigen { values: order.iter().map(|&index| diagonal[index] * largest).collect(), vectors })
}

/// T of step 1, and the reflections that led to it.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// `[size − 1]`.
    off_diagonal: Vec<f64>,
    /// (β_k, v_k) in the order applied; v_k `[size − k − 1]` acts on coordinates k + 1 and up.
    reflections: Vec<(f64, Vec<f64>)>,
}

/// Step 1. The update of step k and the product A v of step k + 1 share one pass over the matrix.
struct Tridiagonalise<'a> {
    matrix: &'a mut [f64],
    size: usize,
}

impl Vectorised for Tridiagonalise<'_> {
    type Output = Tridiagonal;

    #[inline(always)]
    fn run(self) -> Tridiagonal {
        let Self { matrix, size: n } = self;
        let (mut diagonal, mut off_diagonal) = (vec![0.0; n], vec![0.0; n - 1]);
        let mut reflections: Vec<(f64, Vec<f64>)> = Vec::with_capacity(n - 1);
        // The update `matrix −= v wᵀ + w vᵀ` of the last reflection is still pending.
        let mut w: Vec<f64> = Vec::new();
        for k in 0..n {
            let (row, below) = matrix[k * n..].split_at_mut(n);
            let row = &mut row[k..];
            let last = reflections.last();
            if let Some((_, v)) = last {
                subtract_rank_two(row, v[0], &w, w[0], v);
            }
            diagonal[k] = row[0];
            if k + 1 == n {
                break;
            }
            let (beta, v, alpha) = reflection(&row[1..]);
            off_diagonal[k] = alpha;
            let mut product = vec![0.0; n - k - 1];
            for (i, (row, slot)) in below.chunks_exact_mut(n).zip(&mut product).enumerate() {
                let row = &mut row[k + 1..];
                if let Some((_, v)) = last {
                    subtract_rank_two(row, v[i + 1], &w[1..], w[i + 1], &v[1..]);
                }
                *slot = beta * dot(row, &v);
            }
            let projection = 0.5 * beta * dot(&product, &v);
            product.iter_mut().zip(&v).for_each(|(w, v)| *w -= projection * v);
            w = product;
            reflections.push((beta, v));
        }
        Tridiagonal { diagonal, off_diagonal, reflections }
    }
}

/// (β, v, α) such that (1 − β v vᵀ) x = α e_1.
#[inline(always)]
fn reflection(x: &[f64]) -> (f64, Vec<f64>, f64) {
    let mut v = x.to_vec();
    let tail = dot(&x[1..], &x[1..]);
    if tail == 0.0 {
        return (0.0, v, x[0]);
    }
    let length = (x[0] * x[0] + tail).sqrt();
    // The sign that avoids cancellation in v_0.
    let alpha = if x[0] > 0.0 { -length } else { length };
    v[0] -= alpha;
    (2.0 / (v[0] * v[0] + tail), v, alpha)
}

/// `row −= a · x + b · y`: one row of the rank-2 update.
#[inline(always)]
fn subtract_rank_two(row: &mut [f64], a: f64, x: &[f64], b: f64, y: &[f64]) {
    for ((slot, x), y) in row.iter_mut().zip(x).zip(y) {
        *slot -= a * x + b * y;
    }
}

#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 16;
    let mut sums = [0.0; LANES];
    let (a, b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// A rotation of columns `column` and `column + 1`.
struct Givens {
    column: u32,
    cos: f64,
    sin: f64,
}

/// Step 2. Leaves the eigenvalues in `diagonal`; returns the rotations, or none without convergence.
fn implicit_ql(diagonal: &mut [f64], off_diagonal: &mut [f64]) -> Option<Vec<Givens>> {
    let n = diagonal.len();
    let mut rotations = Vec::with_capacity(n * n);
    // Rounding error of rotations and reflections of the largest entries.
    let tolerance = f64::EPSILON
        * diagonal.iter().chain(&*off_diagonal).fold(0.0f64, |most, value| value.abs().max(most));
    for first in 0..n {
        for iteration in 0.. {
            // The block ends at the first negligible off-diagonal entry.
            let is_negligible = |at: &usize| {
                let neighbours = diagonal[*at].abs() + diagonal[*at + 1].abs();
                off_diagonal[*at].abs() <= tolerance.max(f64::EPSILON * neighbours)
            };
            let end = (first..n - 1).find(is_negligible).unwrap_or(n - 1);
            if end == first {
                break;
            }
            if iteration == MAX_ITERATIONS {
                return None;
            }
            ql_step(diagonal, off_diagonal, first..end, &mut rotations);
        }
    }
    Some(rotations)
}

/// One implicit QL step on a block.
///
/// The shift is the eigenvalue of the upper 2 × 2 corner nearest to its first entry (Wilkinson). The first
/// rotation, at the lower end, creates a bulge outside the three diagonals; the other rotations chase it up
/// and out.
fn ql_step(
    diagonal: &mut [f64],
    off_diagonal: &mut [f64],
    block: std::ops::Range<usize>,
    rotations: &mut Vec<Givens>,
) {
    let (first, end) = (block.start, block.end);
    let half = (diagonal[first + 1] - diagonal[first]) / (2.0 * off_diagonal[first]);
    let root = half.hypot(1.0);
    let shift = diagonal[first] - off_diagonal[first] / (half + if half < 0.0 { -root } else { root });
    let (mut cos, mut sin) = (1.0, 1.0);
    let mut x = diagonal[end] - shift;
    // What the last rotation added to its lower diagonal entry.
    let mut carry = 0.0;
    for column in (first..end).rev() {
        let (bulge, next) = (sin * off_diagonal[column], cos * off_diagonal[column]);
        let length = (bulge * bulge + x * x).sqrt();
        if column + 1 < end {
            off_diagonal[column + 1] = length;
        }
        if length == 0.0 {
            // The block splits here.
            diagonal[column + 1] -= carry;
            return;
        }
        (sin, cos) = (bulge / length, x / length);
        let base = diagonal[column + 1] - carry;
        let mixed = (diagonal[column] - base) * sin + 2.0 * cos * next;
        carry = sin * mixed;
        diagonal[column + 1] = base + carry;
        x = cos * mixed - next;
        rotations.push(Givens { column: column as u32, cos, sin });
    }
    diagonal[first] -= carry;
    off_diagonal[first] = x;
}

/// Reflections per block in compact WY form.
const BLOCK: usize = 32;

/// Q = H_0 H_1 … `[n, n]`. Each block is 1 − Y T Yᵀ. From the last block to the first, the part of the
/// product that differs from the unit matrix grows.
fn multiply_reflections(reflections: &[(f64, Vec<f64>)], n: usize) -> Vec<f64> {
    let mut product: Vec<f64> = Vec::new();
    let mut size = 0;
    for (nth, block) in reflections.chunks(BLOCK).enumerate().rev() {
        // Column j of Y is v_j, shifted down by j.
        let (m, b) = (n - nth * BLOCK - 1, block.len());
        let mut y = vec![0.0; m * b];
        for (j, (_, vector)) in block.iter().enumerate() {
            for (i, value) in vector.iter().enumerate() {
                y[(i + j) * b + j] = *value;
            }
        }
        let y = View::new(&y, m, b);
        let mut gram = vec![0.0; b * b];
        product_into(&mut gram, y.transposed(), y, false);
        // −T, upper triangular: column j follows from the columns before it.
        let mut t = vec![0.0; b * b];
        for (j, (beta, _)) in block.iter().enumerate() {
            t[j * b + j] = -beta;
            for i in 0..j {
                t[i * b + j] = -beta * (i..j).map(|l| t[i * b + l] * gram[l * b + j]).sum::<f64>();
            }
        }
        let mut grown = vec![0.0; m * m];
        let before = m - size;
        for (i, row) in grown.chunks_exact_mut(m).enumerate() {
            match i.checked_sub(before) {
                None => row[i] = 1.0,
                Some(i) => row[before..].copy_from_slice(&product[i * size..][..size]),
            }
        }
        let (mut projected, mut scaled) = (vec![0.0; b * m], vec![0.0; b * m]);
        product_into(&mut projected, y.transposed(), View::new(&grown, m, m), false);
        product_into(&mut scaled, View::new(&t, b, b), View::new(&projected, b, m), false);
        product_into(&mut grown, y, View::new(&scaled, b, m), true);
        (product, size) = (grown, m);
    }
    // No reflection acts on the first coordinate.
    let mut whole = vec![0.0; n * n];
    for (i, row) in whole.chunks_exact_mut(n).enumerate() {
        match i.checked_sub(n - size) {
            None => row[i] = 1.0,
            Some(i) => row[n - size..].copy_from_slice(&product[i * size..][..size]),
        }
    }
    whole
}

/// Applies all rotations from the right to at most [`SLAB`] rows of Q. Returns the result column by column.
struct RotateSlab<'a> {
    rows: &'a [f64],
    size: usize,
    rotations: &'a [Givens],
}

impl Vectorised for RotateSlab<'_> {
    type Output = Vec<[f64; SLAB]>;

    #[inline(always)]
    fn run(self) -> Vec<[f64; SLAB]> {
        let mut slab = vec![[0.0; SLAB]; self.size];
        for (lane, row) in self.rows.chunks_exact(self.size).enumerate() {
            slab.iter_mut().zip(row).for_each(|(column, value)| column[lane] = *value);
        }
        // Most rotations reuse the previous left column as their right one: it stays in registers.
        let (mut held, mut column_held) = ([0.0; SLAB], usize::MAX);
        for &Givens { column, cos, sin } in self.rotations {
            let (column, right) = (column as usize, column as usize + 1);
            if column_held != right {
                if let Some(slot) = slab.get_mut(column_held) {
                    *slot = held;
                }
                held = slab[right];
            }
            let left = slab[column];
            let mut turned = [0.0; SLAB];
            for lane in 0..SLAB {
                let (a, b) = (left[lane], held[lane]);
                turned[lane] = sin * a + cos * b;
                held[lane] = cos * a - sin * b;
            }
            slab[right] = turned;
            column_held = column;
        }
        if let Some(slot) = slab.get_mut(column_held) {
            *slot = held;
        }
        slab
    }
}

/// The orthogonal matrix nearest to a square matrix W `[size, size]`: (W Wᵀ)^(-1/2) W.
pub fn orthogonalise(matrix: &[f64], size: usize) -> Result<Vec<f64>, LinalgError> {
    let view = View::new(matrix, size, size);
    let mut gram = vec![0.0; size * size];
    product_into(&mut gram, view, view.transposed(), false);
    let eigen = symmetric_eigen(&gram, size)?;
    let mut scaled = eigen.vectors.clone();
    for (row, &value) in scaled.chunks_exact_mut(size.max(1)).zip(&eigen.values) {
        if value <= 0.0 {
            return Err(LinalgError::Eigen { size, why: "the matrix to orthogonalise is singular" });
        }
        let root = value.sqrt().recip();
        row.iter_mut().for_each(|entry| *entry *= root);
    }
    let mut inverse_root = vec![0.0; size * size];
    product_into(
        &mut inverse_root,
        View::new(&eigen.vectors, size, size).transposed(),
        View::new(&scaled, size, size),
        false,
    );
    let mut out = vec![0.0; size * size];
    product_into(&mut out, View::new(&inverse_root, size, size), view, false);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn vectors_reproduce_the_matrix_in_descending_order() {
        let mut stream = Stream::new(3, "symmetric");
        let size = 9;
        let mut matrix = vec![0.0; size * size];
        for i in 0..size {
            for j in 0..=i {
                let value = stream.normal();
                matrix[i * size + j] = value;
                matrix[j * size + i] = value;
            }
        }
        let eigen = symmetric_eigen(&matrix, size).expect("solved");
        assert!(eigen.values.windows(2).all(|pair| pair[0] >= pair[1]));
        for i in 0..size {
            for j in 0..size {
                let rebuilt: f64 = (0..size)
                    .map(|e| eigen.values[e] * eigen.vectors[e * size + i] * eigen.vectors[e * size + j])
                    .sum();
                assert!((rebuilt - matrix[i * size + j]).abs() < 1e-10);
            }
        }
    }

    /// Matrices with distant, equal or zero eigenvalues, and diagonal and tridiagonal ones.
    #[test]
    fn values_and_vectors_are_those_of_an_independent_solver() {
        let mut stream = Stream::new(12, "eigen");
        for size in [1, 2, 3, 16, 17, 60, 130] {
            let noise: Vec<f64> = (0..size * size).map(|_| stream.normal()).collect();
            let basis = orthogonalise(&noise, size).expect("regular");
            let spectra: [&dyn Fn(usize) -> f64; 4] = [
                &|i| 10f64.powi(-(i as i32) / 8),
                &|i| (i / 3) as f64 - 4.0,
                &|i| if i < 2 { 5.0 } else { 0.0 },
                &|i| 1e200 * (1.0 + i as f64),
            ];
            let mut matrices: Vec<Vec<f64>> = spectra
                .iter()
                .map(|values| {
                    let entry = |i: usize, j: usize| -> f64 {
                        (0..size).map(|e| values(e) * basis[e * size + i] * basis[e * size + j]).sum()
                    };
                    (0..size * size)
                        .map(|at| entry((at / size).min(at % size), (at / size).max(at % size)))
                        .collect()
                })
                .collect();
            let band = |at: usize| match (at / size).abs_diff(at % size) {
                0 => (at / size) as f64,
                1 => -1.5,
                _ => 0.0,
            };
            matrices.push((0..size * size).map(band).collect());
            matrices.push(
                (0..size * size).map(|at| if at / size == at % size { at as f64 } else { 0.0 }).collect(),
            );
            matrices.push(vec![0.0; size * size]);
            for (nth, matrix) in matrices.iter().enumerate() {
                let scale = matrix.iter().fold(f64::MIN_POSITIVE, |most, value| value.abs().max(most));
                let eigen = symmetric_eigen(matrix, size).expect("solved");
                let dense = nalgebra::DMatrix::from_row_slice(size, size, matrix);
                let mut expected: Vec<f64> = dense.symmetric_eigenvalues().iter().copied().collect();
                expected.sort_by(|a, b| b.total_cmp(a));
                for (got, expected) in eigen.values.iter().zip(&expected) {
                    assert!(
                        (got - expected).abs() < 1e-12 * scale * size as f64,
                        "{nth} {size}: {got} {expected}"
                    );
                }
                for i in 0..size {
                    let vector = &eigen.vectors[i * size..][..size];
                    for j in 0..size {
                        let other = &eigen.vectors[j * size..][..size];
                        let product: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                        assert!(
                            (product - f64::from(u8::from(i == j))).abs() < 1e-12 * size as f64,
                            "{nth} {size}"
                        );
                        let mapped: f64 =
                            matrix[j * size..][..size].iter().zip(vector).map(|(a, b)| a * b).sum();
                        let apart = (mapped - eigen.values[i] * vector[j]).abs();
                        assert!(apart < 1e-12 * scale * size as f64, "{nth} {size}: {apart}");
                    }
                }
            }
        }
    }

    #[test]
    fn orthogonalised_rows_are_orthonormal_and_nan_is_refused() {
        let mut stream = Stream::new(4, "square");
        let size = 6;
        let matrix: Vec<f64> = (0..size * size).map(|_| stream.normal()).collect();
        let w = orthogonalise(&matrix, size).expect("regular");
        for i in 0..size {
            for j in 0..size {
                let dot: f64 = (0..size).map(|c| w[i * size + c] * w[j * size + c]).sum();
                assert!((dot - f64::from(u8::from(i == j))).abs() < 1e-10);
            }
        }
        assert!(symmetric_eigen(&[f64::NAN], 1).is_err());
        assert!(orthogonalise(&[0.0; 4], 2).is_err());
    }
}
