//! BLOOM (Scao et al. 2022, arXiv 2211.05100): ALiBi and a norm of the embeddings.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let names = Names {
        // The length of its training sequences: ALiBi itself has no limit.
        context: (&["seq_length"], Some(2048)),
        width: &["hidden_size", "n_embed"],
        layers: &["n_layer", "num_hidden_layers"],
        heads: &["n_head", "num_attention_heads"],
    };
    let sizes = sizes(config, &names)?;
    if config.count_or("n_inner", Some(sizes.d_mlp))? != sizes.d_mlp {
        return Err(config.wrong("n_inner", &format!("{}, four times the width", sizes.d_mlp)));
    }
    // Fields of its training program, which transformers does not read.
    config.without_effect(&["bias_dropout_fusion", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv"]);
    let alibi = Alibi { slopes: Alibi::slopes(sizes.n_heads), half: false, scale: 1.0 };
    let normed = config.flag_or("apply_residual_connection_post_layernorm", false)?;
    Ok(Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        positions: Positions::Alibi(alibi),
        activation: Activation::GeluTanh,
        residual: if normed { Residual::Normed } else { Residual::Sequential },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(family, sizes)
    })
}

pub(super) fn parts(a: &Architecture, _: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let frame = Frame { embedding: "transformer.word_embeddings", ..Frame::GPT2 };
    let parts = frame.read(a, weights, |_, scope| {
        let fused = scope.linear("self_attention.query_key_value", [3 * a.d_model, a.d_model], true)?;
        scope.block(
            ["input_layernorm", "post_attention_layernorm"],
            Projections::FusedByHead(fused),
            scope.out_of_heads("self_attention.dense", true)?,
            scope.mlp(["mlp.dense_h_to_4h", "mlp.dense_4h_to_h"], true)?,
        )
    })?;
    let root = Scope { a, weights, prefix: "transformer.".into() };
    Ok(Parts { embedding_norm: Some(root.norm("word_embeddings_layernorm")?), ..parts })
}
