use std::path::PathBuf;

use crate::base::FileError;
use crate::hub::HubError;

/// Text that could not be turned into tokens.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// A file or folder is missing or unreadable.
    #[error("{source}; check the corpus path")]
    File {
        /// Which, and the operating system's answer.
        source: FileError,
    },
    /// A data set could not be fetched.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A format that is not read.
    #[error("`{}` {why}", path.display())]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// What it is and what to do.
        why: String,
    },
    /// A compressed file that does not decompress.
    #[error("`{}` does not decompress ({why}): download or compress it again", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The decoder's words.
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
        /// Byte offset in the (decompressed) file, from 0.
        offset: u64,
        /// Line, from 1.
        line: u64,
    },
    /// A line of JSONL that is not a JSON object.
    #[error("`{}` line {line}: expected one JSON object a line, got {why}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What is there instead.
        why: String,
    },
    /// A line of JSONL without the text field.
    #[error(
        "`{}` line {line}: no field `{field}`; the line has {}: set `corpus.field`",
        path.display(), listed(fields)
    )]
    MissingField {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The field that was asked for.
        field: String,
        /// The fields that exist.
        fields: Vec<String>,
    },
    /// A text field that is not text.
    #[error(
        "`{}` line {line}: field `{field}` is {got}, expected a string: set `corpus.field` to a text field",
        path.display()
    )]
    FieldType {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// The field.
        field: String,
        /// JSON type that it has.
        got: &'static str,
    },
    /// No text at all.
    #[error("the corpus {name} is empty: no document holds any text")]
    Empty {
        /// The source, as it prints itself.
        name: String,
    },
    /// Parameters that no corpus can serve.
    #[error("`corpus.{field}` is {got}, expected {expected}")]
    Params {
        /// Which.
        field: &'static str,
        /// Its value.
        got: usize,
        /// What it may be.
        expected: &'static str,
    },
    /// The tokenizer refused a document.
    #[error("document {document} of {name} cannot be encoded: {why}")]
    Encode {
        /// The source, as it prints itself.
        name: String,
        /// Document of the source, from 1.
        document: u64,
        /// The tokenizer's words.
        why: String,
    },
    /// Tokens cannot be told which characters they cover.
    #[error(
        "tokens of document {document} of {name} cannot be labelled with concepts: the tokenizer does not give \
         the text back byte for byte; leave `oracle` out of `controls`"
    )]
    NotByteForByte {
        /// The source, as it prints itself.
        name: String,
        /// Document of the source, from 1.
        document: u64,
    },
    /// Less text than asked for.
    #[error(transparent)]
    TooLittleText(Box<TooLittleText>),
}

/// How much text there is and how much is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "too little text in {name}: the evaluate split gives {fragments_found} fragments of {fragment_tokens} tokens \
     from {eval_documents} documents ({fragments_needed} needed), the fit split {fit_found} tokens \
     ({fit_needed} needed); all {documents} documents were read ({tokens_read} tokens; {short_documents} \
     evaluate documents were shorter than a fragment, {duplicates} repeated another, {rejected} fragments \
     were rejected): give more text, or lower `corpus.eval_fragments` or `corpus.fit_tokens`"
)]
pub struct TooLittleText {
    /// The source, as it prints itself.
    pub name: String,
    /// Positions of a fragment.
    pub fragment_tokens: usize,
    /// Fragments that the text gives.
    pub fragments_found: usize,
    /// Fragments asked for.
    pub fragments_needed: usize,
    /// Evaluate documents with at least one fragment.
    pub eval_documents: usize,
    /// Fit tokens that the text gives.
    pub fit_found: usize,
    /// Fit tokens asked for, rounded up to whole contexts.
    pub fit_needed: usize,
    /// Documents read, a long one counted as several.
    pub documents: usize,
    /// Tokens read.
    pub tokens_read: usize,
    /// Evaluate documents without a whole fragment.
    pub short_documents: usize,
    /// Evaluate documents left out because an equal one was there.
    pub duplicates: usize,
    /// Fragments left out because of a U+FFFD token.
    pub rejected: usize,
}

impl CorpusError {
    /// True where an input is missing, unreadable or the network was needed (exit code 6); false
    /// where what was read is invalid (exit code 8).
    pub fn is_missing(&self) -> bool {
        match self {
            Self::File { .. } => true,
            Self::Hub(error) => error.is_missing(),
            _ => false,
        }
    }

    /// True where a file could not be written (exit code 9): a download.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Hub(error) => error.is_write(),
            _ => false,
        }
    }

    /// True where the suite, not the text, is at fault (exit code 2).
    pub fn is_params(&self) -> bool {
        matches!(self, Self::Params { .. })
    }
}

fn listed(fields: &[String]) -> String {
    if fields.is_empty() {
        return "no field at all".into();
    }
    let shown: Vec<String> = fields.iter().take(12).map(|field| format!("`{field}`")).collect();
    let more = fields.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}
