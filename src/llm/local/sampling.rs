use crate::base::Stream;

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

/// Takes a token: at temperature 0 the likeliest, of several alike the first; otherwise one drawn with
/// probabilities softmax(logits / temperature). Log-probabilities are those at temperature 1, over the tokens
/// `allowed`, or over all.
pub(super) fn choose(
    logits: &[f32],
    allowed: Option<&[u32]>,
    temperature: f64,
    stream: &mut Stream,
    n_top: usize,
) -> Option<Choice> {
    let candidates: Vec<(u32, f64)> = match allowed {
        Some(allowed) => allowed.iter().map(|&id| (id, f64::from(logits[id as usize]))).collect(),
        None => (0u32..).zip(logits.iter().map(|&logit| f64::from(logit))).collect(),
    };
    let log_total = log_sum_exp(candidates.iter().map(|(_, logit)| *logit))?;
    let &(token, logit) = if temperature > 0.0 {
        drawn(&candidates, temperature, stream)?
    } else {
        candidates.iter().reduce(|best, next| if next.1 > best.1 { next } else { best })?
    };
    let top = likeliest(candidates, n_top).into_iter().map(|(id, logit)| (id, logit - log_total)).collect();
    Some(Choice { token, logprob: logit - log_total, top })
}

fn drawn<'a>(candidates: &'a [(u32, f64)], temperature: f64, stream: &mut Stream) -> Option<&'a (u32, f64)> {
    let most = candidates.iter().map(|(_, logit)| *logit).fold(f64::NEG_INFINITY, f64::max);
    let weight = |logit: f64| ((logit - most) / temperature).exp();
    let total: f64 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
    let mut left = stream.unit() * total;
    let found = candidates.iter().find(|(_, logit)| {
        left -= weight(*logit);
        left < 0.0
    });
    found.or_else(|| candidates.iter().rev().find(|(_, logit)| weight(*logit) > 0.0))
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
