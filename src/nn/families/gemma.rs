use super::{llama, windows};
use crate::nn::architecture::{Activation, Architecture, Family, Positions, Rotary};
use crate::nn::config::Config;
use crate::nn::error::NnError;

/// Layers from one that sees everything to the next, where Gemma 3 does not say.
const PATTERN: usize = 6;

/// Gemma 2 and 3: a Llama with norms on both sides of attention and MLP, scaled embeddings, and layers that
/// see a window between layers that see everything. Gemma 2 caps attention scores and logits; Gemma 3 norms
/// queries and keys and has rotary positions of their own for the layers with a window.
pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    let pattern = config.count_or("sliding_window_pattern", None).or_else(|_| {
        config.count_or("_sliding_window_pattern", Some(if family == Family::Gemma2 { 2 } else { PATTERN }))
    })?;
    let windows = windows(config, base.n_layers, |layer| !(layer + 1).is_multiple_of(pattern))?;
    let activation = ["hidden_activation", "hidden_act"].into_iter().find(|field| config.has(field));
    let queries = config.positive_or("query_pre_attn_scalar", base.d_head as f64)?;
    let (everywhere, local) = rotaries(config, family, base.d_head)?;
    Ok(Architecture {
        positions: Positions::Rotary(everywhere),
        local_rotary: local,
        activation: Activation::of(config, activation.unwrap_or("hidden_activation"), "gelu_pytorch_tanh")?,
        attention_scale: queries.powf(-0.5),
        windows,
        attention_cap: config.positive("attn_logit_softcapping")?,
        logit_cap: config.positive("final_logit_softcapping")?,
        embedding_scale: Some((base.d_model as f64).sqrt()),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..base
    })
}

/// Rotary positions of layers that see everything, and those of layers with a window where they differ.
fn rotaries(config: &Config, family: Family, d_head: usize) -> Result<(Rotary, Option<Rotary>), NnError> {
    const LOCAL_BASE: f64 = 10_000.0;
    const FULL_BASE: f64 = 1_000_000.0;
    if family == Family::Gemma2 {
        return Ok((Rotary::of(config, d_head, ("partial_rotary_factor", 1.0), "rope_theta")?, None));
    }
    if let Some(both) = config.section("rope_parameters")? {
        let one = |field: &str, base: f64| match both.section(field)? {
            Some(rope) => Rotary::from_section(&rope, d_head, 1.0, base),
            None => Err(both.wrong(field, "the rotary parameters of these layers")),
        };
        return Ok((one("full_attention", FULL_BASE)?, Some(one("sliding_attention", LOCAL_BASE)?)));
    }
    let whole = ("head_dim", 1.0);
    let everywhere = Rotary::plain(config, d_head, whole, config.positive_or("rope_theta", FULL_BASE)?)?;
    let everywhere = match config.section("rope_scaling")? {
        Some(scaling) => everywhere.scaled(&scaling)?,
        None => everywhere,
    };
    let local_base = config.positive_or("rope_local_base_freq", LOCAL_BASE)?;
    Ok((everywhere, Some(Rotary::plain(config, d_head, whole, local_base)?)))
}
