//! Text to tokens: sources, the two splits, contexts and fragments.
//!
//! In: text (plain, JSONL, compressed, generated, or files of a hub data set), anything that can
//! [`Encode`] it.
//! Out: [`TokenSets`]: contexts to fit on, fragments to evaluate on, with a digest and counts.
//! Never: runs a model.
//!
//! Everything here streams: a source is read part by part, encoded on all threads in order, and no
//! further than both splits need, so memory depends on what is asked for and never on how much
//! text there is. Files are read in order; a corpus that is sorted by subject is not shuffled.
//!
//! *Documents.* In plain text a separator line ends a document (`<|endoftext|>` unless another is
//! named; an empty separator splits at blank lines); without such a line a file is one document.
//! In JSONL every line is one. Text is encoded in parts of at most 64 KiB and cut into pieces of
//! at most 4,096 tokens: each piece counts as a document of its own from there on.
//!
//! *Splits.* The SHA-256 of seed and token ids puts a piece on one side, so equal texts are never
//! on both. The evaluation share follows from what is asked for
//! ([`CorpusParams::evaluate_share`]).
//!
//! *Contexts.* Fit pieces are packed end to end, each preceded by the tokenizer's separator token
//! if it has one, and cut into contexts, as Hugging Face's and TransformerLens' data loaders do.
//!
//! *Labels.* A source that knows the concepts of its words gives them with the text, and every token gets
//! those of the characters it covers ([`generator::label`]), in the order of the splits' tokens. They are
//! no part of the digest: the same tokens have the same labels.
//!
//! *Fragments.* Non-overlapping windows of the evaluate pieces, one of every piece before a second
//! of any.

mod encode;
mod error;
mod fragments;
pub mod generator;
mod labels;
mod parts;
mod prepare;
mod reader;
mod source;
mod split;
#[cfg(test)]
mod tests;

pub use encode::Encode;
pub use error::{CorpusError, TooLittleText};
pub use labels::TokenLabels;
pub use prepare::{CorpusCounts, CorpusParams, TokenSets, prepare};
pub use source::{DEFAULT_FIELD, DEFAULT_SEPARATOR, Files, Source};
pub use split::DOCUMENT_TOKENS;
