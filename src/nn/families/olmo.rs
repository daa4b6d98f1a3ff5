//! OLMo 1 (Groeneveld et al. 2024, arXiv 2402.00838): a Llama with layer norms without gain, and clipped queries, keys
//! and values. OLMo 3 (2025): an OLMo 2 with a window in three layers of four, whose rotary positions are not scaled.

use super::*;

pub(super) fn first(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    // Transformers fixes ε.
    let (norm, norm_eps) = (NormKind::Layer, 1e-5);
    Ok(Architecture { norm, norm_eps, projection_limit: config.positive("clip_qkv")?, ..base })
}

pub(super) fn third(config: &Config, family: Family) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, family)?;
    let window = config.count_or_null("sliding_window", llama::WINDOW)?;
    let windows = windows(config, base.n_layers, window, |layer| !(layer + 1).is_multiple_of(4))?;
    Ok(Architecture { windows, ..base })
}
