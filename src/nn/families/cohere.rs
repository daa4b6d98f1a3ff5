use super::{
    SEPARATE, common_sizes, gated, halves_apart, linear, norm, order_of_halves, prefix, separate, unembedding,
};
use crate::nn::architecture::{Activation, Architecture, Family, Positions, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
use crate::nn::transformer::{Block, Norm, Parts};
use crate::nn::weights::Weights;

/// Cohere's Command R: attention and a gated MLP in parallel off one norm, neighbouring coordinates of a head are
/// rotated, logits have a factor.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let heads = config.count("num_attention_heads")?;
    let sizes = common_sizes(config, heads)?;
    for flag in ["attention_bias", "use_qk_norm"] {
        config.flag_or(flag, false)?;
    }
    let rotary =
        Rotary::of_base(config, sizes.d_head, ("partial_rotary_factor", 1.0), ("rope_theta", 500_000.0))?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "silu")?,
        residual: Residual::Parallel,
        logit_scale: Some(config.positive_or("logit_scale", 0.0625)?),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::Cohere, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let prefix = prefix(weights, "embed_tokens.weight", "model.");
    let bias = config.flag_or("attention_bias", false)?;
    let heads_normed = config.flag_or("use_qk_norm", false)?;
    let embedding = weights.rows(&format!("{prefix}embed_tokens.weight"), &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("{prefix}layers.{layer}.{name}");
        let attention = |name: &str| at(&format!("self_attn.{name}"));
        let of_heads = |name: &str, heads: usize| {
            heads_normed.then(|| norm_of_heads(a, weights, &attention(name), heads)).transpose()
        };
        let both = norm(weights, &at("input_layernorm"), a)?;
        blocks.push(Block {
            attention_norm: Some(both.clone()),
            query_norm: of_heads("q_norm", a.n_heads)?,
            key_norm: of_heads("k_norm", a.n_kv_heads)?,
            mlp_norm: Some(both),
            ..Block::plain(
                halves_apart(a, separate(a, weights, SEPARATE.map(attention), bias)?)?,
                linear(weights, &attention("o_proj"), a.d_model, a.n_heads * a.d_head, bias)?,
                gated(a, weights, &at("mlp"))?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, &format!("{prefix}norm"), a)?, unembedding))
}

/// A norm for each head by itself, its weights in the order that the head's coordinates have.
fn norm_of_heads(a: &Architecture, weights: &Weights, name: &str, heads: usize) -> Result<Norm, NnError> {
    let weight = weights.get(&format!("{name}.weight"), &[heads, a.d_head])?;
    let order = order_of_halves(a, 1);
    let order = candle_core::Tensor::from_slice(&order, order.len(), weight.device())?;
    Ok(Norm { weight: weight.index_select(&order, 1)?, bias: None })
}
