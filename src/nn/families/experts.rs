use super::linear;
use crate::nn::architecture::{Architecture, Experts};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::mixture::Mixture;
use crate::nn::transformer::{FeedForward, Linear, Mlp};
use crate::nn::weights::Weights;

/// Gate, up and down projection of an expert as most families name them.
pub(super) const NAMES: [&str; 3] = ["gate_proj", "up_proj", "down_proj"];

/// Mixtures of `count` experts, `chosen` for a token, in every layer; the two are defaults.
pub(super) fn experts(
    config: &Config,
    n_layers: usize,
    [count, chosen]: [usize; 2],
    d_expert: usize,
    normalised: bool,
) -> Result<Experts, NnError> {
    // Transformers takes either name of the count for every family.
    let field = if config.has("num_experts") { "num_experts" } else { "num_local_experts" };
    let count = config.count_or(field, Some(count))?;
    let chosen = config.count_or("num_experts_per_tok", Some(chosen))?;
    if chosen > count {
        return Err(config.wrong("num_experts_per_tok", &format!("at most the {count} experts")));
    }
    Ok(Experts { layers: vec![true; n_layers], count, chosen, d_expert, normalised })
}

/// A mixture of a router and experts.
pub(super) fn mixture(rule: &Experts, router: Linear, experts: Vec<Mlp>) -> FeedForward {
    FeedForward::Mixture(Mixture { router, experts, chosen: rule.chosen, normalised: rule.normalised })
}

/// The mixture whose weights are named `name`. Its experts are tensors each, as on the Hub and with `names`, or one
/// tensor of all, as transformers 5 holds them: gate above up `[experts, 2 · d_expert, d_model]`, and down
/// `[experts, d_model, d_expert]`.
pub(super) fn read(
    a: &Architecture,
    rule: &Experts,
    weights: &Weights,
    name: &str,
    names: [&str; 3],
) -> Result<FeedForward, NnError> {
    let (d_model, d_expert, count) = (a.d_model, rule.d_expert, rule.count);
    let fused = format!("{name}.experts.gate_up_proj");
    let experts: Result<Vec<Mlp>, NnError> = if weights.has(&fused) {
        let gates_and_ups = weights.stack(&fused, [count, 2 * d_expert, d_model])?;
        let downs = weights.stack(&format!("{name}.experts.down_proj"), [count, d_model, d_expert])?;
        let each = gates_and_ups.into_iter().zip(downs).map(|(gate_and_up, down)| {
            Ok(Mlp {
                gate: Some(Linear::new(gate_and_up.narrow(0, d_expert)?, None)),
                up: Linear::new(gate_and_up.narrow(d_expert, d_expert)?, None),
                down: Linear::new(down, None),
            })
        });
        each.collect()
    } else {
        let one = |expert: usize| {
            let [gate, up, down] = names.map(|part| format!("{name}.experts.{expert}.{part}"));
            Ok(Mlp {
                gate: Some(linear(weights, &gate, d_expert, d_model, false)?),
                up: linear(weights, &up, d_expert, d_model, false)?,
                down: linear(weights, &down, d_model, d_expert, false)?,
            })
        };
        (0..count).map(one).collect()
    };
    let router = linear(weights, &format!("{name}.gate"), count, d_model, false)?;
    Ok(mixture(rule, router, experts?))
}
