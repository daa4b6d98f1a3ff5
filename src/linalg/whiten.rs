//! Whitening from an eigendecomposition C = V diag(λ) Vᵀ:
//!
//!   z = diag(λ)^(-1/2) Vᵀ (x − μ)         x [d], z [rank], cov(z) = 1
//!   x ≈ μ + V diag(λ)^(1/2) z

use super::eigen::Eigen;

/// Eigenvalues below this share of the largest count as 0: in f32 activations they are rounding noise.
const NULL_SHARE: f64 = 1e-10;

/// The whitening map and its inverse on the kept directions.
#[derive(Debug, Clone)]
pub struct Whitening {
    /// Directions kept: at most `components`, at most the rank of the covariance.
    pub rank: usize,
    /// Width d of a row.
    pub width: usize,
    /// `[rank, width]`: row i is eigenvector i divided by √λ_i.
    pub forward: Vec<f64>,
    /// `[rank, width]`: row i is eigenvector i times √λ_i, so x − μ ≈ Σ z_i · backward_i.
    pub backward: Vec<f64>,
    /// Number of directions with negligible variance.
    pub null: usize,
}

impl Whitening {
    /// Keeps the first `components` eigenvectors of a covariance.
    pub fn new(eigen: &Eigen, components: usize) -> Self {
        let width = eigen.values.len();
        let floor = eigen.values.first().copied().unwrap_or(0.0) * NULL_SHARE;
        let alive = eigen.values.iter().take_while(|&&value| value > floor).count();
        let rank = alive.min(components);
        let scaled = |power: f64| -> Vec<f64> {
            (0..rank)
                .flat_map(|i| {
                    let scale = eigen.values[i].powf(power);
                    eigen.vectors[i * width..(i + 1) * width].iter().map(move |entry| entry * scale)
                })
                .collect()
        };
        Self { rank, width, forward: scaled(-0.5), backward: scaled(0.5), null: width - alive }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linalg::symmetric_eigen;

    #[test]
    fn null_directions_are_dropped_and_counted() {
        let covariance = [4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let whitening = Whitening::new(&symmetric_eigen(&covariance, 3).expect("solved"), 3);
        assert_eq!((whitening.rank, whitening.null), (2, 1));
        assert_eq!(whitening.forward, [0.5, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(whitening.backward, [2.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}
