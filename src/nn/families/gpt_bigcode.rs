//! GPT-BigCode: SantaCoder and StarCoder (Li et al. 2023, arXiv 2305.06161), a GPT-2 with one key-value head.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let mut sizes = sizes(config, &Names::GPT2_OR_COMMON)?;
    sizes.d_mlp = config.count_or("n_inner", Some(sizes.d_mlp))?;
    config.require_flag("add_cross_attention", false)?;
    if config.flag_or("multi_query", true)? {
        sizes.n_kv_heads = 1;
    }
    if config.count_or("num_key_value_heads", Some(sizes.n_kv_heads))? != sizes.n_kv_heads {
        let expected = format!("{}, as `multi_query` says", sizes.n_kv_heads);
        return Err(config.wrong("num_key_value_heads", &expected));
    }
    // Settings of an inference server.
    config.without_effect(&[
        "inference_runner",
        "max_batch_size",
        "pad_key_length",
        "pre_allocate_kv_cache",
        "validate_runner_input",
    ]);
    let scaled = config.flag_or("scale_attn_weights", true)?;
    Ok(Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        activation: Activation::of(config, "activation_function", "gelu_pytorch_tanh")?,
        attention_scale: if scaled { (sizes.d_head as f64).powf(-0.5) } else { 1.0 },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(family, sizes)
    })
}

pub(super) fn parts(a: &Architecture, _: &Config, weights: &Weights) -> Result<Parts, NnError> {
    // With a key-value head per query head, rows are grouped by head; GPT-2 groups them by kind.
    let order = if a.n_kv_heads == 1 { Projections::FusedByKind } else { Projections::FusedByHead };
    let width = (a.n_heads + 2 * a.n_kv_heads) * a.d_head;
    Frame::GPT2.read(a, weights, |_, scope| {
        scope.block(
            ["ln_1", "ln_2"],
            order(scope.linear("attn.c_attn", [width, a.d_model], true)?),
            scope.out_of_heads("attn.c_proj", true)?,
            scope.mlp(["mlp.c_fc", "mlp.c_proj"], true)?,
        )
    })
}
