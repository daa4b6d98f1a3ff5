//! Mixture of experts (Shazeer et al. 2017, arXiv 1701.06538; in the form of Jiang et al. 2024, arXiv 2401.04088).
//!
//!   p = softmax(router(x))                     over all experts
//!   y = Σ w_e · expert_e(x)                    over the `chosen` experts with the largest p
//!   w_e = p_e, or p_e / Σ chosen p if the weights are `normalised`
//!
//! Each expert runs once a pass, on the tokens that are routed to it.

use candle_core::{D, Result, Tensor};

use super::architecture::Architecture;
use super::linear::Linear;
use super::mlp::Mlp;

/// The MLP of a layer that is a mixture.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    /// `[experts, d_model]`
    pub router: Linear,
    pub experts: Vec<Mlp>,
    /// Experts per token, at most the number of experts.
    pub chosen: usize,
    /// Whether the weights of a token's experts are scaled to sum to 1.
    pub normalised: bool,
}

/// The experts of each of N tokens.
pub(super) struct Routing {
    /// `[N · chosen]`: the experts of each token, by falling p.
    pub experts: Vec<u32>,
    /// `[N, chosen]`: w_e.
    pub weights: Tensor,
}

impl Mixture {
    /// Routes rows `[N, d_model]`.
    pub fn route(&self, x: &Tensor) -> Result<Routing> {
        let logits = self.router.forward(x, None)?; // [N, experts]
        let rows = logits.to_vec2::<f32>()?;
        let experts: Vec<u32> = rows.iter().flat_map(|row| largest(row, self.chosen)).collect();
        let ids = Tensor::from_slice(&experts, (rows.len(), self.chosen), x.device())?;
        let exp = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?.exp()?;
        let chosen = exp.gather(&ids, 1)?; // [N, chosen]
        let total = if self.normalised { &chosen } else { &exp }.sum_keepdim(1)?;
        Ok(Routing { experts, weights: chosen.broadcast_div(&total)? })
    }

    /// What the mixture adds to the residual stream, `[N, d_model]` from `[N, d_model]`.
    pub fn forward(&self, x: &Tensor, a: &Architecture) -> Result<Tensor> {
        let routing = self.route(x)?;
        let (n, width) = x.dims2()?;
        // Entry i of `routing.experts` belongs to token i / chosen. Sorting by expert lets each expert run once.
        let mut order: Vec<u32> = (0..routing.experts.len() as u32).collect();
        order.sort_by_key(|&entry| routing.experts[entry as usize]);
        let mut outputs = Vec::new();
        for entries in order.chunk_by(|&a, &b| routing.experts[a as usize] == routing.experts[b as usize]) {
            let tokens: Vec<u32> = entries.iter().map(|entry| entry / self.chosen as u32).collect();
            let rows = x.index_select(&Tensor::new(tokens, x.device())?, 0)?; // [routed here, d_model]
            let expert = &self.experts[routing.experts[entries[0] as usize] as usize];
            let neurons = expert.neurons(&rows, a)?;
            outputs.push(expert.down.forward(&neurons, None)?);
        }
        let mut inverse = vec![0u32; order.len()];
        for (at, &entry) in order.iter().enumerate() {
            inverse[entry as usize] = at as u32;
        }
        let outputs = Tensor::cat(&outputs, 0)?.index_select(&Tensor::new(inverse, x.device())?, 0)?;
        let outputs = outputs.reshape((n, self.chosen, width))?;
        outputs.broadcast_mul(&routing.weights.unsqueeze(2)?)?.sum(1)
    }
}

/// Indices of the `count` largest entries, by falling value; equal ones by rising index.
fn largest(row: &[f32], count: usize) -> impl Iterator<Item = u32> + use<> {
    let mut indices: Vec<u32> = (0..row.len() as u32).collect();
    indices.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
    indices.into_iter().take(count)
}
