//! Falcon (Almazrouei et al. 2023, arXiv 2311.16867), in three forms:
//! 7B has one key-value head and parallel blocks;
//! 40B and 11B have a key-value head per group of query heads and parallel blocks with one norm or two;
//! RW has a key-value head per query head, sequential blocks and ALiBi.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let names = Names {
        context: (&["max_position_embeddings"], Some(2048)),
        width: &["hidden_size", "n_embed"],
        ..Names::COMMON
    };
    let mut sizes = sizes(config, &names)?;
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
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_kv_heads")
}

/// Names of the norms before attention and before the MLP.
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
    let [attention_norm, mlp_norm] = norms(config)?;
    let frame = Frame { embedding: "transformer.word_embeddings", ..Frame::GPT2 };
    frame.read(a, weights, |_, scope| {
        let width = (a.n_heads + 2 * a.n_kv_heads) * a.d_head;
        let fused = scope.linear("self_attention.query_key_value", [width, a.d_model], bias)?;
        scope.block(
            [attention_norm, mlp_norm],
            by_group(a, fused)?,
            scope.out_of_heads("self_attention.dense", bias)?,
            scope.mlp(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"], bias)?,
        )
    })
}
