//! StarCoder2 (Lozhkov et al. 2024, arXiv 2402.19173): layer norms, an MLP without a gate, grouped-query attention,
//! optionally with a window.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let sizes = common_sizes(config, Some(2))?;
    config.flag_or("use_bias", true)?;
    // Fields of its first configurations; every published model has these values.
    only_text(config, "mlp_type", &["default"])?;
    only_text(config, "norm_type", &["layer_norm"])?;
    let window = stated_window(config)?;
    Architecture {
        norm_eps: config.positive_or("norm_epsilon", 1e-5)?,
        positions: whole_heads(config, sizes.d_head, 10_000.0)?,
        activation: Activation::of(config, "hidden_act", "gelu_pytorch_tanh")?,
        windows: window.map_or(Vec::new(), |window| vec![Some(window); sizes.n_layers]),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "num_key_value_heads")
}

pub(super) fn parts(a: &Architecture, config: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let bias = config.flag_or("use_bias", true)?;
    Frame::LLAMA.read(a, weights, |_, scope| {
        scope.block(
            ["input_layernorm", "post_attention_layernorm"],
            scope.separate("self_attn", bias)?,
            scope.out_of_heads("self_attn.o_proj", bias)?,
            scope.mlp(["mlp.c_fc", "mlp.c_proj"], bias)?,
        )
    })
}
