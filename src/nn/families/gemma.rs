use super::{llama, windows};
use crate::nn::architecture::{Activation, Architecture, Family, Positions, Rotary};
use crate::nn::config::Config;
use crate::nn::error::NnError;

/// Layers from one that sees everything to the next, where Gemma 3 does not say.
const PATTERN: usize = 6;

/// Gemma: a Llama with scaled embeddings. Gemma 2 and 3 have norms on both sides of attention and MLP, and layers
/// that see a window between layers that see everything. Gemma 2 caps attention scores and logits; Gemma 3 norms
/// queries and keys and has rotary positions of their own for the layers with a window.
pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    let base = Architecture {
        activation: activation(config, family)?,
        embedding_scale: Some((base.d_model as f64).sqrt()),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..base
    };
    if family == Family::Gemma {
        config.require_flag("use_bidirectional_attention", false)?;
        return Ok(base);
    }
    let pattern = config.count_or("sliding_window_pattern", None).or_else(|_| {
        config.count_or("_sliding_window_pattern", Some(if family == Family::Gemma2 { 2 } else { PATTERN }))
    })?;
    let windows = windows(config, base.n_layers, |layer| !(layer + 1).is_multiple_of(pattern))?;
    let queries = config.positive_or("query_pre_attn_scalar", base.d_head as f64)?;
    let (positions, local_rotary) = if family == Family::Gemma3 {
        let (everywhere, local) = rotaries(config, base.d_head, [1e6, 1e4], "rope_local_base_freq")?;
        (Positions::Rotary(everywhere), Some(local))
    } else {
        (base.positions.clone(), None)
    };
    Ok(Architecture {
        positions,
        local_rotary,
        attention_scale: queries.powf(-0.5),
        windows,
        attention_cap: config.positive("attn_logit_softcapping")?,
        logit_cap: config.positive("final_logit_softcapping")?,
        ..base
    })
}

/// Gemma's first configurations say `gelu` and mean its tanh form.
fn activation(config: &Config, family: Family) -> Result<Activation, NnError> {
    let field = if config.has("hidden_activation") { "hidden_activation" } else { "hidden_act" };
    let named = Activation::of(config, field, "gelu_pytorch_tanh")?;
    let first = family == Family::Gemma && field == "hidden_act" && named == Activation::Gelu;
    Ok(if first { Activation::GeluTanh } else { named })
}

/// Rotary positions of layers that see everything, and those of layers with a window.
///
/// Older files have the base of the former in `rope_theta`, that of the latter in `local_field`, and a scaling of
/// the former alone; where a base is missing it is `bases`.
pub(super) fn rotaries(
    config: &Config,
    d_head: usize,
    bases: [f64; 2],
    local_field: &str,
) -> Result<(Rotary, Rotary), NnError> {
    if let Some(both) = config.section("rope_parameters")? {
        let one = |field: &str, base: f64| match both.section(field)? {
            Some(rope) => Rotary::from_section(&rope, d_head, 1.0, base),
            None => Err(both.wrong(field, "the rotary parameters of these layers")),
        };
        return Ok((one("full_attention", bases[0])?, one("sliding_attention", bases[1])?));
    }
    let plain = |field: &str, base: f64| {
        Rotary::plain(config, d_head, ("head_dim", 1.0), config.positive_or(field, base)?)
    };
    let everywhere = plain("rope_theta", bases[0])?;
    let everywhere = match config.section("rope_scaling")? {
        Some(scaling) => everywhere.scaled(&scaling)?,
        None => everywhere,
    };
    Ok((everywhere, plain(local_field, bases[1])?))
}
