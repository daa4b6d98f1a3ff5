//! Granite 3 (IBM 2024): a Llama with four multipliers.

use super::*;

pub(super) fn architecture(config: &Config, family: Family) -> Result<Architecture, NnError> {
    Ok(Architecture {
        embedding_scale: Some(config.positive_or("embedding_multiplier", 1.0)?),
        attention_scale: config.positive_or("attention_multiplier", 1.0)?,
        residual_scale: Some(config.positive_or("residual_multiplier", 1.0)?),
        logit_scale: Some(1.0 / config.positive_or("logits_scaling", 1.0)?),
        ..llama::architecture(config, family)?
    })
}
