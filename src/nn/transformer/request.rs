//! What a forward pass is asked for, and what it returns.

use candle_core::Tensor;

use crate::base::{HookPoint, Matrix};

/// A replacement of an activation during a forward pass.
#[derive(Clone, Copy)]
pub struct Edit<'a> {
    /// The hook point to edit.
    pub hook: HookPoint,
    /// Changes `[sequences · positions, width]` in place, sequence after sequence.
    ///
    /// It gets whole sequences, but a batch may be split into several calls on different threads. The position is the
    /// row number modulo the sequence length.
    pub apply: &'a (dyn Fn(&mut Matrix) + Sync),
}

/// What a forward pass computes after the requested hook points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Nothing: it stops at the last hook point.
    Nothing,
    /// Output of the final norm `[batch · positions, d_model]`.
    FinalNorm,
    /// Logits at every position `[batch · positions, vocab]`.
    Logits,
}

/// What a forward pass computes.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Activations to return, in this order.
    pub hooks: &'a [HookPoint],
    /// An edit. If its hook point is also requested, the edited activation is returned.
    pub edit: Option<Edit<'a>>,
    /// What to compute at the end.
    pub output: Output,
}

impl Request<'_> {
    /// A request for an output without activations or edits.
    pub(super) fn of_output(output: Output) -> Self {
        Self { hooks: &[], edit: None, output }
    }
}

/// The result of a forward pass.
#[derive(Debug, Clone)]
pub struct ForwardPass {
    /// `[batch · positions, width]` of each requested hook point, in the order of the request.
    pub activations: Vec<Tensor>,
    /// The requested [`Output`].
    pub output: Option<Tensor>,
}
