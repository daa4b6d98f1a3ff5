use super::{Names, by_group, count_of, linear, mlp, norm, sizes, unembedding, whole_heads};
use crate::nn::architecture::{Activation, Alibi, Architecture, Family, Positions, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Parts};
use crate::nn::weights::Weights;

/// Falcon. Its three forms: one head of keys and values, blocks in parallel (7B); a head of keys and values for each
/// group of queries, blocks in parallel off one norm or two (40B, 11B); a head of them for every query, blocks in
/// sequence, ALiBi (RW).
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let mut sizes = sizes(
        config,
        &Names {
            context: (&["max_position_embeddings"], Some(2048)),
            width: &["hidden_size", "n_embed"],
            ..Names::COMMON
        },
    )?;
    sizes.d_mlp = config.count_or("ffn_hidden_size", Some(sizes.d_mlp))?;
    config.require_flag("apply_residual_connection_post_layernorm", false)?;
    config.flag_or("bias", false)?;
    let grouped = config.flag_or("new_decoder_architecture", false)?;
    let shared = config.flag_or("multi_query", true)?;
    let kv_heads = count_of(config, &["num_kv_heads", "n_head_kv"], Some(sizes.n_heads))?;
    sizes.n_kv_heads = match (grouped, shared) {
        (true, _) => kv_heads,
        (false, true) => 1,
        (false, false) => sizes.n_heads,
    };
    let positions = if config.flag_or("alibi", false)? {
        config.without_effect(&["rope_theta", "rope_scaling", "rope_parameters"]);
        let scale = (sizes.d_head as f32).powf(-0.5);
        Positions::Alibi(Alibi { slopes: Alibi::slopes(sizes.n_heads), half: true, scale })
    } else {
        whole_heads(config, sizes.d_head, 10_000.0)?
    };
    let parallel = config.flag_or("parallel_attn", true)?;
    if grouped && !parallel {
        return Err(config.wrong("parallel_attn", "true where `new_decoder_architecture` is"));
    }
    norms(config)?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        positions,
        activation: Activation::of(config, "activation", "gelu")?,
        residual: if parallel { Residual::Parallel } else { Residual::Sequential },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(Family::Falcon, sizes)
    }
    .checked(config, "num_kv_heads")
}

/// Names of the norms that attention and MLP read through.
fn norms(config: &Config) -> Result<[&'static str; 2], NnError> {
    const COUNT: &str = "num_ln_in_parallel_attn";
    let grouped = config.flag_or("new_decoder_architecture", false)?;
    let count = config.count_or(COUNT, Some(if grouped { 2 } else { 1 }))?;
    match (config.flag_or("parallel_attn", true)?, grouped, count) {
        (false, _, _) => Ok(["input_layernorm", "post_attention_layernorm"]),
        (true, _, 1) => Ok(["input_layernorm", "input_layernorm"]),
        (true, true, 2) => Ok(["ln_attn", "ln_mlp"]),
        _ => Err(config.wrong(COUNT, "1, or 2 where `new_decoder_architecture` is true")),
    }
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("bias", false)?;
    let [of_attention, of_mlp] = norms(config)?;
    let embedding = weights.rows("transformer.word_embeddings.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let fused = (a.n_heads + 2 * a.n_kv_heads) * a.d_head;
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at(of_attention), a)?),
            mlp_norm: Some(norm(weights, &at(of_mlp), a)?),
            ..Block::plain(
                by_group(a, linear(weights, &at("self_attention.query_key_value"), fused, a.d_model, bias)?)?,
                linear(weights, &at("self_attention.dense"), a.d_model, a.d_model, bias)?,
                mlp(a, weights, [&at("mlp.dense_h_to_4h"), &at("mlp.dense_4h_to_h")], bias)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "transformer.ln_f", a)?, unembedding))
}
