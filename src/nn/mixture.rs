//! Mixtures of experts: a router sends each token through the few MLPs that it likes best (Shazeer et al. 2017;
//! Jiang et al. 2024 for the form used here).
//!
//!   p = softmax(router(x))                     over all experts
//!   y = Σ w_e · expert_e(x)                    over the `chosen` experts with the largest p
//!   w_e = p_e, or p_e / Σ chosen p where the weights are `normalised`
//!
//! Each expert runs once a pass, on the tokens routed to it alone.

use candle_core::{D, Tensor};

use super::architecture::Architecture;
use super::ops;
use super::transformer::{Linear, Mlp};

type Result<T> = candle_core::Result<T>;

/// The MLP of a layer that is a mixture.
#[derive(Debug, Clone)]
pub(super) struct Mixture {
    /// `[experts, d_model]`
    pub router: Linear,
    pub experts: Vec<Mlp>,
    /// Experts that a token goes through, at most as many as there are.
    pub chosen: usize,
    /// Whether the weights of a token's experts are scaled to sum to 1.
    pub normalised: bool,
}

/// Which experts each of N tokens goes through.
pub(super) struct Routing {
    /// `[N · chosen]`: the experts of a token side by side, the best first.
    pub experts: Vec<u32>,
    /// `[N, chosen]`: the factor on each one's output.
    pub weights: Tensor,
}

impl Mixture {
    /// The router's choice for rows `[N, d_model]`.
    pub fn route(&self, x: &Tensor) -> Result<Routing> {
        let logits = ops::linear(x, &self.router, None)?; // [N, experts]
        let rows = logits.to_vec2::<f32>()?;
        let experts: Vec<u32> = rows.iter().flat_map(|row| largest(row, self.chosen)).collect();
        let ids = Tensor::from_slice(&experts, (rows.len(), self.chosen), x.device())?;
        let raised = logits.broadcast_sub(&logits.detach().max_keepdim(D::Minus1)?)?.exp()?;
        let chosen = raised.gather(&ids, 1)?; // [N, chosen]
        let total = if self.normalised { &chosen } else { &raised }.sum_keepdim(1)?;
        Ok(Routing { experts, weights: chosen.broadcast_div(&total)? })
    }

    /// What the mixture adds to the residual stream, `[N, d_model]` from `[N, d_model]`.
    pub fn forward(&self, x: &Tensor, a: &Architecture) -> Result<Tensor> {
        let routing = self.route(x)?;
        let (n, width) = x.dims2()?;
        // Place i of `routing.experts` is of token i / chosen; sorted by expert, so that each runs once.
        let mut order: Vec<u32> = (0..routing.experts.len() as u32).collect();
        order.sort_by_key(|&place| routing.experts[place as usize]);
        let mut outputs = Vec::new();
        for places in order.chunk_by(|&a, &b| routing.experts[a as usize] == routing.experts[b as usize]) {
            let tokens: Vec<u32> = places.iter().map(|place| place / self.chosen as u32).collect();
            let rows = x.index_select(&Tensor::new(tokens, x.device())?, 0)?; // [routed here, d_model]
            let expert = &self.experts[routing.experts[places[0] as usize] as usize];
            let neurons = expert.neurons(&rows, a)?;
            outputs.push(ops::linear(&neurons, &expert.down, None)?);
        }
        let mut back = vec![0u32; order.len()];
        for (at, &place) in order.iter().enumerate() {
            back[place as usize] = at as u32;
        }
        let outputs = Tensor::cat(&outputs, 0)?.index_select(&Tensor::new(back, x.device())?, 0)?;
        let outputs = outputs.reshape((n, self.chosen, width))?;
        outputs.broadcast_mul(&routing.weights.unsqueeze(2)?)?.sum(1)
    }
}

/// The places of the `count` largest entries, largest first; of equal ones the first.
fn largest(row: &[f32], count: usize) -> impl Iterator<Item = u32> + use<> {
    let mut places: Vec<u32> = (0..row.len() as u32).collect();
    places.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
    places.into_iter().take(count)
}
