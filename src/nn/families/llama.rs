use super::{linear, norm};
use crate::nn::architecture::{Activation, Architecture, Family, NormKind, Positions, Residual, Rotary};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Linear, Mlp, Parts, Projections};
use crate::nn::weights::Weights;

/// Llama 1 to 3: RMS norms, gated MLP, grouped-query attention, optional biases and head width of its own.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let d_model = config.count("hidden_size")?;
    let n_heads = config.count("num_attention_heads")?;
    let d_head = config.count_or("head_dim", Some((d_model / n_heads).max(1)))?;
    Architecture {
        family: Family::Llama,
        vocab: config.count("vocab_size")?,
        n_ctx: config.count("max_position_embeddings")?,
        d_model,
        n_layers: config.count("num_hidden_layers")?,
        n_heads,
        n_kv_heads: config.count_or("num_key_value_heads", Some(n_heads))?,
        d_head,
        d_mlp: config.count("intermediate_size")?,
        norm: NormKind::Rms,
        norm_eps: config.positive_or("rms_norm_eps", 1e-6)?,
        positions: Positions::Rotary(Rotary::of(
            config,
            d_head,
            ("partial_rotary_factor", 1.0),
            "rope_theta",
        )?),
        activation: Activation::of(config, "hidden_act", "silu")?,
        residual: Residual::Sequential,
        attention_scale: (d_head as f64).powf(-0.5),
        tied: config.flag_or("tie_word_embeddings", false)?,
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let attention_bias = config.flag_or("attention_bias", false)?;
    let mlp_bias = config.flag_or("mlp_bias", false)?;
    let (d_queries, d_keys) = (a.n_heads * a.d_head, a.n_kv_heads * a.d_head);
    let embedding = weights.get("model.embed_tokens.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let attention = |name: &str, out: usize, d_in: usize| {
            linear(weights, &format!("model.layers.{layer}.self_attn.{name}"), out, d_in, attention_bias)
        };
        let mlp = |name: &str, out: usize, d_in: usize| {
            linear(weights, &format!("model.layers.{layer}.mlp.{name}"), out, d_in, mlp_bias)
        };
        blocks.push(Block {
            attention_norm: norm(weights, &format!("model.layers.{layer}.input_layernorm"), a)?,
            projections: Projections::Separate {
                queries: attention("q_proj", d_queries, a.d_model)?,
                keys: attention("k_proj", d_keys, a.d_model)?,
                values: attention("v_proj", d_keys, a.d_model)?,
            },
            attention_out: attention("o_proj", a.d_model, d_queries)?,
            mlp_norm: norm(weights, &format!("model.layers.{layer}.post_attention_layernorm"), a)?,
            mlp: Mlp {
                gate: Some(mlp("gate_proj", a.d_mlp, a.d_model)?),
                up: mlp("up_proj", a.d_mlp, a.d_model)?,
                down: mlp("down_proj", a.d_model, a.d_mlp)?,
            },
        });
    }
    let unembedding =
        if a.tied { embedding.clone() } else { weights.get("lm_head.weight", &[a.vocab, a.d_model])? };
    Ok(Parts {
        embedding,
        position_embedding: None,
        blocks,
        final_norm: norm(weights, "model.norm", a)?,
        unembedding: Linear { weight: unembedding, bias: None },
    })
}
