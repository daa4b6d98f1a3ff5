//! What an attention layer computes: scale, window, cap and sinks, and the tables of its positions.

use std::borrow::Cow;

use candle_core::{Result, Tensor};

use super::architecture::Positions;

/// How attention scores are computed in one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttentionRule<'a> {
    pub d_head: usize,
    /// Factor on query·key.
    pub scale: f64,
    /// A query sees itself and `window − 1` earlier keys.
    pub window: Option<usize>,
    /// c in the soft cap c·tanh(score/c).
    pub cap: Option<f64>,
    /// Learned scores `[n_heads]` that join the softmax and whose weight is discarded.
    pub sinks: Option<&'a Tensor>,
}

impl AttentionRule<'_> {
    /// The sink of each query head; empty without sinks.
    pub fn sinks(&self) -> Result<Vec<f32>> {
        self.sinks.map_or(Ok(Vec::new()), |sinks| sinks.to_vec1())
    }
}

/// Position-dependent constants of attention: rotary cosines and sines `[positions, pairs]` and the ALiBi bias of keys
/// `[n_heads, positions]`. Empty tables have no effect.
#[derive(Debug, Clone, Default)]
pub(super) struct PositionTables {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
    /// Rotated pairs of coordinates.
    pub pairs: usize,
    pub key_bias: Vec<f32>,
    /// Positions in the tables.
    pub positions: usize,
}

impl PositionTables {
    /// Tables of positions `0..room` in sequences of `length` positions. Rotations can depend on the length.
    pub fn new(kind: &Positions, length: usize, room: usize) -> Self {
        let (frequencies, amplitude, key_bias) = match kind {
            Positions::Learned => (Cow::default(), 1.0, Vec::new()),
            Positions::Rotary(rotary) => (rotary.frequencies_of(length), rotary.amplitude, Vec::new()),
            Positions::Alibi(alibi) => (Cow::default(), 1.0, alibi.key_bias(room)),
        };
        let angles = (0..room)
            .flat_map(|position| frequencies.iter().map(move |&f| f64::from(position as f32 * f as f32)));
        let turned = |angle: f64| ((angle.cos() * amplitude) as f32, (angle.sin() * amplitude) as f32);
        let (cos, sin) = angles.map(turned).unzip();
        Self { cos, sin, pairs: frequencies.len(), key_bias, positions: room }
    }

    /// Rotates `x` `[batch, heads, positions, d_head]`, whose positions start at `first`.
    pub fn rotate(&self, x: &Tensor, first: usize) -> Result<Tensor> {
        if self.pairs == 0 {
            return Ok(x.clone());
        }
        let (_, _, positions, d_head) = x.dims4()?;
        let table = |angles: &[f32]| {
            let range = first * self.pairs..(first + positions) * self.pairs;
            Tensor::from_slice(&angles[range], (positions, self.pairs), x.device())
        };
        let (cos, sin) = (table(&self.cos)?, table(&self.sin)?);
        let a = x.narrow(3, 0, self.pairs)?;
        let b = x.narrow(3, self.pairs, self.pairs)?;
        let turned_a = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        let turned_b = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
        let mut parts = vec![turned_a, turned_b];
        let rest = d_head - 2 * self.pairs;
        if rest > 0 {
            parts.push(x.narrow(3, 2 * self.pairs, rest)?);
        }
        Tensor::cat(&parts, 3)
    }
}
