//! One feature's scores: what was held back, put beside what was simulated.

use std::collections::BTreeMap;

use crate::base::Missing;
use crate::features::{Held, Pick};
use crate::score::{ScoreError, ScoreOutcome, ScoredFragment, Stratum, repeating_tokens, scorer};
use crate::simulate::Simulation;

/// The scorer that has its own, larger list of random fragments.
const BEYOND_TOKEN: &str = "beyond_token";

/// A feature's scores by scorer.
#[derive(Debug, Clone, Default)]
pub struct FeatureScores {
    /// The number, or none.
    pub values: BTreeMap<String, Option<f64>>,
    /// Why there is none.
    pub reasons: BTreeMap<String, String>,
    /// Tokens that `beyond_token` lives on, where it was asked for.
    pub tokens_repeating: Option<usize>,
    undefined: usize,
    /// Why scores failed, in the order of the scorers.
    failed: Vec<String>,
}

impl FeatureScores {
    /// Notes what a scorer says.
    pub fn add(&mut self, name: &str, outcome: ScoreOutcome) {
        self.values.insert(name.into(), outcome.value());
        if let Some(reason) = outcome.reason() {
            self.reasons.insert(name.into(), reason.into());
        }
        self.undefined += usize::from(matches!(outcome, ScoreOutcome::Undefined(_)));
    }

    /// Notes that what a scorer needed was tried and did not come out.
    pub fn fail(&mut self, name: &str, reason: &str) {
        self.values.insert(name.into(), None);
        self.reasons.insert(name.into(), reason.into());
        self.failed.push(reason.into());
    }

    /// Why the feature as a whole has no score: no scorer could say anything about it, because the work
    /// failed for at least one of them or because there is nothing to say. None where one could.
    pub fn missing(&self) -> Option<Missing> {
        if self.undefined + self.failed.len() < self.values.len() {
            return None;
        }
        match self.failed.first() {
            Some(reason) => Some(Missing::Failed(reason.clone())),
            None => self.reasons.values().next().map(|reason| Missing::Undefined(reason.clone())),
        }
    }
}

/// Scores that rest on simulations, among those asked for.
pub fn simulated<'a>(scorers: &'a [&'static str]) -> impl Iterator<Item = &'static str> + 'a {
    scorers.iter().copied().filter(|name| scorer(name).is_some())
}

/// Adds a feature's score under each scorer that takes simulations; these are in the order of the held fragments.
pub fn score_feature(
    held: &Held,
    simulations: &[Simulation],
    scorers: &[&'static str],
    scores: &mut FeatureScores,
) -> Result<(), ScoreError> {
    let list = |stratum, picks: &[Pick]| -> Result<Vec<ScoredFragment>, ScoreError> {
        picks.iter().map(|pick| pair(held, simulations, stratum, pick)).collect()
    };
    let mut fragments = list(Stratum::Top, held.top())?;
    fragments.extend(list(Stratum::Random, held.random())?);
    fragments.extend(list(Stratum::NonFiring, held.non_firing())?);
    let beyond = list(Stratum::Random, held.beyond_token())?;
    for &name in scorers {
        let Some(scorer) = scorer(name) else { continue };
        let list = if name == BEYOND_TOKEN { &beyond } else { &fragments };
        scores.add(name, scorer.score(list));
        if name == BEYOND_TOKEN {
            scores.tokens_repeating = Some(repeating_tokens(list));
        }
    }
    Ok(())
}

/// One held fragment with its prediction, from the first scored position on.
fn pair(
    held: &Held,
    simulations: &[Simulation],
    stratum: Stratum,
    pick: &Pick,
) -> Result<ScoredFragment, ScoreError> {
    let fragment = &held.fragments()[pick.fragment];
    let from = held.first_scored();
    let truth: Vec<f64> = fragment.activations[from..].iter().map(|&value| f64::from(value)).collect();
    let prediction = simulations[pick.fragment].expected[from..].to_vec();
    ScoredFragment::new(stratum, fragment.tokens[from..].to_vec(), truth, prediction, 1.0 / pick.probability)
}
