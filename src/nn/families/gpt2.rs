use super::norm;
use crate::nn::architecture::{Activation, Architecture, Family, Sizes};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Linear, Mlp, Parts, Projections};
use crate::nn::weights::Weights;

/// GPT-2: learned positions, weights of linear maps stored as `[in, out]`.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    config.require_flag("scale_attn_by_inverse_layer_idx", false)?;
    config.require_flag("add_cross_attention", false)?;
    let d_model = config.count("n_embd")?;
    let n_heads = config.count("n_head")?;
    if !d_model.is_multiple_of(n_heads) {
        return Err(config.wrong("n_embd", &format!("a multiple of the {n_heads} heads")));
    }
    let d_head = d_model / n_heads;
    let scaled = config.flag_or("scale_attn_weights", true)?;
    let sizes = Sizes {
        vocab: config.count("vocab_size")?,
        n_ctx: config.count("n_positions")?,
        d_model,
        n_layers: config.count("n_layer")?,
        n_heads,
        n_kv_heads: n_heads,
        d_head,
        d_mlp: config.count_or("n_inner", Some(4 * d_model))?,
    };
    Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        activation: Activation::of(config, "activation_function", "gelu_new")?,
        attention_scale: if scaled { (d_head as f64).powf(-0.5) } else { 1.0 },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::Gpt2, sizes)
    }
    .checked(config, "n_head")
}

/// A linear map stored as `[in, out]`; the transpose is a view.
fn conv1d(weights: &Weights, name: &str, d_in: usize, out: usize) -> Result<Linear, NnError> {
    let weight = weights.rows_of_transposed(&format!("{name}.weight"), &[d_in, out])?;
    Ok(Linear::new(weight, Some(weights.get(&format!("{name}.bias"), &[out])?)))
}

pub(super) fn parts(a: &Architecture, weights: &Weights) -> Result<Parts, NnError> {
    let embedding = weights.rows("transformer.wte.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("ln_1"), a)?),
            mlp_norm: Some(norm(weights, &at("ln_2"), a)?),
            ..Block::plain(
                Projections::FusedByKind(conv1d(weights, &at("attn.c_attn"), a.d_model, 3 * a.d_model)?),
                conv1d(weights, &at("attn.c_proj"), a.d_model, a.d_model)?,
                Mlp {
                    gate: None,
                    up: conv1d(weights, &at("mlp.c_fc"), a.d_model, a.d_mlp)?,
                    down: conv1d(weights, &at("mlp.c_proj"), a.d_mlp, a.d_model)?,
                },
            )
        });
    }
    let unembedding =
        if a.tied { embedding.clone() } else { weights.rows("lm_head.weight", &[a.vocab, a.d_model])? };
    let final_norm = norm(weights, "transformer.ln_f", a)?;
    Ok(Parts {
        position_embedding: Some(weights.get("transformer.wpe.weight", &[a.n_ctx, a.d_model])?),
        ..Parts::plain(embedding, blocks, final_norm, Linear::new(unembedding, None))
    })
}
