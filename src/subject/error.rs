//! Why a subject model could not be loaded or run.

use std::path::PathBuf;

use crate::base::HookPoint;
use crate::nn::NnError;

/// Why a subject model could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// Files, weights, hook points or token ids.
    #[error(transparent)]
    Nn(#[from] NnError),
    /// The embedded model could not be trained.
    #[cfg(feature = "train-embedded")]
    #[error(transparent)]
    Embedded(#[from] super::embedded::train::EmbeddedError),
    /// The path of a model is no folder.
    #[error("open model folder `{}`: there is no such folder", folder.display())]
    NoFolder {
        /// The path.
        folder: PathBuf,
    },
    /// A name without `/` that is neither a path nor a hub id.
    #[error(
        "open model `{model}`: there is no folder or file of that name, neither here nor beside the suite, and it is not \
         a hub id: a hub id is `OWNER/NAME` (known without an owner: {known})"
    )]
    NoModel {
        /// The name.
        model: String,
        /// The hub ids that need no owner.
        known: String,
    },
    /// Text is to be tokenized, and the folder has no tokenizer.
    #[error("tokenize text for `{model}`: its folder has no `tokenizer.json`; add it, or give token ids")]
    NoTokenizer {
        /// The model.
        model: String,
    },
    /// `bos: always`, and the tokenizer has no BOS token.
    #[error(
        "put a BOS token in front of text for `{model}` (`bos: always`): its tokenizer names no `bos_token` and no \
         `eos_token`, and has no `<|endoftext|>`; use `bos: auto` or `bos: never`"
    )]
    NoBos {
        /// The model.
        model: String,
    },
    /// A result that is not finite, although the weights are.
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
        /// The value.
        value: f32,
    },
    /// Files of stored activations that cannot be used.
    #[error("use activations: `{}` {why}", path.display())]
    Activations {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        why: String,
    },
    /// A hook point that the files lack.
    #[error("find hook point `{hook}` in `{}`: it holds activations at {stored}", path.display())]
    HookNotStored {
        /// The hook point.
        hook: HookPoint,
        /// The file or folder.
        path: PathBuf,
        /// Those that are stored.
        stored: String,
    },
    /// Stored activations do not name a tokenizer.
    #[error(
        "show the text of `{}`: it names no tokenizer that is here, and none is beside it; name a tokenizer.json, a \
         model's folder or a GGUF file with `subject.tokenizer`", path.display()
    )]
    NoTokenizerNamed {
        /// The file or folder of activations.
        path: PathBuf,
    },
    /// A setting of `bos` that contradicts stored activations.
    #[error(
        "put a BOS token in front of text or leave it out (`bos: {setting}`): `{}` was made {made} a token in front of every \
         sequence; leave `bos` out, or make the activations again", path.display()
    )]
    StoredBos {
        /// The setting.
        setting: String,
        /// `with` or `without`.
        made: &'static str,
        /// The file or folder of activations.
        path: PathBuf,
    },
    /// Something that only a model can compute.
    #[error("compute {what}: the subject is `{}`, stored activations without a model", path.display())]
    WithoutModel {
        /// What was asked for.
        what: &'static str,
        /// The file or folder of activations.
        path: PathBuf,
    },
    /// Sequences too short for a loss.
    #[error("compute losses of sequences of {cols} token: a loss needs at least 2")]
    TooShort {
        /// Positions of the batch.
        cols: usize,
    },
}

impl SubjectError {
    /// The error of a batch that begins at sequence `first` of several batches, with places among all sequences.
    pub fn of_batch(self, first: usize) -> Self {
        match self {
            Self::NotFinite { model, hook, row, col, value } => {
                Self::NotFinite { model, hook, row: first + row, col, value }
            }
            other => other,
        }
    }
}
