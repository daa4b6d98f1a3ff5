//! Dense and sparse kernels: products, eigenvectors, whitening, top-k selection.
//!
//! In: matrices.
//! Out: matrices.
//! Never: knows a model or a feature.
//!
//! Results do not depend on the number of threads: work is cut into pieces of fixed size, one task computes
//! each output entry, and sums run in a fixed order.
//!
//! `unsafe` code in numeric work is confined to this folder: calls of `gemm`, instruction sets chosen at run
//! time, microkernels, huge pages.

mod covariance;
mod dispatch;
mod eigen;
mod half_panels;
mod logcosh;
mod panels;
mod product;
mod room;
mod screen;
mod select;
mod sparse;
mod stored_rows;
mod vector;
mod whiten;

pub use covariance::covariance;
pub(crate) use dispatch::dispatched;
pub use eigen::{Eigen, orthogonalise, symmetric_eigen};
pub use half_panels::{HalfPanels, has_bf16_products};
pub use logcosh::{LogcoshSums, logcosh_moments};
pub use panels::{Panels, prefetch};
pub use product::{View, matmul, matmul_bt, product_into};
pub use room::Room;
pub use screen::{Exact, Screen, Worth, has_screens};
pub use select::{AboveThreshold, Selector, for_each_at_least, keep_largest};
pub use sparse::{SparseCodes, for_each_nonzero};
pub use stored_rows::{StoredRows, multiply_each, multiply_stored};
pub use vector::{Vectorised, add_scaled, dot, mul_add, sum_of_squares, vectorised};
pub use whiten::Whitening;

/// A decomposition that does not exist or did not converge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinalgError {
    /// The input is not finite or singular, or an iteration did not converge.
    #[error("no eigenvectors of the {size} x {size} matrix: {why}")]
    #[expect(missing_docs, reason = "the message names the fields")]
    Eigen { size: usize, why: &'static str },
}
