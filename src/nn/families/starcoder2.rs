use super::{SEPARATE, common_sizes, linear, mlp, norm, prefix, separate, unembedding, windows};
use crate::nn::architecture::{Activation, Architecture, Family, Positions};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
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
    let rotary = Rotary::of(config, sizes.d_head, ("partial_rotary_factor", 1.0), "rope_theta")?;
    Architecture {
        norm_eps: config.positive_or("norm_epsilon", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "gelu_pytorch_tanh")?,
        windows: windows(config, sizes.n_layers, window, |_| true)?,
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::StarCoder2, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let prefix = prefix(weights, "embed_tokens.weight", "model.");
    let bias = config.flag_or("use_bias", true)?;
    let embedding = weights.rows(&format!("{prefix}embed_tokens.weight"), &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("{prefix}layers.{layer}.{name}");
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
    Ok(Parts::plain(embedding, blocks, norm(weights, &format!("{prefix}norm"), a)?, unembedding))
}
