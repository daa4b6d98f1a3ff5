//! GPT-Neo (Black et al. 2021) and the TinyStories models (Eldan and Li 2023, arXiv 2305.07759): learned positions,
//! attention scores without a factor, layers with a window between layers without.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let names = Names {
        layers: &["num_layers", "num_hidden_layers"],
        heads: &["num_heads", "num_attention_heads"],
        ..Names::COMMON
    };
    let mut sizes = sizes(config, &names)?;
    sizes.d_mlp = config.count_or("intermediate_size", Some(sizes.d_mlp))?;
    let window = config.count_or("window_size", Some(256))?;
    let windows = layers(config, sizes.n_layers)?.into_iter().map(|local| local.then_some(window));
    Ok(Architecture {
        norm_eps: config.positive_or("layer_norm_epsilon", 1e-5)?,
        activation: Activation::of(config, "activation_function", "gelu_new")?,
        attention_scale: 1.0,
        windows: windows.collect(),
        tied: config.flag_or("tie_word_embeddings", true)?,
        ..Architecture::plain(family, sizes)
    })
}

/// Whether each layer has a window. `attention_types` lists patterns of kinds with their numbers of repetitions;
/// `attention_layers`, where there is one, must be the same list written out.
fn layers(config: &Config, n_layers: usize) -> Result<Vec<bool>, NnError> {
    const TYPES: &str = "attention_types";
    let wrong = || config.wrong(TYPES, &format!("patterns of `global` and `local` for {n_layers} layers"));
    let one = |kind: &str| match kind {
        "global" => Some(false),
        "local" => Some(true),
        _ => None,
    };
    let pattern = |entry: &serde_json::Value| {
        let kinds =
            entry.get(0)?.as_array()?.iter().map(|kind| one(kind.as_str()?)).collect::<Option<Vec<_>>>()?;
        let times = usize::try_from(entry.get(1)?.as_u64()?).ok()?;
        kinds.len().checked_mul(times).filter(|&layers| layers <= n_layers)?;
        Some(kinds.repeat(times))
    };
    let layers = match config.value(TYPES) {
        None => (0..n_layers).map(|layer| !layer.is_multiple_of(2)).collect(),
        Some(types) => {
            let types = types.as_array().filter(|types| types.len() <= n_layers);
            let patterns = types.and_then(|types| types.iter().map(pattern).collect::<Option<Vec<_>>>());
            patterns.ok_or_else(wrong)?.concat()
        }
    };
    if layers.len() != n_layers {
        return Err(wrong());
    }
    match config.texts("attention_layers")? {
        Some(expanded) if !expanded.iter().copied().map(one).eq(layers.iter().copied().map(Some)) => {
            Err(config.wrong("attention_layers", "the same as `attention_types`, written out"))
        }
        _ => Ok(layers),
    }
}

pub(super) fn parts(a: &Architecture, _: &Config, weights: &Weights) -> Result<Parts, NnError> {
    Frame::GPT2.read(a, weights, |_, scope| {
        scope.block(
            ["ln_1", "ln_2"],
            scope.separate("attn.attention", false)?,
            scope.out_of_heads("attn.attention.out_proj", true)?,
            scope.mlp(["mlp.c_fc", "mlp.c_proj"], true)?,
        )
    })
}
