use super::{Names, SEPARATE, halves_apart, linear, mlp, norm, separate, sizes, unembedding};
use crate::nn::architecture::{Activation, Architecture, Family, Positions, Residual};
use crate::nn::config::Config;
use crate::nn::error::NnError;
use crate::nn::rotary::Rotary;
use crate::nn::transformer::{Block, Parts};
use crate::nn::weights::Weights;

/// GPT-J: attention and MLP in parallel off one norm; neighbouring coordinates of a head are rotated.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let mut sizes = sizes(
        config,
        &Names {
            context: (&["n_positions", "max_position_embeddings"], None),
            width: &["n_embd", "hidden_size"],
            layers: &["n_layer", "num_hidden_layers"],
            heads: &["n_head", "num_attention_heads"],
        },
    )?;
    sizes.d_mlp = config.count_or("n_inner", Some(sizes.d_mlp))?;
    let rotated = config.count_or_null("rotary_dim", 64)?;
    let Some(rotated) = rotated.filter(|rotated| *rotated <= sizes.d_head && rotated.is_multiple_of(2))
    else {
        let expected = format!("an even number, at most the {} coordinates of a head", sizes.d_head);
        return Err(config.wrong("rotary_dim", &expected));
    };
    for fixed in ["rotary", "scale_attn_weights"] {
        config.require_flag(fixed, true)?;
    }
    Ok(Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        positions: Positions::Rotary(Rotary::plain(rotated, 10_000.0)),
        activation: Activation::of(config, "activation_function", "gelu_new")?,
        residual: Residual::Parallel,
        tied: config.flag_or("tie_word_embeddings", false)?,
        ..Architecture::plain(Family::Gptj, sizes)
    })
}

pub(super) fn parts(a: &Architecture, weights: &Weights) -> Result<Parts, NnError> {
    let embedding = weights.rows("transformer.wte.weight", &[a.vocab, a.d_model])?;
    let mut blocks = Vec::with_capacity(a.n_layers);
    for layer in 0..a.n_layers {
        let at = |name: &str| format!("transformer.h.{layer}.{name}");
        let attention = |name: &str| at(&format!("attn.{name}"));
        let both = norm(weights, &at("ln_1"), a)?;
        blocks.push(Block {
            attention_norm: Some(both.clone()),
            mlp_norm: Some(both),
            ..Block::plain(
                halves_apart(a, separate(a, weights, SEPARATE.map(attention), false)?)?,
                linear(weights, &attention("out_proj"), a.d_model, a.d_model, false)?,
                mlp(a, weights, [&at("mlp.fc_in"), &at("mlp.fc_out")], true)?,
            )
        });
    }
    let unembedding = unembedding(a, weights, &embedding, true)?;
    Ok(Parts::plain(embedding, blocks, norm(weights, "transformer.ln_f", a)?, unembedding))
}
