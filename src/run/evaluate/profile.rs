//! Profile of a feature for pages, so that they need no model: histogram of its codes, effect of its direction on
//! the logits, change of the loss without it.

use serde::Serialize;

use crate::base::{HookPoint, Matrix};
use crate::causal::effects::{Matched, Steered, is_in_stream};
use crate::features::{CodeHistogram, CodeShape, Evidence, TokenChanges};
use crate::report::Steering;
use crate::run::RunError;
use crate::run::evaluate::Evaluation;
use crate::run::evaluate::ablation::{AblatedLoss, NO_MODEL};
use crate::run::evaluate::effects::OutputScores;

/// Number of tokens listed as raised, and as lowered.
const LOGIT_TOKENS: usize = 10;

/// One line of `profiles/HOOK/DICTIONARY.jsonl`.
#[derive(Debug, Serialize)]
pub struct ProfileLine {
    feature: usize,
    /// Number of tokens behind histogram and kurtosis.
    n_tokens: usize,
    histogram: CodeHistogram,
    logits: Option<LogitEffects>,
    /// Reason if there are no logits.
    logits_note: Option<String>,
    ablation: Option<AblatedLoss>,
    /// Reason if there is no ablation.
    ablation_note: Option<&'static str>,
    /// None if the code is constant.
    kurtosis: Option<f64>,
    /// Steered text, if the suite asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    steering: Option<Steering>,
    /// Reason if it is asked for and there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    steering_note: Option<String>,
    /// What clamping it does, behind `steering_effect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    steering_effect: Option<Steered>,
    /// The strength behind `damage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<Matched>,
}

impl ProfileLine {
    /// The feature and the kurtosis of its code.
    pub fn kurtosis(&self) -> (usize, Option<f64>) {
        (self.feature, self.kurtosis)
    }
}

/// Tokens whose logits a direction changes most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogitEffects {
    /// Largest effects, descending.
    raised: Vec<LogitEffect>,
    /// Smallest effects, ascending.
    lowered: Vec<LogitEffect>,
}

/// Change of one token's logit per unit step along the direction, with the norm's scale set to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LogitEffect {
    token: u32,
    effect: f32,
}

/// Reason for missing logits: features at other sites reach the residual stream only through later computations.
fn logits_note(hook: HookPoint) -> Option<String> {
    (!is_in_stream(hook))
        .then(|| format!("activations at {hook} are not written to the residual stream as they are"))
}

impl LogitEffects {
    /// The same as plain lists.
    pub(super) fn changes(&self) -> TokenChanges {
        let list =
            |effects: &[LogitEffect]| effects.iter().map(|one| (one.token, f64::from(one.effect))).collect();
        TokenChanges { raised: list(&self.raised), lowered: list(&self.lowered) }
    }

    /// Extremes of a direction's effects on all tokens. Ties are broken by lower token id.
    fn of(effects: &[f32]) -> Self {
        let mut order: Vec<u32> = (0..effects.len() as u32).collect();
        let size = |token: &u32| effects[*token as usize];
        let effect = |&token: &u32| LogitEffect { token, effect: effects[token as usize] };
        let n = LOGIT_TOKENS.min(order.len());
        let mut first = |compare: &dyn Fn(&u32, &u32) -> std::cmp::Ordering| -> Vec<LogitEffect> {
            let by = |a: &u32, b: &u32| compare(a, b).then(a.cmp(b));
            if n < order.len() {
                order.select_nth_unstable_by(n, by);
            }
            order[..n].sort_unstable_by(by);
            order[..n].iter().map(effect).collect()
        };
        Self {
            raised: first(&|a, b| size(b).total_cmp(&size(a))),
            lowered: first(&|a, b| size(a).total_cmp(&size(b))),
        }
    }
}

impl Evaluation<'_> {
    /// One line per explained feature, in the order of `evidence` and of `effects`, which are empty if none is
    /// requested. `shapes` are ordered by feature.
    pub fn profiles(
        &self,
        evidence: &[Evidence],
        shapes: Vec<CodeShape>,
        effects: &[OutputScores],
    ) -> Result<Vec<ProfileLine>, RunError> {
        let features: Vec<usize> = evidence.iter().map(Evidence::feature).collect();
        let mut rising = features.clone();
        rising.sort_unstable();
        let info = self.dictionary.info();
        let hook = info.output.unwrap_or(info.hook);
        let runs = self.pass.subject.without_model().is_none();
        let logits_note = if runs { logits_note(hook) } else { Some(NO_MODEL.to_string()) };
        let logits: Vec<Option<LogitEffects>> = match logits_note {
            None => {
                let directions = self.dictionary.directions_of(&features)?;
                self.logit_effects(&directions)?.into_iter().map(Some).collect()
            }
            Some(_) => vec![None; features.len()],
        };
        let ablated = self.ablated_losses(evidence)?;
        let mut shapes: Vec<Option<CodeShape>> = shapes.into_iter().map(Some).collect();
        let mut lines = Vec::with_capacity(features.len());
        for (nth, ((feature, logits), ablated)) in features.into_iter().zip(logits).zip(ablated).enumerate() {
            let shape = rising.binary_search(&feature).ok().and_then(|place| shapes[place].take());
            let Some(CodeShape { n_tokens, histogram, kurtosis }) = shape else { continue };
            let (ablation, ablation_note) = match ablated {
                Ok(ablation) => (Some(ablation), None),
                Err(note) => (None, Some(note)),
            };
            let steered = self.steering_example(feature, histogram.high)?;
            let (steering, steering_note) = match steered {
                Ok(steering) => (steering, None),
                Err(note) => (None, Some(note)),
            };
            lines.push(ProfileLine {
                feature,
                n_tokens,
                histogram,
                logits,
                logits_note: logits_note.clone(),
                ablation,
                ablation_note,
                kurtosis,
                steering,
                steering_note,
                steering_effect: effects.get(nth).and_then(|effects| effects.own.steered.clone()),
                damage: effects.get(nth).and_then(|effects| effects.own.matched),
            });
        }
        Ok(lines)
    }

    /// Ids outside the tokenizer's vocabulary never occur and are dropped.
    pub(super) fn logit_effects(&self, directions: &Matrix) -> Result<Vec<LogitEffects>, RunError> {
        let logits = self.pass.subject.direct_logits(directions)?;
        let known = self.pass.run.token_texts.len().min(logits.cols());
        Ok(logits.iter_rows().map(|row| LogitEffects::of(&row[..known])).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raised_and_lowered_are_the_ends_of_all_effects() {
        let effects: Vec<f32> = (0..50).map(|token| ((token * 37) % 50) as f32 - 20.0).collect();
        let found = LogitEffects::of(&effects);
        let sizes = |list: &[LogitEffect]| -> Vec<f32> { list.iter().map(|each| each.effect).collect() };
        assert_eq!(sizes(&found.raised), (0..10).map(|nth| 29.0 - nth as f32).collect::<Vec<_>>());
        assert_eq!(sizes(&found.lowered), (0..10).map(|nth| -20.0 + nth as f32).collect::<Vec<_>>());
        for effect in found.raised.iter().chain(&found.lowered) {
            assert_eq!(effects[effect.token as usize], effect.effect);
        }
        let few = LogitEffects::of(&[1.0, 2.0, 1.0]);
        let tokens = |list: &[LogitEffect]| -> Vec<u32> { list.iter().map(|each| each.token).collect() };
        assert_eq!((tokens(&few.raised), tokens(&few.lowered)), (vec![1, 0, 2], vec![0, 2, 1]));
    }

    #[test]
    fn only_what_is_written_to_the_stream_has_logits() {
        for (hook, writes) in [
            ("blocks.0.hook_resid_pre", true),
            ("blocks.1.hook_resid_mid", true),
            ("blocks.1.hook_resid_post", true),
            ("blocks.1.hook_attn_out", true),
            ("blocks.1.hook_mlp_out", true),
            ("blocks.1.attn.hook_z", false),
            ("blocks.1.mlp.hook_post", false),
            ("hook_embed", false),
        ] {
            let note = logits_note(hook.parse().expect("a hook point"));
            assert_eq!(note.is_none(), writes, "{hook}");
            assert!(note.is_none_or(|note| note.contains(hook)));
        }
    }
}
