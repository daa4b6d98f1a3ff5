//! Phi-1, 1.5 and 2 (Gunasekar et al. 2023, arXiv 2306.11644): x' = x + attention(LN x) + MLP(LN x) with one norm,
//! partial rotary positions, biases everywhere.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let sizes = common_sizes(config, None)?;
    config.flag_or("qk_layernorm", false)?;
    let rotary = Rotary::of(config, sizes.d_head, ("partial_rotary_factor", 0.5), "rope_theta")?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "gelu_new")?,
        residual: Residual::Parallel,
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let heads_normed = config.flag_or("qk_layernorm", false)?;
    let frame = Frame { final_norm: "model.final_layernorm", biased: true, ..Frame::LLAMA };
    frame.read(a, weights, |_, scope| {
        let of_heads = |name: &str| heads_normed.then(|| scope.norm_of_width(name, a.d_head)).transpose();
        Ok(Block {
            query_norm: of_heads("self_attn.q_layernorm")?,
            key_norm: of_heads("self_attn.k_layernorm")?,
            ..scope.block(
                ["input_layernorm", "input_layernorm"],
                scope.separate("self_attn", true)?,
                scope.out_of_heads("self_attn.dense", true)?,
                scope.mlp(["mlp.fc1", "mlp.fc2"], true)?,
            )?
        })
    })
}
