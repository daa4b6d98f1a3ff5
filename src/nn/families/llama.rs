//! Llama (Touvron et al. 2023, arXiv 2302.13971) and its descendants: RMS norms, gated MLP, grouped-query attention,
//! rotary positions.
//!
//! Mistral has a window of positions, and so have the upper layers of Qwen if switched on. Qwen2 has biases in its
//! queries, keys and values. Qwen3 and OLMo 2 norm queries and keys. OLMo 2 norms the outputs of attention and MLP
//! instead of their inputs.

use super::*;

/// Default of `sliding_window`.
pub(super) const WINDOW: usize = 4096;

/// Qwen's default of `max_window_layers`, the number of lower layers without a window.
const FULL_LAYERS_OF_QWEN: usize = 28;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let sizes = common_sizes(config, None)?;
    let n_layers = sizes.n_layers;
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
    let (rotary, local_rotary) = rotaries(config, family, sizes.d_head)?;
    let eps = match family {
        Family::Olmo2 | Family::Olmo3 | Family::Olmoe | Family::Mixtral | Family::GptOss | Family::Phi3 => {
            1e-5
        }
        _ => 1e-6,
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

/// Rotary positions, and those of the layers with a window where these have their own.
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
            // Transformers fixes these families' biases and does not read the field.
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
    parts_with(a, config, weights, |_, scope| Ok(scope.gated(bias)?.into()))
}

/// As [`parts`], with the MLPs that `feed_forward` reads.
pub(super) fn parts_with(
    a: &Architecture,
    config: &Config,
    weights: &Weights,
    feed_forward: impl Fn(usize, &Scope<'_>) -> Result<FeedForward, NnError>,
) -> Result<Parts, NnError> {
    let biases = Biases::of(config, a.family)?;
    Frame::LLAMA.read(a, weights, |layer, scope| {
        let plain = Block::plain(
            scope.separate("self_attn", biases.attention_in)?,
            scope.out_of_heads("self_attn.o_proj", biases.attention_out)?,
            feed_forward(layer, scope)?,
        );
        normed(scope, plain)
    })
}

/// The block with its norms, in which the families differ most.
fn normed(scope: &Scope<'_>, block: Block) -> Result<Block, NnError> {
    let a = scope.a;
    let stream = |name: &str| scope.norm(name).map(Some);
    let widths = match a.family {
        Family::Qwen3 | Family::Qwen3Moe | Family::Gemma3 => Some([a.d_head; 2]),
        Family::Olmo2 | Family::Olmo3 | Family::Olmoe => {
            Some([a.n_heads * a.d_head, a.n_kv_heads * a.d_head])
        }
        _ => None,
    };
    let heads = |name: &str, nth: usize| {
        widths.map(|widths| scope.norm_of_width(&format!("self_attn.{name}"), widths[nth])).transpose()
    };
    let block = Block { query_norm: heads("q_norm", 0)?, key_norm: heads("k_norm", 1)?, ..block };
    Ok(match a.family {
        Family::Gemma2 | Family::Gemma3 => Block {
            attention_norm: stream("input_layernorm")?,
            attention_post_norm: stream("post_attention_layernorm")?,
            mlp_norm: stream("pre_feedforward_layernorm")?,
            mlp_post_norm: stream("post_feedforward_layernorm")?,
            ..block
        },
        Family::Olmo2 | Family::Olmo3 => Block {
            attention_post_norm: stream("post_attention_layernorm")?,
            mlp_post_norm: stream("post_feedforward_layernorm")?,
            ..block
        },
        _ => Block {
            attention_norm: stream("input_layernorm")?,
            mlp_norm: stream("post_attention_layernorm")?,
            ..block
        },
    })
}
