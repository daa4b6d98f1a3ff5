//! Next-token losses −ln p(token | tokens before it) in nats, `[batch · (positions − 1)]`.

use super::Transformer;
use super::request::{Edit, ForwardPass, Given, Output, Request};
use crate::base::{HookPoint, TokenBatch};
use crate::nn::error::Result;
use crate::nn::ops;

/// Logits in memory at once (64 MB). The unembedding is read once for all of them.
const MAX_LOGITS: usize = 1 << 24;

impl Transformer {
    /// Losses in nats of every token but the first of each sequence, `[batch · (positions − 1)]`.
    pub fn losses(&self, tokens: &TokenBatch, edit: Option<Edit<'_>>) -> Result<Vec<f32>> {
        let request = Request::edited(edit.as_slice(), Output::FinalNorm);
        self.losses_of(self.forward(tokens, request)?, tokens)
    }

    /// [`Transformer::losses`] with the activations at `hook` replaced by `rows` `[batch · positions, width]`. For the
    /// residual stream between blocks only the later blocks are run.
    pub fn losses_given(&self, tokens: &TokenBatch, hook: HookPoint, rows: &[f32]) -> Result<Vec<f32>> {
        self.losses_of(self.forward_given(tokens, Given { hook, rows }, &[], Output::FinalNorm)?, tokens)
    }

    /// Losses from the final norm's output `[batch · positions, d_model]`.
    fn losses_of(&self, pass: ForwardPass, tokens: &TokenBatch) -> Result<Vec<f32>> {
        let Some(normed) = pass.output else { return Ok(Vec::new()) };
        let (batch, positions) = (tokens.rows(), tokens.cols());
        let width = self.architecture.d_model;
        let predicting = normed
            .reshape((batch, positions, width))?
            .narrow(1, 0, positions - 1)?
            .reshape((batch * (positions - 1), width))?;
        let targets: Vec<u32> = (0..batch).flat_map(|row| tokens.row(row)[1..].iter().copied()).collect();
        let mut losses = Vec::with_capacity(targets.len());
        let step = (MAX_LOGITS / self.architecture.vocab).max(1);
        for (nth, targets) in targets.chunks(step).enumerate() {
            let logits = self.unembed(&predicting.narrow(0, nth * step, targets.len())?)?; // [count, vocab]
            losses.extend(ops::cross_entropies(&logits, targets)?);
        }
        Ok(losses)
    }
}
