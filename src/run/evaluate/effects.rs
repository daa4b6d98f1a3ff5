//! Output scores of the explained features, and the same of random directions in their place.

use rayon::prelude::*;

use crate::base::{Stream, TokenBatch};
use crate::causal::effects::{Effect, EffectMeter, EffectSettings, FeatureEffects, Firing, NoEffect, Texts};
use crate::causal::{Writer, random_direction};
use crate::features::{Held, HeldFragment, summary_of};
use crate::run::RunError;
use crate::run::evaluate::survey::Survey;
use crate::run::evaluate::{AllHeld, Evaluation};
use crate::subject::SubjectError;

/// Memory for the logits of features that are measured at once.
const BYTES_AT_ONCE: usize = 1 << 30;

/// Effects of one feature.
#[derive(Debug, Clone)]
pub struct OutputScores {
    /// Those of the feature.
    pub own: FeatureEffects,
    /// Those of a random direction; none for the rows of other controls.
    pub random: Option<FeatureEffects>,
}

impl OutputScores {
    /// The same reason for every effect.
    fn missing(wanted: &[Effect], why: NoEffect, with_random: bool) -> Self {
        let values = wanted.iter().map(|&effect| (effect, Err(why))).collect();
        let own = FeatureEffects { values, ..FeatureEffects::default() };
        Self { random: with_random.then(|| own.clone()), own }
    }
}

impl Evaluation<'_> {
    /// Output scores of each explained feature, in the order of the held-out fragments; empty if none is requested.
    pub fn effects(&self, held: &AllHeld, survey: &Survey) -> Result<Vec<OutputScores>, RunError> {
        let suite = self.pass.run.suite;
        let (held, wanted) = (&held.full, suite.effects());
        let Some(settings) = suite.effects.as_ref().filter(|_| !wanted.is_empty()) else {
            return Ok(Vec::new());
        };
        let for_all =
            |why| Ok(vec![OutputScores::missing(&wanted, why, self.pass.control.is_none()); held.len()]);
        if self.pass.subject.without_model().is_some() {
            return for_all(NoEffect::NoModel);
        }
        let Ok(writer) = Writer::new(self.dictionary) else { return for_all(NoEffect::OnlyEncodes) };
        let width = self.pass.subject.width(writer.writes())?;
        let fragments = self.fragments()?;
        let meter = EffectMeter::new(
            self.pass.subject,
            writer,
            (settings, &wanted),
            self.texts(&neutral(fragments.len(), settings.prompts, suite.seed))?,
            (suite.protocol.first_scored(), self.pass.run.token_texts.len()),
        )?;
        let measure = |held: &Held| -> Result<OutputScores, RunError> {
            self.pass.run.stop.check()?;
            let firing = self.firing(held, settings, survey)?;
            let name = ["random direction", &self.place(), &held.feature().to_string()].join("/");
            let random = match self.pass.control {
                None => {
                    let direction = random_direction(width, &mut Stream::new(suite.seed, &name));
                    Some(meter.measure(&firing, Some(&direction))?)
                }
                Some(_) => None,
            };
            Ok(OutputScores { own: meter.measure(&firing, None)?, random })
        };
        let mut found = Vec::with_capacity(held.len());
        for part in held.chunks(self.features_at_once(fragments.positions())) {
            self.tell("effects", found.len(), held.len(), "features");
            found.extend(part.par_iter().map(measure).collect::<Result<Vec<_>, RunError>>()?);
        }
        self.tell("effects", held.len(), held.len(), "features");
        Ok(found)
    }

    /// Features measured at once. On a device passes run one after the other.
    fn features_at_once(&self, positions: usize) -> usize {
        // Logits of one fragment, unchanged and changed, each copied once.
        let bytes = 4 * positions * self.pass.subject.info().vocab * size_of::<f32>();
        if self.pass.subject.device().is_cpu() { (BYTES_AT_ONCE / bytes.max(1)).max(1) } else { 1 }
    }

    /// A feature with the first of its held-out top fragments.
    fn firing(&self, held: &Held, settings: &EffectSettings, survey: &Survey) -> Result<Firing, RunError> {
        let top: Vec<&HeldFragment> =
            held.top().iter().take(settings.fragments).map(|pick| &held.fragments()[pick.fragment]).collect();
        let numbers: Vec<usize> = top.iter().map(|fragment| fragment.fragment).collect();
        let max = summary_of(&survey.summaries, held.feature()).map_or(0.0, |summary| summary.max_activation);
        Ok(Firing {
            feature: held.feature(),
            max: f64::from(max),
            texts: if numbers.is_empty() { None } else { Some(self.texts(&numbers)?) },
            codes: top.iter().flat_map(|fragment| &fragment.activations).copied().collect(),
        })
    }

    /// Evaluation fragments with the activations that the dictionary reads and writes.
    pub(super) fn texts(&self, numbers: &[usize]) -> Result<Texts, RunError> {
        let fragments = self.fragments()?;
        let positions = fragments.positions();
        let ids: Vec<u32> = numbers.iter().flat_map(|&number| fragments.tokens(number)).copied().collect();
        let tokens = TokenBatch::new(ids, positions).ok_or(SubjectError::TooShort { cols: positions })?;
        let inputs = self.rows_of(numbers, positions)?;
        let rows = match self.dictionary.info().output {
            Some(output) => self.pass.subject.activations(&tokens, &[output])?.swap_remove(0),
            None => inputs.clone(),
        };
        Ok(Texts { tokens, inputs, rows })
    }
}

/// Numbers of the fragments that neutral prompts begin, ascending. They are the same for every hook point and method.
fn neutral(n_fragments: usize, prompts: usize, seed: u64) -> Vec<usize> {
    let mut numbers = Stream::named(seed, &["effects", "prompts"]).permutation(n_fragments);
    numbers.truncate(prompts);
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_distinct_and_fixed_by_the_seed() {
        let of = |seed| neutral(500, 8, seed);
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        assert!(of(3).len() == 8 && of(3).is_sorted_by(|a, b| a < b));
        assert_eq!(neutral(5, 8, 3), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_missing_effect_is_missing_for_the_control_too() {
        let found = OutputScores::missing(&[Effect::Damage], NoEffect::OnlyEncodes, true);
        assert_eq!(found.own.values[&Effect::Damage], Err(NoEffect::OnlyEncodes));
        assert!(found.random.is_some_and(|random| random.values == found.own.values));
        assert!(OutputScores::missing(&[], NoEffect::NoModel, false).random.is_none());
    }
}
