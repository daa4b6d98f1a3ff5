//! Names of the effects, and the constants of their definitions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// An effect of a feature on the model's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
pub enum Effect {
    /// Divergence of the output without the feature, on text where it fires.
    #[strum(serialize = "ablation_effect")]
    Ablation,
    /// Divergence of the output with the feature clamped, on neutral prompts.
    #[strum(serialize = "steering_effect")]
    Steering,
    /// Agreement of measured and direct effects on the logits.
    #[strum(serialize = "effect_agreement")]
    Agreement,
    /// Loss of other text under steering of a given strength.
    #[strum(serialize = "damage")]
    Damage,
}

impl Effect {
    /// Name of its score.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The effect whose score has this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::VARIANTS.iter().copied().find(|effect| effect.name() == name)
    }
}

/// Constants of `ablation_effect`, `steering_effect`, `effect_agreement` and `damage`. Other scorers do not use them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EffectSettings {
    /// `ablation_effect`: held-out top fragments per feature.
    #[schemars(range(min = 1, max = 1_000))]
    pub fragments: usize,
    /// Neutral prompts: beginnings of evaluation fragments drawn at random. All features of a run have the same prompts.
    #[schemars(range(min = 1, max = 10_000))]
    pub prompts: usize,
    /// Tokens per prompt. The rest of the prompt's fragment is the text whose loss `damage` measures.
    #[schemars(range(min = 2, max = 4_095))]
    pub prompt_tokens: usize,
    /// `steering_effect`: the code is set to this multiple of the feature's maximum at every scored position.
    #[schemars(range(min = 0.001, max = 10_000.0))]
    pub clamp: f64,
    /// `effect_agreement`: norm of the step that is added at every scored position, as a share of the mean norm of the
    /// prompts' activations.
    #[schemars(range(min = 0.000_1, max = 10.0))]
    pub step: f64,
    /// `damage`: divergence at the last position of a prompt, in nats, mean over prompts. The strength is chosen to
    /// reach it.
    #[schemars(range(min = 0.001, max = 100.0))]
    pub matched_kl: f64,
    /// `damage`: largest strength, in multiples of the feature's maximum that are added to its code.
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub most_strength: f64,
    /// `damage`: number of bisections of the strength, on a log scale over four decades.
    #[schemars(range(min = 8, max = 30))]
    pub bisections: usize,
}

impl Default for EffectSettings {
    fn default() -> Self {
        Self {
            fragments: 4,
            prompts: 8,
            prompt_tokens: 32,
            clamp: 2.0,
            step: 0.05,
            matched_kl: 0.5,
            most_strength: 100.0,
            bisections: 10,
        }
    }
}
