//! Scored fragments: tokens with truth and prediction.

use serde::{Deserialize, Serialize};

use super::ScoreError;

/// How a fragment was sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stratum {
    /// Among the fragments where the feature is strongest.
    Top,
    /// Drawn from the other firing fragments.
    Random,
    /// Drawn from the non-firing fragments (for a dense feature: from those where it fires least).
    NonFiring,
}

/// The scored tokens of one fragment with truth and prediction. Tokens that the protocol excludes, such as position
/// 0, are not included.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredFragment {
    stratum: Stratum,
    tokens: Vec<u32>,
    truth: Vec<f64>,
    prediction: Vec<f64>,
    weight: f64,
}

impl ScoredFragment {
    /// `truth` (raw activations) and `prediction` (any unit) have one finite value per token. `weight` is the
    /// inverse sampling probability of the fragment. Only ratios of weights matter.
    pub fn new(
        stratum: Stratum,
        tokens: Vec<u32>,
        truth: Vec<f64>,
        prediction: Vec<f64>,
        weight: f64,
    ) -> Result<Self, ScoreError> {
        if truth.len() != tokens.len() || prediction.len() != tokens.len() {
            let (tokens, truth, prediction) = (tokens.len(), truth.len(), prediction.len());
            return Err(ScoreError::Lengths { tokens, truth, prediction });
        }
        for (what, values) in [("truth", &truth), ("prediction", &prediction)] {
            if let Some(token) = values.iter().position(|value| !value.is_finite()) {
                return Err(ScoreError::NotFinite { what, token });
            }
        }
        if !(weight.is_finite() && weight > 0.0) {
            return Err(ScoreError::Weight { got: weight });
        }
        Ok(Self { stratum, tokens, truth, prediction, weight })
    }

    /// Stratum.
    pub fn stratum(&self) -> Stratum {
        self.stratum
    }

    /// Token ids.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// True activation per token.
    pub fn truth(&self) -> &[f64] {
        &self.truth
    }

    /// Predicted activation per token.
    pub fn prediction(&self) -> &[f64] {
        &self.prediction
    }

    /// Inverse sampling probability.
    pub fn weight(&self) -> f64 {
        self.weight
    }
}

/// Concatenated tokens of chosen strata.
#[derive(Debug, Default)]
pub(super) struct Concatenated {
    pub(super) tokens: Vec<u32>,
    pub(super) truth: Vec<f64>,
    pub(super) prediction: Vec<f64>,
    pub(super) weights: Vec<f64>,
}

impl Concatenated {
    pub(super) fn of(fragments: &[ScoredFragment], strata: &[Stratum]) -> Self {
        let mut all = Self::default();
        for fragment in fragments.iter().filter(|fragment| strata.contains(&fragment.stratum)) {
            all.tokens.extend(&fragment.tokens);
            all.truth.extend(&fragment.truth);
            all.prediction.extend(&fragment.prediction);
            all.weights.extend(std::iter::repeat_n(fragment.weight, fragment.tokens.len()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_refused_by_name() {
        let make = |truth: Vec<f64>, weight| {
            ScoredFragment::new(Stratum::Top, vec![1, 2], truth, vec![0.0, 0.0], weight)
        };
        let error = make(vec![1.0], 1.0).expect_err("refused").to_string();
        assert_eq!(error, "a fragment of 2 tokens needs as many truths and predictions, got 1 and 2");
        let nan = ScoreError::NotFinite { what: "truth", token: 1 };
        assert_eq!(make(vec![1.0, f64::NAN], 1.0), Err(nan));
        assert_eq!(make(vec![1.0, 2.0], 0.0), Err(ScoreError::Weight { got: 0.0 }));
        assert!(make(vec![1.0, 2.0], 3.5).is_ok());
    }
}
