//! Constants of the output scores, checked against the protocol and the requested scorers.

use super::Rules;
use crate::causal::effects::EffectSettings;
use crate::features::Protocol;
use crate::score::catalog::{ScorerRow, scorer_of};
use crate::suite::checked::Pair;

impl Rules {
    /// The constants, if an output score is requested, or an explainer of the output.
    pub(super) fn effects(
        &mut self,
        settings: EffectSettings,
        scores: &[&'static str],
        pairs: &[Pair],
        protocol: Option<&Protocol>,
    ) -> Option<EffectSettings> {
        let uses = |name: &&str| scorer_of(name).is_some_and(ScorerRow::is_output);
        if !scores.iter().any(uses) && !pairs.iter().any(|pair| pair.explainer.kind().reads_output()) {
            if settings != EffectSettings::default() {
                let message = "has no effect, because no output score is requested: add `ablation_effect`, \
                               `steering_effect`, `effect_agreement`, `damage` or `intervention` to `scorers`, or leave \
                               `effects` out";
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
