use std::path::PathBuf;

use super::bad_lines::BadLines;
use super::counts::{TooLittleText, Undivided};
use crate::base::FileError;
use crate::hub::HubError;

/// Why a text could not be turned into tokens.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file or folder is missing or unreadable.
    #[error("{source}; check the corpus path")]
    File {
        /// Path, and the operating system's error.
        source: FileError,
    },
    /// A data set could not be fetched.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// An unsupported format, a corrupt compressed file, or a line of JSONL without a text.
    #[error("`{}` {why}", path.display())]
    Content {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong, with its line, and what to do.
        why: String,
    },
    /// Bytes that are not UTF-8.
    #[error(
        "`{}` is not UTF-8: the byte at offset {offset} (line {line}) does not belong to a character; \
         convert the file to UTF-8", path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Byte offset in the decompressed file, from 0.
        offset: u64,
        /// Line, from 1.
        line: u64,
    },
    /// No text at all.
    #[error("the corpus {name} is empty: no document holds any text{causes}")]
    Empty {
        /// Name of the source.
        name: String,
        /// What was found in the place of text.
        causes: String,
    },
    /// More bad lines than the suite allows.
    #[error(
        "too many bad lines in the corpus, `limits.bad_lines` allows {allowed}: {found}; repair the lines, or set \
         `corpus.field` or `limits.bad_lines`"
    )]
    BadLines {
        /// The limit.
        allowed: usize,
        /// The lines.
        found: Box<BadLines>,
    },
    /// Plain text in so few documents that no feature can be scored.
    #[error(
        "{name}: {text}. The evaluate split has {found} pieces of it, and a feature is scored on {needed} fragments \
         of different documents; more `corpus.eval_fragments` take more pieces"
    )]
    Undivided {
        /// Name of the source.
        name: String,
        /// The text.
        text: Undivided,
        /// Documents of the evaluate split.
        found: usize,
        /// Documents that a feature needs.
        needed: usize,
    },
    /// Parameters out of range.
    #[error("`corpus.{field}` is {got}, expected {expected}")]
    Params {
        /// The field.
        field: &'static str,
        /// Its value.
        got: usize,
        /// The allowed values.
        expected: &'static str,
    },
    /// The tokenizer refused a document.
    #[error("document {document} of {name} cannot be encoded: {why}")]
    Encode {
        /// Name of the source.
        name: String,
        /// Document of the source, from 1.
        document: u64,
        /// The tokenizer's message.
        why: String,
    },
    /// Tokens whose bytes are not the text, so that they cannot be labelled with concepts.
    #[error(
        "tokens of document {document} of {name} cannot be labelled with concepts: the tokenizer does not give \
         the text back byte for byte; leave `oracle` out of `controls`"
    )]
    NotByteForByte {
        /// Name of the source.
        name: String,
        /// Document of the source, from 1.
        document: u64,
    },
    /// Less text than asked for.
    #[error(transparent)]
    TooLittleText(Box<TooLittleText>),
}

impl CorpusError {
    /// A path where nothing is.
    pub fn missing(path: &std::path::Path) -> Self {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        Self::File { source: FileError { action: "read", path: path.to_path_buf(), source } }
    }

    /// Whether an input is missing, unreadable, or needs the network (exit code 6).
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File { .. }) || matches!(self, Self::Hub(error) if error.is_missing())
    }

    /// Whether a download could not be written (exit code 9).
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Hub(error) if error.is_write())
    }

    /// Whether the suite is at fault, not the text (exit code 2).
    pub fn is_params(&self) -> bool {
        matches!(self, Self::Params { .. })
    }
}
