//! SmolLM3 (Hugging Face 2025): a Llama with layers that do not rotate queries and keys. If windows are switched on,
//! those layers have them unless `layer_types` says otherwise.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    let rotated = rotated(config, base.n_layers)?;
    let window = stated_window(config)?;
    // Inherited from Qwen; transformers does not read it.
    config.without_effect(&["max_window_layers"]);
    let windowed = config.flag_or("use_sliding_window", false)?;
    let windows = windows(config, base.n_layers, window, |layer| windowed && !rotated[layer])?;
    Ok(Architecture { rotated, windows, tied: config.flag_or("tie_word_embeddings", true)?, ..base })
}

/// Whether each layer rotates. Despite its name `no_rope_layers` has 1 for those that do.
fn rotated(config: &Config, n_layers: usize) -> Result<Vec<bool>, NnError> {
    let interval = config.count_or("no_rope_layer_interval", Some(4))?;
    let Some(mut listed) = config.integers("no_rope_layers")? else {
        return Ok((1..=n_layers).map(|nth| !nth.is_multiple_of(interval)).collect());
    };
    if listed.len() < n_layers {
        return Err(config.wrong("no_rope_layers", &format!("0 or 1 for each of the {n_layers} layers")));
    }
    listed.truncate(n_layers);
    Ok(listed.into_iter().map(|rotates| rotates != 0).collect())
}
