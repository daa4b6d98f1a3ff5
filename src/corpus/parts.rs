//! Documents of files, cut into parts that are encoded one at a time.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::CorpusError;
use super::bad_lines::BadLine;
use super::json::{Flaw, text_in};
use super::json_values::{JsonValues, VALUE_BYTES};
use super::part::{Item, PART_BYTES, split_document};
use super::plain::{Facts, PlainText};
use super::reader::{TextReader, content_error};
use super::reading::Reading;
use super::sniff::Shape;

/// Most text in a row that gives no document, in bytes.
const IDLE_BYTES: u64 = 256 << 20;
/// Text without a document after which a reader is told so, in bytes.
const IDLE_STEP: u64 = 32 << 20;

/// Everything that is read of a source, in order.
pub(super) enum Parts<'a> {
    Files(Box<FileParts<'a>>),
    Made(Box<dyn Iterator<Item = Item> + 'a>),
}

impl Parts<'_> {
    /// What is known of the plain text read so far.
    pub(super) fn facts(&self) -> Facts {
        match self {
            Self::Files(parts) => parts.facts,
            Self::Made(_) => Facts::default(),
        }
    }
}

impl Iterator for Parts<'_> {
    type Item = Result<Item, CorpusError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Files(parts) => parts.next(),
            Self::Made(items) => items.next().map(Ok),
        }
    }
}

/// Paths of files, each fetched on demand.
pub(super) type FilePaths<'a> = Box<dyn Iterator<Item = Result<PathBuf, CorpusError>> + 'a>;

/// Documents of files, read in order.
pub(super) struct FileParts<'a> {
    files: FilePaths<'a>,
    reading: &'a Reading,
    current: Option<(TextReader, Content)>,
    ready: VecDeque<Item>,
    facts: Facts,
    /// Bytes since the last document, and where the reader is told so next.
    idle: u64,
    told: u64,
}

enum Content {
    Text(PlainText),
    /// The flag: the rest of a line that is too long is being skipped.
    Lines(bool),
    Values(JsonValues),
}

impl<'a> FileParts<'a> {
    pub(super) fn new(files: FilePaths<'a>, reading: &'a Reading) -> Self {
        let (current, ready, facts) = (None, VecDeque::new(), Facts::default());
        Self { files, reading, current, ready, facts, idle: 0, told: 0 }
    }

    /// Reads the next segment. Returns false at the end of the last file.
    fn advance(&mut self) -> Result<bool, CorpusError> {
        let Some((reader, content)) = &mut self.current else {
            let Some(path) = self.files.next() else { return Ok(false) };
            let (reader, shape) = self.reading.open(&path?)?;
            let content = match shape {
                Shape::Text => {
                    self.facts.files += 1;
                    Content::Text(PlainText::new(&self.reading.separator))
                }
                Shape::Lines => Content::Lines(false),
                Shape::Values => Content::Values(JsonValues::new()),
            };
            self.current = Some((reader, content));
            return Ok(true);
        };
        let before = reader.offset();
        let goes_on = match content {
            Content::Text(text) => match reader.segment(PART_BYTES)? {
                Some(segment) => {
                    text.add(&segment, reader, &mut self.facts, &mut self.ready)?;
                    true
                }
                None => {
                    text.end_document(&mut self.ready);
                    false
                }
            },
            Content::Lines(skips) => read_line(reader, skips, &self.reading.field, &mut self.ready)?,
            Content::Values(values) => match values.step(reader, PART_BYTES)? {
                None => false,
                Some(found) => {
                    for value in found {
                        let place = || format!("element {}", value.nth);
                        self.ready.extend(items_of(&value.bytes, &self.reading.field, reader.path(), place));
                    }
                    true
                }
            },
        };
        self.rest(before)?;
        if !goes_on {
            self.current = None;
        }
        Ok(true)
    }

    /// Counts the bytes read since `before` that gave no document.
    fn rest(&mut self, before: u64) -> Result<(), CorpusError> {
        let Some((reader, _)) = &self.current else { return Ok(()) };
        if self.ready.iter().any(|item| matches!(item, Item::Part(_))) {
            (self.idle, self.told) = (0, 0);
            return Ok(());
        }
        self.idle += reader.offset().saturating_sub(before);
        if self.idle > IDLE_BYTES {
            let why = format!(
                "holds {} MiB in a row without a document (after compression is undone): name a file with text",
                IDLE_BYTES >> 20
            );
            return Err(content_error(reader.path(), &why));
        }
        if self.idle >= self.told + IDLE_STEP {
            self.told = self.idle;
            self.ready.push_back(Item::Idle(self.idle));
        }
        Ok(())
    }
}

/// Reads a line of JSON. Returns false at the end of the file.
fn read_line(
    reader: &mut TextReader,
    skips: &mut bool,
    field: &str,
    ready: &mut VecDeque<Item>,
) -> Result<bool, CorpusError> {
    let limit = if *skips { PART_BYTES } else { VALUE_BYTES };
    let Some(line) = reader.raw(limit)? else { return Ok(false) };
    let place = || format!("line {}", line.line);
    if *skips {
        *skips = line.is_cut;
    } else if line.is_cut {
        *skips = true;
        let why =
            format!("expected one JSON object a line, got a line of more than {} MiB", VALUE_BYTES >> 20);
        ready.push_back(Item::Bad(BadLine::new(reader.path(), place(), Flaw { kind: "too long", why })));
    } else if !line.bytes.trim_ascii().is_empty() {
        ready.extend(items_of(&line.bytes, field, reader.path(), place));
    }
    Ok(true)
}

/// The parts of a JSON value's text, or what is wrong with it.
fn items_of(value: &[u8], field: &str, path: &Path, place: impl FnOnce() -> String) -> VecDeque<Item> {
    match text_in(value, field) {
        Ok(text) if text.trim().is_empty() => VecDeque::from([Item::Empty]),
        Ok(text) => split_document(&text).into_iter().map(Item::Part).collect(),
        Err(flaw) => VecDeque::from([Item::Bad(BadLine::new(path, place(), flaw))]),
    }
}

impl Iterator for FileParts<'_> {
    type Item = Result<Item, CorpusError>;

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
