//! What differs between model families: the fields of `config.json` and the names of weights.
//!
//! In: a configuration and named weights.
//! Out: an [`Architecture`](super::Architecture) and the blocks of a transformer.
//! Never: computes anything; Hugging Face transformers' files are the reference for every name.

mod bloom;
mod cohere;
mod experts;
mod falcon;
mod gemma;
mod gpt2;
mod gpt_bigcode;
mod gpt_neo;
mod gpt_neox;
mod gpt_oss;
mod gptj;
mod granite;
mod harmless;
mod llama;
mod mixtral;
mod mpt;
mod nemotron;
mod olmo;
mod opt;
mod phi;
mod phi3;
mod scope;
mod sizes;
mod smollm3;
mod stablelm;
mod starcoder2;
mod wrapper;

use candle_core::{DType, Device, Tensor};

use self::scope::{Frame, Scope, by_group, order_of_halves, rotated_in_halves};
use self::sizes::{Names, common_sizes, count_of, sizes};
use super::architecture::{
    Activation, Alibi, Architecture, Experts, Family, Gating, NormKind, Positions, Residual,
};
use super::config::Config;
use super::error::NnError;
use super::rotary::Rotary;
use super::rows::Rows;
use super::transformer::{Block, FeedForward, Linear, Mlp, Norm, Parts, Projections};
use super::weights::Weights;

type ReadConfig = fn(&Config, Family) -> Result<Architecture, NnError>;
type FindWeights = fn(&Architecture, &Config, &Weights) -> Result<Parts, NnError>;

/// How a family reads its configuration and finds its weights.
fn readers(family: Family) -> (ReadConfig, FindWeights) {
    match family {
        Family::GptNeox => (gpt_neox::architecture, gpt_neox::parts),
        Family::Gpt2 => (gpt2::architecture, gpt2::parts),
        Family::GptNeo => (gpt_neo::architecture, gpt_neo::parts),
        Family::Gptj => (gptj::architecture, gptj::parts),
        Family::Opt => (opt::architecture, opt::parts),
        Family::Phi => (phi::architecture, phi::parts),
        Family::Falcon => (falcon::architecture, falcon::parts),
        Family::Bloom => (bloom::architecture, bloom::parts),
        Family::StableLm => (stablelm::architecture, stablelm::parts),
        Family::StarCoder2 => (starcoder2::architecture, starcoder2::parts),
        Family::GptBigCode => (gpt_bigcode::architecture, gpt_bigcode::parts),
        Family::Mpt => (mpt::architecture, mpt::parts),
        Family::Cohere => (cohere::architecture, cohere::parts),
        Family::Nemotron => (nemotron::architecture, nemotron::parts),
        Family::Phi3 => (phi3::architecture, phi3::parts),
        Family::Mixtral | Family::Qwen3Moe | Family::Olmoe => (mixtral::architecture, mixtral::parts),
        Family::GptOss => (gpt_oss::architecture, gpt_oss::parts),
        Family::Gemma | Family::Gemma2 | Family::Gemma3 => (gemma::architecture, llama::parts),
        Family::SmolLm3 => (smollm3::architecture, llama::parts),
        Family::Granite => (granite::architecture, llama::parts),
        Family::Olmo => (olmo::first, llama::parts),
        Family::Olmo3 => (olmo::third, llama::parts),
        Family::Llama | Family::Mistral | Family::Qwen2 | Family::Qwen3 | Family::Olmo2 => {
            (llama::architecture, llama::parts)
        }
    }
}

/// Reads a configuration into the one description that the forward pass follows.
///
/// A family reads every field that it understands here, also those that only `parts` uses. Every other field must
/// be known to be harmless.
pub fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let inner = wrapper::language_model(config)?;
    let model = inner.as_ref().unwrap_or(config);
    let family = Family::of(model)?;
    let architecture = readers(family).0(model, family)?;
    harmless::check(config, family)?;
    Ok(architecture)
}

/// Finds every weight that the architecture needs, checking shapes.
pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let inner = wrapper::language_model(config)?;
    readers(a.family).1(a, inner.as_ref().unwrap_or(config), weights)
}

/// True for tensors of linear maps inside blocks, with routers and experts; false for norms, attention sinks,
/// embeddings and the unembedding.
pub fn is_linear_in_block(name: &str) -> bool {
    let in_block =
        ["layers.", "blocks.", ".h."].iter().any(|part| name.contains(part)) || name.starts_with("h.");
    in_block && !is_norm(name) && !name.ends_with(".sinks") && !is_embedding(name)
}

fn is_norm(name: &str) -> bool {
    ["norm", ".ln_"].iter().any(|part| name.contains(part)) || name.starts_with("ln_")
}

/// True for the tensors of token and position embeddings, of the unembedding, and of the projections between these and
/// the residual stream.
pub fn is_embedding(name: &str) -> bool {
    let parts = ["embed", "wte", "wpe", "lm_head", "project_in", "project_out"];
    parts.iter().any(|part| name.contains(part)) && !is_norm(name)
}

/// Rotary positions that must cover whole heads, as transformers has them for the family; `base` is its default.
fn whole_heads(config: &Config, d_head: usize, base: f64) -> Result<Positions, NnError> {
    const SHARE: &str = "partial_rotary_factor";
    let rotary = Rotary::of_base(config, d_head, (SHARE, 1.0), ("rope_theta", base))?;
    if rotary.dims() != d_head {
        return Err(config.wrong(SHARE, "1: transformers rotates whole heads of these models"));
    }
    Ok(Positions::Rotary(rotary))
}

/// Refuses a count other than `only`, which is also the default.
fn only_count(config: &Config, field: &str, only: usize) -> Result<(), NnError> {
    match config.count_or(field, Some(only))? == only {
        true => Ok(()),
        false => Err(config.wrong(field, &format!("{only} (nothing else is implemented)"))),
    }
}

/// Refuses a text that is not in `known`; the first is the default.
fn only_text(config: &Config, field: &str, known: &[&str]) -> Result<(), NnError> {
    match known.contains(&config.text_or(field, known[0])?) {
        true => Ok(()),
        false => {
            Err(config.wrong(field, &format!("`{}` (nothing else is implemented)", known.join("` or `"))))
        }
    }
}

/// `sliding_window`, if the configuration has one.
fn stated_window(config: &Config) -> Result<Option<usize>, NnError> {
    config.has("sliding_window").then(|| config.count("sliding_window")).transpose()
}

/// The window of each layer. `layer_types` says which layers have the one of `window` positions; without that field
/// `default` does.
fn windows(
    config: &Config,
    n_layers: usize,
    window: Option<usize>,
    default: impl Fn(usize) -> bool,
) -> Result<Vec<Option<usize>>, NnError> {
    let Some(types) = config.texts("layer_types")? else {
        let Some(window) = window else { return Ok(Vec::new()) };
        return Ok((0..n_layers).map(|layer| default(layer).then_some(window)).collect());
    };
    if types.len() != n_layers {
        return Err(config.wrong("layer_types", &format!("one for each of the {n_layers} layers")));
    }
    let window_of = |kind: &str| match (kind, window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(_)) => Ok(window),
        ("sliding_attention", None) => {
            Err(config.wrong("sliding_window", "a window, since `layer_types` has layers with one"))
        }
        _ => Err(config.wrong("layer_types", "`sliding_attention` or `full_attention`")),
    };
    types.into_iter().map(window_of).collect()
}
