//! Scores of one feature: held-out activations compared with simulations.

use std::collections::BTreeMap;

use crate::base::Missing;
use crate::features::{Held, HeldFragment, Pick};
use crate::score::catalog::simulated_score;
use crate::score::{GradeCounts, ScoreError, ScoreOutcome, ScoredFragment, Stratum, repeating_tokens};
use crate::simulate::Simulation;

/// A feature's scores by scorer.
#[derive(Debug, Clone, Default)]
pub struct FeatureScores {
    /// Value, or none.
    pub values: BTreeMap<String, Option<f64>>,
    /// Reason of a missing value.
    pub reasons: BTreeMap<String, String>,
    /// Tokens whose type repeats, if `beyond_token` was requested.
    pub tokens_repeating: Option<usize>,
    /// Scored tokens for which the simulator gave no number.
    pub tokens_untold: usize,
    /// Counts of grades by interval of activation, if fragments were graded.
    pub grades: Option<Vec<GradeCounts>>,
    undefined: usize,
    /// Reasons of failed scores, in the order of the scorers.
    failed: Vec<String>,
}

impl FeatureScores {
    /// Adds the outcome of a scorer.
    pub fn add(&mut self, name: &str, outcome: ScoreOutcome) {
        self.values.insert(name.into(), outcome.value());
        if let Some(reason) = outcome.reason() {
            self.reasons.insert(name.into(), reason.into());
        }
        self.undefined += usize::from(matches!(outcome, ScoreOutcome::Undefined(_)));
    }

    /// Adds a scorer whose inputs failed.
    pub fn fail(&mut self, name: &str, reason: &str) {
        self.values.insert(name.into(), None);
        self.reasons.insert(name.into(), reason.into());
        self.failed.push(reason.into());
    }

    /// Reason why the feature as a whole has no score: each scorer failed or is undefined. None if at least one
    /// scorer has an outcome.
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

/// The requested scores that need simulations.
pub fn simulated<'a>(scorers: &'a [&'static str]) -> impl Iterator<Item = &'static str> + 'a {
    scorers.iter().copied().filter(|name| simulated_score(name).is_some())
}

/// Adds a feature's score under each simulation scorer. `simulations` are in the order of the held-out fragments.
pub fn score_feature(
    held: &Held,
    simulations: &[Simulation],
    scorers: &[&'static str],
    scores: &mut FeatureScores,
) -> Result<(), ScoreError> {
    let list = |stratum, picks: &[Pick]| -> Result<Vec<ScoredFragment>, ScoreError> {
        let scored = |pick: &Pick| {
            let (fragment, simulation) = (&held.fragments()[pick.fragment], &simulations[pick.fragment]);
            scored_fragment(stratum, fragment, simulation, held.first_scored(), 1.0 / pick.probability)
        };
        picks.iter().map(scored).collect()
    };
    let mut fragments = list(Stratum::Top, held.top())?;
    fragments.extend(list(Stratum::Random, held.random())?);
    fragments.extend(list(Stratum::NonFiring, held.non_firing())?);
    let beyond = list(Stratum::Random, held.beyond_token())?;
    scores.tokens_untold =
        simulations.iter().map(|simulation| simulation.n_untold(held.first_scored())).sum();
    for &name in scorers {
        let Some(scorer) = simulated_score(name) else { continue };
        let list = if scorer.on_many_random() { &beyond } else { &fragments };
        scores.add(name, scorer.score(list));
        if scorer.on_many_random() {
            scores.tokens_repeating = Some(repeating_tokens(list));
        }
    }
    Ok(())
}

/// A fragment with its simulation from position `from` on, without tokens that have no number.
pub fn scored_fragment(
    stratum: Stratum,
    fragment: &HeldFragment,
    simulation: &Simulation,
    from: usize,
    weight: f64,
) -> Result<ScoredFragment, ScoreError> {
    let n = fragment.tokens.len();
    if simulation.expected.len() != n || fragment.activations.len() != n {
        let (truth, prediction) = (fragment.activations.len(), simulation.expected.len());
        return Err(ScoreError::Lengths { tokens: n, truth, prediction });
    }
    let (mut tokens, mut truth, mut prediction) = (Vec::new(), Vec::new(), Vec::new());
    for place in from..n {
        let Some(expected) = simulation.expected[place] else { continue };
        tokens.push(fragment.tokens[place]);
        truth.push(f64::from(fragment.activations[place]));
        prediction.push(expected);
    }
    ScoredFragment::new(stratum, tokens, truth, prediction, weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untold_tokens_are_left_out_of_truth_and_prediction_alike() {
        let tokens = vec![5, 6, 7, 8];
        let fragment =
            HeldFragment { fragment: 0, document: 0, tokens, activations: vec![9.0, 0.0, 2.0, 1.0] };
        let simulation = Simulation { expected: vec![Some(1.0), Some(0.5), None, Some(3.0)] };
        let scored = scored_fragment(Stratum::Top, &fragment, &simulation, 1, 1.0).expect("a fragment");
        assert_eq!(scored.tokens(), [6, 8]);
        assert_eq!((scored.truth(), scored.prediction()), (&[0.0, 1.0][..], &[0.5, 3.0][..]));
        let short = Simulation::told([1.0]);
        let error = scored_fragment(Stratum::Top, &fragment, &short, 1, 1.0).expect_err("refused");
        assert_eq!(error, ScoreError::Lengths { tokens: 4, truth: 4, prediction: 1 });
    }
}
