//! Sampling of one token, with log-probabilities.
//!
//!   logprob_i = logit_i - ln Σ_j exp(logit_j),   i and j over the allowed tokens, at temperature 1

use crate::nn::{NnError, Sampler};

/// A sampled token.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// Its id.
    pub token: u32,
    /// Its log-probability in nats among the allowed tokens.
    pub logprob: f64,
    /// The likeliest allowed tokens with their log-probabilities.
    pub top: Vec<(u32, f64)>,
}

/// Samples one of the `allowed` tokens, or of all, from logits `[vocab]`. `None` if no logit is finite.
pub(super) fn choose(
    logits: &[f32],
    allowed: Option<&[u32]>,
    sampler: &mut Sampler,
    n_top: usize,
) -> Result<Option<Choice>, NnError> {
    let ids: Vec<u32> = match allowed {
        Some(allowed) => allowed.to_vec(),
        None => (0u32..).zip(logits).map(|(id, _)| id).collect(),
    };
    let of_ids: Vec<f32> = ids.iter().map(|&id| logits[id as usize]).collect();
    let Some(log_total) = log_sum_exp(of_ids.iter().map(|&logit| f64::from(logit))) else { return Ok(None) };
    let place = sampler.choose(&of_ids)?;
    let logprobs = of_ids.iter().map(|&logit| f64::from(logit) - log_total);
    let token = ids[place];
    let logprob = f64::from(of_ids[place]) - log_total;
    let top = likeliest(ids.into_iter().zip(logprobs).collect(), n_top);
    Ok(Some(Choice { token, logprob, top }))
}

/// ln Σ eˣ, shifted by the largest x; `None` if no x is finite.
pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    most.is_finite().then(|| most + values.map(|value| (value - most).exp()).sum::<f64>().ln())
}

/// The `n` largest values in descending order. Ties are broken by id, ascending.
pub(super) fn likeliest(mut all: Vec<(u32, f64)>, n: usize) -> Vec<(u32, f64)> {
    let order = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if n == 0 {
        return Vec::new();
    }
    if n < all.len() {
        all.select_nth_unstable_by(n - 1, order);
        all.truncate(n);
    }
    all.sort_unstable_by(order);
    all
}
