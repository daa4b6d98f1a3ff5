//! Llamas whose MLPs are mixtures of experts.
//!
//! Mixtral (Jiang et al. 2024, arXiv 2401.04088) is a Mistral; the weights of the chosen experts sum to 1.
//! Qwen3-MoE (arXiv 2505.09388) is a Qwen3 some of whose layers keep a dense MLP; a window holds for every layer.
//! OLMoE (Muennighoff et al. 2024, arXiv 2409.02060) norms all queries together and all keys together, then clips both.

use super::experts::{NAMES, experts, read};
use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    let n_layers = base.n_layers;
    let normalised = || config.flag_or("norm_topk_prob", false);
    match family {
        Family::Qwen3Moe => {
            let d_expert = config.count_or("moe_intermediate_size", Some(768))?;
            let mut experts = experts(config, n_layers, [128, 8], d_expert, normalised()?)?;
            let step = config.count_or("decoder_sparse_step", Some(1))?;
            let dense = config.integers("mlp_only_layers")?.unwrap_or_default();
            for (layer, mixture) in experts.layers.iter_mut().enumerate() {
                *mixture = !dense.contains(&layer) && (layer + 1).is_multiple_of(step);
            }
            let windowed = config.flag_or("use_sliding_window", false)?;
            let window = config.count_or_null("sliding_window", llama::WINDOW)?.filter(|_| windowed);
            config.without_effect(&["max_window_layers"]);
            Ok(Architecture { windows: vec![window; n_layers], experts: Some(experts), ..base })
        }
        Family::Olmoe => {
            let experts = experts(config, n_layers, [64, 8], base.d_mlp, normalised()?)?;
            let projection_limit = config.positive("clip_qkv")?;
            Ok(Architecture { experts: Some(experts), projection_limit, ..base })
        }
        _ => {
            let experts = experts(config, n_layers, [8, 2], base.d_mlp, true)?;
            let windows = vec![stated_window(config)?; n_layers];
            Ok(Architecture { windows, experts: Some(experts), ..base })
        }
    }
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    // Mixtral's checkpoints on the Hub have names of their own.
    let old = weights.has("model.layers.0.block_sparse_moe.gate.weight");
    let (block, names) = if old { ("block_sparse_moe", ["w1", "w3", "w2"]) } else { ("mlp", NAMES) };
    llama::parts_with(a, config, weights, |layer, scope| match &a.experts {
        Some(rule) if rule.layers[layer] => read(scope, rule, block, names),
        _ => Ok(scope.gated(false)?.into()),
    })
}
