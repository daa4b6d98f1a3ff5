use crate::nn::{NnError, Sampler};

/// One step of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    /// The token.
    pub token: u32,
    /// Its log-probability in nats among the tokens allowed.
    pub logprob: f64,
    /// The likeliest tokens allowed, with theirs.
    pub top: Vec<(u32, f64)>,
}

/// Takes a token of those `allowed`, or of all, as the sampler chooses. Log-probabilities are those at temperature
/// 1 over the tokens allowed. None where no token has a finite logit.
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

/// ln Σ eˣ; none where nothing finite is among them.
pub(super) fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let most = values.clone().fold(f64::NEG_INFINITY, f64::max);
    most.is_finite().then(|| most + values.map(|value| (value - most).exp()).sum::<f64>().ln())
}

/// The `n` with the largest values, largest first, of several alike the smallest ids.
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
