//! GPT-2 (Radford et al. 2019): learned positions, weights of linear maps stored as `[in, out]`.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    config.require_flag("scale_attn_by_inverse_layer_idx", false)?;
    config.require_flag("add_cross_attention", false)?;
    let names = Names {
        context: (&["n_positions"], None),
        width: &["n_embd"],
        layers: &["n_layer"],
        heads: &["n_head"],
    };
    let mut sizes = sizes(config, &names)?;
    sizes.d_mlp = config.count_or("n_inner", Some(sizes.d_mlp))?;
    let scaled = config.flag_or("scale_attn_weights", true)?;
    Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        activation: Activation::of(config, "activation_function", "gelu_new")?,
        attention_scale: if scaled { (sizes.d_head as f64).powf(-0.5) } else { 1.0 },
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(family, sizes)
    }
    .checked(config, "n_head")
}

/// A linear map stored as `[in, out]`; the transpose is a view.
fn conv1d(scope: &Scope<'_>, name: &str, d_in: usize, out: usize) -> Result<Linear, NnError> {
    let weight = scope.weights.rows_of_transposed(&scope.at(&format!("{name}.weight")), &[d_in, out])?;
    Ok(Linear::new(weight, Some(scope.tensor(&format!("{name}.bias"), &[out])?)))
}

pub(super) fn parts(a: &Architecture, _: &Config, weights: &Weights) -> Result<Parts, NnError> {
    Frame::GPT2.read(a, weights, |_, scope| {
        scope.block(
            ["ln_1", "ln_2"],
            Projections::FusedByKind(conv1d(scope, "attn.c_attn", a.d_model, 3 * a.d_model)?),
            conv1d(scope, "attn.c_proj", a.d_model, a.d_model)?,
            Mlp {
                gate: None,
                up: conv1d(scope, "mlp.c_fc", a.d_model, a.d_mlp)?,
                down: conv1d(scope, "mlp.c_proj", a.d_mlp, a.d_model)?,
            },
        )
    })
}
