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

/// What the other text of a question is written with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum TextControl {
    /// A change along a random direction, of the same norm as the feature's at each position: then both texts can be broken,
    /// and that one is tells nothing.
    #[default]
    Random,
    /// No change.
    None,
}

/// Constants of the output scores and of the explainer `output_explanation`. Other scorers and explainers do not use them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EffectSettings {
    /// `ablation_effect`: held-out top fragments per feature.
    #[schemars(range(min = 1, max = 1_000))]
    pub fragments: usize,
    /// Neutral prompts: beginnings of evaluation fragments drawn at random. All features of a run have the same prompts.
    /// `intervention`: questions per feature, behind as many prompts of their own.
    #[schemars(range(min = 1, max = 10_000))]
    pub prompts: usize,
    /// Tokens per prompt. The rest of the prompt's fragment is the text whose loss `damage` measures.
    #[schemars(range(min = 2, max = 4_095))]
    pub prompt_tokens: usize,
    /// `steering_effect`, `intervention`, `output_explanation`: the code is set to this multiple of the feature's maximum, at
    /// every scored position, and for written text at every position. If it is too large, the text is no text any more.
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
    /// `intervention`, `output_explanation`: tokens written behind a prompt.
    #[schemars(range(min = 1, max = 1_000))]
    pub written_tokens: usize,
    /// Temperature at which they are drawn. 0 takes the likeliest token.
    #[schemars(range(min = 0.0, max = 2.0))]
    pub temperature: f64,
    /// `output_explanation`: prompts whose texts the explainer is shown, at most all.
    #[schemars(range(min = 0, max = 100))]
    pub shown_texts: usize,
    /// `intervention`: what the other text of a question is written with.
    pub control: TextControl,
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
            written_tokens: 24,
            temperature: 0.7,
            shown_texts: 4,
            control: TextControl::Random,
        }
    }
}
