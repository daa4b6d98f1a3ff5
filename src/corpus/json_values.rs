//! The elements of a JSON array, or JSON objects that span several lines, read one at a time.

use super::CorpusError;
use super::reader::{TextReader, content_error};

/// Longest element, in bytes.
pub(super) const VALUE_BYTES: usize = 1 << 26;

/// A value and its number, from 1.
pub(super) struct Value {
    pub(super) bytes: Vec<u8>,
    pub(super) nth: u64,
}

/// Where the reader is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the first value or the array.
    Start,
    /// Between values of no array.
    Loose,
    /// In the array, before a value. The flag: the array may end here.
    Before(bool),
    /// In the array, after a value.
    After,
    /// Behind the array.
    Behind,
    /// In a value.
    Inside,
}

/// Splits JSON text into values, block by block. Memory is bounded by the largest value.
pub(super) struct JsonValues {
    place: Place,
    in_array: bool,
    value: Vec<u8>,
    /// Open brackets of the value.
    depth: usize,
    in_string: bool,
    escaped: bool,
    nth: u64,
}

impl JsonValues {
    pub(super) fn new() -> Self {
        Self {
            place: Place::Start,
            in_array: false,
            value: Vec::new(),
            depth: 0,
            in_string: false,
            escaped: false,
            nth: 0,
        }
    }

    /// The values that end in the next block of the file; none at its end.
    pub(super) fn step(
        &mut self,
        reader: &mut TextReader,
        limit: usize,
    ) -> Result<Option<Vec<Value>>, CorpusError> {
        let wrong = |reader: &TextReader, why: String| Err(content_error(reader.path(), &why));
        let Some(block) = reader.raw(limit)? else {
            return match self.place {
                Place::Start | Place::Loose | Place::Behind => Ok(None),
                Place::Inside => {
                    wrong(reader, format!("ends inside of JSON element {}: it was cut short", self.nth))
                }
                _ => wrong(reader, "ends inside of a JSON array: it was cut short".into()),
            };
        };
        let mut values = Vec::new();
        let mut at = 0;
        while let Some(&byte) = block.bytes.get(at) {
            if self.place != Place::Inside {
                if self.between(byte) {
                    at += 1;
                    continue;
                }
                if matches!(self.place, Place::After | Place::Behind) {
                    let why = match self.place {
                        Place::After => "expected `,` or `]` after an element of the JSON array",
                        _ => {
                            "expected nothing after the JSON array: name files of one array each, or of JSON lines"
                        }
                    };
                    return wrong(reader, format!("line {}: {why}", block.line));
                }
                self.place = Place::Inside;
                self.nth += 1;
            }
            at += usize::from(self.inside(byte));
            if self.place != Place::Inside {
                values.push(Value { bytes: std::mem::take(&mut self.value), nth: self.nth });
            }
            if self.value.len() > VALUE_BYTES {
                let most = VALUE_BYTES >> 20;
                return wrong(reader, format!("JSON element {} is longer than {most} MiB", self.nth));
            }
        }
        Ok(Some(values))
    }

    /// Takes a byte between values. False if a value begins with it, or it cannot stand there.
    fn between(&mut self, byte: u8) -> bool {
        let next = match (self.place, byte) {
            (place, b' ' | b'\n' | b'\r' | b'\t') => place,
            (Place::Start, b'[') => {
                self.in_array = true;
                Place::Before(true)
            }
            (Place::Loose, b',') => Place::Loose,
            (Place::Before(true) | Place::After, b']') => Place::Behind,
            (Place::After, b',') => Place::Before(false),
            _ => return false,
        };
        self.place = next;
        true
    }

    /// Takes a byte of a value. False if the value ended before it.
    fn inside(&mut self, byte: u8) -> bool {
        let done = if self.in_array { Place::After } else { Place::Loose };
        if self.in_string {
            self.value.push(byte);
            let ends = byte == b'"' && !self.escaped;
            self.escaped = byte == b'\\' && !self.escaped;
            self.in_string = !ends;
            if ends && self.depth == 0 {
                self.place = done;
            }
            return true;
        }
        let is_scalar = self.depth == 0 && !self.value.is_empty();
        match byte {
            b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t' if is_scalar => {
                self.place = done;
                return false;
            }
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' if self.depth <= 1 => {
                self.depth = 0;
                self.place = done;
            }
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        self.value.push(byte);
        true
    }
}
