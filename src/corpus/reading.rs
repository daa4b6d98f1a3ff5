//! How files are read.

use std::path::Path;

use super::CorpusError;
use super::reader::{TextReader, content_error};
use super::sniff::{Shape, shape};

/// How files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Whether names or the suite say that they are JSON. Otherwise their content decides.
    pub(super) is_json: bool,
    /// The field of JSON that holds the text.
    pub(super) field: String,
    /// The line that ends a document of plain text, without its line feed. Empty: documents end at blank lines.
    pub(super) separator: String,
    /// Whether the suite gives the separator, so that files not named as JSON are plain text.
    pub(super) as_text: bool,
}

impl Reading {
    /// Opens a file and tells how its documents lie in it.
    pub(super) fn open(&self, path: &Path) -> Result<(TextReader, Shape), CorpusError> {
        let as_text = self.as_text && !self.is_json;
        let mut reader = TextReader::open(path, as_text)?;
        let (first, whole) = reader.look();
        let shape = if as_text { Ok(Shape::Text) } else { shape(&first, whole, self.is_json) };
        let shape = shape.map_err(|why| content_error(path, &why))?;
        Ok((reader, shape))
    }
}
