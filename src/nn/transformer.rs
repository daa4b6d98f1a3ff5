//! The forward pass of a decoder-only transformer, with hook points as in TransformerLens:
//!
//!   x₀ = norm(scale · W_E[ids] + positions)                      [N, d_model], N = batch · positions
//!   x_{l+1} = m + mlp(norm₂ m),  m = x_l + attn(norm₁ x_l)       sequential; see `Residual` for the other forms
//!   logits = cap(scale · (W_U norm(x_L) + b))                    [N, vocab]
//!
//! [`Architecture`] selects the variant of each part; a part that a family lacks is the identity.

use std::sync::{Arc, Mutex};

use candle_core::{Device, Error, Tensor};

use super::architecture::{Architecture, NormKind};
use super::attention_rule::PositionTables;
use super::error::{NnError, Result};
use super::{Config, Weights, families, ops};
use crate::base::{HookPoint, Matrix, TokenBatch};
use crate::linalg::has_bf16_products;

mod cached;
mod centring;
mod given;
mod last_tokens;
mod losses;
mod parts;
mod pass;
mod request;
#[cfg(test)]
mod tests;

pub use self::given::Pullback;
pub(super) use self::parts::{Block, FeedForward, Parts, Projections};
pub use self::request::{Edit, ForwardPass, Given, Output, Request, Values};
pub(super) use super::linear::Linear;
pub(super) use super::mlp::Mlp;
pub(super) use super::ops::Norm;

/// Position tables of layers with full attention, and of layers with a window.
type SharedTables = Arc<[PositionTables; 2]>;

/// Cached tables, each with the [`Rotary::regime`](crate::nn::Rotary::regime) of its sequence length. The tables of a
/// regime grow with the longest sequence so far.
type KeptTables = Vec<([usize; 2], SharedTables)>;

/// A decoder-only language model.
#[derive(Debug, Clone)]
pub struct Transformer {
    architecture: Architecture,
    parts: Parts,
    tables: Arc<Mutex<KeptTables>>,
}

impl Transformer {
    /// Builds the model. Fails if a weight is missing or its shape contradicts the configuration.
    pub fn new(config: &Config, weights: &Weights) -> Result<Self> {
        let config = &config.held_to(weights.len());
        let architecture = families::architecture(config)?;
        let parts = families::parts(&architecture, config, weights)?;
        Ok(Self { architecture, parts, tables: Arc::default() })
    }

    /// The same model with both factors of every weight product inside its blocks rounded to bf16. Sums, the residual
    /// stream, norms, attention and the unembedding stay in f32.
    ///
    /// No effect if the processor lacks bf16 products or the weights are on a GPU.
    pub fn with_half_products(mut self) -> Result<Self> {
        if has_bf16_products() && self.device().is_cpu() {
            self.parts.blocks.iter_mut().flat_map(Block::maps).try_for_each(Linear::round)?;
        }
        Ok(self)
    }

    /// The same model with its weights on a device. A GPU runs candle's operations, so results differ by rounding.
    pub fn on_device(mut self, device: &Device) -> Result<Self> {
        let to_device = |tensor: &mut Tensor| -> Result<()> {
            *tensor = tensor.to_device(device)?;
            Ok(())
        };
        let parts = &mut self.parts;
        parts.embedding = parts.embedding.to_device(device)?;
        parts.unembedding.move_to(device)?;
        parts.position_embedding.iter_mut().try_for_each(to_device)?;
        for block in &mut parts.blocks {
            block.maps().into_iter().try_for_each(|map| map.move_to(device))?;
            block.sinks.iter_mut().try_for_each(to_device)?;
        }
        let norms = parts.blocks.iter_mut().flat_map(Block::norms);
        let norms = norms.chain(&mut parts.embedding_norm).chain(&mut parts.final_norm);
        norms.flat_map(Norm::tensors).try_for_each(to_device)?;
        Ok(self)
    }

    /// The description that the forward pass follows.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        self.parts.embedding.device()
    }

    /// Fails with the reason if the model lacks a hook point.
    pub fn check_hook(&self, hook: HookPoint) -> Result<()> {
        self.width(hook).map(|_| ())
    }

    /// Width of the activations at a hook point.
    pub fn width(&self, hook: HookPoint) -> Result<usize> {
        self.architecture.width(hook)
    }

    /// Fails on ids outside the vocabulary and on sequences that are too long.
    pub fn check_tokens(&self, tokens: &TokenBatch) -> Result<()> {
        let cols = tokens.cols();
        self.check_ids(tokens.ids(), cols, |at| [at / cols, at % cols])
    }

    /// Checks ids of sequences with at most `longest` tokens; `place` gives the row and column of an id.
    fn check_ids(&self, ids: &[u32], longest: usize, place: impl Fn(usize) -> [usize; 2]) -> Result<()> {
        self.check_length(longest)?;
        let vocab = self.architecture.vocab;
        let Some(at) = ids.iter().position(|&id| id as usize >= vocab) else { return Ok(()) };
        let [row, col] = place(at);
        Err(NnError::TokenOutOfVocabulary { id: ids[at], row, col, vocab })
    }

    fn check_length(&self, cols: usize) -> Result<()> {
        let n_ctx = self.architecture.n_ctx;
        if cols > n_ctx { Err(NnError::TooLong { cols, n_ctx }) } else { Ok(()) }
    }

    /// Runs tokens `[batch, positions]` through the model.
    ///
    /// Fails on ids outside the vocabulary, on sequences that are too long and on hook points that the model lacks.
    pub fn forward(&self, tokens: &TokenBatch, request: Request<'_>) -> Result<ForwardPass> {
        self.check_tokens(tokens)?;
        self.forward_ids(&self.ids_of(tokens)?, request, None)
    }

    /// Logits `[rows, vocab]` of outputs of the final norm, `[rows, d_model]` row after row.
    pub fn logits_of(&self, normed: &[f32]) -> Result<Matrix> {
        let width = self.architecture.d_model;
        let normed = Tensor::from_slice(normed, (normed.len() / width, width), self.device())?;
        matrix_of(Some(ops::on_all_threads(|| self.unembed(&normed))?))
    }

    /// Direct logit attribution: scale · W_U (g ⊙ (v − mean v)) `[n, vocab]` of directions v `[n, d_model]` of the
    /// residual stream, with g the weight of the final norm. The mean is subtracted only if that norm is a layer norm.
    ///
    /// Leaves out the norm's division, all biases and the soft cap.
    pub fn direct_logits(&self, directions: &Matrix) -> Result<Matrix> {
        let shape = (directions.rows(), directions.cols());
        let x = Tensor::from_slice(directions.data(), shape, self.device())?;
        let x = match (&self.parts.final_norm, self.architecture.norm) {
            (None, _) => x,
            (Some(norm), NormKind::Layer) => {
                x.broadcast_sub(&x.mean_keepdim(1)?)?.broadcast_mul(&norm.weight)?
            }
            (Some(norm), NormKind::Rms) => x.broadcast_mul(&norm.weight)?,
        };
        let map = Linear::new(self.parts.unembedding.weight.clone(), None);
        matrix_of(Some(scaled(map.forward(&x, None)?, self.architecture.logit_scale)?))
    }

    /// Logits `[batch, positions, vocab]` of ids `[batch, positions]` (u32), differentiable with respect to weights
    /// that are candle variables.
    pub fn logits(&self, ids: &Tensor) -> Result<Tensor> {
        let (batch, positions) = ids.dims2()?;
        let logits = self.forward_ids(ids, Request::of_output(Output::Logits), None)?.output;
        let logits = logits.ok_or_else(|| Error::msg("the pass ended without logits"))?;
        Ok(logits.reshape((batch, positions, self.architecture.vocab))?)
    }

    /// Logits `[rows, vocab]` of outputs of the final norm `[rows, d_model]`.
    pub fn unembed(&self, normed: &Tensor) -> Result<Tensor> {
        let logits = self.parts.unembedding.forward(normed, None)?;
        let logits = scaled(logits, self.architecture.logit_scale)?;
        match self.architecture.logit_cap {
            Some(cap) => Ok(((logits / cap)?.tanh()? * cap)?),
            None => Ok(logits),
        }
    }
}

/// The output of a pass as a matrix in main memory.
fn matrix_of(tensor: Option<Tensor>) -> Result<Matrix> {
    let tensor = tensor.ok_or_else(|| Error::msg("the pass ended without its output"))?;
    let (rows, cols) = tensor.dims2()?;
    let mut matrix = Matrix::zeros(rows, cols);
    ops::copy_entries(&tensor, matrix.data_mut())?;
    Ok(matrix)
}

/// x · factor, or x without a factor.
fn scaled(x: Tensor, factor: Option<f64>) -> candle_core::Result<Tensor> {
    match factor {
        Some(factor) => x * factor,
        None => Ok(x),
    }
}
