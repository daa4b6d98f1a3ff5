use super::llama;
use crate::nn::architecture::{Architecture, Family};
use crate::nn::config::Config;
use crate::nn::error::NnError;

/// Granite 3: a Llama with four multipliers.
pub(super) fn architecture(config: &Config) -> Result<Architecture, NnError> {
    let base = llama::architecture(config, Family::Granite)?;
    Ok(Architecture {
        embedding_scale: Some(config.positive_or("embedding_multiplier", 1.0)?),
        attention_scale: config.positive_or("attention_multiplier", 1.0)?,
        residual_scale: Some(config.positive_or("residual_multiplier", 1.0)?),
        logit_scale: Some(1.0 / config.positive_or("logits_scaling", 1.0)?),
        ..base
    })
}
