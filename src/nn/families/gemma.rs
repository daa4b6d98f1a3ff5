//! Gemma (arXiv 2403.08295), Gemma 2 (2408.00118) and Gemma 3 (2503.19786): a Llama with embeddings scaled by √d_model.
//!
//! Gemma 2 and 3 have norms on both sides of attention and MLP, and alternate layers with a window and layers without.
//! Gemma 2 soft-caps attention scores and logits. Gemma 3 norms queries and keys, and its layers with a window have
//! rotary positions of their own.

use super::*;

/// Gemma 3's default period: one layer in six has no window.
const PATTERN: usize = 6;

/// Default of s in the factor s^(−1/2) on query·key.
const QUERY_SCALAR: f64 = 256.0;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    config.require_flag("use_bidirectional_attention", false)?;
    let base = Architecture {
        activation: activation(config, family)?,
        embedding_scale: Some((base.d_model as f64).sqrt()),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..base
    };
    if family == Family::Gemma {
        return Ok(base);
    }
    let window = config.count_or_null("sliding_window", llama::WINDOW)?;
    let windows = match family {
        Family::Gemma2 => {
            only_count(config, "sliding_window_pattern", 2)?;
            windows(config, base.n_layers, window, |layer| layer.is_multiple_of(2))?
        }
        _ => {
            let pattern = config.count_or("_sliding_window_pattern", Some(PATTERN))?;
            let pattern = config.count_or("sliding_window_pattern", Some(pattern))?;
            windows(config, base.n_layers, window, |layer| !(layer + 1).is_multiple_of(pattern))?
        }
    };
    let caps = |field: &str, default: f64| match family {
        Family::Gemma2 => config.positive_or_null(field, default),
        _ => config.positive(field),
    };
    let queries = config.positive_or("query_pre_attn_scalar", QUERY_SCALAR)?;
    Ok(Architecture {
        attention_scale: queries.powf(-0.5),
        windows,
        attention_cap: caps("attn_logit_softcapping", 50.0)?,
        logit_cap: caps("final_logit_softcapping", 30.0)?,
        ..base
    })
}

/// Only the first Gemma reads `hidden_act`; its configurations say `gelu` and mean the tanh form.
fn activation(config: &Config, family: Family) -> Result<Activation, NnError> {
    config.without_effect(&["hidden_act"]);
    let first = family == Family::Gemma && !config.has("hidden_activation");
    let field = if first { "hidden_act" } else { "hidden_activation" };
    let named = Activation::of(config, field, "gelu_pytorch_tanh")?;
    Ok(if first && named == Activation::Gelu { Activation::GeluTanh } else { named })
}

/// Rotary positions of Gemma 3: of layers without a window, and of layers with one.
pub(super) fn rotaries(config: &Config, d_head: usize) -> Result<(Rotary, Rotary), NnError> {
    if let Some(scaling) = config.section("rope_scaling")?
        && scaling.has("type")
        && !scaling.has("rope_type")
    {
        return Err(scaling.wrong("rope_type", "given: transformers ignores `type` in Gemma 3"));
    }
    let kinds = ["full_attention", "sliding_attention"];
    if let Some(parameters) = config.section("rope_parameters")?
        && !kinds.iter().any(|kind| parameters.has(kind))
    {
        return Err(config.wrong("rope_parameters", "a section for each kind of layer"));
    }
    let bases = [("rope_theta", 1_000_000.0), ("rope_local_base_freq", 10_000.0)];
    let of = |nth: usize| Rotary::of_layers(config, d_head, kinds[nth], bases[nth], nth == 0);
    Ok((of(0)?, of(1)?))
}
