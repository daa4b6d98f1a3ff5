//! Sparse autoencoders, trained with hand-written gradients.
//!
//! Shapes: R rows of a batch, F features, width d. For an activation `a` `[d]`, with mean `c` and scale `s` over the
//! fit split:
//!
//! ```text
//! x  = (a − c) / s                       [d]   unit mean square per dimension; c = 0 where `centred` is false
//! p  = W_enc (x − b_dec) + b_enc         [F]   W_enc [F, d]
//! z  = the codes, at least 0             [F]   see below
//! x̂  = Σ_f z_f w_f + b_dec               [d]   w_f = W_dec,f / ‖W_dec,f‖, W_dec [F, d]
//! e  = x̂ − x                             [d]
//! ```
//!
//! The loss is a mean over rows. Kinds differ in the codes and in the loss of one row:
//!
//! ```text
//! sae          z = ReLU(p), W_enc,f = w_f, b_dec = 0        ‖e‖² + λ Σ_f z_f
//! sae_untied   z = ReLU(p), b_dec = 0                       ‖e‖² + λ Σ_f z_f
//! topk         z = the k largest positive p of the row      ‖e‖² + auxiliary loss, see `aux_loss`
//! batch_topk   z = the k R largest positive p of the batch  as topk
//! matryoshka   z as batch_topk                              Σ_j ‖e_j‖² / m + auxiliary loss; e_j is the error of
//!                                                           features 0..end_j alone, m prefixes, end_m = F
//! gated        z = 1[p > 0] ReLU(q), r and b_mag [F]        ‖e‖² + λ Σ_f ReLU(p_f) + ‖e_gate‖²; e_gate is the error
//!              q = exp(r) (p − b_enc) + b_mag               of codes ReLU(p), with w and b_dec held constant
//! jumprelu     z = p 1[p > θ], θ = exp(log θ) [F]           ‖e‖² + d (L0 / target − 1)², L0 of the batch
//! ```
//!
//! λ is fixed (`alpha · d` for sae, whose published loss has the mean over dimensions of the squared error; `l1` for
//! gated), or it is adjusted until the mean L0 meets its target: see `schedule`. After training, batch_topk and
//! matryoshka apply one threshold to every row: the running mean of the smallest code that a batch kept. The thresholds
//! of jumprelu have estimated gradients, with the rectangle `K(u) = 1[|u| < 1/2]` and the bandwidth ε:
//!
//! ```text
//! ∂z_f/∂θ_f = −θ_f / ε · K((p_f − θ_f) / ε)       ∂L0/∂θ_f = −1 / ε · K((p_f − θ_f) / ε)
//! ```
//!
//! Sources: sae and sae_untied, Cunningham et al. 2023 (arXiv 2309.08600, appendix B); topk, Gao et al. 2024 (arXiv
//! 2406.04093); batch_topk, Bussmann et al. 2024 (arXiv 2412.06410); matryoshka, Bussmann et al. 2025 (arXiv
//! 2503.17547); gated, Rajamanoharan et al. 2024 (arXiv 2404.16014); jumprelu, Rajamanoharan et al. 2024 (arXiv
//! 2407.14435).
//!
//! The encoder is a dense product. After the selection, errors and gradients use active features only.

mod adam;
mod aux_loss;
mod batch_threshold;
mod entries;
mod feed;
mod fitted;
mod forward;
mod on_device;
mod params;
mod recipe;
mod resample;
mod schedule;
mod selection;
mod sparse_tile;
mod train;
mod training;
mod update;
mod weights;

#[cfg(test)]
mod tests;

pub use params::{AutoencoderFit, GatedParams, JumpreluParams, SaeParams, TopkParams};
pub use recipe::Recipe;
pub use train::{Member, train_together};
pub use training::Training;
