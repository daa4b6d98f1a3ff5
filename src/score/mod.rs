//! Scores simulations and judgements against the truth, with pure functions.
//!
//! In: truth and prediction; or a language model's judgements of fragments.
//! Out: scores, or the reason why there is none.
//! Never: draws random numbers without a given stream, runs a model, or uses the network.
//!
//! A score is one number for one feature under one [`Scorer`]. A [`Cell`] summarises the scores of one hook point,
//! method and scorer. A constant *prediction* counts as 0 in the mean, because the explanation distinguished
//! nothing. If the *truth* is constant there is nothing to score, and the feature is left out of the mean.
//!
//! A table of token means scores high in `top_and_random` and not at all in `beyond_token`:
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
//! Sources: Bills et al. 2023, *Language models can explain neurons in language models* (correlation score,
//! rsquared, absolute deviation, quantisation, strided splits); Cunningham et al. 2023, *Sparse autoencoders find
//! highly interpretable features in language models* (top, random, and top-and-random scores); Paulo et al. 2024,
//! *Automatically interpreting millions of features in large language models* (detection, fuzzing, surprisal);
//! Templeton et al. 2024, *Scaling Monosemanticity* (specificity); Gur-Arieh et al. 2025, *Enhancing automated
//! interpretability with output-centric feature descriptions* (intervention).
//! `beyond_token` is this project's own; see [`BeyondToken`].

pub mod catalog;
mod cell;
mod fragment;
mod graded;
mod intervention;
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
pub use cell::{Cell, FeatureOutcome, cell_over_seeds};
pub use fragment::{ScoredFragment, Stratum};
pub use graded::{GradeCounts, count_grades, read_grades, specificity};
pub use intervention::{
    TEXTS_COMPARED, intervention, intervention_request, read_choice, shown_pair, steered_numbers,
};
pub use judged::{
    BEST_GRADE, JudgeTask, JudgedScore, Judgement, ShownText, auroc, judge_batches, judged_score,
    read_judgements,
};
pub use judging::Judging;
pub use quantise::quantise;
pub use scorer::{Direction, NoScore, ScoreOutcome, Scorer};
pub use splits::{Part, Splits, interleaved};
pub use surprisal::{surprisal, surprisal_digest, surprisal_request};

/// Inconsistent input: an error of the caller and not a property of the feature.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ScoreError {
    /// Tokens, truth and prediction differ in length.
    #[error(
        "a fragment of {tokens} tokens needs as many truths and predictions, got {truth} and {prediction}"
    )]
    Lengths { tokens: usize, truth: usize, prediction: usize },
    /// A value is NaN or infinite.
    #[error("the {what} of token {token} is not a finite number")]
    NotFinite { what: &'static str, token: usize },
    /// A weight is not an inverse probability.
    #[error("the weight of a fragment must be a positive finite number, got {got}")]
    Weight { got: f64 },
    /// Lists are too short to be split.
    #[error("{per_split} fragments per split need {need} {list} fragments, got {got}")]
    TooFewForSplits { list: &'static str, per_split: usize, need: usize, got: usize },
}
