use super::{SEPARATE, common_sizes, linear, mlp, norm, separate, unembedding, whole_heads};
use crate::nn::architecture::{Activation, Architecture, Family};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Parts};
use crate::nn::weights::Weights;

/// StarCoder2: layer norms, an MLP without a gate, grouped-query attention with a window where there is one.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let sizes = common_sizes(config, 2)?;
    config.flag_or("use_bias", true)?;
    // Fields of its first configurations, which nothing but these values was ever trained with.
    for (field, only) in [("mlp_type", "default"), ("norm_type", "layer_norm")] {
        if config.text_or(field, only)? != only {
            return Err(config.wrong(field, &format!("`{only}` (nothing else is implemented)")));
        }
    }
    let window = config.has("sliding_window").then(|| config.count("sliding_window")).transpose()?;
    Architecture {
        norm_eps: config.positive_or("norm_epsilon", 1e-5)?,
        positions: whole_heads(config, sizes.d_head, 10_000.0)?,
        activation: Activation::of(config, "hidden_act", "gelu_pytorch_tanh")?,
        windows: window.map_or(Vec::new(), |window| vec![Some(window); sizes.n_layers]),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::StarCoder2, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("use_bias", true)?;
    let embedding = weights.rows("model.embed_tokens.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let attention = |name: &str| at(&format!("self_attn.{name}"));
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("input_layernorm"), a)?),
            mlp_norm: Some(norm(weights, &at("post_attention_layernorm"), a)?),
            ..Block::plain(
                separate(a, weights, SEPARATE.map(attention), bias)?,
                linear(weights, &attention("o_proj"), a.d_model, a.n_heads * a.d_head, bias)?,
                mlp(a, weights, [&at("mlp.c_fc"), &at("mlp.c_proj")], bias)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "model.norm", a)?, unembedding))
}
