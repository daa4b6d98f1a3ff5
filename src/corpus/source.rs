use std::fmt;
use std::path::{Path, PathBuf};

use super::CorpusError;
use super::parts::{JsonlParts, Part, Parts, TextParts, split_document};
use super::reader::unreadable;
use crate::hub::{HubClient, Snapshot};

/// The line that ends a document of plain text unless another is named.
pub const DEFAULT_SEPARATOR: &str = "<|endoftext|>";
/// The field of a JSONL line that holds the text unless another is named.
pub const DEFAULT_FIELD: &str = "text";

/// Where text comes from.
pub enum Source<'a> {
    /// Plain text files, read in order; documents end at a line equal to `separator`.
    Text {
        /// Files, plain or `.gz` or `.zst`.
        files: Vec<PathBuf>,
        /// The line, without its line feed; empty: blank lines.
        separator: String,
    },
    /// JSONL files, read in order; every line is a document.
    Jsonl {
        /// Files, plain or `.gz` or `.zst`.
        files: Vec<PathBuf>,
        /// The field that holds the text.
        field: String,
    },
    /// Documents by number, made as they are needed. A generator that gives less than one token a
    /// document on average is given up on.
    Generated(Box<dyn Fn(usize) -> String + Sync + 'a>),
}

impl<'a> Source<'a> {
    /// Text or JSONL by the name of the file; of a folder, all such files in it and below, in the
    /// order of their paths. `field` and `separator` say how to read them (none: the defaults).
    ///
    /// # Errors
    /// A missing path; a format that is not read, parquet among them, by name and with what to do;
    /// a folder with both kinds or neither.
    pub fn from_path(path: &Path, field: Option<&str>, separator: Option<&str>) -> Result<Self, CorpusError> {
        let meta = path.metadata().map_err(|error| unreadable(path, error))?;
        if meta.is_dir() {
            let mut files = Vec::new();
            collect(path, &mut files)?;
            return Self::from_files(path, &files, field, separator);
        }
        match Format::of(path) {
            Format::Parquet => Err(unsupported(path, PARQUET)),
            Format::Jsonl => Ok(Self::jsonl(vec![path.to_path_buf()], field)),
            // A file that the user names is text whatever it is called, unless a field was named.
            _ if field.is_some() => Ok(Self::jsonl(vec![path.to_path_buf()], field)),
            _ => Ok(Self::text(vec![path.to_path_buf()], separator)),
        }
    }

    /// Files of a hub data set that match `pattern` (`*`, `**`, `?`; none: every text and JSONL
    /// file), fetched first. The snapshot says which commit they are of.
    pub fn from_hub(
        hub: &HubClient,
        id: &str,
        revision: &str,
        pattern: Option<&str>,
        field: Option<&str>,
        separator: Option<&str>,
    ) -> Result<(Self, Snapshot), CorpusError> {
        let snapshot = hub.dataset_files(id, revision, pattern)?;
        let source = Self::from_files(&snapshot.folder, &snapshot.files, field, separator)?;
        Ok((source, snapshot))
    }

    fn from_files(
        folder: &Path,
        files: &[PathBuf],
        field: Option<&str>,
        separator: Option<&str>,
    ) -> Result<Self, CorpusError> {
        let of = |format: Format| -> Vec<PathBuf> {
            files.iter().filter(|file| Format::of(file) == format).cloned().collect()
        };
        let (text, jsonl) = (of(Format::Text), of(Format::Jsonl));
        match (text.is_empty(), jsonl.is_empty()) {
            (_, false) if field.is_some() => Ok(Self::jsonl(jsonl, field)),
            (true, false) => Ok(Self::jsonl(jsonl, field)),
            (false, true) => Ok(Self::text(text, separator)),
            (false, false) => Err(unsupported(
                folder,
                "holds both text and JSONL files: name one file, or set `corpus.field` to read the JSONL",
            )),
            (true, true) if !of(Format::Parquet).is_empty() => Err(unsupported(folder, PARQUET)),
            (true, true) => Err(unsupported(
                folder,
                "holds no corpus: expected .txt or .jsonl files, plain or compressed as .gz or .zst",
            )),
        }
    }

    fn text(files: Vec<PathBuf>, separator: Option<&str>) -> Self {
        Self::Text { files, separator: separator.unwrap_or(DEFAULT_SEPARATOR).to_string() }
    }

    fn jsonl(files: Vec<PathBuf>, field: Option<&str>) -> Self {
        Self::Jsonl { files, field: field.unwrap_or(DEFAULT_FIELD).to_string() }
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        match self {
            Self::Text { files, separator } => Box::new(TextParts::new(files, separator)),
            Self::Jsonl { files, field } => Box::new(JsonlParts::new(files, field)),
            Self::Generated(document) => {
                // An empty document is given all the same: giving up is by their number.
                Box::new((0..).flat_map(move |index| {
                    let mut parts = split_document(&document(index));
                    if parts.is_empty() {
                        parts.push_back(Part { text: String::new(), starts_document: true });
                    }
                    parts.into_iter().map(Ok)
                }))
            }
        }
    }

    /// True where there is always another document.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self, Self::Generated(_))
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { files, .. } | Self::Jsonl { files, .. } => match files.as_slice() {
                [one] => write!(f, "`{}`", one.display()),
                [first, rest @ ..] => write!(f, "`{}` and {} more files", first.display(), rest.len()),
                [] => f.write_str("without files"),
            },
            Self::Generated(_) => f.write_str("from the generator"),
        }
    }
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

const PARQUET: &str = "is parquet, which is not read here: write its text column as JSONL (with the Python \
     library: `datasets.load_dataset(…).to_json(\"corpus.jsonl\")`) and name that file";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Text,
    Jsonl,
    Parquet,
    Other,
}

impl Format {
    /// By extension, below `.gz` and `.zst`.
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.').map(|(_, extension)| extension) {
            Some("txt" | "text") => Self::Text,
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("parquet") => Self::Parquet,
            _ => Self::Other,
        }
    }
}

fn unsupported(path: &Path, why: &str) -> CorpusError {
    CorpusError::Unsupported { path: path.to_path_buf(), why: why.to_string() }
}

/// All files of a folder and below, hidden ones left out, in the order of their paths.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), CorpusError> {
    let mut entries = Vec::new();
    for entry in folder.read_dir().map_err(|error| unreadable(folder, error))? {
        entries.push(entry.map_err(|error| unreadable(folder, error))?.path());
    }
    entries.sort();
    for path in entries {
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        match path.is_dir() {
            _ if hidden => {}
            true => collect(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}
