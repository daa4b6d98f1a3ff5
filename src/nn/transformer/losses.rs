//! Next-token losses −ln p(token | tokens before it) in nats, `[batch · (positions − 1)]`.

use candle_core::Tensor;

use super::Transformer;
use super::pass::Pass;
use super::request::{Edit, ForwardPass, Output, Request};
use crate::base::{HookPoint, Matrix, Site, TokenBatch};
use crate::nn::error::Result;
use crate::nn::ops;

/// Logits in memory at once (64 MB). The unembedding is read once for all of them.
const MAX_LOGITS: usize = 1 << 24;

impl Transformer {
    /// Losses in nats of every token but the first of each sequence, `[batch · (positions − 1)]`.
    pub fn losses(&self, tokens: &TokenBatch, edit: Option<Edit<'_>>) -> Result<Vec<f32>> {
        let request = Request { edit, ..Request::of_output(Output::FinalNorm) };
        self.losses_of(self.forward(tokens, request)?, tokens)
    }

    /// [`Transformer::losses`] with the activations at `hook` replaced by `rows` `[batch · positions, width]`. For the
    /// residual stream between blocks only the later blocks are run.
    pub fn losses_given(&self, tokens: &TokenBatch, hook: HookPoint, rows: &[f32]) -> Result<Vec<f32>> {
        let layer = match hook {
            HookPoint::Block { layer, site: Site::ResidPre } => layer,
            HookPoint::Block { layer, site: Site::ResidPost } => layer + 1,
            _ => {
                let apply = |found: &mut Matrix| found.data_mut().copy_from_slice(rows);
                return self.losses(tokens, Some(Edit { hook, apply: &apply }));
            }
        };
        self.check_hook(hook)?;
        self.check_tokens(tokens)?;
        let shape = (tokens.rows() * tokens.cols(), self.architecture.d_model);
        let x = Tensor::from_slice(rows, shape, self.device())?;
        let tables = vec![self.tables(tokens.cols())];
        let pass = Pass::new(tokens.rows(), tables, Request::of_output(Output::FinalNorm));
        self.losses_of(self.layers_from(layer, x, pass)?, tokens)
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
