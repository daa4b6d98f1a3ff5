//! A small subject model that is compiled in, so that the first command needs no download.
//!
//! In: nothing.
//! Out: the model with its tokenizer; with the feature `train-embedded` also the code that trained it.
//! Never: runs an experiment.
//!
//! *Model.* GPT-NeoX: 4 layers, width 128, 4 heads, MLP of 512, context 128, rotary positions on a quarter of each
//! head, parallel residual, exact gelu, untied embeddings, 2048 byte-level pieces, each digit a piece of its own. 1.3
//! million weights in f16. Held-out losses and accuracies are in [`REPORT`].

#[cfg(test)]
mod tests;
#[cfg(feature = "train-embedded")]
pub mod train;

use super::{LoadedSubject, SubjectError, SubjectHeader};
use crate::nn::Tokenizer;

/// The name by which suites and commands ask for it.
pub const NAME: &str = "embedded";

/// The model's `config.json`.
pub const CONFIG: &str = include_str!("config.json");
/// Its weights in f16, a safetensors file.
pub const WEIGHTS: &[u8] = include_bytes!("model.safetensors");
/// Its `tokenizer.json`.
pub const TOKENIZER: &[u8] = include_bytes!("tokenizer.json");
/// Its recipe and its scores on held-out text, as JSON: a `train::TrainReport`.
pub const REPORT: &str = include_str!("report.json");

/// Its names and sizes.
pub fn header() -> Result<SubjectHeader, SubjectError> {
    SubjectHeader::of_config("embedded", CONFIG.as_bytes(), "embedded: config.json")
}

/// The compiled-in model with its tokenizer.
pub fn load() -> Result<LoadedSubject, SubjectError> {
    LoadedSubject::from_parts(NAME, CONFIG.as_bytes(), WEIGHTS, TOKENIZER)
}

/// Its tokenizer alone.
pub fn tokenizer() -> Result<Tokenizer, SubjectError> {
    Ok(Tokenizer::from_bytes(TOKENIZER, "embedded: tokenizer.json")?)
}
