use super::{Names, linear, mlp, norm, sizes, unembedding};
use crate::nn::architecture::{Activation, Alibi, Architecture, Family, Positions, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Parts, Projections};
use crate::nn::weights::Weights;

/// BLOOM: ALiBi and a norm of the embeddings.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let sizes = sizes(
        config,
        &Names {
            // The length of its training sequences: ALiBi itself has no limit.
            context: (&["seq_length"], Some(2048)),
            width: &["hidden_size", "n_embed"],
            layers: &["n_layer", "num_hidden_layers"],
            heads: &["n_head", "num_attention_heads"],
        },
    )?;
    if config.count_or("n_inner", Some(sizes.d_mlp))? != sizes.d_mlp {
        return Err(config.wrong("n_inner", &format!("{}, four times the width", sizes.d_mlp)));
    }
    // Of the program that it was trained with; transformers does not look at them.
    config.without_effect(&["bias_dropout_fusion", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv"]);
    let alibi = Alibi { slopes: Alibi::slopes(sizes.n_heads), half: false, scale: 1.0 };
    let normed = config.flag_or("apply_residual_connection_post_layernorm", false)?;
    Ok(Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        positions: Positions::Alibi(alibi),
        activation: Activation::GeluTanh,
        residual: if normed { Residual::Normed } else { Residual::Sequential },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::Bloom, sizes)
    })
}

pub(super) fn parts(a: &Architecture, weights: &Weights) -> Result<Parts, NnError> {
    let embedding = weights.rows("transformer.word_embeddings.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let fused = linear(weights, &at("self_attention.query_key_value"), 3 * a.d_model, a.d_model, true)?;
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("input_layernorm"), a)?),
            mlp_norm: Some(norm(weights, &at("post_attention_layernorm"), a)?),
            ..Block::plain(
                Projections::FusedByHead(fused),
                linear(weights, &at("self_attention.dense"), a.d_model, a.d_model, true)?,
                mlp(a, weights, [&at("mlp.dense_h_to_4h"), &at("mlp.dense_4h_to_h")], true)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    let embedding_norm = norm(weights, "transformer.word_embeddings_layernorm", a)?;
    let final_norm = norm(weights, "transformer.ln_f", a)?;
    Ok(Parts {
        embedding_norm: Some(embedding_norm),
        ..Parts::plain(embedding, blocks, final_norm, unembedding)
    })
}
