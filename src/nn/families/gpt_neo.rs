use super::{Names, SEPARATE, linear, mlp, norm, separate, sizes, unembedding};
use crate::nn::architecture::{Activation, Architecture, Family};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Parts};
use crate::nn::weights::Weights;

/// GPT-Neo and the TinyStories models: learned positions, scores of attention without a factor, and layers that
/// see a window between layers that see everything.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let mut sizes = sizes(
        config,
        &Names {
            context: (&["max_position_embeddings"], None),
            width: &["hidden_size"],
            layers: &["num_layers", "num_hidden_layers"],
            heads: &["num_heads", "num_attention_heads"],
        },
    )?;
    sizes.d_mlp = config.count_or("intermediate_size", Some(sizes.d_mlp))?;
    let window = config.count_or("window_size", Some(256))?;
    let windows = layers(config, sizes.n_layers)?.into_iter().map(|local| local.then_some(window));
    Ok(Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        activation: Activation::of(config, "activation_function", "gelu_new")?,
        attention_scale: 1.0,
        windows: windows.collect(),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::GptNeo, sizes)
    })
}

/// Of each layer, whether it sees a window: `attention_types` holds patterns of kinds, each with how often it is
/// repeated. Files also hold what that comes to, `attention_layers`.
fn layers(config: &Config, n_layers: usize) -> Result<Vec<bool>, NnError> {
    const TYPES: &str = "attention_types";
    let wrong = || config.wrong(TYPES, &format!("patterns of `global` and `local` for {n_layers} layers"));
    let one = |kind: &str| match kind {
        "global" => Some(false),
        "local" => Some(true),
        _ => None,
    };
    let pattern = |entry: &serde_json::Value| {
        let kinds =
            entry.get(0)?.as_array()?.iter().map(|kind| one(kind.as_str()?)).collect::<Option<Vec<_>>>()?;
        let times = usize::try_from(entry.get(1)?.as_u64()?).ok().filter(|&times| times <= n_layers)?;
        Some(kinds.repeat(times))
    };
    let layers = match config.value(TYPES) {
        None => (0..n_layers).map(|layer| !layer.is_multiple_of(2)).collect(),
        Some(types) => {
            let patterns =
                types.as_array().and_then(|types| types.iter().map(pattern).collect::<Option<Vec<_>>>());
            patterns.ok_or_else(wrong)?.concat()
        }
    };
    if layers.len() != n_layers {
        return Err(wrong());
    }
    match config.texts("attention_layers")? {
        Some(expanded) if !expanded.iter().copied().map(one).eq(layers.iter().copied().map(Some)) => {
            Err(config.wrong("attention_layers", "what `attention_types` comes to"))
        }
        _ => Ok(layers),
    }
}

pub(super) fn parts(a: &Architecture, weights: &Weights) -> Result<Parts, NnError> {
    let embedding = weights.rows("transformer.wte.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let attention = |name: &str| at(&format!("attn.attention.{name}"));
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("ln_1"), a)?),
            mlp_norm: Some(norm(weights, &at("ln_2"), a)?),
            ..Block::plain(
                separate(a, weights, SEPARATE.map(attention), false)?,
                linear(weights, &attention("out_proj"), a.d_model, a.d_model, true)?,
                mlp(a, weights, [&at("mlp.c_fc"), &at("mlp.c_proj")], true)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    let position_embedding = weights.get("transformer.wpe.weight", &[a.n_ctx, a.d_model])?;
    let final_norm = norm(weights, "transformer.ln_f", a)?;
    Ok(Parts {
        position_embedding: Some(position_embedding),
        ..Parts::plain(embedding, blocks, final_norm, unembedding)
    })
}
