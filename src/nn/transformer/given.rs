//! Forward passes from given activations at a hook point, and gradients with respect to them.

use candle_core::{Error, Tensor, Var};

use super::request::{Edit, ForwardPass, Given, Output, Request, Values};
use super::{Transformer, matrix_of};
use crate::base::{HookPoint, Matrix, Site, TokenBatch};
use crate::nn::error::{NnError, Result};
use crate::nn::ops;
use crate::nn::prefix_cache::PrefixCache;

/// Values `[n, width]` that follow from given activations, and the gradient of Σ weight · value with respect to the
/// activations `[batch · positions, width]`.
#[derive(Debug, Clone)]
pub struct Pullback {
    /// The values.
    pub values: Matrix,
    /// The gradient.
    pub gradient: Matrix,
}

impl Transformer {
    /// A forward pass in which the activations at a hook point are the given ones. For the residual stream between
    /// blocks only the later blocks are run, so `hooks` must be later.
    pub fn forward_given(
        &self,
        tokens: &TokenBatch,
        given: Given<'_>,
        hooks: &[HookPoint],
        output: Output,
    ) -> Result<ForwardPass> {
        Ok(ops::on_all_threads(|| self.run_given(tokens, given, None, (hooks, output), false))?.0)
    }

    /// [`Transformer::forward_given`] of the next positions of sequences whose earlier ones are in the prefix caches
    /// `past`, one per sequence; `tokens` and `given` are those of the next positions alone. Appends to the caches: of
    /// the layers that are run, keys and values follow from the given activations, and other layers stay empty. So later
    /// positions must be given at the same hook point.
    ///
    /// With weights in main memory, results are those of one pass over whole sequences. Fails on sequences that would
    /// become too long, and if the cached keys do not remain valid.
    pub fn forward_given_cached(
        &self,
        tokens: &TokenBatch,
        past: &mut [PrefixCache],
        given: Given<'_>,
        hooks: &[HookPoint],
        output: Output,
    ) -> Result<ForwardPass> {
        self.check_past(tokens, past)?;
        if !past.iter().all(|past| self.keys_stay_valid(past, tokens.cols())) {
            return Err(Error::msg("prefix caches of another length: rotary scaling depends on it").into());
        }
        let run = || self.run_given(tokens, given, Some(&mut *past), (hooks, output), false);
        let done = ops::on_all_threads(run)?.0;
        past.iter_mut().enumerate().for_each(|(row, past)| past.advance(tokens.row(row)));
        Ok(done)
    }

    /// The values that follow from given activations, and their weighted sum's gradient with respect to the
    /// activations. `weights` returns a weight for each entry of the values.
    ///
    /// Reverse-mode differentiation over candle's operations, in f32.
    pub fn pullback(
        &self,
        tokens: &TokenBatch,
        given: Given<'_>,
        values: Values<'_>,
        weights: &dyn Fn(&Matrix) -> Matrix,
    ) -> Result<Pullback> {
        let hook = [match values {
            Values::Logits(_) => given.hook,
            Values::Activations(hook) => hook,
        }];
        let wanted: (&[HookPoint], Output) = match values {
            Values::Logits(_) => (&[], Output::FinalNorm),
            Values::Activations(_) => (&hook, Output::Nothing),
        };
        let (pass, x) = self.run_given(tokens, given, None, wanted, true)?;
        let found = match values {
            Values::Logits(rows) => {
                let rows = Tensor::from_slice(rows, rows.len(), self.device())?;
                let normed = pass.output.ok_or_else(|| Error::msg("the pass ended without its output"))?;
                self.unembed(&normed.index_select(&rows, 0)?)?
            }
            Values::Activations(_) => {
                pass.activations.into_iter().next().ok_or_else(|| Error::msg("a hook point is missing"))?
            }
        };
        let values = matrix_of(Some(found.clone()))?;
        let weights = weights(&values);
        let shape = (values.rows(), values.cols());
        if (weights.rows(), weights.cols()) != shape {
            return Err(Error::msg("as many weights as values are needed").into());
        }
        let weights = Tensor::from_slice(weights.data(), shape, self.device())?;
        let gradients = (found * weights)?.sum_all()?.backward()?;
        let gradient = gradients.get(&x).cloned().ok_or(NnError::NoGradient { hook: given.hook })?;
        Ok(Pullback { values, gradient: matrix_of(Some(gradient))? })
    }

    /// The pass, and the tensor of the given activations: a variable, if gradients are to be taken.
    fn run_given(
        &self,
        tokens: &TokenBatch,
        given: Given<'_>,
        past: Option<&mut [PrefixCache]>,
        (hooks, output): (&[HookPoint], Output),
        is_variable: bool,
    ) -> Result<(ForwardPass, Tensor)> {
        let Given { hook, rows } = given;
        self.check_tokens(tokens)?;
        let (n, width) = (tokens.ids().len(), self.width(hook)?);
        if rows.len() != n * width {
            let got = [rows.len() / width.max(1), width];
            return Err(NnError::EditShape { hook, expected: [n, width], got });
        }
        hooks.iter().try_for_each(|&hook| self.check_hook(hook))?;
        let shape = [tokens.rows(), tokens.cols()];
        let first = match hook {
            HookPoint::Block { layer, site: Site::ResidPre } => layer,
            HookPoint::Block { layer, site: Site::ResidPost } => layer + 1,
            _ => {
                let set = |found: &mut Matrix| found.data_mut().copy_from_slice(rows);
                let edits = [Edit { hook, apply: &set }];
                let hooks = [hooks, &[hook]].concat();
                let mut pass = self.pass_of(shape, past, Request { hooks: &hooks, edits: &edits, output });
                pass.variable = is_variable.then_some(hook);
                let mut done = self.run(&self.ids_of(tokens)?.flatten_all()?, pass)?;
                let x = done.activations.pop().ok_or_else(|| Error::msg("a hook point is missing"))?;
                return Ok((done, x));
            }
        };
        let x = Tensor::from_slice(rows, (n, width), self.device())?;
        let x = if is_variable { Var::from_tensor(&x)?.as_tensor().clone() } else { x };
        let pass = self.pass_of(shape, past, Request { hooks, edits: &[], output });
        let done = self.layers_from(first, x.clone(), pass)?;
        if done.activations.len() < hooks.len() {
            return Err(Error::msg(format!("a requested hook point precedes `{hook}`")).into());
        }
        Ok((done, x))
    }
}
