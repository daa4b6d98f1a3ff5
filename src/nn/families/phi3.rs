use super::{linear, llama, norm, unembedding, windows};
use crate::nn::architecture::{Architecture, Family};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Linear, Mlp, Parts, Projections};
use crate::nn::weights::Weights;

/// Phi-3: a Llama whose queries, keys and values are one map, and gate and up another; a window where there is
/// one holds for every layer.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, Family::Phi3)?;
    let window = config.has("sliding_window").then(|| config.count("sliding_window")).transpose()?;
    Ok(Architecture { windows: windows(config, base.n_layers, window, |_| true)?, ..base })
}

pub(super) fn parts(a: &Architecture, weights: &Weights) -> Result<Parts, NnError> {
    let (d_queries, d_keys) = (a.n_heads * a.d_head, a.n_kv_heads * a.d_head);
    let embedding = weights.rows("model.embed_tokens.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("model.layers.{layer}.{name}");
        let fused = linear(weights, &at("self_attn.qkv_proj"), d_queries + 2 * d_keys, a.d_model, false)?;
        let gate_and_up = weights.rows(&at("mlp.gate_up_proj.weight"), &[2 * a.d_mlp, a.d_model])?;
        let half = |first: usize| -> Result<Linear, NnError> {
            Ok(Linear::new(gate_and_up.narrow(first, a.d_mlp)?, None))
        };
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("input_layernorm"), a)?),
            mlp_norm: Some(norm(weights, &at("post_attention_layernorm"), a)?),
            ..Block::plain(
                Projections::FusedByKind(fused),
                linear(weights, &at("self_attn.o_proj"), a.d_model, d_queries, false)?,
                Mlp {
                    gate: Some(half(0)?),
                    up: half(a.d_mlp)?,
                    down: linear(weights, &at("mlp.down_proj"), a.d_model, a.d_mlp, false)?,
                },
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "model.norm", a)?, unembedding))
}
