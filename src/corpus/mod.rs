//! Text to tokens: sources, the two splits, contexts and fragments.
//!
//! In: text (plain, JSONL, compressed, generated, or files of a hub data set), anything that can
//! [`Encode`] it.
//! Out: [`TokenSets`]: contexts to fit on, fragments to evaluate on, with a digest and counts.
//! Never: runs a model.
//!
//! *Streaming.* A source is read part by part, and only until both splits are full. Parts are encoded in
//! parallel; their order is kept. Memory depends on the tokens asked for, not on the size of the source. Files
//! are read in order and are not shuffled.
//!
//! *Formats.* The content of a file decides what it is: gzip or Zstandard, JSON lines, a JSON array, or plain text. Names
//! and the suite help: a file named as JSON, and every file if `corpus.field` is given, is JSON; any other is plain text if
//! `corpus.separator` is given. What is not read (tables, documents, archives, pointers) is refused by name.
//!
//! *Documents.* In plain text a separator line ends a document: `<|endoftext|>` by default; an empty separator
//! splits at blank lines. Without such a line a file is one document. In JSONL every line is one. A line without a
//! text is left out and counted ([`CorpusParams::bad_lines`]). Text is encoded in parts of at most 64 KiB and cut into
//! pieces of at most 4,096 tokens. Each piece then counts as a document of its own.
//!
//! *Limits.* A JSON value has at most 64 MiB, a document of plain text 1 GiB, a folder 100,000 files. Reading ends after
//! 256 MiB in a row without a document. It also ends when text adds nothing to either split: after 8 MiB of one document,
//! or 256 MiB of several.
//!
//! *Splits.* The SHA-256 of seed and token ids assigns a piece to one split, so equal texts are never in both.
//! [`CorpusParams::evaluate_share`] gives the share of the evaluate split.
//!
//! *Contexts.* Fit pieces are packed end to end and cut into contexts, as the data loaders of Hugging Face and
//! TransformerLens do. The tokenizer's separator token, if it has one, precedes each piece.
//!
//! *Fragments.* Non-overlapping windows of the evaluate pieces. Every piece gives one before any gives a second.
//!
//! *Stored sequences.* Where activations are stored, their sequences are the contexts, and fragments are windows of them
//! ([`prepare_stored`]).
//!
//! *Labels.* A labelled source gives the concepts of its words. Every token gets the concepts of the characters
//! it covers ([`generator::label`]). Labels are not part of the digest: equal tokens have equal labels.

mod bad_lines;
mod counts;
mod decompress;
mod encode;
mod error;
mod folder;
mod fragments;
pub mod generator;
mod json;
mod json_values;
mod labels;
mod params;
mod part;
mod parts;
mod plain;
mod prepare;
mod reader;
mod reading;
mod sniff;
mod source;
mod split;
mod stored;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod untidy_tests;

pub use bad_lines::BadLines;
pub use counts::{CorpusCounts, TooLittleText, Undivided};
pub use encode::Encode;
pub use error::CorpusError;
pub use labels::TokenLabels;
pub use params::CorpusParams;
pub use prepare::{Progress, TokenSets, prepare};
pub use reader::read_text;
pub use reading::Reading;
pub use source::{DEFAULT_FIELD, DEFAULT_SEPARATOR, Files, Source};
pub use split::DOCUMENT_TOKENS;
pub use stored::{StoredSequences, StoredTokens, prepare_stored};
