use super::{
    SEPARATE, common_sizes, gated, halves_apart, linear, norm, order_of_halves, separate, unembedding,
    whole_heads,
};
use crate::nn::architecture::{Activation, Architecture, Family, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
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
    let scale = config.positive_or_null("logit_scale", 0.0625)?;
    let scale = scale.ok_or_else(|| config.wrong("logit_scale", "a positive number"))?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: whole_heads(config, sizes.d_head, 500_000.0)?,
        activation: Activation::of(config, "hidden_act", "silu")?,
        residual: Residual::Parallel,
        logit_scale: Some(scale),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::Cohere, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("attention_bias", false)?;
    let heads_normed = config.flag_or("use_qk_norm", false)?;
    let embedding = weights.rows("model.embed_tokens.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
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
    Ok(Parts::plain(embedding, blocks, norm(weights, "model.norm", a)?, unembedding))
}

/// A norm for each head by itself, its weights in the order that the head's coordinates have.
fn norm_of_heads(a: &Architecture, weights: &Weights, name: &str, heads: usize) -> Result<Norm, NnError> {
    let weight = weights.get(&format!("{name}.weight"), &[heads, a.d_head])?;
    let order = order_of_halves(a, 1);
    let order = candle_core::Tensor::from_slice(&order, order.len(), weight.device())?;
    Ok(Norm { weight: weight.index_select(&order, 1)?, bias: None })
}
