//! Sources of text: files on disk, files of a hub data set, or a generator.

use std::fmt;
use std::path::{Path, PathBuf};

use super::CorpusError;
use super::generator::Document;
use super::parts::{FileParts, FilePaths, Part, Parts, split_document};
use super::reader::unreadable;
use crate::hub::Dataset;

/// Default line that ends a document of plain text.
pub const DEFAULT_SEPARATOR: &str = "<|endoftext|>";
/// Default field of a JSONL line that holds the text.
pub const DEFAULT_FIELD: &str = "text";

/// A source of text.
pub enum Source<'a> {
    /// Plain text files, read in order. A line equal to `separator` ends a document.
    Text {
        /// Files, plain or `.gz` or `.zst`.
        files: Files<'a>,
        /// The line, without its line feed. Empty: documents end at blank lines.
        separator: String,
    },
    /// JSONL files, read in order. Every line is a document.
    Jsonl {
        /// Files, plain or `.gz` or `.zst`.
        files: Files<'a>,
        /// The field that holds the text.
        field: String,
    },
    /// Documents by number, generated on demand. They must have at least one token on average.
    Generated(Box<dyn Fn(usize) -> String + Sync + 'a>),
    /// The same with the concepts of the words, so that tokens are labelled. A document must fit into one part.
    Labelled(Box<dyn Fn(usize) -> Document + Sync + 'a>),
}

/// Files in reading order.
#[derive(Debug)]
pub enum Files<'a> {
    /// On disk.
    Local(Vec<PathBuf>),
    /// Files of a hub data set, each fetched when it is read.
    Hub {
        /// The data set.
        dataset: Dataset<'a>,
        /// Names of its files.
        names: Vec<String>,
    },
}

impl Files<'_> {
    pub(super) fn paths(&self) -> FilePaths<'_> {
        match self {
            Self::Local(paths) => Box::new(paths.iter().cloned().map(Ok)),
            Self::Hub { dataset, names } => {
                Box::new(names.iter().map(|name| dataset.fetch(name).map_err(CorpusError::from)))
            }
        }
    }
}

impl<'a> Source<'a> {
    /// Chooses text or JSONL by the file name. A folder gives all such files in it and below, in the order of
    /// their paths. `field` and `separator` replace the defaults.
    ///
    /// # Errors
    /// A missing path; an unsupported format such as parquet; a folder with both formats or neither.
    pub fn from_path(path: &Path, field: Option<&str>, separator: Option<&str>) -> Result<Self, CorpusError> {
        let meta = path.metadata().map_err(|error| unreadable(path, error))?;
        let format_of = |file: &PathBuf| Format::of(&file.to_string_lossy());
        let mut files = Vec::new();
        let format = if meta.is_dir() {
            collect(path, &mut files)?;
            let format = common_format(files.iter().map(format_of), field.is_some());
            let format = format.map_err(|why| content_error(path, why))?;
            files.retain(|file| format_of(file) == format);
            format
        } else {
            files.push(path.to_path_buf());
            format_of(&files[0])
        };
        // A file given by name is text for any extension, unless a field is given.
        match format {
            Format::Parquet => Err(content_error(path, PARQUET)),
            format => Ok(Self::new(Files::Local(files), format == Format::Jsonl, field, separator)),
        }
    }

    /// The text or JSONL files of a hub data set, each fetched when it is read.
    ///
    /// # Errors
    /// A data set whose chosen files have both formats or neither.
    pub fn from_dataset(
        dataset: Dataset<'a>,
        field: Option<&str>,
        separator: Option<&str>,
    ) -> Result<Self, CorpusError> {
        let format = common_format(dataset.names().map(Format::of), field.is_some());
        let format = format.map_err(|why| content_error(Path::new(dataset.label()), why))?;
        let names: Vec<String> =
            dataset.names().filter(|name| Format::of(name) == format).map(str::to_string).collect();
        let field = field.filter(|_| format == Format::Jsonl);
        Ok(Self::new(Files::Hub { dataset, names }, format == Format::Jsonl, field, separator))
    }

    fn new(files: Files<'a>, is_jsonl: bool, field: Option<&str>, separator: Option<&str>) -> Self {
        if is_jsonl || field.is_some() {
            Self::Jsonl { files, field: field.unwrap_or(DEFAULT_FIELD).to_string() }
        } else {
            Self::Text { files, separator: separator.unwrap_or(DEFAULT_SEPARATOR).to_string() }
        }
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        match self {
            Self::Text { files, separator } => Box::new(FileParts::text(files.paths(), separator)),
            Self::Jsonl { files, field } => Box::new(FileParts::jsonl(files.paths(), field)),
            Self::Generated(document) => {
                // An empty document counts too: the limit is on the number of documents.
                Box::new((0..).flat_map(move |index| {
                    let mut parts = split_document(&document(index));
                    if parts.is_empty() {
                        let text = String::new();
                        parts.push_back(Part { text, starts_document: true, spans: None });
                    }
                    parts.into_iter().map(Ok)
                }))
            }
            Self::Labelled(document) => Box::new((0..).map(move |index| {
                let Document { text, spans, .. } = document(index);
                Ok(Part { text, starts_document: true, spans: Some(spans) })
            })),
        }
    }

    /// Whether there is always another document.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self, Self::Generated(_) | Self::Labelled(_))
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text { files, .. } | Self::Jsonl { files, .. } => match files {
                Files::Hub { dataset, .. } => f.write_str(dataset.label()),
                Files::Local(paths) => match paths.as_slice() {
                    [one] => write!(f, "`{}`", one.display()),
                    [first, rest @ ..] => write!(f, "`{}` and {} more files", first.display(), rest.len()),
                    [] => f.write_str("without files"),
                },
            },
            Self::Generated(_) | Self::Labelled(_) => f.write_str("from the generator"),
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
    /// Format by extension, without `.gz` or `.zst`.
    fn of(path: &str) -> Self {
        let name = path.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("txt" | "text") => Self::Text,
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("parquet") => Self::Parquet,
            _ => Self::Other,
        }
    }
}

/// The one format of several files. JSONL wins over text if a field is given.
fn common_format(formats: impl Iterator<Item = Format>, has_field: bool) -> Result<Format, &'static str> {
    let formats: Vec<Format> = formats.collect();
    let has = |format: Format| formats.contains(&format);
    match (has(Format::Text), has(Format::Jsonl)) {
        (true, true) if !has_field => {
            Err("holds both text and JSONL files: name one of them, or set `corpus.field` to read the JSONL")
        }
        (_, true) => Ok(Format::Jsonl),
        (true, false) => Ok(Format::Text),
        (false, false) if has(Format::Parquet) => Err(PARQUET),
        (false, false) => {
            Err("holds no corpus: expected .txt or .jsonl files, plain or compressed as .gz or .zst")
        }
    }
}

fn content_error(path: &Path, why: &str) -> CorpusError {
    CorpusError::Content { path: path.to_path_buf(), why: why.to_string() }
}

/// Appends all files of a folder and below, in the order of their paths, without hidden ones.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), CorpusError> {
    let entries = folder.read_dir().map_err(|error| unreadable(folder, error))?;
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()).map_err(|error| unreadable(folder, error)))
        .collect::<Result<_, _>>()?;
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
