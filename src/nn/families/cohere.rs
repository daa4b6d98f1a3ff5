//! Cohere's Command R (2024): x' = x + attention(LN x) + MLP(LN x) with one norm and a gated MLP, adjacent rotary pairs,
//! logits with a factor.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let sizes = common_sizes(config, None)?;
    for flag in ["attention_bias", "use_qk_norm"] {
        config.flag_or(flag, false)?;
    }
    let scale = config.positive_or_null("logit_scale", 0.0625)?;
    let scale = scale.ok_or_else(|| config.wrong("logit_scale", "a positive number"))?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: whole_heads(config, sizes.d_head, 500_000.0)?,
        activation: Activation::of(config, "hidden_act", "silu")?,
        residual: Residual::Parallel,
        logit_scale: Some(scale),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("attention_bias", false)?;
    let heads_normed = config.flag_or("use_qk_norm", false)?;
    Frame::LLAMA.read(a, weights, |_, scope| {
        let of_heads =
            |name: &str, heads: usize| heads_normed.then(|| norm_of_heads(scope, name, heads)).transpose();
        Ok(Block {
            query_norm: of_heads("self_attn.q_norm", a.n_heads)?,
            key_norm: of_heads("self_attn.k_norm", a.n_kv_heads)?,
            ..scope.block(
                ["input_layernorm", "input_layernorm"],
                rotated_in_halves(a, scope.separate("self_attn", bias)?)?,
                scope.out_of_heads("self_attn.o_proj", bias)?,
                scope.gated(false)?,
            )?
        })
    })
}

/// A norm for each head, `[heads, d_head]`, its gains in the order of the head's coordinates.
fn norm_of_heads(scope: &Scope<'_>, name: &str, heads: usize) -> Result<Norm, NnError> {
    let weight = scope.tensor(&format!("{name}.weight"), &[heads, scope.a.d_head])?;
    let order = order_of_halves(scope.a, 1);
    let order = Tensor::from_slice(&order, order.len(), weight.device())?;
    Ok(Norm { weight: weight.index_select(&order, 1)?, bias: None })
}
