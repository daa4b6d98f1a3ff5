use super::{SEPARATE, common_sizes, linear, mlp, norm, separate, unembedding};
use crate::nn::architecture::{Activation, Architecture, Family, Positions};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
use crate::nn::transformer::{Block, Parts};
use crate::nn::weights::Weights;

/// Nemotron and Minitron: layer norms, an MLP without a gate and with squared rectifiers, partial rotary positions.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let heads = config.count("num_attention_heads")?;
    let sizes = common_sizes(config, heads)?;
    for flag in ["attention_bias", "mlp_bias"] {
        config.flag_or(flag, false)?;
    }
    let rotary = Rotary::of(config, sizes.d_head, ("partial_rotary_factor", 0.5), "rope_theta")?;
    Architecture {
        norm_eps: config.positive_or("norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "relu2")?,
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(Family::Nemotron, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("attention_bias", false)?;
    let mlp_bias = config.flag_or("mlp_bias", false)?;
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
                mlp(a, weights, [&at("mlp.up_proj"), &at("mlp.down_proj")], mlp_bias)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "model.norm", a)?, unembedding))
}
