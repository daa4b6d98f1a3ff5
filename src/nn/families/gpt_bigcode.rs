use super::{Names, linear, mlp, norm, sizes, unembedding};
use crate::nn::architecture::{Activation, Architecture, Family};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Parts, Projections};
use crate::nn::weights::Weights;

/// GPT-BigCode (SantaCoder, StarCoder): GPT-2 whose queries share one head of keys and values.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let mut sizes = sizes(
        config,
        &Names {
            context: (&["n_positions", "max_position_embeddings"], None),
            width: &["n_embd", "hidden_size"],
            layers: &["n_layer", "num_hidden_layers"],
            heads: &["n_head", "num_attention_heads"],
        },
    )?;
    sizes.d_mlp = config.count_or("n_inner", Some(sizes.d_mlp))?;
    config.require_flag("add_cross_attention", false)?;
    if config.flag_or("multi_query", true)? {
        sizes.n_kv_heads = 1;
    }
    if config.count_or("num_key_value_heads", Some(sizes.n_kv_heads))? != sizes.n_kv_heads {
        let expected = format!("{}, as `multi_query` says", sizes.n_kv_heads);
        return Err(config.wrong("num_key_value_heads", &expected));
    }
    // Of a program that serves it.
    config.without_effect(&[
        "inference_runner",
        "max_batch_size",
        "pad_key_length",
        "pre_allocate_kv_cache",
        "validate_runner_input",
    ]);
    let scaled = config.flag_or("scale_attn_weights", true)?;
    Ok(Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        activation: Activation::of(config, "activation_function", "gelu_pytorch_tanh")?,
        attention_scale: if scaled { (sizes.d_head as f64).powf(-0.5) } else { 1.0 },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::GptBigCode, sizes)
    })
}

pub(super) fn parts(a: &Architecture, weights: &Weights) -> Result<Parts, NnError> {
    let embedding = weights.rows("transformer.wte.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let width = (a.n_heads + 2 * a.n_kv_heads) * a.d_head;
        let fused = linear(weights, &at("attn.c_attn"), width, a.d_model, true)?;
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("ln_1"), a)?),
            mlp_norm: Some(norm(weights, &at("ln_2"), a)?),
            ..Block::plain(
                // Unlike GPT-2's, a head of keys and values for each query stands beside that query.
                if a.n_kv_heads == 1 {
                    Projections::FusedByKind(fused)
                } else {
                    Projections::FusedByHead(fused)
                },
                linear(weights, &at("attn.c_proj"), a.d_model, a.d_model, true)?,
                mlp(a, weights, [&at("mlp.c_fc"), &at("mlp.c_proj")], true)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    let position_embedding = weights.get("transformer.wpe.weight", &[a.n_ctx, a.d_model])?;
    let final_norm = norm(weights, "transformer.ln_f", a)?;
    Ok(Parts {
        position_embedding: Some(position_embedding),
        ..Parts::plain(embedding, blocks, final_norm, unembedding)
    })
}
