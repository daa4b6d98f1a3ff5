//! MPT (MosaicML 2023): ALiBi and no bias anywhere.
//!
//! Transformers ignores many fields of its configuration. A value that would change the trained model is refused.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let names = Names {
        context: (&["max_seq_len", "max_position_embeddings"], Some(2048)),
        width: &["d_model", "hidden_size"],
        layers: &["n_layers", "num_hidden_layers"],
        heads: &["n_heads", "num_attention_heads"],
    };
    let sizes = sizes(config, &names)?;
    only_count(config, "expansion_ratio", 4)?;
    config.require_flag("no_bias", true)?;
    only_text(config, "norm_type", &["low_precision_layernorm", "layernorm"])?;
    if config.has("logit_scale") {
        return Err(config.wrong("logit_scale", "null (nothing else is implemented)"));
    }
    // Fields about training, and about the learned positions that ALiBi replaces.
    config.without_effect(&[
        "embedding_fraction",
        "init_config",
        "learned_pos_emb",
        "tokenizer_name",
        "verbose",
    ]);
    let mut a = Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        positions: Positions::Alibi(Alibi { slopes: slopes(sizes.n_heads), half: false, scale: 1.0 }),
        activation: Activation::Gelu,
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(family, sizes)
    };
    if let Some(attention) = config.section("attn_config")? {
        only_text(&attention, "attn_type", &["multihead_attention"])?;
        only_count(&attention, "alibi_bias_max", 8)?;
        attention.require_flag("alibi", true)?;
        for off in ["qk_ln", "prefix_lm", "attn_uses_sequence_id"] {
            attention.require_flag(off, false)?;
        }
        attention.without_effect(&["attn_impl", "model_type"]);
        a.projection_limit = attention.positive("clip_qkv")?;
        a.attention_scale = attention.positive_or("softmax_scale", a.attention_scale)?;
    }
    Ok(a)
}

/// 2^(−8i/n) for head i, with n the number of heads rounded up to a power of two. If n was rounded up, the slopes of
/// even i come first and the list is cut to the number of heads.
fn slopes(n_heads: usize) -> Vec<f32> {
    let all = Alibi::slopes(n_heads.next_power_of_two());
    if all.len() == n_heads {
        return all;
    }
    let (odd, even) = (all.iter().step_by(2), all.iter().skip(1).step_by(2));
    even.chain(odd).take(n_heads).copied().collect()
}

pub(super) fn parts(a: &Architecture, _: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let frame = Frame { blocks: "transformer.blocks", final_norm: "transformer.norm_f", ..Frame::GPT2 };
    frame.read(a, weights, |_, scope| {
        scope.block(
            ["norm_1", "norm_2"],
            Projections::FusedByKind(scope.linear("attn.Wqkv", [3 * a.d_model, a.d_model], false)?),
            scope.out_of_heads("attn.out_proj", false)?,
            scope.mlp(["ffn.up_proj", "ffn.down_proj"], false)?,
        )
    })
}
