use candle_core::Tensor;

use super::{Names, SEPARATE, gated, linear, norm, separate, sizes, unembedding};
use crate::nn::architecture::{Activation, Architecture, Family, Positions, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
use crate::nn::transformer::{Block, Norm, Parts};
use crate::nn::weights::Weights;

/// StableLM: a Llama with layer norms, partial rotary positions and, in some, a norm of its own for every head or
/// blocks in parallel off one norm.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let mut sizes = sizes(config, &Names::COMMON)?;
    sizes.d_mlp = config.count("intermediate_size")?;
    sizes.n_kv_heads = config.count_or("num_key_value_heads", Some(32))?;
    for flag in ["use_qkv_bias", "qk_layernorm"] {
        config.flag_or(flag, false)?;
    }
    let rotary = Rotary::of(config, sizes.d_head, ("partial_rotary_factor", 0.25), "rope_theta")?;
    let parallel = config.flag_or("use_parallel_residual", false)?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "silu")?,
        residual: if parallel { Residual::Parallel } else { Residual::Sequential },
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(Family::StableLm, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("use_qkv_bias", false)?;
    let heads_normed = config.flag_or("qk_layernorm", false)?;
    let parallel = a.residual == Residual::Parallel;
    let embedding = weights.rows("model.embed_tokens.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let attention = |name: &str| at(&format!("self_attn.{name}"));
        let of_heads = |name: &str, heads: usize| {
            heads_normed.then(|| norm_of_heads(a, weights, &attention(name), heads)).transpose()
        };
        let before_mlp = if parallel { "input_layernorm" } else { "post_attention_layernorm" };
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("input_layernorm"), a)?),
            query_norm: of_heads("q_layernorm", a.n_heads)?,
            key_norm: of_heads("k_layernorm", a.n_kv_heads)?,
            mlp_norm: Some(norm(weights, &at(before_mlp), a)?),
            ..Block::plain(
                separate(a, weights, SEPARATE.map(attention), bias)?,
                linear(weights, &attention("o_proj"), a.d_model, a.d_model, false)?,
                gated(a, weights, &at("mlp"))?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "model.norm", a)?, unembedding))
}

/// A norm without bias for each head by itself.
fn norm_of_heads(a: &Architecture, weights: &Weights, name: &str, heads: usize) -> Result<Norm, NnError> {
    let one = |head: usize| weights.get(&format!("{name}.norms.{head}.weight"), &[a.d_head]);
    let weight = Tensor::stack(&(0..heads).map(one).collect::<Result<Vec<_>, _>>()?, 0)?; // [heads, d_head]
    Ok(Norm { weight, bias: None })
}
