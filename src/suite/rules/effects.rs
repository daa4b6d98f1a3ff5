//! Constants of the output scores, checked against the protocol and the requested scorers.

use super::Rules;
use crate::causal::effects::{Effect, EffectSettings};
use crate::features::Protocol;

impl Rules {
    /// The constants, if an output score is requested.
    pub(super) fn effects(
        &mut self,
        settings: EffectSettings,
        scores: &[&'static str],
        protocol: Option<&Protocol>,
    ) -> Option<EffectSettings> {
        if !scores.iter().any(|name| Effect::named(name).is_some()) {
            if settings != EffectSettings::default() {
                let message = "has no effect, because no output score is requested: add `ablation_effect`, \
                               `steering_effect`, `effect_agreement` or `damage` to `scorers`, or leave `effects` out";
                self.wrong("effects", message);
            }
            return None;
        }
        if let Some(protocol) = protocol.filter(|all| settings.prompt_tokens >= all.fragment_tokens) {
            let message = format!(
                "is {}, but a prompt is the beginning of a fragment of {} tokens (`protocol.fragment_tokens`): expected \
                 fewer",
                settings.prompt_tokens, protocol.fragment_tokens
            );
            self.wrong("effects.prompt_tokens", message);
        }
        Some(settings)
    }
}
