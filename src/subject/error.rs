use std::path::PathBuf;

use crate::base::HookPoint;
use crate::nn::NnError;

/// Why a subject model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// The model itself: files, weights, hook points, token ids.
    #[error(transparent)]
    Nn(#[from] NnError),
    /// The embedded model could not be trained.
    #[error(transparent)]
    Embedded(#[from] super::embedded::EmbeddedError),
    /// The path given for a model is not a folder.
    #[error("open model folder `{}`: there is no such folder", folder.display())]
    NoFolder {
        /// The path.
        folder: PathBuf,
    },
    /// Text is to be read, and the folder has no tokenizer.
    #[error("tokenize text for `{model}`: its folder has no `tokenizer.json`; add it, or give token ids")]
    NoTokenizer {
        /// The model.
        model: String,
    },
    /// A token is to stand in front of every text, and the tokenizer has none for it.
    #[error(
        "put a BOS token in front of text for `{model}` (`bos: always`): its tokenizer names no `bos_token` and no \
         `eos_token`, and has no `<|endoftext|>`; use `bos: auto` or `bos: never`"
    )]
    NoBos {
        /// The model.
        model: String,
    },
    /// Finite weights whose products overflowed.
    #[error(
        "use activations at `{hook}` of `{model}`: sequence {row}, position {col} holds {value}, which is not finite"
    )]
    NotFinite {
        /// The model.
        model: String,
        /// Hook point, or `logits` or `losses`.
        hook: String,
        /// Sequence within the batch.
        row: usize,
        /// Position within the sequence.
        col: usize,
        /// The entry.
        value: f32,
    },
    /// Losses of sequences that predict nothing.
    #[error("compute losses of sequences of {cols} token: a loss needs at least 2")]
    TooShort {
        /// Positions of the batch.
        cols: usize,
    },
}

impl SubjectError {
    /// The hook point that the model lacks, if that is what went wrong.
    pub fn missing_hook(&self) -> Option<HookPoint> {
        match self {
            Self::Nn(
                NnError::NoSuchLayer { hook, .. }
                | NnError::NoResidMid { hook }
                | NnError::NoNeurons { hook },
            ) => Some(*hook),
            _ => None,
        }
    }
}
