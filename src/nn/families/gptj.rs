//! GPT-J (Wang and Komatsuzaki 2021): x' = x + attention(LN x) + MLP(LN x) with one norm, adjacent rotary pairs.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let mut sizes = sizes(config, &Names::GPT2_OR_COMMON)?;
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
        ..Architecture::plain(family, sizes)
    })
}

pub(super) fn parts(a: &Architecture, _: &Config, weights: &Weights) -> Result<Parts, NnError> {
    let frame = Frame { biased: true, ..Frame::GPT2 };
    frame.read(a, weights, |_, scope| {
        scope.block(
            ["ln_1", "ln_1"],
            rotated_in_halves(a, scope.separate("attn", false)?)?,
            scope.out_of_heads("attn.out_proj", false)?,
            scope.mlp(["mlp.fc_in", "mlp.fc_out"], true)?,
        )
    })
}
