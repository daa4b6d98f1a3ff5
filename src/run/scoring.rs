//! One feature's scores: what was held back, put beside what was simulated.

use std::collections::BTreeMap;

use crate::features::{Held, Pick};
use crate::score::{ScoreError, ScoreOutcome, ScoredFragment, Stratum, repeating_tokens, scorer};
use crate::simulate::Simulation;

/// The scorer that has its own, larger list of random fragments.
const BEYOND_TOKEN: &str = "beyond_token";

/// A feature's scores by scorer.
#[derive(Debug, Clone)]
pub struct FeatureScores {
    /// The number, or none.
    pub values: BTreeMap<String, Option<f64>>,
    /// Why there is none.
    pub reasons: BTreeMap<String, String>,
    /// Tokens that `beyond_token` lives on, where it was asked for.
    pub tokens_repeating: Option<usize>,
    undefined: usize,
}

impl FeatureScores {
    /// True where no scorer could say anything about this feature.
    pub fn all_undefined(&self) -> bool {
        self.undefined == self.values.len() && self.undefined > 0
    }
}

/// Scores a feature under each scorer; simulations are in the order of the held fragments.
pub fn score_feature(
    held: &Held,
    simulations: &[Simulation],
    scorers: &[&str],
) -> Result<FeatureScores, ScoreError> {
    let list = |stratum, picks: &[Pick]| -> Result<Vec<ScoredFragment>, ScoreError> {
        picks.iter().map(|pick| pair(held, simulations, stratum, pick)).collect()
    };
    let mut fragments = list(Stratum::Top, held.top())?;
    fragments.extend(list(Stratum::Random, held.random())?);
    fragments.extend(list(Stratum::NonFiring, held.non_firing())?);
    let beyond = list(Stratum::Random, held.beyond_token())?;
    let mut scores = FeatureScores {
        values: BTreeMap::new(),
        reasons: BTreeMap::new(),
        tokens_repeating: None,
        undefined: 0,
    };
    for &name in scorers {
        let Some(scorer) = scorer(name) else { continue };
        let list = if name == BEYOND_TOKEN { &beyond } else { &fragments };
        let outcome = scorer.score(list);
        scores.values.insert(name.into(), outcome.value());
        if let Some(reason) = outcome.reason() {
            scores.reasons.insert(name.into(), reason.into());
        }
        scores.undefined += usize::from(matches!(outcome, ScoreOutcome::Undefined(_)));
        if name == BEYOND_TOKEN {
            scores.tokens_repeating = Some(repeating_tokens(list));
        }
    }
    Ok(scores)
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
