//! GPT-NeoX (Black et al. 2022, arXiv 2204.06745) and Pythia (Biderman et al. 2023, arXiv 2304.01373): fused
//! query-key-value map with rows grouped by head, partial rotary positions.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let mut sizes = sizes(config, &Names::COMMON)?;
    sizes.d_mlp = config.count("intermediate_size")?;
    let parallel = config.flag_or("use_parallel_residual", true)?;
    config.flag_or("attention_bias", true)?;
    let rotary = Rotary::of(config, sizes.d_head, ("rotary_pct", 0.25), "rotary_emb_base")?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_eps", 1e-5)?,
        positions: Positions::Rotary(rotary),
        activation: Activation::of(config, "hidden_act", "gelu")?,
        residual: if parallel { Residual::Parallel } else { Residual::Sequential },
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_attention_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("attention_bias", true)?;
    let frame = Frame {
        embedding: "gpt_neox.embed_in",
        blocks: "gpt_neox.layers",
        final_norm: "gpt_neox.final_layer_norm",
        unembedding: "embed_out",
        biased: false,
    };
    frame.read(a, weights, |_, scope| {
        let fused = scope.linear("attention.query_key_value", [3 * a.d_model, a.d_model], bias)?;
        scope.block(
            ["input_layernorm", "post_attention_layernorm"],
            Projections::FusedByHead(fused),
            scope.out_of_heads("attention.dense", bias)?,
            scope.mlp(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"], true)?,
        )
    })
}
