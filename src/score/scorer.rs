use std::fmt;

use serde::{Deserialize, Serialize};

use super::fragment::ScoredFragment;
use crate::stats;

/// Which way is better, for tables and charts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger is better.
    Higher,
    /// Smaller is better.
    Lower,
}

/// Why a feature has no score. Each has a stable snake_case text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoScore {
    /// The truth is the same on every scored token.
    ConstantTruth,
    /// The truth is the same on all occurrences of each token: nothing lies beyond the token.
    TruthIsTokenIdentity,
    /// No token occurs twice among the scored ones.
    NoRepeatedTokens,
    /// Fewer than two scored tokens.
    TooFewTokens,
    /// A population score without the stratum on which the feature does not fire.
    NoNonFiringFragments,
    /// The truth is zero everywhere, so nothing can be explained of it.
    ZeroTruth,
    /// Only firing or only non-firing fragments were judged.
    OneClassOnly,
    /// A judgement came without a probability.
    NoProbabilities,
    /// The explanation is patterns or a table, which no language model is told.
    NotASentence,
    /// The numbers are too large or too small for the score to be a number.
    NotFinite,
}

impl NoScore {
    /// The stable snake_case text that tallies count by.
    pub fn reason(self) -> &'static str {
        match self {
            Self::ConstantTruth => "constant_truth",
            Self::TruthIsTokenIdentity => "truth_is_token_identity",
            Self::NoRepeatedTokens => "no_repeated_tokens",
            Self::TooFewTokens => "too_few_tokens",
            Self::NoNonFiringFragments => "no_non_firing_fragments",
            Self::ZeroTruth => "zero_truth",
            Self::OneClassOnly => "one_class_only",
            Self::NoProbabilities => "no_probabilities",
            Self::NotASentence => "not_a_sentence",
            Self::NotFinite => "not_finite",
        }
    }
}

impl NoScore {
    const ALL: [Self; 10] = [
        Self::ConstantTruth,
        Self::TruthIsTokenIdentity,
        Self::NoRepeatedTokens,
        Self::TooFewTokens,
        Self::NoNonFiringFragments,
        Self::ZeroTruth,
        Self::OneClassOnly,
        Self::NoProbabilities,
        Self::NotASentence,
        Self::NotFinite,
    ];

    /// The reason that [`NoScore::reason`] spells so; none for any other text.
    pub fn parse(reason: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.reason() == reason)
    }
}

impl fmt::Display for NoScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// What a scorer says about one feature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ScoreOutcome {
    /// A finite number.
    Score(f64),
    /// The truth varies and the prediction does not. The feature is *scored*, its score is null
    /// with reason `constant_prediction`, and it enters the mean as 0.
    ConstantPrediction,
    /// There is nothing to score; the feature does not enter the mean.
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

    /// Why there is no number.
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
            // Fragments are checked on construction, so what is left are sums out of range.
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

/// Scores one feature from its fragments. Pure.
pub trait Scorer: Send + Sync {
    /// The name in suites and results.
    fn name(&self) -> &'static str;

    /// Which way is better.
    fn direction(&self) -> Direction {
        Direction::Higher
    }

    /// The score; fragments of other strata than the scorer looks at are ignored.
    fn score(&self, fragments: &[ScoredFragment]) -> ScoreOutcome;

    /// Tokens that the score rests on.
    fn n_tokens(&self, fragments: &[ScoredFragment]) -> usize;

    /// Whether it takes the long list of random fragments instead of the protocol's fragments.
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
            assert!(matches!(outcome, ScoreOutcome::Undefined(_)), "{}: {outcome:?}", scorer.name());
        }
    }
}
