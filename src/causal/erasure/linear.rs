//! Linear erasers of a concept with two labels: LEACE and the projection along the difference of class means.
//!
//! ```text
//! μ mean,  Σ covariance of the training rows,  δ = mean of the second class − mean of the first
//! LEACE            x′ = x − W⁺ P W (x − μ),  W = Σ^(−1/2),  P the orthogonal projection on W Σ_xz
//!                     = x − δ (δᵀΣ⁺(x − μ)) / (δᵀΣ⁺δ),      since Σ_xz ∝ δ
//! mean projection  x′ = x − δ (δᵀ(x − μ)) / ‖δ‖²
//! ```
//!
//! LEACE: Belrose et al. 2023 (arXiv 2306.03819), theorem 4.3. After either, the covariance of x′ with the labels is zero on
//! the training rows; LEACE is the smallest such change in the mean squared norm.

use nalgebra::{DMatrix, DVector};

use super::probe::row_basis;
use crate::causal::CausalError;
use crate::linalg::symmetric_eigen;

/// Eigenvalues of the covariance below this share of the largest count as zero.
const NULL: f64 = 1e-12;

/// x′ = x − a (b·(x − μ)), with b·a = 1, or a = b = 0.
#[derive(Debug, Clone)]
pub struct Linear {
    mean: DVector<f64>,
    written: DVector<f64>,
    read: DVector<f64>,
}

impl Linear {
    /// LEACE of rows `[n, d]` and their labels. Equal class means give no change.
    pub fn leace(x: &DMatrix<f64>, labels: &[bool]) -> Result<Self, CausalError> {
        let (mean, delta) = (x.row_mean().transpose(), difference(x, labels));
        let mut centred = x.clone();
        centred.row_iter_mut().for_each(|mut row| row -= mean.transpose());
        // Σ has no more dimensions than rows.
        let basis = (x.nrows() < x.ncols()).then(|| row_basis(&centred));
        let (rows, along) = match &basis {
            Some(basis) => (centred * basis.transpose(), basis * &delta),
            None => (centred, delta.clone()),
        };
        let covariance = rows.tr_mul(&rows) / x.nrows() as f64;
        let solved = pseudo_solve(&covariance, &along)?;
        let read = basis.map_or(solved.clone(), |basis| basis.tr_mul(&solved));
        Ok(Self::new(mean, delta, read))
    }

    /// The projection along the difference of class means, around the mean.
    pub fn mean_projection(x: &DMatrix<f64>, labels: &[bool]) -> Self {
        let delta = difference(x, labels);
        Self::new(x.row_mean().transpose(), delta.clone(), delta)
    }

    fn new(mean: DVector<f64>, written: DVector<f64>, read: DVector<f64>) -> Self {
        let scale = written.dot(&read);
        let read = if scale > 0.0 { read / scale } else { read * 0.0 };
        Self { mean, written, read }
    }

    /// What is added to a row, `[d]`.
    pub fn delta(&self, row: impl Iterator<Item = f64>) -> impl Iterator<Item = f64> + '_ {
        let along: f64 = row.zip(&self.mean).zip(&self.read).map(|((x, mean), read)| (x - mean) * read).sum();
        self.written.iter().map(move |written| -along * written)
    }
}

/// Mean of the second class − mean of the first.
fn difference(x: &DMatrix<f64>, labels: &[bool]) -> DVector<f64> {
    let mut sums = [DVector::zeros(x.ncols()), DVector::zeros(x.ncols())];
    let mut counts = [0.0f64; 2];
    for (row, label) in x.row_iter().zip(labels) {
        sums[usize::from(*label)] += row.transpose();
        counts[usize::from(*label)] += 1.0;
    }
    let [first, second] = sums;
    second / counts[1].max(1.0) - first / counts[0].max(1.0)
}

/// Σ⁺ v of a symmetric matrix with eigenvalues of at least 0.
fn pseudo_solve(matrix: &DMatrix<f64>, v: &DVector<f64>) -> Result<DVector<f64>, CausalError> {
    let size = v.len();
    let eigen = symmetric_eigen(matrix.as_slice(), size)?;
    let least = NULL * eigen.values.first().copied().unwrap_or(0.0);
    let mut solved = DVector::zeros(size);
    for (value, vector) in eigen.values.iter().zip(eigen.vectors.chunks_exact(size.max(1))) {
        if *value > least {
            let vector = DVector::from_column_slice(vector);
            solved.axpy(vector.dot(v) / value, &vector, 1.0);
        }
    }
    Ok(solved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use crate::causal::erasure::probe::Probe;

    fn rows(n: usize, d: usize) -> (DMatrix<f64>, Vec<bool>) {
        let mut stream = Stream::new(3, "rows");
        let labels: Vec<bool> = (0..n).map(|i| i % 3 == 0).collect();
        let mixed = DMatrix::from_fn(d, d, |_, _| stream.normal());
        let plain = DMatrix::from_fn(n, d, |_, _| stream.normal());
        let mut x = plain * mixed;
        for (mut row, label) in x.row_iter_mut().zip(&labels) {
            row[1] += if *label { 4.0 } else { 0.0 };
        }
        (x, labels)
    }

    fn erased(eraser: &Linear, x: &DMatrix<f64>) -> DMatrix<f64> {
        let rows: Vec<_> = x
            .row_iter()
            .map(|row| {
                let delta = eraser.delta(row.iter().copied()).collect::<Vec<f64>>();
                row.into_owned() + DVector::from_vec(delta).transpose()
            })
            .collect();
        DMatrix::from_rows(&rows)
    }

    #[test]
    fn leace_leaves_no_covariance_and_the_probe_at_chance() {
        for (n, d) in [(90, 6), (30, 40)] {
            let (x, labels) = rows(n, d);
            let erased = erased(&Linear::leace(&x, &labels).expect("erases"), &x);
            let left = difference(&erased, &labels);
            assert!(left.amax() < 1e-10, "{left}");
            let probe = Probe::fit(&erased, &labels, 0.01);
            assert!(probe.predict(&erased).iter().all(|label| !label), "the label of most rows: {n} rows");
        }
    }

    #[test]
    fn leace_changes_less_than_the_mean_projection_where_dimensions_are_correlated() {
        let (x, labels) = rows(90, 6);
        let change = |eraser: &Linear| (erased(eraser, &x) - &x).norm();
        let leace = Linear::leace(&x, &labels).expect("erases");
        assert!(change(&leace) < change(&Linear::mean_projection(&x, &labels)));
    }

    #[test]
    fn on_whitened_rows_the_mean_projection_is_leace() {
        // ±√3 on each of three axes: mean 0, covariance 1.
        let root = 3.0f64.sqrt();
        let x = DMatrix::from_fn(6, 3, |i, j| match i / 2 == j {
            true if i % 2 == 0 => root,
            true => -root,
            false => 0.0,
        });
        let labels = [true, false, true, false, false, false];
        let leace = Linear::leace(&x, &labels).expect("erases");
        let projection = Linear::mean_projection(&x, &labels);
        assert!((erased(&leace, &x) - erased(&projection, &x)).amax() < 1e-12);
    }

    #[test]
    fn equal_class_means_leave_rows_as_they_are() {
        let x = DMatrix::from_fn(4, 2, |i, j| ((i / 2) * 2 + j) as f64);
        let labels = [true, false, true, false];
        for eraser in [Linear::leace(&x, &labels).expect("erases"), Linear::mean_projection(&x, &labels)] {
            assert_eq!(erased(&eraser, &x), x);
        }
    }
}
