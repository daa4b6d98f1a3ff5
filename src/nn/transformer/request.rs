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

/// Activations that replace those of a forward pass.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// Their hook point.
    pub hook: HookPoint,
    /// `[batch · positions, width]`, sequence after sequence.
    pub rows: &'a [f32],
}

/// Values whose gradient is taken.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// Logits `[rows, vocab]` of these rows of the batch.
    Logits(&'a [u32]),
    /// Activations at a later hook point `[batch · positions, width]`.
    Activations(HookPoint),
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
    /// Edits, applied in this order where several have the same hook point. If the hook point of an edit is also
    /// requested, the edited activation is returned.
    pub edits: &'a [Edit<'a>],
    /// What to compute at the end.
    pub output: Output,
}

impl<'a> Request<'a> {
    /// A request for an output without activations or edits.
    pub(super) fn of_output(output: Output) -> Self {
        Self { hooks: &[], edits: &[], output }
    }

    /// A request for an output after edits.
    pub(super) fn edited(edits: &'a [Edit<'a>], output: Output) -> Self {
        Self { hooks: &[], edits, output }
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
