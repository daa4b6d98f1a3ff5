//! What differs between model families: configuration fields and weight names.
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
mod smollm3;
mod stablelm;
mod starcoder2;
mod wrapper;

use candle_core::{DType, Device, Tensor};

use super::architecture::{Architecture, Family, NormKind, Positions, Sizes};
use super::config::Config;
use super::error::NnError;
use super::rotary::Rotary;
use super::rows::Rows;
use super::transformer::{Linear, Mlp, Norm, Parts, Projections};
use super::weights::Weights;

/// Reads a configuration into the one description that the forward pass follows.
///
/// A family asks here for every field that it understands, also for those that only [`parts`] uses. What is
/// left must be known to be harmless.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let architecture = match wrapper::language_model(config)? {
        Some(inner) => read(&inner)?,
        None => read(config)?,
    };
    harmless::check(config, architecture.family)?;
    Ok(architecture)
}

fn read(config: &Config) -> Result<Architecture, NnError> {
    match Family::of(config)? {
        Family::GptNeox => gpt_neox::architecture(config),
        Family::Gpt2 => gpt2::architecture(config),
        Family::GptNeo => gpt_neo::architecture(config),
        Family::Gptj => gptj::architecture(config),
        Family::Opt => opt::architecture(config),
        Family::Phi => phi::architecture(config),
        Family::Falcon => falcon::architecture(config),
        Family::Bloom => bloom::architecture(config),
        Family::StableLm => stablelm::architecture(config),
        Family::StarCoder2 => starcoder2::architecture(config),
        Family::GptBigCode => gpt_bigcode::architecture(config),
        Family::Mpt => mpt::architecture(config),
        Family::Cohere => cohere::architecture(config),
        Family::Nemotron => nemotron::architecture(config),
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
    let inner = wrapper::language_model(config)?;
    let config = inner.as_ref().unwrap_or(config);
    match architecture.family {
        Family::GptNeox => gpt_neox::parts(architecture, config, weights),
        Family::Gpt2 => gpt2::parts(architecture, weights),
        Family::GptNeo => gpt_neo::parts(architecture, weights),
        Family::Gptj => gptj::parts(architecture, weights),
        Family::Opt => opt::parts(architecture, config, weights),
        Family::Phi => phi::parts(architecture, config, weights),
        Family::Falcon => falcon::parts(architecture, config, weights),
        Family::Bloom => bloom::parts(architecture, weights),
        Family::StableLm => stablelm::parts(architecture, config, weights),
        Family::StarCoder2 => starcoder2::parts(architecture, config, weights),
        Family::GptBigCode => gpt_bigcode::parts(architecture, weights),
        Family::Mpt => mpt::parts(architecture, weights),
        Family::Cohere => cohere::parts(architecture, config, weights),
        Family::Nemotron => nemotron::parts(architecture, config, weights),
        Family::Phi3 => phi3::parts(architecture, weights),
        Family::Mixtral | Family::Qwen3Moe | Family::Olmoe => mixtral::parts(architecture, config, weights),
        Family::GptOss => gpt_oss::parts(architecture, config, weights),
        _ => llama::parts(architecture, config, weights),
    }
}

/// True for the tensors of linear maps inside the blocks, those of routers and experts included; norms, sinks and
/// (un)embeddings are none.
pub fn is_linear_in_block(name: &str) -> bool {
    let in_block =
        ["layers.", "blocks.", ".h."].iter().any(|part| name.contains(part)) || name.starts_with("h.");
    // The sinks of attention are scores, no map.
    let sinks = name.ends_with(".sinks");
    in_block && !is_norm(name) && !sinks && !is_embedding(name)
}

fn is_norm(name: &str) -> bool {
    ["norm", ".ln_"].iter().any(|part| name.contains(part)) || name.starts_with("ln_")
}

/// True for the tensors of embeddings, of tokens and of positions, of the unembedding, and of the maps between
/// those and the stream.
pub fn is_embedding(name: &str) -> bool {
    let parts = ["embed", "wte", "wpe", "lm_head", "project_in", "project_out"];
    parts.iter().any(|part| name.contains(part)) && !is_norm(name)
}

/// The names that sizes have in the configurations of a family, its own first.
struct Names {
    context: (&'static [&'static str], Option<usize>),
    width: &'static [&'static str],
    layers: &'static [&'static str],
    heads: &'static [&'static str],
}

impl Names {
    /// What transformers calls them where a family does not.
    const COMMON: Self = Self {
        context: (&["max_position_embeddings"], None),
        width: &["hidden_size"],
        layers: &["num_hidden_layers"],
        heads: &["num_attention_heads"],
    };
}

/// A count that goes by several names; where more than one is there, they must agree.
fn count_of(config: &Config, names: &[&str], default: Option<usize>) -> Result<usize, NnError> {
    let mut found = names.iter().filter(|name| config.has(name));
    let first = found.next().copied().unwrap_or(names[0]);
    let count = config.count_or(first, default)?;
    for other in found {
        if config.count(other)? != count {
            return Err(config.wrong(other, &format!("{count}, as `{first}` says")));
        }
    }
    Ok(count)
}

/// The sizes of a model whose heads fill its width, each with keys and values of its own, and whose MLP is four
/// times as wide. Families state what is different.
fn sizes(config: &Config, names: &Names) -> Result<Sizes, NnError> {
    let d_model = count_of(config, names.width, None)?;
    let n_heads = count_of(config, names.heads, None)?;
    if !d_model.is_multiple_of(n_heads) {
        return Err(config.wrong(names.width[0], &format!("a multiple of the {n_heads} heads")));
    }
    Ok(Sizes {
        vocab: config.count("vocab_size")?,
        n_ctx: count_of(config, names.context.0, names.context.1)?,
        d_model,
        n_layers: count_of(config, names.layers, None)?,
        n_heads,
        n_kv_heads: n_heads,
        d_head: d_model / n_heads,
        d_mlp: 4 * d_model,
    })
}

/// The sizes of a model in transformers' usual names; `n_kv_heads` is the default of its heads of keys and values.
fn common_sizes(config: &Config, n_kv_heads: usize) -> Result<Sizes, NnError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    Ok(Sizes {
        vocab: config.count("vocab_size")?,
        n_ctx: config.count("max_position_embeddings")?,
        d_model,
        n_layers: config.count("num_hidden_layers")?,
        n_heads,
        n_kv_heads: config.count_or("num_key_value_heads", Some(n_kv_heads))?,
        d_head: config.count_or("head_dim", Some((d_model / n_heads).max(1)))?,
        d_mlp: config.count("intermediate_size")?,
    })
}

/// Rotary positions of whole heads, for families that transformers has no others of; `base` is their default.
fn whole_heads(config: &Config, d_head: usize, base: f64) -> Result<Positions, NnError> {
    const SHARE: &str = "partial_rotary_factor";
    let rotary = Rotary::of_base(config, d_head, (SHARE, 1.0), ("rope_theta", base))?;
    if rotary.dims() != d_head {
        return Err(config.wrong(SHARE, "1: transformers rotates whole heads of these models"));
    }
    Ok(Positions::Rotary(rotary))
}

/// Names of three maps in most families.
const SEPARATE: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// Queries, keys and values from a map each.
fn separate(
    a: &Architecture,
    weights: &Weights,
    [queries, keys, values]: [String; 3],
    bias: bool,
) -> Result<Projections, NnError> {
    let map = |name: &str, heads: usize| linear(weights, name, heads * a.d_head, a.d_model, bias);
    Ok(Projections::Separate {
        queries: map(&queries, a.n_heads)?,
        keys: map(&keys, a.n_kv_heads)?,
        values: map(&values, a.n_kv_heads)?,
    })
}

/// An MLP of two maps.
fn mlp(a: &Architecture, weights: &Weights, [up, down]: [&str; 2], bias: bool) -> Result<Mlp, NnError> {
    Ok(Mlp {
        gate: None,
        up: linear(weights, up, a.d_mlp, a.d_model, bias)?,
        down: linear(weights, down, a.d_model, a.d_mlp, bias)?,
    })
}

/// An MLP with a gate, in the names that most families have, without biases.
fn gated(a: &Architecture, weights: &Weights, name: &str) -> Result<Mlp, NnError> {
    let map =
        |part: &str, out: usize, d_in: usize| linear(weights, &format!("{name}.{part}"), out, d_in, false);
    Ok(Mlp {
        gate: Some(map("gate_proj", a.d_mlp, a.d_model)?),
        up: map("up_proj", a.d_mlp, a.d_model)?,
        down: map("down_proj", a.d_model, a.d_mlp)?,
    })
}

/// The embedding where it is tied, else `lm_head`, with a bias where `bias`.
fn unembedding(a: &Architecture, weights: &Weights, embedding: &Rows, bias: bool) -> Result<Linear, NnError> {
    let weight =
        if a.tied { embedding.clone() } else { weights.rows("lm_head.weight", &[a.vocab, a.d_model])? };
    let bias = if bias { Some(weights.get("lm_head.bias", &[a.vocab])?) } else { None };
    Ok(Linear::new(weight, bias))
}

/// Coordinates of heads side by side in the order in which the runtime rotates them: a pair's two stand half of the
/// rotated ones apart. It is for families that have them side by side.
fn order_of_halves(a: &Architecture, heads: usize) -> Vec<u32> {
    let rotated = match &a.positions {
        Positions::Rotary(rotary) => rotary.dims(),
        _ => 0,
    };
    let within = (0..rotated).step_by(2).chain((1..rotated).step_by(2)).chain(rotated..a.d_head);
    let within: Vec<usize> = within.collect();
    (0..heads).flat_map(|head| within.iter().map(move |at| (head * a.d_head + at) as u32)).collect()
}

/// Queries and keys with their coordinates in that order. Scores stay what they were, for both are permuted alike.
fn halves_apart(a: &Architecture, projections: Projections) -> Result<Projections, NnError> {
    Ok(match projections {
        Projections::Separate { queries, keys, values } => Projections::Separate {
            queries: queries.in_order(&order_of_halves(a, a.n_heads))?,
            keys: keys.in_order(&order_of_halves(a, a.n_kv_heads))?,
            values,
        },
        fused => fused,
    })
}

/// A map whose rows are, for each head of keys and values, the queries that it serves, then key and value.
fn by_group(a: &Architecture, map: Linear) -> Result<Projections, NnError> {
    if a.n_kv_heads == a.n_heads {
        return Ok(Projections::FusedByHead(map));
    }
    let served = a.n_heads / a.n_kv_heads;
    let part = |group: usize, heads: std::ops::Range<usize>| {
        let first = group * (served + 2);
        (first + heads.start) * a.d_head..(first + heads.end) * a.d_head
    };
    let queries = (0..a.n_kv_heads).flat_map(|group| part(group, 0..served));
    let keys = (0..a.n_kv_heads).flat_map(|group| part(group, served..served + 1));
    let values = (0..a.n_kv_heads).flat_map(|group| part(group, served + 1..served + 2));
    let order: Vec<u32> = queries.chain(keys).chain(values).map(|row| row as u32).collect();
    Ok(Projections::FusedByKind(map.in_order(&order)?))
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

/// A norm of the architecture's kind. Gemma and Nemotron store what their norm weights are above 1; OLMo 1 has no
/// weights.
fn norm_of_width(weights: &Weights, name: &str, width: usize, a: &Architecture) -> Result<Norm, NnError> {
    if a.family == Family::Olmo {
        let weight = Tensor::ones(width, DType::F32, &Device::Cpu)?;
        return Ok(Norm { weight, bias: None });
    }
    let weight = weights.get(&format!("{name}.weight"), &[width])?;
    let weight = match a.family {
        Family::Gemma | Family::Gemma2 | Family::Gemma3 | Family::Nemotron => (weight + 1.0)?,
        _ => weight,
    };
    let bias = match (a.norm, a.family) {
        (NormKind::Rms, _) | (NormKind::Layer, Family::Mpt | Family::Cohere) => None,
        (NormKind::Layer, _) => Some(weights.get(&format!("{name}.bias"), &[width])?),
    };
    Ok(Norm { weight, bias })
}

/// The window of each layer: `layer_types` says which have the one of `window` positions, or else `default` does.
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
            Err(config.wrong("sliding_window", "a window, for `layer_types` has layers with one"))
        }
        _ => Err(config.wrong("layer_types", "`sliding_attention` or `full_attention`")),
    };
    types.into_iter().map(window_of).collect()
}
