//! What differs between model families: configuration fields and weight names.
//!
//! In: a configuration and named weights.
//! Out: an [`Architecture`](super::Architecture) and the blocks of a transformer.
//! Never: computes anything; Hugging Face transformers' files are the reference for every name.

mod experts;
mod gemma;
mod gpt2;
mod gpt_neox;
mod gpt_oss;
mod granite;
mod llama;
mod mixtral;
mod olmo;
mod phi3;
mod smollm3;

use candle_core::{DType, Device, Tensor};

use super::architecture::{Architecture, Family, NormKind};
use super::config::Config;
use super::error::NnError;
use super::transformer::{Linear, Norm, Parts};
use super::weights::Weights;

/// Reads a configuration into the one description that the forward pass follows.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    match Family::of(config)? {
        Family::GptNeox => gpt_neox::architecture(config),
        Family::Gpt2 => gpt2::architecture(config),
        Family::Phi3 => phi3::architecture(config),
        family @ (Family::Gemma | Family::Gemma2 | Family::Gemma3) => gemma::architecture(config, family),
        Family::SmolLm3 => smollm3::architecture(config),
        Family::Granite => granite::architecture(config),
        Family::Olmo => olmo::first(config),
        Family::Olmo3 => olmo::third(config),
        family @ (Family::Mixtral | Family::Qwen3Moe | Family::Olmoe) => {
            mixtral::architecture(config, family)
        }
        Family::GptOss => gpt_oss::architecture(config),
        family => llama::architecture(config, family),
    }
}

/// Finds every weight that the architecture needs, checking shapes.
pub(super) fn parts(
    architecture: &Architecture,
    config: &Config,
    weights: &Weights,
) -> Result<Parts, NnError> {
    match architecture.family {
        Family::GptNeox => gpt_neox::parts(architecture, config, weights),
        Family::Gpt2 => gpt2::parts(architecture, weights),
        Family::Phi3 => phi3::parts(architecture, weights),
        Family::Mixtral | Family::Qwen3Moe | Family::Olmoe => mixtral::parts(architecture, config, weights),
        Family::GptOss => gpt_oss::parts(architecture, config, weights),
        _ => llama::parts(architecture, config, weights),
    }
}

/// True for the tensors of linear maps inside the blocks, those of routers and experts included; norms, sinks and
/// (un)embeddings are none.
pub fn is_linear_in_block(name: &str) -> bool {
    let in_block = name.contains("layers.") || name.starts_with("h.") || name.contains(".h.");
    let norm = name.contains("norm") || name.contains(".ln_");
    // The sinks of attention are scores, no map.
    let sinks = name.ends_with(".sinks");
    in_block && !norm && !sinks && !is_embedding(name)
}

/// True for the tensors of embeddings, of tokens and of positions, and of the unembedding.
pub fn is_embedding(name: &str) -> bool {
    ["embed", "wte", "wpe", "lm_head"].iter().any(|part| name.contains(part))
}

/// A linear map stored as `[out, in]`, with a bias where `bias`.
fn linear(weights: &Weights, name: &str, out: usize, d_in: usize, bias: bool) -> Result<Linear, NnError> {
    let weight = weights.rows(&format!("{name}.weight"), &[out, d_in])?;
    let bias = if bias { Some(weights.get(&format!("{name}.bias"), &[out])?) } else { None };
    Ok(Linear::new(weight, bias))
}

/// A norm of the architecture's kind, over the residual stream.
fn norm(weights: &Weights, name: &str, architecture: &Architecture) -> Result<Norm, NnError> {
    norm_of_width(weights, name, architecture.d_model, architecture)
}

/// A norm of the architecture's kind. Gemma stores what its norm weights are above 1; OLMo 1 has no weights.
fn norm_of_width(weights: &Weights, name: &str, width: usize, a: &Architecture) -> Result<Norm, NnError> {
    if a.family == Family::Olmo {
        let weight = Tensor::ones(width, DType::F32, &Device::Cpu)?;
        return Ok(Norm { weight, bias: None });
    }
    let weight = weights.get(&format!("{name}.weight"), &[width])?;
    let weight = match a.family {
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => (weight + 1.0)?,
        _ => weight,
    };
    let bias = match a.norm {
        NormKind::Layer => Some(weights.get(&format!("{name}.bias"), &[width])?),
        NormKind::Rms => None,
    };
    Ok(Norm { weight, bias })
}

/// The window of each layer: `layer_types` says which have one, or else `default` does.
fn windows(
    config: &Config,
    n_layers: usize,
    default: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, NnError> {
    let Some(window) = config.positive("sliding_window")? else { return Ok(Vec::new()) };
    let window = window as usize;
    let Some(types) = config.texts("layer_types")? else {
        return Ok((0..n_layers).map(|layer| default(layer).then_some(window)).collect());
    };
    if types.len() != n_layers {
        return Err(config.wrong("layer_types", &format!("one for each of the {n_layers} layers")));
    }
    let window_of = |kind: &str| match kind {
        "sliding_attention" => Ok(Some(window)),
        "full_attention" => Ok(None),
        _ => Err(config.wrong("layer_types", "`sliding_attention` or `full_attention`")),
    };
    types.into_iter().map(window_of).collect()
}
