//! Documents of text and JSONL files, cut into parts that are encoded one at a time.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::CorpusError;
use super::generator::Span;
use super::reader::{Segment, TextReader};

/// Longest text that is encoded at once, in bytes.
pub(super) const PART_BYTES: usize = 1 << 16;
/// Longest line of JSONL, in bytes.
const LINE_BYTES: usize = 1 << 28;

/// A document, or a piece of one that is longer than [`PART_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) text: String,
    /// False for the second and later pieces of one document.
    pub(super) starts_document: bool,
    /// Concepts of the text, if the source is labelled.
    pub(super) spans: Option<Vec<Span>>,
}

pub(super) type Parts<'a> = Box<dyn Iterator<Item = Result<Part, CorpusError>> + 'a>;

/// Paths of files, each fetched on demand.
pub(super) type FilePaths<'a> = Box<dyn Iterator<Item = Result<PathBuf, CorpusError>> + 'a>;

/// Cuts one document into parts. A document without visible text has none.
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

/// Where to cut a text longer than a part: after the last line feed in the part's second half, else before the
/// last white space there, else between two characters.
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

/// Documents of files, read in order.
pub(super) struct FileParts<'a> {
    files: FilePaths<'a>,
    reader: Option<TextReader>,
    format: Format,
    ready: VecDeque<Part>,
}

enum Format {
    Text(PlainText),
    /// Every line is a document: the text in this field.
    Jsonl(String),
}

impl<'a> FileParts<'a> {
    /// Plain text: a document ends at a line equal to `separator`, and at the end of a file.
    pub(super) fn text(files: FilePaths<'a>, separator: &str) -> Self {
        let text = PlainText { separator: separator.to_string(), ..PlainText::default() };
        Self { files, reader: None, format: Format::Text(text), ready: VecDeque::new() }
    }

    /// JSONL: every line is a document.
    pub(super) fn jsonl(files: FilePaths<'a>, field: &str) -> Self {
        Self { files, reader: None, format: Format::Jsonl(field.to_string()), ready: VecDeque::new() }
    }

    /// Reads the next segment. Returns false at the end of the last file.
    fn advance(&mut self) -> Result<bool, CorpusError> {
        let Some(reader) = &mut self.reader else {
            let Some(path) = self.files.next() else { return Ok(false) };
            self.reader = Some(TextReader::open(&path?)?);
            return Ok(true);
        };
        match &mut self.format {
            Format::Text(text) => match reader.segment(PART_BYTES)? {
                Some(segment) => text.add(&segment, &mut self.ready),
                None => {
                    text.end_document(&mut self.ready);
                    text.in_line = false;
                    self.reader = None;
                }
            },
            Format::Jsonl(field) => match reader.segment(LINE_BYTES)? {
                Some(segment) if segment.text.trim().is_empty() => {}
                Some(segment) => self.ready = split_document(&text_of(reader, &segment, field)?),
                None => self.reader = None,
            },
        }
        Ok(true)
    }
}

impl Iterator for FileParts<'_> {
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

/// The document of plain text that is being read.
#[derive(Default)]
struct PlainText {
    separator: String,
    buffer: String,
    /// Whether the last segment did not end its line.
    in_line: bool,
    /// Whether a part of this document was already given.
    continues: bool,
}

impl PlainText {
    fn end_document(&mut self, ready: &mut VecDeque<Part>) {
        let text = std::mem::take(&mut self.buffer);
        let text =
            text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
        for mut part in split_document(text) {
            part.starts_document &= !self.continues;
            self.continues = true;
            ready.push_back(part);
        }
        self.continues = false;
    }

    fn add(&mut self, segment: &Segment, ready: &mut VecDeque<Part>) {
        let line = segment.text.trim_end_matches(['\n', '\r']);
        let starts_line = !self.in_line;
        self.in_line = !segment.text.ends_with('\n');
        if starts_line && line == self.separator {
            self.end_document(ready);
            return;
        }
        self.buffer.push_str(&segment.text);
        while self.buffer.len() > PART_BYTES {
            let rest = self.buffer.split_off(cut(&self.buffer));
            let text = std::mem::replace(&mut self.buffer, rest);
            if !text.trim().is_empty() {
                ready.push_back(Part { text, starts_document: !self.continues, spans: None });
                self.continues = true;
            }
        }
    }
}

/// The text field of one line of JSONL.
fn text_of(reader: &TextReader, segment: &Segment, field: &str) -> Result<String, CorpusError> {
    let invalid = |why: String| CorpusError::Content {
        path: reader.path().to_path_buf(),
        why: format!("line {}: {why}", segment.line),
    };
    let no_object = |got: String| invalid(format!("expected one JSON object a line, got {got}"));
    if segment.text.len() >= LINE_BYTES {
        return Err(no_object(format!("a line of more than {} MiB", LINE_BYTES >> 20)));
    }
    let value: Value = serde_json::from_str(&segment.text)
        .map_err(|error| no_object(format!("invalid JSON at column {}: {error}", error.column())))?;
    let Value::Object(mut object) = value else { return Err(no_object(type_of(&value).to_string())) };
    match object.remove(field) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(invalid(format!(
            "field `{field}` is {}, expected a string: set `corpus.field` to a text field",
            type_of(&other)
        ))),
        None => {
            Err(invalid(format!("no field `{field}`; the line has {}: set `corpus.field`", listed(&object))))
        }
    }
}

/// Names of the first 12 fields.
fn listed(object: &Map<String, Value>) -> String {
    const SHOWN: usize = 12;
    if object.is_empty() {
        return "no field at all".into();
    }
    let shown: Vec<String> = object.keys().take(SHOWN).map(|field| format!("`{field}`")).collect();
    let more = object.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
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
