use super::{SEPARATE, common_sizes, linear, mlp, norm, norm_of_width, separate, unembedding};
use crate::nn::architecture::{Activation, Architecture, Family, Positions, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
use crate::nn::transformer::{Block, Parts};
use crate::nn::weights::Weights;

/// Phi-1, 1.5 and 2: attention and MLP in parallel off one norm, partial rotary positions, biases everywhere.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let heads = config.count("num_attention_heads")?;
    let sizes = common_sizes(config, heads)?;
    config.flag_or("qk_layernorm", false)?;
    let rotary = Rotary::of(config, sizes.d_head, ("partial_rotary_factor", 0.5), "rope_theta")?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "gelu_new")?,
        residual: Residual::Parallel,
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(Family::Phi, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let heads_normed = config.flag_or("qk_layernorm", false)?;
    let embedding = weights.rows("model.embed_tokens.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let attention = |name: &str| at(&format!("self_attn.{name}"));
        let of_heads = |name: &str| {
            heads_normed.then(|| norm_of_width(weights, &attention(name), a.d_head, a)).transpose()
        };
        let both = norm(weights, &at("input_layernorm"), a)?;
        blocks.push(Block {
            attention_norm: Some(both.clone()),
            query_norm: of_heads("q_layernorm")?,
            key_norm: of_heads("k_layernorm")?,
            mlp_norm: Some(both),
            ..Block::plain(
                separate(a, weights, SEPARATE.map(attention), true)?,
                linear(weights, &attention("dense"), a.d_model, a.n_heads * a.d_head, true)?,
                mlp(a, weights, [&at("mlp.fc1"), &at("mlp.fc2")], true)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, true)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "model.final_layernorm", a)?, unembedding))
}
