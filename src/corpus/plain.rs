//! Documents of plain text.

use std::collections::VecDeque;

use super::CorpusError;
use super::part::{Item, PART_BYTES, Part, cut, split_document};
use super::reader::{Segment, TextReader, content_error};

/// Longest document of plain text, in bytes. A document is never held as a whole.
const DOCUMENT_BYTES: u64 = 1 << 30;

/// What is known of the plain text read so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Files of plain text.
    pub(super) files: usize,
    /// Separator lines.
    pub(super) separators: usize,
    /// Texts between blank lines.
    pub(super) paragraphs: usize,
}

/// The document of plain text that is being read.
#[derive(Default)]
pub(super) struct PlainText {
    separator: String,
    buffer: String,
    /// Bytes of the document so far.
    bytes: u64,
    /// Whether the last segment did not end its line.
    in_line: bool,
    /// Whether a part of this document was already given.
    continues: bool,
    /// Whether the paragraph has a visible character.
    in_paragraph: bool,
}

impl PlainText {
    /// A document ends at a line equal to `separator`, and at the end of a file.
    pub(super) fn new(separator: &str) -> Self {
        Self { separator: separator.to_string(), ..Self::default() }
    }

    pub(super) fn end_document(&mut self, ready: &mut VecDeque<Item>) {
        let text = std::mem::take(&mut self.buffer);
        let text =
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        for mut part in split_document(text) {
            part.starts_document &= !self.continues;
            self.continues = true;
            ready.push_back(Item::Part(part));
        }
        (self.continues, self.in_paragraph, self.bytes) = (false, false, 0);
    }

    /// Adds a line, a piece of a line, or several blank lines.
    pub(super) fn add(
        &mut self,
        segment: &Segment,
        reader: &TextReader,
        facts: &mut Facts,
        ready: &mut VecDeque<Item>,
    ) -> Result<(), CorpusError> {
        let line = segment.text.trim_end_matches(['\n', '\r']);
        let starts_line = !self.in_line;
        self.in_line = !segment.text.ends_with('\n');
        if starts_line && line == self.separator {
            facts.separators += 1;
            self.end_document(ready);
            return Ok(());
        }
        let is_blank = starts_line && line.is_empty();
        if !is_blank && !self.in_paragraph && !line.trim().is_empty() {
            facts.paragraphs += 1;
        }
        self.in_paragraph = !is_blank && (self.in_paragraph || !line.trim().is_empty());
        self.bytes += segment.text.len() as u64;
        if self.bytes > DOCUMENT_BYTES {
            let why = format!(
                "line {}: a document is longer than {} MiB: set `corpus.separator` to the line that ends a document",
                segment.line,
                DOCUMENT_BYTES >> 20
            );
            return Err(content_error(reader.path(), &why));
        }
        self.buffer.push_str(&segment.text);
        while self.buffer.len() > PART_BYTES {
            let rest = self.buffer.split_off(cut(&self.buffer));
            let text = std::mem::replace(&mut self.buffer, rest);
            if !text.trim().is_empty() {
                let part = Part { text, starts_document: !self.continues, spans: None };
                ready.push_back(Item::Part(part));
                self.continues = true;
            }
        }
        Ok(())
    }
}
