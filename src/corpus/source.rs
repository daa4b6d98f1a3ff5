//! Sources of text: files on disk, files of a hub data set, or a generator.

use std::fmt;
use std::path::{Path, PathBuf};

use super::CorpusError;
use super::counts::{Undivided, no_separator};
use super::folder::{Format, common_format, files_of};
use super::generator::Document;
use super::part::{Item, Part, split_document};
use super::parts::{FileParts, FilePaths, Parts};
use super::plain::Facts;
use super::reader::{content_error, unreadable};
use super::reading::Reading;
use super::sniff::Shape;
use crate::hub::Dataset;

/// A text of fewer bytes is no document that is too long.
const SHORT_TEXT: u64 = 64 << 10;

/// Default line that ends a document of plain text.
pub const DEFAULT_SEPARATOR: &str = "<|endoftext|>";
/// Default field of a JSONL line that holds the text.
pub const DEFAULT_FIELD: &str = "text";

/// Text that a look at a source reads, in bytes.
const LOOKED_AT: u64 = 4 << 20;

/// A source of text.
pub enum Source<'a> {
    /// Files, read in order.
    Files {
        /// Files, plain or compressed.
        files: Files<'a>,
        /// How they are read.
        reading: Reading,
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
    /// A file, or all text or JSON files in a folder and below, in the order of their paths. `field` and `separator`
    /// replace the defaults; a given field means JSON.
    ///
    /// # Errors
    /// A missing path; a folder with both formats or neither. What files hold is looked at when they are read.
    pub fn from_path(path: &Path, field: Option<&str>, separator: Option<&str>) -> Result<Self, CorpusError> {
        let meta = path.metadata().map_err(|error| unreadable(path, error))?;
        let format_of = |file: &PathBuf| Format::of(&file.to_string_lossy());
        let (files, format) = if meta.is_dir() {
            let mut files = files_of(path)?;
            let format = common_format(files.iter().map(format_of), field.is_some());
            let format = format.map_err(|why| content_error(path, why))?;
            files.retain(|file| format_of(file) == format);
            (files, format)
        } else {
            let file = path.to_path_buf();
            let format = format_of(&file);
            (vec![file], format)
        };
        Ok(Self::new(Files::Local(files), format, field, separator))
    }

    /// The text or JSON files of a hub data set, each fetched when it is read.
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
        let field = field.filter(|_| format.is_json());
        Ok(Self::new(Files::Hub { dataset, names }, format, field, separator))
    }

    fn new(files: Files<'a>, format: Format, field: Option<&str>, separator: Option<&str>) -> Self {
        let reading = Reading {
            is_json: format.is_json() || field.is_some(),
            field: field.unwrap_or(DEFAULT_FIELD).to_string(),
            separator: separator.unwrap_or(DEFAULT_SEPARATOR).to_string(),
            as_text: separator.is_some(),
        };
        Self::Files { files, reading }
    }

    /// Looks at the beginning of the first file of a local source. Returns a warning, if there is one.
    ///
    /// # Errors
    /// A file that is not read, by name.
    pub fn look(&self) -> Result<Option<String>, CorpusError> {
        let Self::Files { files: Files::Local(paths), reading } = self else { return Ok(None) };
        // Looking into a pipe would take from it.
        let Some(path) = paths.first().filter(|path| path.is_file()) else { return Ok(None) };
        let (mut reader, shape) = reading.open(path)?;
        if shape != Shape::Text || paths.len() > 1 {
            return Ok(None);
        }
        while reader.offset() < LOOKED_AT {
            // What is wrong further on is told by the run.
            match reader.segment(LOOKED_AT as usize) {
                Ok(Some(segment)) if segment.text.trim_end_matches(['\n', '\r']) != reading.separator => {}
                Ok(None) if reader.offset() > SHORT_TEXT => break,
                _ => return Ok(None),
            }
        }
        let part = if reader.offset() < LOOKED_AT { "" } else { " in its first 4 MiB" };
        Ok(Some(format!(
            "`{}` is one document: {}{part}; set `corpus.separator`, `\"\"` for blank lines between documents",
            path.display(),
            no_separator(&reading.separator)
        )))
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        match self {
            Self::Files { files, reading } => Parts::Files(Box::new(FileParts::new(files.paths(), reading))),
            Self::Generated(document) => {
                // An empty document counts too: the limit is on the number of documents.
                Parts::Made(Box::new((0..).flat_map(move |index| {
                    let mut parts = split_document(&document(index));
                    if parts.is_empty() {
                        let text = String::new();
                        parts.push_back(Part { text, starts_document: true, spans: None });
                    }
                    parts.into_iter().map(Item::Part)
                })))
            }
            Self::Labelled(document) => Parts::Made(Box::new((0..).map(move |index| {
                let Document { text, spans, .. } = document(index);
                Item::Part(Part { text, starts_document: true, spans: Some(spans) })
            }))),
        }
    }

    /// Plain text in which no separator was found: `found` is what was read of it.
    pub(super) fn undivided(&self, found: Facts) -> Option<Undivided> {
        let Self::Files { reading, .. } = self else { return None };
        let Facts { files, separators, paragraphs } = found;
        (files > 0 && separators == 0).then(|| Undivided {
            files,
            separator: reading.separator.clone(),
            paragraphs,
        })
    }

    /// Whether there is always another document.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self, Self::Generated(_) | Self::Labelled(_))
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files { files, .. } => match files {
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
