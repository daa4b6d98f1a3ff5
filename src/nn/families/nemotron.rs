//! Nemotron (Parmar et al. 2024, arXiv 2402.16819) and Minitron: layer norms, an MLP without a gate whose activation is
//! ReLU², partial rotary positions.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let sizes = common_sizes(config, None)?;
    for flag in ["attention_bias", "mlp_bias"] {
        config.flag_or(flag, false)?;
    }
    let rotary = Rotary::of(config, sizes.d_head, ("partial_rotary_factor", 0.5), "rope_theta")?;
    Architecture {
        norm_eps: config.positive_or("norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "relu2")?,
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("attention_bias", false)?;
    let mlp_bias = config.flag_or("mlp_bias", false)?;
    Frame::LLAMA.read(a, weights, |_, scope| {
        scope.block(
            ["input_layernorm", "post_attention_layernorm"],
            scope.separate("self_attn", bias)?,
            scope.out_of_heads("self_attn.o_proj", bias)?,
            scope.mlp(["mlp.up_proj", "mlp.down_proj"], mlp_bias)?,
        )
    })
}
