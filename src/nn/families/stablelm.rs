//! StableLM (Bellagente et al. 2024, arXiv 2402.17834): a Llama with layer norms and partial rotary positions. Some
//! models have a norm for every head, or parallel blocks with one norm.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
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
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("use_qkv_bias", false)?;
    let heads_normed = config.flag_or("qk_layernorm", false)?;
    let parallel = a.residual == Residual::Parallel;
    let mlp_norm = if parallel { "input_layernorm" } else { "post_attention_layernorm" };
    Frame::LLAMA.read(a, weights, |_, scope| {
        let of_heads =
            |name: &str, heads: usize| heads_normed.then(|| norm_of_heads(scope, name, heads)).transpose();
        Ok(Block {
            query_norm: of_heads("self_attn.q_layernorm", a.n_heads)?,
            key_norm: of_heads("self_attn.k_layernorm", a.n_kv_heads)?,
            ..scope.block(
                ["input_layernorm", mlp_norm],
                scope.separate("self_attn", bias)?,
                scope.out_of_heads("self_attn.o_proj", false)?,
                scope.gated(false)?,
            )?
        })
    })
}

/// A norm without bias for each head, `[heads, d_head]`.
fn norm_of_heads(scope: &Scope<'_>, name: &str, heads: usize) -> Result<Norm, NnError> {
    let one = |head: usize| scope.tensor(&format!("{name}.norms.{head}.weight"), &[scope.a.d_head]);
    let weight = Tensor::stack(&(0..heads).map(one).collect::<Result<Vec<_>, _>>()?, 0)?;
    Ok(Norm { weight, bias: None })
}
