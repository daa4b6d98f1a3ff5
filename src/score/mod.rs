//! How well a simulation matches the truth: pure functions.
//!
//! In: truth and prediction; or the replies of a language model that judged fragments.
//! Out: scores, or the reason why there is none.
//! Never: draws without being given a stream, runs a model or touches the network.
//!
//! A score is one number for one feature under one [`Scorer`]; [`Cell`] is what the scores of a
//! cell's features (one hook point, method, scorer) come to. A constant prediction is not a
//! missing score: the explanation had its chance and told nothing apart, so it counts as 0 in the
//! mean; where the *truth* is constant there is nothing to score and the feature leaves the mean.
//!
//! A table of token means scores high in `top_and_random`, and nothing in `beyond_token`:
//!
//! ```
//! use autointerp::score::{BeyondToken, ScoreOutcome, ScoredFragment, Scorer, Stratum, TopAndRandom};
//!
//! let (tokens, truth) = (vec![5, 8, 5, 8], vec![1.0, 0.0, 3.0, 0.0]);
//! let predicted = |values: [f64; 4]| {
//!     ScoredFragment::new(Stratum::Random, tokens.clone(), truth.clone(), values.to_vec(), 1.0)
//! };
//! let lookup = [predicted([2.0, 0.0, 2.0, 0.0])?];
//! assert!(TopAndRandom.score(&lookup).value() > Some(0.8));
//! assert_eq!(BeyondToken.score(&lookup), ScoreOutcome::ConstantPrediction);
//! let knows_more = [predicted([1.5, 0.0, 2.5, 0.0])?];
//! assert!(BeyondToken.score(&knows_more).value() > Some(0.99));
//! # Ok::<(), autointerp::score::ScoreError>(())
//! ```
//!
//! Sources: Bills et al., *Language models can explain neurons in language models* (2023: the
//! expected-value correlation, its two companions, quantisation and strided splits); Cunningham et
//! al., *Sparse autoencoders find highly interpretable features in language models* (2023: top,
//! random and top-and-random scores); Paulo et al., *Automatically interpreting millions of features in
//! large language models* (2024: detection, fuzzing and surprisal). `beyond_token` is this project's own; see [`BeyondToken`].

pub mod catalog;
mod cell;
mod fragment;
mod judged;
mod judging;
mod quantise;
mod scorer;
mod splits;
mod surprisal;

#[cfg(test)]
mod golden_tests;

pub use catalog::beyond_token::{BeyondToken, repeating_tokens};
pub use catalog::correlations::{Population, RandomOnly, TopAndRandom, TopOnly};
pub use catalog::explained::{AbsoluteDevExplained, RSquared};
pub use cell::{Cell, FeatureOutcome, cell, cell_over_seeds};
pub use fragment::{ScoredFragment, Stratum};
pub use judged::{
    JudgeTask, JudgedScore, Judgement, ShownText, auroc, judge_batches, judged_score, read_judgements,
};
pub use judging::Judging;
pub use quantise::quantise;
pub use scorer::{Direction, NoScore, ScoreOutcome, Scorer};
pub use splits::{Part, Splits, interleaved};
pub use surprisal::{surprisal, surprisal_digest, surprisal_request};

/// Input that cannot be scored because it contradicts itself: a fault of the caller, not a
/// property of the feature.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ScoreError {
    /// Tokens, truth and prediction of a fragment differ in number.
    #[error(
        "a fragment of {tokens} tokens needs as many truths and predictions, got {truth} and {prediction}"
    )]
    Lengths {
        /// Tokens of the fragment.
        tokens: usize,
        /// True activations given.
        truth: usize,
        /// Predicted activations given.
        prediction: usize,
    },
    /// A NaN or an infinity.
    #[error("the {what} of token {token} is not a finite number")]
    NotFinite {
        /// "truth" or "prediction".
        what: &'static str,
        /// Position within the fragment.
        token: usize,
    },
    /// A weight that is no inverse probability.
    #[error("the weight of a fragment must be a positive finite number, got {got}")]
    Weight {
        /// What was given.
        got: f64,
    },
    /// Lists too short to be split.
    #[error("{per_split} fragments per split need {need} {list} fragments, got {got}")]
    TooFewForSplits {
        /// "top" or "random".
        list: &'static str,
        /// Fragments asked for in each split.
        per_split: usize,
        /// Fragments that takes.
        need: usize,
        /// Fragments there are.
        got: usize,
    },
}
