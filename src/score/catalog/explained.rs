//! Bills et al.'s explained scores, for simulations in the unit of the activations (Bills et al. 2023).
//!
//!   rsquared               = 1 − mean (y − ŷ)² / mean y²
//!   absolute_dev_explained = 1 − mean |y − ŷ| / mean |y|

use super::correlations::TOP_AND_RANDOM;
use crate::score::fragment::{Concatenated, ScoredFragment};
use crate::score::scorer::{NoScore, ScoreOutcome, Scorer};

/// 1 − mean (y − ŷ)² / mean y² over top and random fragments, at most 1. This is not the usual R², because y is not
/// centred. It is meaningful only for predictions in the unit of the activations.
#[derive(Debug, Clone, Copy)]
pub struct RSquared;

/// 1 − mean |y − ŷ| / mean |y| over top and random fragments, at most 1. Only for predictions in the unit of the
/// activations.
#[derive(Debug, Clone, Copy)]
pub struct AbsoluteDevExplained;

/// 1 − Σ `loss`(y − ŷ) / Σ `loss`(y). Values are divided by the largest |y|, so that squares do not overflow.
fn explained(fragments: &[ScoredFragment], loss: impl Fn(f64) -> f64) -> ScoreOutcome {
    let tokens = Concatenated::of(fragments, &TOP_AND_RANDOM);
    if tokens.truth.is_empty() {
        return ScoreOutcome::Undefined(NoScore::TooFewTokens);
    }
    let scale = tokens.truth.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    if scale == 0.0 {
        return ScoreOutcome::Undefined(NoScore::ZeroTruth);
    }
    let pairs = tokens.truth.iter().zip(&tokens.prediction);
    let missed: f64 = pairs.map(|(truth, prediction)| loss(truth / scale - prediction / scale)).sum();
    let all: f64 = tokens.truth.iter().map(|truth| loss(truth / scale)).sum();
    let score = 1.0 - missed / all;
    if score.is_finite() { ScoreOutcome::Score(score) } else { ScoreOutcome::Undefined(NoScore::NotFinite) }
}

impl Scorer for RSquared {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        explained(fragments, |value| value * value)
    }
}

impl Scorer for AbsoluteDevExplained {
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome {
        explained(fragments, f64::abs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::fragment::Stratum;

    #[test]
    fn hand_worked() {
        let fragment = |truth: Vec<f64>| {
            let tokens = (0..truth.len() as u32).collect();
            [ScoredFragment::new(Stratum::Top, tokens, truth, vec![1.0, 1.0], 1.0).expect("a fragment")]
        };
        // Residuals 2 and -1: 1 - 5/9 and 1 - 3/3.
        let score = RSquared.score(&fragment(vec![3.0, 0.0])).value().expect("defined");
        assert!((score - 4.0 / 9.0).abs() < 1e-15);
        let score = AbsoluteDevExplained.score(&fragment(vec![3.0, 0.0])).value().expect("defined");
        assert!(score.abs() < 1e-15);
        let zero = ScoreOutcome::Undefined(NoScore::ZeroTruth);
        assert_eq!(RSquared.score(&fragment(vec![0.0, 0.0])), zero);
    }
}
