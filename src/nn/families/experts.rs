//! Mixtures of gated MLPs: their settings, and the tensors of router and experts.

use super::*;
use crate::nn::mixture::Mixture;

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

/// The mixture `name` of a block.
///
/// On the Hub each expert has tensors of its own, called `names`. Transformers 5 keeps all experts in one tensor: gate
/// above up `[experts, 2 · d_expert, d_model]`, and down `[experts, d_model, d_expert]`.
pub(super) fn read(
    scope: &Scope<'_>,
    rule: &Experts,
    name: &str,
    names: [&str; 3],
) -> Result<FeedForward, NnError> {
    let (d_model, d_expert, count) = (scope.a.d_model, rule.d_expert, rule.count);
    let fused = scope.at(&format!("{name}.experts.gate_up_proj"));
    let experts: Result<Vec<Mlp>, NnError> = if scope.weights.has(&fused) {
        let gates_and_ups = scope.weights.stack(&fused, [count, 2 * d_expert, d_model])?;
        let downs = scope.at(&format!("{name}.experts.down_proj"));
        let downs = scope.weights.stack(&downs, [count, d_model, d_expert])?;
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
                gate: Some(scope.linear(&gate, [d_expert, d_model], false)?),
                up: scope.linear(&up, [d_expert, d_model], false)?,
                down: scope.linear(&down, [d_model, d_expert], false)?,
            })
        };
        (0..count).map(one).collect()
    };
    let router = scope.linear(&format!("{name}.gate"), [count, d_model], false)?;
    Ok(mixture(rule, router, experts?))
}
