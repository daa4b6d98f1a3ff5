//! Spearman rank correlation of truth and prediction over top and random fragments.
//!
//!   rho = Pearson(rank(truth), rank(prediction)),  ties get their average rank
//!
//! Unlike `top_and_random` it depends on the order of activations alone, so a few large ones do not decide it.

use super::correlations::TOP_AND_RANDOM;
use crate::score::fragment::{Concatenated, ScoredFragment};
use crate::score::scorer::{ScoreOutcome, Scorer};
use crate::stats::spearman;

/// Rank correlation over the concatenated tokens of the top and random fragments.
#[derive(Debug, Clone, Copy)]
pub struct Spearman;

impl Scorer for Spearman {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        let tokens = Concatenated::of(fragments, &TOP_AND_RANDOM);
        spearman(&tokens.truth, &tokens.prediction).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{NoScore, Stratum, TopAndRandom};

    fn fragment(stratum: Stratum, truth: &[f64], prediction: &[f64]) -> ScoredFragment {
        let tokens = (0..truth.len() as u32).collect();
        ScoredFragment::new(stratum, tokens, truth.to_vec(), prediction.to_vec(), 1.0).expect("a fragment")
    }

    #[test]
    fn a_hand_worked_table_with_ties() {
        // Ranks of truth 3, 1, 1, 0: 4, 2.5, 2.5, 1. Of prediction 2, 1, 0, 1: 4, 2.5, 1, 2.5. Covariance sum 2.25,
        // squares 4.5 each.
        let fragments = [
            fragment(Stratum::Top, &[3.0, 1.0], &[2.0, 1.0]),
            fragment(Stratum::Random, &[1.0, 0.0], &[0.0, 1.0]),
            fragment(Stratum::NonFiring, &[0.0, 0.0], &[9.0, 1.0]),
        ];
        assert!((Spearman.score(&fragments).value().expect("defined") - 0.5).abs() < 1e-15);
    }

    #[test]
    fn only_the_order_counts() {
        let truth: Vec<f64> = (0..50).map(|i| f64::from(i % 7)).collect();
        let steep: Vec<f64> = truth.iter().map(|value| value.exp()).collect();
        let fragments = [fragment(Stratum::Random, &truth, &steep)];
        assert!((Spearman.score(&fragments).value().expect("defined") - 1.0).abs() < 1e-12);
        assert!(TopAndRandom.score(&fragments).value() < Some(0.9), "the values are far from a line");
    }

    #[test]
    fn a_constant_side_is_told_apart() {
        let constant = [fragment(Stratum::Top, &[1.0, 2.0, 3.0], &[0.5; 3])];
        assert_eq!(Spearman.score(&constant), ScoreOutcome::ConstantPrediction);
        let flat = [fragment(Stratum::Top, &[1.0; 3], &[0.0, 1.0, 2.0])];
        assert_eq!(Spearman.score(&flat), ScoreOutcome::Undefined(NoScore::ConstantTruth));
    }
}
