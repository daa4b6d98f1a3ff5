use nalgebra::DMatrix;
use nalgebra::linalg::SymmetricEigen;

use super::LinalgError;
use super::product::{View, product_into};

/// Sweeps after which the iteration is given up; a symmetric matrix needs a few per row.
const SWEEPS_PER_ROW: usize = 60;

/// Eigenvalues, largest first, and unit eigenvectors, one per row.
#[derive(Debug, Clone)]
pub struct Eigen {
    /// `[d]`.
    pub values: Vec<f64>,
    /// `[d, d]`, row-major; row i belongs to `values[i]`. Its largest entry by size is positive,
    /// so that the sign does not depend on the solver.
    pub vectors: Vec<f64>,
}

/// Eigenvalues and eigenvectors of a symmetric `[size, size]` matrix.
pub fn symmetric_eigen(matrix: &[f64], size: usize) -> Result<Eigen, LinalgError> {
    if matrix.iter().any(|value| !value.is_finite()) {
        return Err(LinalgError::Eigen { size, why: "it holds a NaN or infinite value" });
    }
    if size == 0 {
        return Ok(Eigen { values: Vec::new(), vectors: Vec::new() });
    }
    let dense = DMatrix::from_row_slice(size, size, matrix);
    let solved = SymmetricEigen::try_new(dense, f64::EPSILON, SWEEPS_PER_ROW * size)
        .ok_or(LinalgError::Eigen { size, why: "the iteration did not converge" })?;
    let mut order: Vec<usize> = (0..size).collect();
    order.sort_by(|&a, &b| solved.eigenvalues[b].total_cmp(&solved.eigenvalues[a]).then(a.cmp(&b)));
    let mut vectors = Vec::with_capacity(size * size);
    for &index in &order {
        let column = solved.eigenvectors.column(index);
        let largest = column.iter().fold(0.0f64, |best, &v| if v.abs() > best.abs() { v } else { best });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        vectors.extend(column.iter().map(|value| sign * value));
    }
    Ok(Eigen { values: order.iter().map(|&index| solved.eigenvalues[index]).collect(), vectors })
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
