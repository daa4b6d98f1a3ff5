//! Scores of one row's features, and their lines in `scores.jsonl`.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::base::{Attempt, Missing, Stream};
use crate::causal::effects::FeatureEffects;
use crate::explain::derangement;
use crate::features::{Explanation, FeatureSummary, Held, Walk, summary_of};
use crate::report::{ScoreLine, ScoreStatus};
use crate::run::RunError;
use crate::run::evaluate::Evaluation;
use crate::run::evaluate::effects::OutputScores;
use crate::run::evaluate::explain::AllJudged;
use crate::run::evaluate::profile::ProfileLine;
use crate::run::evaluate::score::{FeatureScores, score_feature, simulated};
use crate::score::{NoScore, ScoreOutcome};
use crate::simulate::Simulation;
use crate::suite::{Controls, Pair};

/// Explanation of each feature in the control, and its scores.
type Shuffled = (Vec<Attempt<Explanation>>, Vec<Attempt<FeatureScores>>);

/// The walked features, with data that is independent of the explainer.
pub struct Walked<'a> {
    walk: &'a Walk,
    summaries: &'a [FeatureSummary],
    /// Kurtosis of explained features.
    kurtosis: BTreeMap<usize, Option<f64>>,
    /// Output scores of explained features, in walk order; empty if none is requested.
    effects: &'a [OutputScores],
}

impl<'a> Walked<'a> {
    /// `profiles` and `effects` belong to the explained features.
    pub fn new(
        walk: &'a Walk,
        summaries: &'a [FeatureSummary],
        profiles: &[ProfileLine],
        effects: &'a [OutputScores],
    ) -> Self {
        let kurtosis = profiles.iter().map(ProfileLine::kurtosis).collect();
        Self { walk, summaries, kurtosis, effects }
    }
}

/// Outcome of one walked feature under one explainer or control.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Its line of `scores.jsonl`.
    pub line: ScoreLine,
    /// Scored tokens whose type occurs at least twice: the basis of `beyond_token`.
    pub tokens_repeating: Option<usize>,
}

impl Evaluation<'_> {
    /// Computes all requested scores of each feature that has an explanation.
    pub fn score(
        &self,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
        simulations: Option<&[Attempt<Vec<Simulation>>]>,
        judged: &AllJudged,
    ) -> Vec<Attempt<FeatureScores>> {
        let scorers = &self.pass.run.suite.scorers;
        let score = |(place, (held, explanation)): (usize, (&Held, &Attempt<Explanation>))| {
            if let Attempt::Missing(missing) = explanation {
                return Attempt::Missing(missing.clone());
            }
            let mut scores = FeatureScores::default();
            let failure = simulations.and_then(|simulations| match &simulations[place] {
                Attempt::Done(simulated) => {
                    score_feature(held, simulated, scorers, &mut scores).err().map(|why| why.to_string())
                }
                Attempt::Missing(missing) => Some(missing.reason().to_string()),
            });
            if let Some(reason) = failure {
                simulated(scorers).for_each(|name| scores.fail(name, &reason));
            }
            for judging in self.pass.run.suite.judgings() {
                match judged.iter().find(|(other, _)| *other == judging).map(|(_, judged)| &judged[place]) {
                    Some(Attempt::Done(judged)) => {
                        judged.scores.iter().for_each(|(name, outcome)| scores.add(name, *outcome));
                        scores.grades = scores.grades.take().or_else(|| judged.grades.clone());
                    }
                    Some(Attempt::Missing(missing)) => {
                        judging.scores().iter().for_each(|name| scores.fail(name, missing.reason()));
                    }
                    // Patterns and tables are not judged.
                    None => {
                        let undefined = ScoreOutcome::Undefined(NoScore::NotASentence);
                        judging.scores().iter().for_each(|name| scores.add(name, undefined));
                    }
                }
            }
            Attempt::Done(scores)
        };
        held.par_iter().zip(explanations).enumerate().map(score).collect()
    }

    /// The `shuffled` control: each feature is scored with another feature's explanation on the same fragments.
    /// None for rows of other controls.
    pub fn shuffled(
        &self,
        pair: &Pair,
        control: Option<&str>,
        explanations: &[Attempt<Explanation>],
        held: &[Held],
    ) -> Result<Option<Shuffled>, RunError> {
        if control.is_some() || !self.pass.run.suite.controls.shuffled {
            return Ok(None);
        }
        let explained: Vec<usize> =
            (0..explanations.len()).filter(|&index| explanations[index].done().is_some()).collect();
        let mut stream =
            Stream::named(self.pass.run.suite.seed, &["shuffled", &self.place(), pair.explainer.name()]);
        let Some(order) = derangement(explained.len(), &mut stream) else {
            // A feature without an explanation keeps its own reason.
            let alone = |explanation: &Attempt<Explanation>| match explanation {
                Attempt::Missing(missing) => missing.clone(),
                Attempt::Done(_) => Missing::Skipped("no_other_explanation".into()),
            };
            let missing: Vec<Missing> = explanations.iter().map(alone).collect();
            let scores = missing.iter().cloned().map(Attempt::Missing).collect();
            return Ok(Some((missing.into_iter().map(Attempt::Missing).collect(), scores)));
        };
        let mut others = explanations.to_vec();
        for (place, &other) in order.iter().enumerate() {
            others[explained[place]] = explanations[explained[other]].clone();
        }
        let simulations = self.simulate(pair, held, &others)?;
        let judged = self.judge(pair, held, &others)?;
        let scores = self.score(held, &others, simulations.as_deref(), &judged);
        Ok(Some((others, scores)))
    }

    /// One outcome per walked feature, whether scored, failed or skipped. Output scores do not depend on the explanation:
    /// they are on the lines of the first explainer only, followed by those of the random directions.
    pub fn outcomes(
        &self,
        pair: &Pair,
        control: Option<&str>,
        walked: &Walked<'_>,
        explanations: &[Attempt<Explanation>],
        held: &[Held],
        scores: Vec<Attempt<FeatureScores>>,
    ) -> Vec<Outcome> {
        let mut eligible = explanations.iter().zip(held).zip(scores).enumerate();
        let Walked { walk, summaries, kurtosis, effects } = walked;
        let is_first = self.pass.run.suite.pairs.first() == Some(pair) && control == self.pass.control;
        let effects: &[OutputScores] = if is_first { effects } else { &[] };
        let (mut outcomes, mut random) = (Vec::with_capacity(walk.walked.len()), Vec::new());
        for walked in &walk.walked {
            let Some(summary) = summary_of(summaries, walked.feature) else { continue };
            let mut line = self.line(pair, control, summary);
            line.kurtosis = kurtosis.get(&walked.feature).copied().flatten();
            let mut outcome = Outcome { line, tokens_repeating: None };
            match walked.skipped {
                Some(reason) => {
                    outcome.line.status = ScoreStatus::Skipped;
                    outcome.line.reason = Some(reason.name().into());
                    random.push(outcome.clone());
                }
                None => {
                    if let Some((nth, ((explanation, held), score))) = eligible.next() {
                        let effects = effects.get(nth);
                        outcome.line.explanation =
                            explanation.done().map(|text| text.text(&|id| self.pass.run.text(id)));
                        outcome.line.n_top = held.top().len();
                        outcome.line.n_random = held.random().len();
                        if let Some(of_random) = effects.and_then(|effects| effects.random.as_ref()) {
                            random.push(outcome.of_random_direction(of_random));
                        }
                        outcome.complete(score, effects.map(|effects| &effects.own));
                    }
                }
            }
            outcomes.push(outcome);
        }
        if effects.iter().any(|effects| effects.random.is_some()) {
            outcomes.extend(random.into_iter().map(Outcome::into_random_direction));
        }
        outcomes
    }

    fn line(&self, pair: &Pair, control: Option<&str>, summary: &FeatureSummary) -> ScoreLine {
        ScoreLine {
            hook: self.dictionary.info().hook.to_string(),
            method: self.method.to_string(),
            training: self.training,
            feature: summary.feature,
            protocol: self.pass.run.suite.protocol.name.clone(),
            explainer: pair.explainer.name().into(),
            simulator: pair.simulator.name().into(),
            control: control.map(Into::into),
            status: ScoreStatus::Scored,
            reason: None,
            explanation: None,
            scores: Default::default(),
            score_reasons: Default::default(),
            density: Some(summary.density()),
            max_activation: Some(f64::from(summary.max_activation)),
            kurtosis: None,
            n_top: 0,
            n_random: 0,
            tokens_untold: None,
            grades: None,
        }
    }
}

impl Outcome {
    /// Adds the scores. A feature without an explanation keeps its status, and still has output scores.
    fn complete(&mut self, score: Attempt<FeatureScores>, effects: Option<&FeatureEffects>) {
        let outcomes = effects.into_iter().flat_map(|effects| &effects.values);
        let outcomes = outcomes.map(|(effect, value)| (effect.name(), ScoreOutcome::from(*value)));
        let missing = match score {
            Attempt::Done(mut scores) => {
                outcomes.for_each(|(name, outcome)| scores.add(name, outcome));
                let missing = scores.missing();
                self.tokens_repeating = scores.tokens_repeating;
                self.line.tokens_untold = Some(scores.tokens_untold).filter(|&untold| untold > 0);
                self.line.grades = scores.grades;
                self.line.scores = scores.values;
                self.line.score_reasons = scores.reasons;
                missing
            }
            Attempt::Missing(missing) => {
                let mut scores = FeatureScores::default();
                outcomes.for_each(|(name, outcome)| scores.add(name, outcome));
                (self.line.scores, self.line.score_reasons) = (scores.values, scores.reasons);
                Some(missing)
            }
        };
        let Some(missing) = missing else { return };
        self.line.status = match missing {
            Missing::Skipped(_) => ScoreStatus::Skipped,
            Missing::Undefined(_) => ScoreStatus::Undefined,
            Missing::Failed(_) => ScoreStatus::Failed,
        };
        self.line.reason = Some(missing.reason().into());
    }

    /// The line of a random direction in the place of this feature, which has no explanation.
    fn of_random_direction(&self, effects: &FeatureEffects) -> Self {
        let mut random = self.clone();
        random.complete(Attempt::Done(FeatureScores::default()), Some(effects));
        random
    }

    /// The same line as one of the control.
    fn into_random_direction(mut self) -> Self {
        self.line.control = Some(Controls::RANDOM_DIRECTION.into());
        self.line.explanation = None;
        self
    }

    /// Reasons of failures: of the whole feature, or of single scores.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        let line = &self.line;
        let whole = line.reason.as_deref().filter(|_| line.status == ScoreStatus::Failed);
        let of_scores = line.score_reasons.values().map(String::as_str);
        let constant = ScoreOutcome::ConstantPrediction.reason();
        let failed = of_scores.filter(move |why| NoScore::parse(why).is_none() && Some(*why) != constant);
        whole.into_iter().chain(failed)
    }
}
