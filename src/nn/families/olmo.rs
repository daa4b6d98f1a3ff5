use super::{llama, windows};
use crate::nn::architecture::{Architecture, Family, NormKind};
use crate::nn::config::Config;
use crate::nn::error::NnError;

/// OLMo 1: a Llama whose norms centre and scale without weights, and whose queries, keys and values are clipped.
pub(super) fn first(config: &Config) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, Family::Olmo)?;
    // Transformers fixes ε.
    let (norm, norm_eps) = (NormKind::Layer, 1e-5);
    Ok(Architecture { norm, norm_eps, projection_limit: config.positive("clip_qkv")?, ..base })
}

/// OLMo 3: an OLMo 2 with a window in three layers of four, which have rotary positions without scaling.
pub(super) fn third(config: &Config) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, Family::Olmo3)?;
    let window = config.count_or_null("sliding_window", llama::WINDOW)?;
    let windows = windows(config, base.n_layers, window, |layer| !(layer + 1).is_multiple_of(4))?;
    Ok(Architecture { windows, ..base })
}
