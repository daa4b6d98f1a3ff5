//! Forward passes that continue from a prefix cache.

use candle_core::{Error, Tensor};

use super::request::{Edit, Output, Request};
use super::{Transformer, matrix_of};
use crate::base::{Matrix, TokenBatch};
use crate::nn::attention_kernel::HeadCache;
use crate::nn::error::Result;
use crate::nn::ops;
use crate::nn::prefix_cache::PrefixCache;

impl PrefixCache {
    /// An empty cache for a model.
    pub fn new(model: &Transformer) -> Self {
        let a = model.architecture();
        let layers = vec![vec![HeadCache::new(a.d_head, 0); a.n_kv_heads]; a.n_layers];
        Self { layers, ids: Vec::new(), rotated_for: 0 }
    }
}

impl Transformer {
    /// Runs the next tokens `[sequences, positions]` of sequences whose earlier positions are in the prefix caches
    /// `past`, one per sequence, and appends to the caches. The sequences may have different lengths so far. Returns
    /// the final norm's output, `[sequences · positions, d_model]`.
    ///
    /// For inference only: weights that are variables get no gradient.
    ///
    /// Fails on ids outside the vocabulary and on sequences that would become too long.
    pub fn forward_cached(&self, tokens: &TokenBatch, past: &mut [PrefixCache]) -> Result<Matrix> {
        self.forward_cached_edited(tokens, past, &[])
    }

    /// [`Transformer::forward_cached`] with edits of the new positions. Cached keys and values are those of edited
    /// activations. Fails if the cached keys do not remain valid, because earlier positions would be edited again.
    pub fn forward_cached_edited(
        &self,
        tokens: &TokenBatch,
        past: &mut [PrefixCache],
        edits: &[Edit<'_>],
    ) -> Result<Matrix> {
        let longest = self.check_past(tokens, past)?;
        if !past.iter().all(|past| self.keys_stay_valid(past, tokens.cols())) {
            if !edits.is_empty() {
                let longest =
                    format!("at most {longest} tokens with edits: its rotary scaling depends on the length");
                return Err(Error::msg(longest).into());
            }
            return self.read_on_separately(tokens, past);
        }
        let ids = self.ids_of(tokens)?;
        let request = Request::edited(edits, Output::FinalNorm);
        let done = ops::on_all_threads(|| self.forward_ids(&ids, request, Some(&mut *past)))?.output;
        past.iter_mut().enumerate().for_each(|(row, past)| past.advance(tokens.row(row)));
        matrix_of(done)
    }

    /// Fails on unusable tokens, and on prefix caches that do not fit them. Returns the length of the longest sequence.
    pub(super) fn check_past(&self, tokens: &TokenBatch, past: &[PrefixCache]) -> Result<usize> {
        self.check_tokens(tokens)?;
        let longest = past.iter().map(PrefixCache::positions).max().unwrap_or(0) + tokens.cols();
        self.check_length(longest)?;
        if past.len() != tokens.rows() {
            let counts = format!("{} sequences with {} prefix caches", tokens.rows(), past.len());
            return Err(Error::msg(counts).into());
        }
        Ok(longest)
    }

    /// Whether the cached keys of a sequence remain valid when `more` positions are appended.
    pub(super) fn keys_stay_valid(&self, past: &PrefixCache, more: usize) -> bool {
        let (before, now) = (past.rotated_for, past.positions() + more);
        let rotaries = self.architecture.rotaries();
        past.positions() == 0 || rotaries.into_iter().flatten().all(|rotary| rotary.keeps_keys(before, now))
    }

    /// [`Transformer::forward_cached`] one sequence at a time. Sequences whose cached keys are no longer valid are recomputed
    /// from their first token, so the result equals that of one pass over the whole sequence.
    fn read_on_separately(&self, tokens: &TokenBatch, past: &mut [PrefixCache]) -> Result<Matrix> {
        let width = self.architecture.d_model;
        let mut rows = Matrix::zeros(tokens.rows() * tokens.cols(), width);
        let outputs = rows.data_mut().chunks_exact_mut(tokens.cols() * width);
        for (row, (past, out)) in past.iter_mut().zip(outputs).enumerate() {
            let mut ids = tokens.row(row).to_vec();
            if !self.keys_stay_valid(past, ids.len()) {
                ids.splice(0..0, past.ids.iter().copied());
                *past = PrefixCache::new(self);
            }
            let length = ids.len();
            let alone =
                TokenBatch::new(ids, length).ok_or_else(|| Error::msg("a sequence without tokens"))?;
            let normed = self.forward_cached(&alone, std::slice::from_mut(past))?;
            out.copy_from_slice(&normed.data()[normed.data().len() - out.len()..]);
        }
        Ok(rows)
    }

    /// The tokens as a tensor `[rows, cols]` (u32) on the model's device.
    pub(super) fn ids_of(&self, tokens: &TokenBatch) -> Result<Tensor> {
        Ok(Tensor::from_slice(tokens.ids(), (tokens.rows(), tokens.cols()), self.device())?)
    }
}
