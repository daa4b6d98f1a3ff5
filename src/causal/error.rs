//! Why an edit or an experiment with edits is not possible.

use crate::base::HookPoint;
use crate::dictionary::DictionaryError;
use crate::linalg::LinalgError;
use crate::subject::SubjectError;

/// Why an edit or an experiment with edits is not possible.
#[derive(Debug, thiserror::Error)]
pub enum CausalError {
    /// The subject.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The dictionary.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// A decomposition of a covariance.
    #[error(transparent)]
    Linalg(#[from] LinalgError),
    /// A dictionary without a decoder.
    #[error(
        "edit activations by codes of `{method}`: it only encodes, so its features have no direction to write in; use a \
         dictionary with a decoder"
    )]
    OnlyEncodes {
        /// Name of the dictionary.
        method: String,
    },
    /// A decoder whose rows do not fit the activations.
    #[error(
        "edit `{hook}` by codes of `{method}`: activations there have {expected} values and its decoder has rows of \
         {got}; use a dictionary of this hook point"
    )]
    Width {
        /// Name of the dictionary.
        method: String,
        /// The edited hook point.
        hook: HookPoint,
        /// Width of the activations.
        expected: usize,
        /// Width of the decoder.
        got: usize,
    },
    /// A feature that the dictionary lacks.
    #[error("find feature {feature} of `{method}`: it has features 0 to {}", n_features.saturating_sub(1))]
    NoFeature {
        /// The feature.
        feature: usize,
        /// Name of the dictionary.
        method: String,
        /// Its number of features.
        n_features: usize,
    },
    /// Codes of another run that do not fit the sequences of a pass.
    #[error(
        "replace codes of feature {feature} of `{method}` by those of another run: there are {expected} codes, one for each \
         position of a sequence, and the pass has {rows} rows; give sequences of equally many tokens"
    )]
    Positions {
        /// The feature.
        feature: usize,
        /// Name of the dictionary.
        method: String,
        /// The number of codes.
        expected: usize,
        /// Rows of the pass.
        rows: usize,
    },
    /// A task without pairs of prompts.
    #[error("patch features on a task: it has no pair of prompts; give at least one")]
    NoPairs,
    /// Lists of a task that do not belong together.
    #[error(
        "patch features on a task: {base} base prompts, {target} target prompts and {answers} pairs of answers; give \
         equally many"
    )]
    PairCounts {
        /// Base prompts.
        base: usize,
        /// Target prompts.
        target: usize,
        /// Pairs of answers.
        answers: usize,
    },
    /// A pair of prompts that cannot be patched.
    #[error("patch pair {pair} of the task, counted from 0: {problem}")]
    Pair {
        /// The pair.
        pair: usize,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Prompts of a concept that cannot be used.
    #[error("erase the concept `{concept}`: {problem}")]
    Concept {
        /// The concept.
        concept: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// A hook point whose activations do not reach the output.
    #[error(
        "change features at `{hook}`: the output at the last position does not depend on the activations there; choose \
         an earlier hook point"
    )]
    NoEffect {
        /// The hook point.
        hook: HookPoint,
    },
    /// The user requested a stop.
    #[error("stopped on request")]
    Stopped,
}
