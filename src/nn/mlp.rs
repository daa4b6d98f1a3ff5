//! MLP of a block or of one expert, with or without a gate.
//!
//!   neurons = act(W_up x + b_up)                         x [N, d_model], neurons [N, d_mlp]
//!   neurons = act(W_gate x + b_gate) ⊙ (W_up x + b_up)   with a gate; the clamped form is in [`Gating`]
//!   output = W_down neurons + b_down                     [N, d_model]

use candle_core::{Result, Tensor};

use super::architecture::{Architecture, Gating};
use super::linear::{Linear, forward_each};
use super::ops;

#[derive(Debug, Clone)]
pub(super) struct Mlp {
    /// With a gate, neurons are act(gate)·up (see [`Gating`]), otherwise act(up).
    pub gate: Option<Linear>,
    pub up: Linear,
    pub down: Linear,
}

impl Mlp {
    /// Neurons `[N, d_mlp]` from the normed stream `[N, d_model]`.
    pub fn neurons(&self, normed: &Tensor, a: &Architecture) -> Result<Tensor> {
        let Some(gate) = &self.gate else { return self.up.forward(normed, Some(a.activation)) };
        match a.gating {
            Gating::Product => {
                let [gate, up] = forward_each(normed, [(gate, Some(a.activation)), (&self.up, None)])?;
                ops::gated(gate, &up)
            }
            Gating::Clamped { slope, limit } => {
                let [gate, up] = forward_each(normed, [(gate, None), (&self.up, None)])?;
                let (gate, up) = (gate.minimum(limit)?, up.clamp(-limit, limit)?);
                let sigmoid = ((&gate * -slope)?.exp()? + 1.0)?.recip()?;
                (gate * sigmoid)? * (up + 1.0)?
            }
        }
    }

    pub fn maps(&mut self) -> impl Iterator<Item = &mut Linear> {
        self.gate.iter_mut().chain([&mut self.up, &mut self.down])
    }
}
