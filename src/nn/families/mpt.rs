use super::{Names, linear, mlp, norm, sizes, unembedding};
use crate::nn::architecture::{Activation, Alibi, Architecture, Family, Positions};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::transformer::{Block, Parts, Projections};
use crate::nn::weights::Weights;

/// MPT: ALiBi and no bias anywhere.
///
/// Much of what its configuration can say has no effect in transformers: wherever such a value would have changed
/// what was trained, it is refused.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let sizes = sizes(
        config,
        &Names {
            context: (&["max_seq_len", "max_position_embeddings"], Some(2048)),
            width: &["d_model", "hidden_size"],
            layers: &["n_layers", "num_hidden_layers"],
            heads: &["n_heads", "num_attention_heads"],
        },
    )?;
    only_count(config, "expansion_ratio", 4)?;
    config.require_flag("no_bias", true)?;
    only_text(config, "norm_type", &["low_precision_layernorm", "layernorm"])?;
    if config.has("logit_scale") {
        return Err(config.wrong("logit_scale", "null (nothing else is implemented)"));
    }
    // Of its training: how it began, and what ALiBi replaces.
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
        ..Architecture::plain(Family::Mpt, sizes)
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

fn only_count(config: &Config, field: &str, only: usize) -> Result<(), NnError> {
    match config.count_or(field, Some(only))? == only {
        true => Ok(()),
        false => Err(config.wrong(field, &format!("{only} (nothing else is implemented)"))),
    }
}

fn only_text(config: &Config, field: &str, known: &[&str]) -> Result<(), NnError> {
    match known.contains(&config.text_or(field, known[0])?) {
        true => Ok(()),
        false => {
            Err(config.wrong(field, &format!("`{}` (nothing else is implemented)", known.join("` or `"))))
        }
    }
}

/// 2^(−8i/n) for head i of n, rounded up to a power of two; where there are fewer heads, those with an even i come
/// first.
fn slopes(n_heads: usize) -> Vec<f32> {
    let all = Alibi::slopes(n_heads.next_power_of_two());
    if all.len() == n_heads {
        return all;
    }
    let (odd, even) = (all.iter().step_by(2), all.iter().skip(1).step_by(2));
    even.chain(odd).take(n_heads).copied().collect()
}

pub(super) fn parts(a: &Architecture, weights: &Weights) -> Result<Parts, NnError> {
    let embedding = weights.rows("transformer.wte.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("transformer.blocks.{layer}.{name}");
        blocks.push(Block {
            attention_norm: Some(norm(weights, &at("norm_1"), a)?),
            mlp_norm: Some(norm(weights, &at("norm_2"), a)?),
            ..Block::plain(
                Projections::FusedByKind(linear(weights, &at("attn.Wqkv"), 3 * a.d_model, a.d_model, false)?),
                linear(weights, &at("attn.out_proj"), a.d_model, a.d_model, false)?,
                mlp(a, weights, [&at("ffn.up_proj"), &at("ffn.down_proj")], false)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, false)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "transformer.norm_f", a)?, unembedding))
}
