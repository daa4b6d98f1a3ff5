//! Dense and sparse kernels: products, eigenvectors, whitening, top-k.
//!
//! In: matrices.
//! Out: matrices.
//! Never: knows a model or a feature.
