//! Text that the subject writes with each explained feature changed: evidence for explainers of the output, and pairs of
//! texts that a judge tells apart. The two have prompts of their own, so no explanation rests on a text that is judged.

use rand::RngCore;
use rayon::prelude::*;

use crate::base::Stream;
use crate::causal::effects::{
    Effect, EffectMeter, EffectSettings, Firing, NoEffect, TextControl, is_in_stream,
};
use crate::causal::{CausalError, Change, Steer, Writer, random_direction};
use crate::features::{
    Evidence, FeatureSummary, Held, Output, OutputEvidence, TokenChanges, WrittenPair, summary_of,
};
use crate::run::RunError;
use crate::run::evaluate::{AllHeld, Evaluation};
use crate::subject::{SubjectError, Writing};

/// Features whose texts are written at once. On a device passes run one after the other.
const FEATURES_AT_ONCE: usize = 16;

/// What is written about one feature: for explainers, and for judges.
type Written = (Option<Output<OutputEvidence>>, Option<Output<Vec<WrittenPair>>>);

/// Writes the texts of one row's features.
struct Author<'a> {
    row: &'a Evaluation<'a>,
    settings: &'a EffectSettings,
    /// Width of the activations that are changed.
    width: usize,
    /// Prompts of explainers, with the meter of changes behind them; none if no explainer is shown the output.
    explained: Option<(Vec<usize>, EffectMeter<'a>)>,
    /// Prompts of judges; none if no judge compares texts.
    asked: Option<Vec<usize>>,
}

impl Evaluation<'_> {
    /// Adds what each feature does to its evidence, and texts to tell apart to its held-out side, where the suite needs
    /// them. Both lists are in the same order.
    pub fn with_written(
        &self,
        (evidence, held): (Vec<Evidence>, AllHeld),
        summaries: &[FeatureSummary],
    ) -> Result<(Vec<Evidence>, AllHeld), RunError> {
        let suite = self.pass.run.suite;
        let needs = (suite.explains_output(), suite.compares_written());
        let Some(settings) = suite.effects.as_ref().filter(|_| needs.0 || needs.1) else {
            return Ok((evidence, held));
        };
        let AllHeld { full, few } = held;
        let (mut found, total) = (Vec::with_capacity(full.len()), full.len());
        match self.author(settings, needs)? {
            Err(why) => {
                let missing = || (needs.0.then_some(Err(why)), needs.1.then_some(Err(why)));
                found.extend(full.iter().map(|_| missing()));
            }
            Ok(author) => {
                let at_once = if self.pass.subject.device().is_cpu() { FEATURES_AT_ONCE } else { 1 };
                for part in full.chunks(at_once) {
                    self.tell("write", found.len(), total, "features");
                    let write = |held: &Held| author.write(held.feature(), summaries);
                    found.extend(part.par_iter().map(write).collect::<Result<Vec<Written>, RunError>>()?);
                }
                self.tell("write", total, total, "features");
            }
        }
        let (evidence, full): (Vec<Evidence>, Vec<Held>) =
            evidence.into_iter().zip(full).zip(found).map(with).unzip();
        let few = full.iter().take(few.len()).map(Held::protocol_only).collect();
        Ok((evidence, AllHeld { full, few }))
    }

    /// Prepares the prompts, or says why nothing can be written.
    fn author<'a>(
        &'a self,
        settings: &'a EffectSettings,
        (explains, compares): (bool, bool),
    ) -> Result<Output<Author<'a>>, RunError> {
        let (run, subject) = (self.pass.run, self.pass.subject);
        if subject.without_model().is_some() {
            return Ok(Err(NoEffect::NoModel.into()));
        }
        let Ok(writer) = Writer::new(self.dictionary) else { return Ok(Err(NoEffect::OnlyEncodes.into())) };
        let width = subject.width(writer.writes())?;
        let (shown, asked) = prompts(self.fragments()?.len(), settings.prompts, run.suite.seed);
        let explained = if explains {
            let range = (run.suite.protocol.first_scored(), run.token_texts.len());
            let measured = (settings, &[Effect::Steering][..]);
            let meter = EffectMeter::new(subject, writer, measured, self.texts(&shown)?, range)?;
            Some((shown, meter))
        } else {
            None
        };
        Ok(Ok(Author { row: self, settings, width, explained, asked: compares.then_some(asked) }))
    }
}

/// Adds what was written about a feature.
fn with(((evidence, held), (output, written)): ((Evidence, Held), Written)) -> (Evidence, Held) {
    let evidence = match output {
        Some(output) => evidence.with_output(output),
        None => evidence,
    };
    let held = match written {
        Some(written) => held.with_written(written),
        None => held,
    };
    (evidence, held)
}

impl Author<'_> {
    fn write(&self, feature: usize, summaries: &[FeatureSummary]) -> Result<Written, RunError> {
        self.row.pass.run.stop.check()?;
        let max = summary_of(summaries, feature).map_or(0.0, |summary| f64::from(summary.max_activation));
        let output = self.explained.as_ref();
        let output = output.map(|(prompts, meter)| self.output(feature, max, prompts, meter)).transpose()?;
        let asked = self.asked.as_ref();
        let asked = asked.map(|prompts| self.pairs(feature, max, prompts, self.settings.control));
        Ok((output, asked.transpose()?))
    }

    fn output(
        &self,
        feature: usize,
        max: f64,
        prompts: &[usize],
        meter: &EffectMeter<'_>,
    ) -> Result<Output<OutputEvidence>, RunError> {
        let firing = Firing { feature, max, texts: None, codes: Vec::new() };
        let effects = meter.measure(&firing, None)?;
        if let Some(&why) = effects.values.values().find_map(|value| value.as_ref().err()) {
            return Ok(Err(why.into()));
        }
        let steered = effects.steered.map(|steered| (steered.raised, steered.lowered)).unwrap_or_default();
        let measured = TokenChanges { raised: steered.0, lowered: steered.1 };
        let shown = &prompts[..prompts.len().min(self.settings.shown_texts)];
        let direct = self.direct(feature)?;
        let texts = self.pairs(feature, max, shown, TextControl::None)?;
        Ok(texts.map(|texts| OutputEvidence { direct, measured, texts }))
    }

    /// Direct effects on the logits; none if the direction is not added to the residual stream.
    fn direct(&self, feature: usize) -> Result<Option<TokenChanges>, RunError> {
        let info = self.row.dictionary.info();
        if !is_in_stream(info.output.unwrap_or(info.hook)) {
            return Ok(None);
        }
        let direction = self.row.dictionary.directions_of(&[feature])?;
        Ok(self.row.logit_effects(&direction)?.first().map(|effects| effects.changes()))
    }

    /// A text with the feature clamped and another one behind each prompt, both drawn with the prompt's seed.
    fn pairs(
        &self,
        feature: usize,
        max: f64,
        prompts: &[usize],
        control: TextControl,
    ) -> Result<Output<Vec<WrittenPair>>, RunError> {
        if max <= 0.0 {
            return Ok(Err(NoEffect::NeverFires.into()));
        }
        let (run, fragments) = (self.row.pass.run, self.row.fragments()?);
        let text = |ids: &[u32]| ids.iter().map(|&id| run.text(id)).collect();
        let steer = Steer {
            subject: self.row.pass.subject,
            token_texts: &run.token_texts,
            text: &text,
            dictionary: self.row.dictionary,
            feature,
            change: Change::Set((self.settings.clamp * max) as f32),
        };
        let pair = |&fragment: &usize| -> Result<WrittenPair, CausalError> {
            let prompt = &fragments.tokens(fragment)[..self.settings.prompt_tokens];
            let seed = Stream::named(run.suite.seed, &["written", &fragment.to_string()]).next_u64();
            let writing = Writing {
                tokens: self.settings.written_tokens,
                temperature: self.settings.temperature,
                seed,
                stop: &[],
            };
            let other = match control {
                TextControl::None => steer.subject.continuation(prompt, 0, &[], &writing)?,
                TextControl::Random => {
                    let direction = self.direction(feature, fragment);
                    steer.continuation(prompt, Some(&direction), &writing)?
                }
            };
            let steered = steer.continuation(prompt, None, &writing)?;
            Ok(WrittenPair { fragment, prompt: prompt.to_vec(), steered, other })
        };
        match prompts.iter().map(pair).collect::<Result<Vec<_>, _>>() {
            Ok(pairs) => Ok(Ok(pairs)),
            Err(CausalError::Subject(SubjectError::NotFinite { .. })) => Ok(Err(NoEffect::NotFinite.into())),
            Err(error) => Err(error.into()),
        }
    }

    /// The random direction of one question.
    fn direction(&self, feature: usize, fragment: usize) -> Vec<f32> {
        let (place, feature, fragment) = (self.row.place(), feature.to_string(), fragment.to_string());
        let name = ["written direction", &place, &feature, &fragment];
        random_direction(self.width, &mut Stream::named(self.row.pass.run.suite.seed, &name))
    }
}

/// Fragments whose beginnings are the prompts of explainers, and of judges; each list is ascending. They are the same for
/// every hook point and method. Of few fragments, each gets half.
fn prompts(n_fragments: usize, prompts: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    // The prompts of explainers are those of `steering_effect`.
    let mut explained = Stream::named(seed, &["effects", "prompts"]).permutation(n_fragments);
    explained.truncate(2 * prompts);
    let mut asked = explained.split_off(explained.len().div_ceil(2));
    explained.sort_unstable();
    asked.sort_unstable();
    (explained, asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explainers_and_judges_share_no_prompt() {
        let (explained, asked) = prompts(500, 8, 3);
        assert!(explained.len() == 8 && asked.len() == 8);
        assert!(explained.is_sorted() && asked.is_sorted());
        assert!(explained.iter().all(|fragment| !asked.contains(fragment)));
        assert_eq!(prompts(500, 8, 3), (explained, asked.clone()));
        assert_ne!(prompts(500, 8, 4).1, asked);
        let (explained, asked) = prompts(5, 8, 3);
        assert_eq!((explained.len(), asked.len()), (3, 2));
    }
}
