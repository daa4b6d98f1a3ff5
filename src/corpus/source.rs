use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use super::CorpusError;
use super::generator::Document;
use super::parts::{JsonlParts, Part, Parts, TextParts, split_document};
use super::reader::unreadable;
use crate::hub::Dataset;

/// The line that ends a document of plain text unless another is named.
pub const DEFAULT_SEPARATOR: &str = "<|endoftext|>";
/// The field of a JSONL line that holds the text unless another is named.
pub const DEFAULT_FIELD: &str = "text";

/// Where text comes from.
pub enum Source<'a> {
    /// Plain text files, read in order; documents end at a line equal to `separator`.
    Text {
        /// Files, plain or `.gz` or `.zst`.
        files: Files<'a>,
        /// The line, without its line feed; empty: blank lines.
        separator: String,
    },
    /// JSONL files, read in order; every line is a document.
    Jsonl {
        /// Files, plain or `.gz` or `.zst`.
        files: Files<'a>,
        /// The field that holds the text.
        field: String,
    },
    /// Documents by number, made as they are needed. A generator that gives less than one token a
    /// document on average is given up on.
    Generated(Box<dyn Fn(usize) -> String + Sync + 'a>),
    /// The same with the concepts of its words, so that tokens are labelled. No document may be longer
    /// than one part.
    Labelled(Box<dyn Fn(usize) -> Document + Sync + 'a>),
}

/// Files in the order in which they are read.
#[derive(Debug)]
pub enum Files<'a> {
    /// On disk.
    Local(Vec<PathBuf>),
    /// Of a hub data set, each fetched when it is its turn.
    Hub {
        /// The data set.
        dataset: Dataset<'a>,
        /// Which of its files.
        names: Vec<String>,
    },
}

impl Files<'_> {
    /// Paths one by one, fetched where they have to be.
    pub(super) fn paths(&self) -> FilePaths<'_> {
        match self {
            Self::Local(paths) => Box::new(paths.iter().cloned().map(Ok)),
            Self::Hub { dataset, names } => {
                Box::new(names.iter().map(|name| dataset.fetch(name).map_err(CorpusError::from)))
            }
        }
    }
}

/// Paths of files, one by one.
pub(super) type FilePaths<'a> = Box<dyn Iterator<Item = Result<PathBuf, CorpusError>> + 'a>;

impl<'a> Source<'a> {
    /// Text or JSONL by the name of the file; of a folder, all such files in it and below, in the
    /// order of their paths. `field` and `separator` say how to read them (none: the defaults).
    ///
    /// # Errors
    /// A missing path; a format that is not read, parquet among them, by name and with what to do;
    /// a folder with both kinds or neither.
    pub fn from_path(path: &Path, field: Option<&str>, separator: Option<&str>) -> Result<Self, CorpusError> {
        let meta = path.metadata().map_err(|error| unreadable(path, error))?;
        let mut files = vec![path.to_path_buf()];
        let format = if meta.is_dir() {
            files.clear();
            collect(path, &mut files)?;
            let format = common_format(files.iter().map(|file| file.to_string_lossy()), field.is_some());
            let format = format.map_err(|why| unsupported(path, why))?;
            files.retain(|file| Format::of(&file.to_string_lossy()) == format);
            format
        } else {
            Format::of(&path.to_string_lossy())
        };
        match format {
            Format::Parquet => Err(unsupported(path, PARQUET)),
            Format::Jsonl => Ok(Self::jsonl(Files::Local(files), field)),
            // A file that the user names is text whatever it is called, unless a field was named.
            _ if field.is_some() => Ok(Self::jsonl(Files::Local(files), field)),
            _ => Ok(Self::text(Files::Local(files), separator)),
        }
    }

    /// The text or JSONL files of a hub data set, each fetched when reading gets to it.
    ///
    /// # Errors
    /// A data set whose chosen files are of both kinds or of neither.
    pub fn from_dataset(
        dataset: Dataset<'a>,
        field: Option<&str>,
        separator: Option<&str>,
    ) -> Result<Self, CorpusError> {
        let format = common_format(dataset.names().map(Into::into), field.is_some());
        let format = format.map_err(|why| unsupported(Path::new(dataset.label()), why))?;
        let names: Vec<String> =
            dataset.names().filter(|name| Format::of(name) == format).map(str::to_string).collect();
        let files = Files::Hub { dataset, names };
        Ok(match format {
            Format::Jsonl => Self::jsonl(files, field),
            _ => Self::text(files, separator),
        })
    }

    fn text(files: Files<'a>, separator: Option<&str>) -> Self {
        Self::Text { files, separator: separator.unwrap_or(DEFAULT_SEPARATOR).to_string() }
    }

    fn jsonl(files: Files<'a>, field: Option<&str>) -> Self {
        Self::Jsonl { files, field: field.unwrap_or(DEFAULT_FIELD).to_string() }
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        match self {
            Self::Text { files, separator } => Box::new(TextParts::new(files.paths(), separator)),
            Self::Jsonl { files, field } => Box::new(JsonlParts::new(files.paths(), field)),
            Self::Generated(document) => {
                // An empty document is given all the same: giving up is by their number.
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

    /// True where there is always another document.
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
    /// By extension, below `.gz` and `.zst`.
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

/// What several files are read as; JSONL where there is a field to read.
fn common_format<'n>(
    names: impl Iterator<Item = Cow<'n, str>>,
    has_field: bool,
) -> Result<Format, &'static str> {
    let formats: Vec<Format> = names.map(|name| Format::of(&name)).collect();
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
