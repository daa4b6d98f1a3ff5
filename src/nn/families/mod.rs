//! What differs between model families: configuration fields and weight names.
//!
//! In: a configuration and named weights.
//! Out: an [`Architecture`](super::Architecture) and the blocks of a transformer.
//! Never: computes anything; Hugging Face transformers' files are the reference for every name.

mod gpt2;
mod gpt_neox;
mod llama;

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
        Family::Llama => llama::architecture(config),
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
        Family::Llama => llama::parts(architecture, config, weights),
    }
}

/// True for the tensors of linear maps inside the blocks, which are neither norms nor (un)embeddings.
pub fn is_linear_in_block(name: &str) -> bool {
    let in_block = name.contains("layers.") || name.starts_with("h.") || name.contains(".h.");
    let norm = name.contains("norm") || name.contains(".ln_");
    in_block && !norm && !is_embedding(name)
}

/// True for the tensors of embeddings, of tokens and of positions, and of the unembedding.
pub fn is_embedding(name: &str) -> bool {
    ["embed", "wte", "wpe", "lm_head"].iter().any(|part| name.contains(part))
}

/// A linear map stored as `[out, in]`, with a bias where `bias`.
fn linear(weights: &Weights, name: &str, out: usize, d_in: usize, bias: bool) -> Result<Linear, NnError> {
    let weight = weights.get(&format!("{name}.weight"), &[out, d_in])?;
    let bias = if bias { Some(weights.get(&format!("{name}.bias"), &[out])?) } else { None };
    Ok(Linear { weight, bias })
}

/// A norm of the architecture's kind.
fn norm(weights: &Weights, name: &str, architecture: &Architecture) -> Result<Norm, NnError> {
    let shape = [architecture.d_model];
    let weight = weights.get(&format!("{name}.weight"), &shape)?;
    let bias = match architecture.norm {
        NormKind::Layer => Some(weights.get(&format!("{name}.bias"), &shape)?),
        NormKind::Rms => None,
    };
    Ok(Norm { weight, bias })
}
