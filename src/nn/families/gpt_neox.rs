use super::{linear, norm};
use crate::nn::architecture::{Activation, Architecture, Family, Positions, Residual, Sizes};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
use crate::nn::transformer::{Block, Linear, Mlp, Parts, Projections};
use crate::nn::weights::Weights;

/// GPT-NeoX and Pythia: fused, head-interleaved query–key–value, partial rotary positions.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    if !d_model.is_multiple_of(n_heads) {
        return Err(config.wrong("hidden_size", &format!("a multiple of the {n_heads} heads")));
    }
    let d_head = d_model / n_heads;
    let parallel = config.flag_or("use_parallel_residual", true)?;
    config.flag_or("attention_bias", true)?;
    let sizes = Sizes {
        vocab: config.count("vocab_size")?,
        n_ctx: config.count("max_position_embeddings")?,
        d_model,
        n_layers: config.count("num_hidden_layers")?,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: config.count("intermediate_size")?,
    };
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(Rotary::of(config, d_head, ("rotary_pct", 0.25), "rotary_emb_base")?),
        activation: Activation::of(config, "hidden_act", "gelu")?,
        residual: if parallel { Residual::Parallel } else { Residual::Sequential },
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(Family::GptNeox, sizes)
    }
    .checked(config, "num_attention_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("attention_bias", true)?;
    let embedding = weights.rows("gpt_neox.embed_in.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("gpt_neox.layers.{layer}.{name}");
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("input_layernorm"), a)?),
            mlp_norm: Some(norm(weights, &at("post_attention_layernorm"), a)?),
            ..Block::plain(
                Projections::FusedByHead(linear(
                    weights,
                    &at("attention.query_key_value"),
                    3 * a.d_model,
                    a.d_model,
                    bias,
                )?),
                linear(weights, &at("attention.dense"), a.d_model, a.d_model, bias)?,
                Mlp {
                    gate: None,
                    up: linear(weights, &at("mlp.dense_h_to_4h"), a.d_mlp, a.d_model, true)?,
                    down: linear(weights, &at("mlp.dense_4h_to_h"), a.d_model, a.d_mlp, true)?,
                },
            )
        });
    }
    let unembedding =
        if a.tied { embedding.clone() } else { weights.rows("embed_out.weight", &[a.vocab, a.d_model])? };
    let final_norm = norm(weights, "gpt_neox.final_layer_norm", a)?;
    Ok(Parts::plain(embedding, blocks, final_norm, Linear::new(unembedding, None)))
}
