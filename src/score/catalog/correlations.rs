//! Pearson correlation of truth t and prediction p over the concatenated tokens of chosen strata (Bills et al. 2023;
//! Cunningham et al. 2023). The weights w are 1, except in `population`.
//!
//!   r = Σ wᵢ (tᵢ − t̄) (pᵢ − p̄) / √(Σ wᵢ (tᵢ − t̄)² · Σ wᵢ (pᵢ − p̄)²)

use crate::score::fragment::{Concatenated, ScoredFragment, Stratum};
use crate::score::scorer::{NoScore, ScoreOutcome, Scorer};
use crate::stats::{pearson, weighted_pearson};

pub(super) const TOP_AND_RANDOM: [Stratum; 2] = [Stratum::Top, Stratum::Random];

/// Over top and random fragments (Bills et al. 2023). Comparable with the literature. Half of its fragments are
/// where the feature is strongest, so it is much higher than on arbitrary text.
#[derive(Debug, Clone, Copy)]
pub struct TopAndRandom;

/// Over top fragments (Cunningham et al. 2023).
#[derive(Debug, Clone, Copy)]
pub struct TopOnly;

/// Over random fragments (Cunningham et al. 2023).
#[derive(Debug, Clone, Copy)]
pub struct RandomOnly;

/// Over top, random and non-firing fragments. Each token is weighted by the inverse sampling probability of its
/// fragment, which estimates the correlation over all text.
#[derive(Debug, Clone, Copy)]
pub struct Population;

fn correlate(fragments: &[ScoredFragment], strata: &[Stratum]) -> ScoreOutcome {
    let tokens = Concatenated::of(fragments, strata);
    pearson(&tokens.truth, &tokens.prediction).into()
}

impl Scorer for TopAndRandom {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        correlate(fragments, &TOP_AND_RANDOM)
    }
}

impl Scorer for TopOnly {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        correlate(fragments, &[Stratum::Top])
    }
}

impl Scorer for RandomOnly {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        correlate(fragments, &[Stratum::Random])
    }
}

impl Scorer for Population {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        if !fragments.iter().any(|fragment| fragment.stratum() == Stratum::NonFiring) {
            return ScoreOutcome::Undefined(NoScore::NoNonFiringFragments);
        }
        let tokens = Concatenated::of(fragments, &[Stratum::Top, Stratum::Random, Stratum::NonFiring]);
        weighted_pearson(&tokens.truth, &tokens.prediction, &tokens.weights).into()
    }
    fn needs_non_firing(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(stratum: Stratum, truth: &[f64], prediction: &[f64], weight: f64) -> ScoredFragment {
        let tokens = (0..truth.len() as u32).collect();
        ScoredFragment::new(stratum, tokens, truth.to_vec(), prediction.to_vec(), weight).expect("a fragment")
    }

    fn hand_worked() -> Vec<ScoredFragment> {
        vec![
            fragment(Stratum::Top, &[3.0, 1.0], &[2.0, 1.0], 1.0),
            fragment(Stratum::Random, &[1.0, 0.0], &[0.0, 1.0], 10.0),
            fragment(Stratum::NonFiring, &[0.0, 0.0], &[0.0, 2.0], 100.0),
        ]
    }

    #[test]
    fn hand_worked_table() {
        let fragments = hand_worked();
        let score = |scorer: &dyn Scorer| scorer.score(&fragments).value().expect("defined");
        // Top: two points on a rising line. Random: two on a falling one.
        assert!((score(&TopOnly) - 1.0).abs() < 1e-15);
        assert!((score(&RandomOnly) + 1.0).abs() < 1e-15);
        // Truth 3, 1, 1, 0 (mean 5/4) and prediction 2, 1, 0, 1 (mean 1): covariance sum 2,
        // squares 19/4 and 2.
        assert!((score(&TopAndRandom) - 2.0 / 9.5f64.sqrt()).abs() < 1e-15);
        // Weights 1, 1, 10, 10, 100, 100 (sum 222): Σw·t = 14, Σw·p = 213, Σw·t·p = 7,
        // Σw·t² = 20, Σw·p² = 415.
        let covariance = 7.0 / 222.0 - 14.0 * 213.0 / 222.0f64.powi(2);
        let truth = 20.0 / 222.0 - (14.0f64 / 222.0).powi(2);
        let prediction = 415.0 / 222.0 - (213.0f64 / 222.0).powi(2);
        assert!((score(&Population) - covariance / (truth * prediction).sqrt()).abs() < 1e-14);
    }

    #[test]
    fn a_constant_side_is_told_apart() {
        let constant_prediction = [fragment(Stratum::Top, &[1.0, 2.0], &[0.3, 0.1 + 0.2], 1.0)];
        assert_eq!(TopOnly.score(&constant_prediction), ScoreOutcome::ConstantPrediction);
        assert_eq!(TopOnly.score(&constant_prediction).reason(), Some("constant_prediction"));
        let constant_truth = [fragment(Stratum::Top, &[1.0, 1.0], &[0.0, 1.0], 1.0)];
        assert_eq!(TopOnly.score(&constant_truth), ScoreOutcome::Undefined(NoScore::ConstantTruth));
        assert_eq!(RandomOnly.score(&constant_truth), ScoreOutcome::Undefined(NoScore::TooFewTokens));
        let missing = ScoreOutcome::Undefined(NoScore::NoNonFiringFragments);
        assert_eq!(Population.score(&constant_truth), missing);
    }

    /// A feature that fires on one token, with the explanation of that token and of another one.
    #[test]
    fn the_right_explanation_scores_one_and_a_wrong_one_nothing() {
        let text: Vec<u32> = (0..640u32).map(|i| (i * i + i / 7) % 23).collect();
        let fires_on =
            |token: u32| text.iter().map(|t| f64::from(u8::from(*t == token))).collect::<Vec<f64>>();
        let truth = fires_on(5);
        assert!(truth.iter().sum::<f64>() >= 10.0);
        let score = |prediction: Vec<f64>| {
            let fragment = ScoredFragment::new(Stratum::Random, text.clone(), truth.clone(), prediction, 1.0);
            TopAndRandom.score(&[fragment.expect("a fragment")]).value().expect("defined")
        };
        assert!((score(fires_on(5)) - 1.0).abs() < 1e-12);
        let wrong = score(fires_on(3));
        assert!(wrong.abs() < 0.1, "{wrong}");
    }
}
