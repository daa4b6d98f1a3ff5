//! Effects of single features on the model's output, for output scores.
//!
//! In: a subject, a dictionary's writer, texts with their activations.
//! Out: the effects of a feature, and of a random direction with the same change of norm at each position.
//! Never: chooses texts or features; draws random numbers without a given stream.
//!
//! ```text
//! ablation_effect   mean over firing tokens of KL(clean ‖ without the feature)
//! steering_effect   mean over prompts of KL(clean ‖ clamped) at the last position
//! effect_agreement  Spearman correlation over the vocabulary of measured and direct changes of the logits
//! damage            loss of the text behind the prompts with steering − without, at a given KL(clean ‖ steered)
//! ```
//!
//! Every divergence and loss is in nats. Sources: Cunningham et al. 2023 (arXiv 2309.08600, ablation), Templeton et al.
//! 2024 (clamping to a multiple of the maximum), Arad et al. 2025 (arXiv 2505.20063, output scores).

mod measure;
mod settings;
mod steps;
#[cfg(test)]
mod tests;
mod texts;

pub use measure::{EffectMeter, FeatureEffects, Firing, Matched, NoEffect, Steered, is_in_stream};
pub use settings::{Effect, EffectSettings, TextControl};
pub use texts::Texts;
