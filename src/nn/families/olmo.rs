use super::{gemma, llama, windows};
use crate::nn::architecture::{Architecture, Family, NormKind, Positions};
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
    let (everywhere, local) = gemma::rotaries(config, base.d_head, [5e5, 5e5], "rope_theta")?;
    Ok(Architecture {
        windows: windows(config, base.n_layers, |layer| !(layer + 1).is_multiple_of(4))?,
        positions: Positions::Rotary(everywhere),
        local_rotary: Some(local),
        ..base
    })
}
