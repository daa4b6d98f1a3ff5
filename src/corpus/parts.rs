use std::collections::VecDeque;

use serde_json::{Map, Value};

use super::CorpusError;
use super::generator::Span;
use super::reader::{Segment, TextReader};
use super::source::FilePaths;

/// Longest text that is encoded at once, in bytes.
pub(super) const PART_BYTES: usize = 1 << 16;
/// Longest line of JSONL, in bytes.
const LINE_BYTES: usize = 1 << 28;

/// A document, or a stretch of one that is longer than [`PART_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    /// False for the second and later stretches of one document.
    pub(super) starts_document: bool,
    /// The text in pieces with their concepts, where they were asked for.
    pub(super) spans: Option<Vec<Span>>,
}

/// Parts as they come out of a source.
pub(super) type Parts<'a> = Box<dyn Iterator<Item = Result<Part, CorpusError>> + 'a>;

/// Cuts one document into parts; nothing for one without visible text.
pub(super) fn split_document(text: &str) -> VecDeque<Part> {
    let mut parts = VecDeque::new();
    let mut rest = text;
    while !rest.trim().is_empty() {
        let (head, tail) = rest.split_at(cut(rest));
        parts.push_back(Part { text: head.to_string(), starts_document: parts.is_empty(), spans: None });
        rest = tail;
    }
    parts
}

/// Where a text longer than a part is cut: after the last line feed in the part's second half,
/// else before the last white space there, else between two characters.
fn cut(text: &str) -> usize {
    if text.len() <= PART_BYTES {
        return text.len();
    }
    let limit = boundary_before(text, PART_BYTES);
    let half = boundary_before(text, PART_BYTES / 2);
    let window = &text[half..limit];
    match window.rfind('\n') {
        Some(at) => half + at + 1,
        None => window.rfind(char::is_whitespace).filter(|&at| at > 0).map_or(limit, |at| half + at),
    }
}

fn boundary_before(text: &str, at: usize) -> usize {
    (0..=at).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

/// Documents of plain text files: a line equal to the separator ends one, and so does a file.
pub(super) struct TextParts<'a> {
    files: FilePaths<'a>,
    reader: Option<TextReader>,
    separator: String,
    buffer: String,
    at_line_start: bool,
    /// The buffer continues a document of which a part was already given.
    continues: bool,
    ready: VecDeque<Part>,
}

impl<'a> TextParts<'a> {
    pub(super) fn new(files: FilePaths<'a>, separator: &str) -> Self {
        Self {
            files,
            reader: None,
            separator: separator.to_string(),
            buffer: String::new(),
            at_line_start: true,
            continues: false,
            ready: VecDeque::new(),
        }
    }

    fn end_document(&mut self) {
        let mut text = std::mem::take(&mut self.buffer);
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        for mut part in split_document(&text) {
            part.starts_document &= !self.continues;
            self.continues = true;
            self.ready.push_back(part);
        }
        self.continues = false;
    }

    fn add(&mut self, segment: &Segment) {
        let line = segment.text.trim_end_matches(['\n', '\r']);
        let whole_line = self.at_line_start;
        self.at_line_start = segment.text.ends_with('\n');
        if whole_line && line == self.separator {
            self.end_document();
            return;
        }
        self.buffer.push_str(&segment.text);
        while self.buffer.len() > PART_BYTES {
            let rest = self.buffer.split_off(cut(&self.buffer));
            let text = std::mem::replace(&mut self.buffer, rest);
            if !text.trim().is_empty() {
                self.ready.push_back(Part { text, starts_document: !self.continues, spans: None });
                self.continues = true;
            }
        }
    }

    /// Reads on; false at the end of the last file.
    fn advance(&mut self) -> Result<bool, CorpusError> {
        let Some(reader) = &mut self.reader else {
            let Some(path) = self.files.next() else { return Ok(false) };
            self.reader = Some(TextReader::open(&path?)?);
            self.at_line_start = true;
            return Ok(true);
        };
        match reader.segment(PART_BYTES)? {
            Some(segment) => self.add(&segment),
            None => {
                self.reader = None;
                self.end_document();
            }
        }
        Ok(true)
    }
}

impl Iterator for TextParts<'_> {
    type Item = Result<Part, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// Documents of JSONL files: the text field of every line.
pub(super) struct JsonlParts<'a> {
    files: FilePaths<'a>,
    reader: Option<TextReader>,
    field: String,
    ready: VecDeque<Part>,
}

impl<'a> JsonlParts<'a> {
    pub(super) fn new(files: FilePaths<'a>, field: &str) -> Self {
        Self { files, reader: None, field: field.to_string(), ready: VecDeque::new() }
    }

    fn advance(&mut self) -> Result<bool, CorpusError> {
        let Some(reader) = &mut self.reader else {
            let Some(path) = self.files.next() else { return Ok(false) };
            self.reader = Some(TextReader::open(&path?)?);
            return Ok(true);
        };
        match reader.segment(LINE_BYTES)? {
            Some(segment) if segment.text.trim().is_empty() => {}
            Some(segment) => {
                self.ready = split_document(&text_of(reader, &segment, &self.field)?);
            }
            None => self.reader = None,
        }
        Ok(true)
    }
}

impl Iterator for JsonlParts<'_> {
    type Item = Result<Part, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

/// The text field of one line.
fn text_of(reader: &TextReader, segment: &Segment, field: &str) -> Result<String, CorpusError> {
    let (path, line) = (reader.path().to_path_buf(), segment.line);
    let invalid = |why: String| CorpusError::Json { path: path.clone(), line, why };
    if segment.text.len() >= LINE_BYTES {
        return Err(invalid(format!("a line of more than {} MiB", LINE_BYTES >> 20)));
    }
    let value: Value = serde_json::from_str(&segment.text)
        .map_err(|error| invalid(format!("invalid JSON at column {}: {error}", error.column())))?;
    let mut object: Map<String, Value> = match value {
        Value::Object(object) => object,
        other => return Err(invalid(type_of(&other).to_string())),
    };
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => {
            Err(CorpusError::FieldType { path, line, field: field.to_string(), got: type_of(&other) })
        }
        None => Err(CorpusError::MissingField {
            path,
            line,
            field: field.to_string(),
            fields: object.keys().cloned().collect(),
        }),
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
