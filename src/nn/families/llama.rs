use super::{gemma, linear, norm, norm_of_width, unembedding, windows};
use crate::nn::architecture::{Activation, Architecture, Family, NormKind, Positions, Sizes};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
use crate::nn::transformer::{Block, FeedForward, Mlp, Norm, Parts, Projections};
use crate::nn::weights::Weights;

/// Positions in a window where `sliding_window` is missing.
pub(super) const WINDOW: usize = 4096;

/// Layers of Qwen without a window where `max_window_layers` is missing.
const FULL_LAYERS_OF_QWEN: usize = 28;

/// Llama and those that descend from it: RMS norms, gated MLP, grouped-query attention, rotary positions.
///
/// Mistral and, if switched on, the upper layers of Qwen see a window of positions; Qwen2 has biases in its
/// queries, keys and values; Qwen3 and OLMo 2 norm queries and keys; OLMo 2 norms what is added to the residual
/// stream instead of what is read from it.
pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    let d_head = config.count_or("head_dim", Some((d_model / n_heads).max(1)))?;
    let n_layers = config.count("num_hidden_layers")?;
    let windows = match family {
        Family::Mistral => {
            windows(config, n_layers, config.count_or_null("sliding_window", WINDOW)?, |_| true)?
        }
        Family::Qwen2 | Family::Qwen3 => {
            let full = config.count_or("max_window_layers", Some(FULL_LAYERS_OF_QWEN))?;
            let slides = config.flag_or("use_sliding_window", false)?;
            let window = config.count_or_null("sliding_window", WINDOW)?.filter(|_| slides);
            windows(config, n_layers, window, |layer| layer >= full)?
        }
        _ => Vec::new(),
    };
    Biases::of(config, family)?;
    let (rotary, local_rotary) = rotaries(config, family, d_head)?;
    let eps = match family {
        Family::Olmo2 | Family::Olmo3 | Family::Olmoe | Family::Mixtral | Family::GptOss | Family::Phi3 => {
            1e-5
        }
        _ => 1e-6,
    };
    let sizes = Sizes {
        vocab: config.count("vocab_size")?,
        n_ctx: config.count("max_position_embeddings")?,
        d_model,
        n_layers,
        n_heads,
        n_kv_heads: config.count_or("num_key_value_heads", Some(n_heads))?,
        d_head,
        d_mlp: config.count("intermediate_size")?,
    };
    Architecture {
        norm: NormKind::Rms,
        norm_eps: config.positive_or("rms_norm_eps", eps)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "silu")?,
        windows,
        local_rotary,
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_key_value_heads")
}

/// Rotary positions of layers that see everything, and of those with a window where they have their own.
fn rotaries(config: &Config, family: Family, d_head: usize) -> Result<(Rotary, Option<Rotary>), NnError> {
    let share = ("partial_rotary_factor", 1.0);
    let base = match family {
        Family::GptOss => 150_000.0,
        Family::Olmo3 => 500_000.0,
        Family::Mixtral => 1_000_000.0,
        Family::SmolLm3 => 2_000_000.0,
        _ => 10_000.0,
    };
    let base = ("rope_theta", base);
    let (everywhere, local) = match family {
        Family::Gemma3 => gemma::rotaries(config, d_head).map(|(full, local)| (full, Some(local)))?,
        // The layers with a window are not scaled.
        Family::Olmo3 => (
            Rotary::of_layers(config, d_head, "full_attention", base, true)?,
            Some(Rotary::of_layers(config, d_head, "sliding_attention", base, false)?),
        ),
        _ => (Rotary::of_base(config, d_head, share, base)?, None),
    };
    let whole = [Some(&everywhere), local.as_ref()].into_iter().flatten().all(|one| one.dims() == d_head);
    if family != Family::Phi3 && !whole {
        let expected = "1: transformers rotates whole heads of these models, other programs a share";
        return Err(config.wrong(share.0, expected));
    }
    Ok((everywhere, local))
}

/// Which linear maps have a bias.
struct Biases {
    attention_in: bool,
    attention_out: bool,
    mlp: bool,
}

impl Biases {
    fn of(config: &Config, family: Family) -> Result<Self, NnError> {
        let attention = match family {
            // These families have what they have, whatever the field says.
            Family::Mistral | Family::Mixtral | Family::Phi3 => {
                config.require_flag("attention_bias", false).map(|()| false)
            }
            Family::Qwen2 => config.require_flag("attention_bias", true).map(|()| true),
            _ => config.flag_or("attention_bias", family == Family::GptOss),
        }?;
        let mlp = matches!(family, Family::Llama | Family::SmolLm3 | Family::Granite)
            && config.flag_or("mlp_bias", false)?;
        Ok(Self { attention_in: attention, attention_out: attention && family != Family::Qwen2, mlp })
    }
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = Biases::of(config, a.family)?.mlp;
    parts_with(a, config, weights, |layer| Ok(mlp(a, weights, layer, bias)?.into()))
}

/// The gated MLP of a layer.
pub(super) fn mlp(a: &Architecture, weights: &Weights, layer: usize, bias: bool) -> Result<Mlp, NnError> {
    let map = |name: &str, out: usize, d_in: usize| {
        linear(weights, &format!("model.layers.{layer}.mlp.{name}"), out, d_in, bias)
    };
    Ok(Mlp {
        gate: Some(map("gate_proj", a.d_mlp, a.d_model)?),
        up: map("up_proj", a.d_mlp, a.d_model)?,
        down: map("down_proj", a.d_model, a.d_mlp)?,
    })
}

/// The same with something of the family's own for the MLP of each layer.
pub(super) fn parts_with(
    a: &Architecture,
    config: &Config,
    weights: &Weights,
    feed_forward: impl Fn(usize) -> Result<FeedForward, NnError>,
) -> Result<Parts, NnError> {
    let biases = Biases::of(config, a.family)?;
    let (d_queries, d_keys) = (a.n_heads * a.d_head, a.n_kv_heads * a.d_head);
    let embedding = weights.rows("model.embed_tokens.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let norms = Norms::of(a, weights, &at)?;
        let projection = |name: &str, out: usize| {
            linear(weights, &at(&format!("self_attn.{name}")), out, a.d_model, biases.attention_in)
        };
        blocks.push(Block {
            attention_norm: norms.attention,
            query_norm: norms.queries,
            key_norm: norms.keys,
            attention_post_norm: norms.attention_post,
            mlp_norm: norms.mlp,
            mlp_post_norm: norms.mlp_post,
            ..Block::plain(
                Projections::Separate {
                    queries: projection("q_proj", d_queries)?,
                    keys: projection("k_proj", d_keys)?,
                    values: projection("v_proj", d_keys)?,
                },
                linear(weights, &at("self_attn.o_proj"), a.d_model, d_queries, biases.attention_out)?,
                feed_forward(layer)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "model.norm", a)?, unembedding))
}

/// The norms of one block; which there are is what the families differ in most.
struct Norms {
    attention: Option<Norm>,
    queries: Option<Norm>,
    keys: Option<Norm>,
    attention_post: Option<Norm>,
    mlp: Option<Norm>,
    mlp_post: Option<Norm>,
}

impl Norms {
    fn of(a: &Architecture, weights: &Weights, at: &dyn Fn(&str) -> String) -> Result<Self, NnError> {
        let stream = |name: &str| norm(weights, &at(name), a).map(Some);
        let heads = |name: &str, width: usize| norm_of_width(weights, &at(name), width, a).map(Some);
        let (queries, keys) = match a.family {
            Family::Qwen3 | Family::Qwen3Moe | Family::Gemma3 => {
                (heads("self_attn.q_norm", a.d_head)?, heads("self_attn.k_norm", a.d_head)?)
            }
            Family::Olmo2 | Family::Olmo3 | Family::Olmoe => (
                heads("self_attn.q_norm", a.n_heads * a.d_head)?,
                heads("self_attn.k_norm", a.n_kv_heads * a.d_head)?,
            ),
            _ => (None, None),
        };
        Ok(match a.family {
            Family::Gemma2 | Family::Gemma3 => Self {
                attention: stream("input_layernorm")?,
                queries,
                keys,
                attention_post: stream("post_attention_layernorm")?,
                mlp: stream("pre_feedforward_layernorm")?,
                mlp_post: stream("post_feedforward_layernorm")?,
            },
            Family::Olmo2 | Family::Olmo3 => Self {
                attention: None,
                queries,
                keys,
                attention_post: stream("post_attention_layernorm")?,
                mlp: None,
                mlp_post: stream("post_feedforward_layernorm")?,
            },
            _ => Self {
                attention: stream("input_layernorm")?,
                queries,
                keys,
                attention_post: None,
                mlp: stream("post_attention_layernorm")?,
                mlp_post: None,
            },
        })
    }
}
