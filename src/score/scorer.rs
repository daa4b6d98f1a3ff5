//! The interface of scorers, and the reasons why a feature has no score.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::fragment::ScoredFragment;
use crate::causal::effects::NoEffect;
use crate::stats;

/// Direction of improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
}

/// Why a feature has no score. Each reason has a stable snake_case name.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    strum::IntoStaticStr,
    strum::EnumString,
    strum::Display,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum NoScore {
    /// The truth is constant over the scored tokens.
    ConstantTruth,
    /// The truth is constant within each token type.
    TruthIsTokenIdentity,
    /// No token type occurs twice among the scored tokens.
    NoRepeatedTokens,
    /// Fewer than two scored tokens.
    TooFewTokens,
    /// A population score without non-firing fragments.
    NoNonFiringFragments,
    /// The truth is zero everywhere.
    ZeroTruth,
    /// Only firing or only non-firing fragments were judged.
    OneClassOnly,
    /// A judgement came without a probability.
    NoProbabilities,
    /// The explanation is patterns or a table, which are not shown to language models.
    NotASentence,
    /// The values overflow or underflow.
    NotFinite,
    /// No held-out fragment has a positive activation.
    NoFiringFragments,
    /// Output scores: the subject is stored activations, without a model.
    NoModel,
    /// Output scores: the dictionary has no decoder.
    OnlyEncodes,
    /// Output scores: the feature is active on no token.
    NeverFires,
    /// Output scores: the dictionary does not write to the residual stream.
    NotInTheStream,
    /// Output scores: no strength gives the divergence at which damage is compared.
    KlNotReached,
    /// Output scores: no logit changes.
    NothingChanges,
    /// Output scores: there is no text behind which others are written.
    NothingWritten,
}

impl NoScore {
    /// Stable name, by which tallies count.
    pub fn reason(self) -> &'static str {
        self.into()
    }

    /// Inverse of [`NoScore::reason`].
    pub fn parse(reason: &str) -> Option<Self> {
        reason.parse().ok()
    }
}

/// Outcome of a scorer for one feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreOutcome {
    /// A finite number.
    Score(f64),
    /// The truth varies and the prediction is constant. The feature counts as scored, with a null score and reason
    /// `constant_prediction`, and enters the mean as 0.
    ConstantPrediction,
    /// Nothing to score. The feature does not enter the mean.
    Undefined(NoScore),
}

impl ScoreOutcome {
    /// The number, if there is one.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Score(value) => Some(value),
            Self::ConstantPrediction | Self::Undefined(_) => None,
        }
    }

    /// Reason of a missing number.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Score(_) => None,
            Self::ConstantPrediction => Some("constant_prediction"),
            Self::Undefined(why) => Some(why.reason()),
        }
    }
}

impl From<Result<f64, stats::Undefined>> for ScoreOutcome {
    fn from(result: Result<f64, stats::Undefined>) -> Self {
        match result {
            Ok(value) if value.is_finite() => Self::Score(value),
            Ok(_) => Self::Undefined(NoScore::NotFinite),
            Err(stats::Undefined::ConstantTruth) => Self::Undefined(NoScore::ConstantTruth),
            Err(stats::Undefined::ConstantPrediction) => Self::ConstantPrediction,
            Err(stats::Undefined::TooFew { .. }) => Self::Undefined(NoScore::TooFewTokens),
            // Fragments are checked on construction, so only overflow remains.
            Err(_) => Self::Undefined(NoScore::NotFinite),
        }
    }
}

impl From<Result<f64, NoScore>> for ScoreOutcome {
    fn from(result: Result<f64, NoScore>) -> Self {
        match result {
            Ok(value) if value.is_finite() => Self::Score(value),
            Ok(_) => Self::Undefined(NoScore::NotFinite),
            Err(why) => Self::Undefined(why),
        }
    }
}

impl From<Result<f64, NoEffect>> for ScoreOutcome {
    fn from(result: Result<f64, NoEffect>) -> Self {
        Self::from(result.map_err(|why| match why {
            NoEffect::NoModel => NoScore::NoModel,
            NoEffect::OnlyEncodes => NoScore::OnlyEncodes,
            NoEffect::NeverFires => NoScore::NeverFires,
            NoEffect::NotInTheStream => NoScore::NotInTheStream,
            NoEffect::KlNotReached => NoScore::KlNotReached,
            NoEffect::NothingChanges => NoScore::NothingChanges,
            NoEffect::NotFinite => NoScore::NotFinite,
        }))
    }
}

/// Scores one feature from its fragments. Pure.
pub trait Scorer: fmt::Debug + Send + Sync {
    /// The score. Fragments of other strata are ignored.
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome;

    /// Whether it uses the long list of random fragments and not the protocol's fragments.
    fn on_many_random(&self) -> bool {
        false
    }

    /// Whether it needs fragments on which the feature does not fire.
    fn needs_non_firing(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_fragments_are_undefined_under_every_scorer() {
        let scorers = super::super::catalog::SCORERS.iter();
        for scorer in scorers.filter_map(|scorer| scorer.simulation()) {
            let outcome = scorer.score(&[]);
            assert!(matches!(outcome, ScoreOutcome::Undefined(_)), "{scorer:?}: {outcome:?}");
        }
    }
}
