use super::{llama, windows};
use crate::nn::architecture::{Activation, Architecture, Family};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;

/// Layers from one that sees everything to the next, where Gemma 3 does not say.
const PATTERN: usize = 6;

/// What the square of the factor on query·key is divided from, where it is missing.
const QUERY_SCALAR: f64 = 256.0;

/// Gemma: a Llama with scaled embeddings. Gemma 2 and 3 have norms on both sides of attention and MLP, and layers
/// that see a window between layers that see everything. Gemma 2 caps attention scores and logits; Gemma 3 norms
/// queries and keys and has rotary positions of their own for the layers with a window.
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
            if config.count_or("sliding_window_pattern", Some(2))? != 2 {
                return Err(config.wrong("sliding_window_pattern", "2 (nothing else is implemented)"));
            }
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

/// Only the first generation looks at `hidden_act`, where its configurations say `gelu` and mean the tanh form.
fn activation(config: &Config, family: Family) -> Result<Activation, NnError> {
    config.without_effect(&["hidden_act"]);
    let first = family == Family::Gemma && !config.has("hidden_activation");
    let field = if first { "hidden_act" } else { "hidden_activation" };
    let named = Activation::of(config, field, "gelu_pytorch_tanh")?;
    Ok(if first && named == Activation::Gelu { Activation::GeluTanh } else { named })
}

/// Rotary positions of Gemma 3's layers that see everything, and of those with a window.
pub(super) fn rotaries(config: &Config, d_head: usize) -> Result<(Rotary, Rotary), NnError> {
    if let Some(scaling) = config.section("rope_scaling")?
        && scaling.has("type")
        && !scaling.has("rope_type")
    {
        return Err(scaling.wrong("rope_type", "given: transformers does not look at `type` in Gemma 3"));
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
