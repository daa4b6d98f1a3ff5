use rayon::prelude::*;

use super::LinalgError;
use super::product::{View, product_into};
use super::vector::{Vectorised, vectorised};

/// Iterations for one eigenvalue after which it is given up; two or three are usual.
const ITERATIONS: usize = 60;

/// Rows of eigenvectors that one task turns: with all their columns they stay in the second cache.
const SLAB: usize = 32;

/// Eigenvalues, largest first, and unit eigenvectors, one per row.
#[derive(Debug, Clone)]
pub struct Eigen {
    /// `[d]`.
    pub values: Vec<f64>,
    /// `[d, d]`, row-major; row i belongs to `values[i]`. Its largest entry by size is positive,
    /// so that the sign does not depend on the solver.
    pub vectors: Vec<f64>,
}

/// Eigenvalues and eigenvectors of a symmetric `[size, size]` matrix: reflections make it tridiagonal, and rotations
/// with implicit shifts make that diagonal (Golub and Van Loan 2013, §8.3; Wilkinson and Reinsch 1971, II/4).
///
/// Only the reflections and rotations are found on the way; eigenvectors are then made of them, by products of matrices
/// and slab by slab on all threads.
pub fn symmetric_eigen(matrix: &[f64], size: usize) -> Result<Eigen, LinalgError> {
    if matrix.iter().any(|value| !value.is_finite()) {
        return Err(LinalgError::Eigen { size, why: "it holds a NaN or infinite value" });
    }
    // Squares of entries neither overflow nor vanish.
    let largest = matrix.iter().fold(0.0f64, |most, value| value.abs().max(most));
    if size == 0 || largest == 0.0 {
        let vectors = (0..size * size).map(|at| f64::from(u8::from(at % (size + 1) == 0))).collect();
        return Ok(Eigen { values: vec![0.0; size], vectors });
    }
    let mut work: Vec<f64> = matrix.iter().map(|value| value / largest).collect();
    let Tridiagonal { mut diagonal, mut beside, reflections } =
        vectorised(MakeTridiagonal { matrix: &mut work, size });
    let rotations = make_diagonal(&mut diagonal, &mut beside)
        .ok_or(LinalgError::Eigen { size, why: "the iteration did not converge" })?;
    let reflected = product_of(&reflections, size);
    let slabs: Vec<Vec<[f64; SLAB]>> = (0..size.div_ceil(SLAB))
        .into_par_iter()
        .map(|nth| {
            let rows = &reflected[nth * SLAB * size..size.min((nth + 1) * SLAB) * size];
            vectorised(TurnSlab { rows, size, rotations: &rotations })
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

/// A symmetric matrix as reflections left it.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// Entries beside the diagonal, one fewer.
    beside: Vec<f64>,
    /// Reflection k is `1 − factor · v vᵀ`, with v `[size − k − 1]` for the coordinates from k + 1 on; the first was
    /// the first to be applied.
    reflections: Vec<(f64, Vec<f64>)>,
}

/// Makes a symmetric matrix `[size, size]` tridiagonal. Row after row, the reflection that clears what is beyond the
/// entry beside the diagonal is found and taken off both sides of what is left, in the same pass in which the next
/// one's product with the matrix is made.
struct MakeTridiagonal<'a> {
    matrix: &'a mut [f64],
    size: usize,
}

impl Vectorised for MakeTridiagonal<'_> {
    type Output = Tridiagonal;

    #[inline(always)]
    fn run(self) -> Tridiagonal {
        let Self { matrix, size: n } = self;
        let (mut diagonal, mut beside) = (vec![0.0; n], vec![0.0; n - 1]);
        let mut reflections: Vec<(f64, Vec<f64>)> = Vec::with_capacity(n - 1);
        // `matrix −= v wᵀ + w vᵀ` is still to be done for the last reflection's v and this w.
        let mut w: Vec<f64> = Vec::new();
        for k in 0..n {
            let (row, below) = matrix[k * n..].split_at_mut(n);
            let row = &mut row[k..];
            let last = reflections.last();
            if let Some((_, v)) = last {
                subtract_two(row, v[0], &w, w[0], v);
            }
            diagonal[k] = row[0];
            if k + 1 == n {
                break;
            }
            let (factor, v, left) = reflection(&row[1..]);
            beside[k] = left;
            let mut product = vec![0.0; n - k - 1];
            for (i, (row, slot)) in below.chunks_exact_mut(n).zip(&mut product).enumerate() {
                let row = &mut row[k + 1..];
                if let Some((_, v)) = last {
                    subtract_two(row, v[i + 1], &w[1..], w[i + 1], &v[1..]);
                }
                *slot = factor * dot(row, &v);
            }
            let along = 0.5 * factor * dot(&product, &v);
            product.iter_mut().zip(&v).for_each(|(w, v)| *w -= along * v);
            w = product;
            reflections.push((factor, v));
        }
        Tridiagonal { diagonal, beside, reflections }
    }
}

/// Factor and vector of the reflection that turns `x` to a multiple of its first coordinate, and that multiple.
#[inline(always)]
fn reflection(x: &[f64]) -> (f64, Vec<f64>, f64) {
    let mut v = x.to_vec();
    let beyond = dot(&x[1..], &x[1..]);
    if beyond == 0.0 {
        return (0.0, v, x[0]);
    }
    let length = (x[0] * x[0] + beyond).sqrt();
    // Of the two multiples the one that loses no digits.
    let left = if x[0] > 0.0 { -length } else { length };
    v[0] -= left;
    (2.0 / (v[0] * v[0] + beyond), v, left)
}

/// `row −= a · x + b · y`.
#[inline(always)]
fn subtract_two(row: &mut [f64], a: f64, x: &[f64], b: f64, y: &[f64]) {
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
struct Rotation {
    column: u32,
    cos: f64,
    sin: f64,
}

/// Makes a tridiagonal matrix diagonal; gives the rotations of its columns, in order. None where it takes too many.
fn make_diagonal(diagonal: &mut [f64], beside: &mut [f64]) -> Option<Vec<Rotation>> {
    let n = diagonal.len();
    let mut rotations = Vec::with_capacity(n * n);
    // What rotations of the largest entries leave behind in rounding, and reflections did before.
    let noise =
        f64::EPSILON * diagonal.iter().chain(&*beside).fold(0.0f64, |most, value| value.abs().max(most));
    for first in 0..n {
        for iteration in 0.. {
            // Up to the first entry beside the diagonal that is nothing next to its neighbours, or at all.
            let is_nothing = |at: &usize| {
                let neighbours = diagonal[*at].abs() + diagonal[*at + 1].abs();
                beside[*at].abs() <= noise.max(f64::EPSILON * neighbours)
            };
            let end = (first..n - 1).find(is_nothing).unwrap_or(n - 1);
            if end == first {
                break;
            }
            if iteration == ITERATIONS {
                return None;
            }
            chase(diagonal, beside, first..end, &mut rotations);
        }
    }
    Some(rotations)
}

/// One step with the shift of Wilkinson: the eigenvalue of the upper corner of the block that is nearer to its first
/// entry. A rotation at the lower end makes an entry where there should be none, and others chase it up and out.
fn chase(
    diagonal: &mut [f64],
    beside: &mut [f64],
    block: std::ops::Range<usize>,
    rotations: &mut Vec<Rotation>,
) {
    let (first, end) = (block.start, block.end);
    let half = (diagonal[first + 1] - diagonal[first]) / (2.0 * beside[first]);
    let root = half.hypot(1.0);
    let shift = diagonal[first] - beside[first] / (half + if half < 0.0 { -root } else { root });
    let (mut cos, mut sin) = (1.0, 1.0);
    let mut along = diagonal[end] - shift;
    let mut carried = 0.0;
    for column in (first..end).rev() {
        let (astray, next) = (sin * beside[column], cos * beside[column]);
        let length = (astray * astray + along * along).sqrt();
        if column + 1 < end {
            beside[column + 1] = length;
        }
        if length == 0.0 {
            // The block falls in two here.
            diagonal[column + 1] -= carried;
            return;
        }
        (sin, cos) = (astray / length, along / length);
        let base = diagonal[column + 1] - carried;
        let mixed = (diagonal[column] - base) * sin + 2.0 * cos * next;
        carried = sin * mixed;
        diagonal[column + 1] = base + carried;
        along = cos * mixed - next;
        rotations.push(Rotation { column: column as u32, cos, sin });
    }
    diagonal[first] -= carried;
    beside[first] = along;
}

/// Reflections whose product is made at once.
const BLOCK: usize = 32;

/// The product of all reflections, `[n, n]`, the first one leftmost. Each block of them is `1 − V T Vᵀ` (Schreiber and
/// Van Loan 1989); from the last block to the first the part that is not the unit matrix grows.
fn product_of(reflections: &[(f64, Vec<f64>)], n: usize) -> Vec<f64> {
    let mut product: Vec<f64> = Vec::new();
    let mut size = 0;
    for (nth, block) in reflections.chunks(BLOCK).enumerate().rev() {
        // Columns of V are the vectors, each from its own coordinate on.
        let (m, b) = (n - nth * BLOCK - 1, block.len());
        let mut v = vec![0.0; m * b];
        for (j, (_, vector)) in block.iter().enumerate() {
            for (i, value) in vector.iter().enumerate() {
                v[(i + j) * b + j] = *value;
            }
        }
        let v = View::new(&v, m, b);
        let mut gram = vec![0.0; b * b];
        product_into(&mut gram, v.transposed(), v, false);
        // −T, upper triangular: column j from those before it.
        let mut t = vec![0.0; b * b];
        for (j, (factor, _)) in block.iter().enumerate() {
            t[j * b + j] = -factor;
            for i in 0..j {
                t[i * b + j] = -factor * (i..j).map(|l| t[i * b + l] * gram[l * b + j]).sum::<f64>();
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
        let (mut along, mut turned) = (vec![0.0; b * m], vec![0.0; b * m]);
        product_into(&mut along, v.transposed(), View::new(&grown, m, m), false);
        product_into(&mut turned, View::new(&t, b, b), View::new(&along, b, m), false);
        product_into(&mut grown, v, View::new(&turned, b, m), true);
        (product, size) = (grown, m);
    }
    // The first coordinate takes part in no reflection.
    let mut whole = vec![0.0; n * n];
    for (i, row) in whole.chunks_exact_mut(n).enumerate() {
        match i.checked_sub(n - size) {
            None => row[i] = 1.0,
            Some(i) => row[n - size..].copy_from_slice(&product[i * size..][..size]),
        }
    }
    whole
}

/// Some rows `[at most SLAB, size]` of a matrix with all rotations applied from the right. Gives them column after
/// column.
struct TurnSlab<'a> {
    rows: &'a [f64],
    size: usize,
    rotations: &'a [Rotation],
}

impl Vectorised for TurnSlab<'_> {
    type Output = Vec<[f64; SLAB]>;

    #[inline(always)]
    fn run(self) -> Vec<[f64; SLAB]> {
        let mut slab = vec![[0.0; SLAB]; self.size];
        for (lane, row) in self.rows.chunks_exact(self.size).enumerate() {
            slab.iter_mut().zip(row).for_each(|(column, value)| column[lane] = *value);
        }
        // Most rotations turn the left one of the columns of the rotation before as their right one: it stays in
        // registers.
        let (mut held, mut column_held) = ([0.0; SLAB], usize::MAX);
        for &Rotation { column, cos, sin } in self.rotations {
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

/// The orthogonal matrix nearest to a square `[size, size]` one: `(W Wᵀ)^(-1/2) W`.
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
    fn vectors_reproduce_the_matrix_in_falling_order() {
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

    /// Matrices with eigenvalues far apart, equal, or 0, and ones that are diagonal or tridiagonal from the start.
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
