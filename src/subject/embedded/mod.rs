//! A subject model of our own, so that the first command needs nothing.
//!
//! In: documents as text (from the caller: this folder knows no corpus).
//! Out: weights, tokenizer and configuration in Hugging Face's GPT-NeoX format, and how good they are.
//! Never: runs an experiment.
//!
//! *Model.* GPT-NeoX: 4 layers, width 128, 4 heads, MLP of 512, context 128, rotary positions on a quarter of each
//! head, parallel residual, exact gelu, untied embeddings, 2048 byte-level pieces with digits alone. 1.3 million
//! weights in f16.
//!
//! *Recipe.* `RAYON_NUM_THREADS=1 autointerp train-embedded --out DIR` writes the four files of this folder again
//! (each half of a batch has a thread of its own, so matrix products should not start more): [`TrainConfig`] holds every
//! setting, [`train`] is the loop. Documents are packed end to end, each after the separator, and cut into contexts
//! that are shuffled; a second stage starts the learning rate anew from the first one's weights. The gradients are
//! candle's, over a few operations of our own with a backward pass (`ops`, `attention`), which a test holds to finite
//! differences; another holds the network's logits to the runtime's.
//!
//! *Measured.* [`report`]: losses on held-out documents beside counting models of the same training text (`ngram`),
//! and how often the right name of an indirect-object prompt gets the higher logit, for names and templates
//! that training text has in such sentences and for those that it never has.
//!
//! Sources: AdamW (Loshchilov and Hutter 2019), modified Kneser-Ney (Chen and Goodman 1998), indirect objects (Wang
//! et al. 2022).

mod adamw;
mod attention;
mod measure;
mod network;
mod ngram;
mod ops;
mod pieces;
#[cfg(test)]
mod tests;
mod train;

use super::{LoadedSubject, SubjectError};

pub use measure::{Choice, Losses, TrainReport, accuracy, held_out_loss, measure};
pub use network::{Network, Shape};
pub use ngram::Ngram;
pub use pieces::{SEPARATOR, encode_document, train_tokenizer};
pub use train::{Extra, Progress, Stage, Texts, TrainConfig, Trained, train};

/// The model's `config.json`.
pub const CONFIG: &str = include_str!("config.json");
/// Its weights in f16, a safetensors file.
pub const WEIGHTS: &[u8] = include_bytes!("model.safetensors");
/// Its `tokenizer.json`.
pub const TOKENIZER: &[u8] = include_bytes!("tokenizer.json");
/// How it was trained and what it scores on text it never saw: a [`TrainReport`] as JSON.
pub const REPORT: &str = include_str!("report.json");

/// The compiled-in model with its tokenizer.
pub fn load() -> Result<LoadedSubject, SubjectError> {
    LoadedSubject::from_parts("embedded", CONFIG.as_bytes(), WEIGHTS, TOKENIZER)
}

/// The recipe of the compiled-in model and its measured losses and accuracies.
pub fn report() -> Result<TrainReport, EmbeddedError> {
    Ok(serde_json::from_str(REPORT)?)
}

/// Why the embedded model could not be trained or read.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The numeric library refused.
    #[error("run the embedded model's network")]
    Network(#[from] candle_core::Error),
    /// The weights could not be put into a file.
    #[error("write the embedded model's weights")]
    Weights(#[from] safetensors::SafeTensorError),
    /// The tokenizer could not be learnt or applied.
    #[error("use the embedded model's tokenizer: {0}")]
    Tokenizer(String),
    /// The training documents ran out.
    #[error("training text ends after {documents} documents; take fewer steps or hold out later documents")]
    TextEnds {
        /// Documents there were.
        documents: u64,
    },
    /// The loss is no number any more.
    #[error("training diverged at step {step}; lower the learning rate")]
    Diverged {
        /// The step.
        step: usize,
    },
    /// A thread died.
    #[error("a training thread ended before its work was done")]
    Thread,
    /// The report could not be written as JSON.
    #[error("read or write the embedded model's report")]
    Report(#[from] serde_json::Error),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] crate::base::FileError),
    /// There is nothing to feed.
    #[error("the context has no tokens; give at least one")]
    NoContext,
    /// The caller wanted to stop.
    #[error("training was stopped after {step} steps; nothing was written")]
    Stopped {
        /// Steps done.
        step: usize,
    },
}

impl EmbeddedError {
    fn tokenizer(error: tokenizers::Error) -> Self {
        Self::Tokenizer(error.to_string())
    }
}
