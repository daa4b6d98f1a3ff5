//! Byte-level grammar of the answers that satisfy a JSON schema, for constrained decoding.
//!
//! A grammar is a sequence of pieces: fixed bytes, a choice among constants, or the rest of a JSON string. Its state
//! after some bytes is a set of positions, because one choice can be the beginning of another (`1` of `10`).
//!
//! The JSON has a space after every colon and comma, as in the worked examples, and its fields in the order of
//! `required`. Supported are objects whose fields are all required, lists of fixed length, enums and strings: the
//! schemas that this program sends.

use serde_json::Value;

/// Maximum depth of a schema with its references resolved.
const MAX_DEPTH: usize = 16;
/// Maximum number of pieces.
const MAX_PIECES: usize = 100_000;

/// The grammar of one schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grammar {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(Vec<u8>),
    OneOf(Vec<Vec<u8>>),
    /// The contents of a JSON string and its closing quotation mark.
    Text,
}

/// The positions in the grammar after some bytes of an answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct State(Vec<Place>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    piece: usize,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum At {
    /// Number of bytes of a literal, or of this choice.
    Bytes {
        choice: usize,
        at: usize,
    },
    Text(InText),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum InText {
    /// Between characters.
    Between,
    /// After a backslash. `\u` escapes are not allowed, because half of a surrogate pair is not text.
    Escaped,
    /// Number of bytes left of a UTF-8 character, and the range of the next byte.
    Inside(u8, u8, u8),
}

impl Grammar {
    /// The grammar of a schema. The error names an unsupported part of the schema.
    pub fn of(schema: &Value) -> Result<Self, String> {
        let mut grammar = Self { pieces: Vec::new() };
        grammar.add(schema, schema, MAX_DEPTH)?;
        Ok(grammar)
    }

    fn add(&mut self, schema: &Value, root: &Value, depth: usize) -> Result<(), String> {
        if depth == 0 || self.pieces.len() > MAX_PIECES {
            return Err("a schema that is too deep or too long".into());
        }
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            let target = target.ok_or_else(|| format!("the reference `{reference}`"))?;
            return self.add(target, root, depth - 1);
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            // The space before a choice becomes part of it, because tokenizers have tokens for both together.
            let space = if self.take_space() { " " } else { "" };
            let choices: Vec<Vec<u8>> =
                choices.iter().map(|choice| format!("{space}{choice}").into_bytes()).collect();
            if choices.is_empty() {
                return Err("an empty `enum`".into());
            }
            self.pieces.push(Piece::OneOf(choices));
            return Ok(());
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.add_object(schema, root, depth),
            Some("array") => {
                let bound = |name| schema.get(name).and_then(Value::as_u64);
                let (items, Some(least), Some(most)) =
                    (schema.get("items"), bound("minItems"), bound("maxItems"))
                else {
                    return Err("a list without `minItems` and `maxItems`".into());
                };
                if least != most {
                    return Err("a list of varying length".into());
                }
                self.literal("[");
                for nth in 0..least {
                    self.literal(if nth > 0 { ", " } else { "" });
                    self.add(items.unwrap_or(&Value::Null), root, depth - 1)?;
                }
                self.literal("]");
                Ok(())
            }
            Some("string") => {
                self.literal("\"");
                self.pieces.push(Piece::Text);
                Ok(())
            }
            other => Err(format!("the type `{}`", other.unwrap_or("none"))),
        }
    }

    fn add_object(&mut self, schema: &Value, root: &Value, depth: usize) -> Result<(), String> {
        let fields = schema.get("properties").and_then(Value::as_object);
        let required: Option<Vec<&str>> = schema
            .get("required")
            .and_then(Value::as_array)
            .map(|names| names.iter().filter_map(Value::as_str).collect());
        let (Some(fields), Some(required)) = (fields, required) else {
            return Err("an object without `properties` and `required`".into());
        };
        if required.len() != fields.len() {
            return Err("an object with fields that may be missing".into());
        }
        self.literal("{");
        for (nth, name) in required.into_iter().enumerate() {
            let Some(field) = fields.get(name) else { return Err(format!("the field `{name}`")) };
            self.literal(if nth > 0 { ", " } else { "" });
            self.literal(&format!("{}: ", Value::from(name)));
            self.add(field, root, depth - 1)?;
        }
        self.literal("}");
        Ok(())
    }

    /// Appends fixed bytes.
    fn literal(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Literal(bytes)) => bytes.extend_from_slice(text.as_bytes()),
            _ => self.pieces.push(Piece::Literal(text.as_bytes().to_vec())),
        }
    }

    /// Removes a trailing space and returns whether there was one.
    fn take_space(&mut self) -> bool {
        match self.pieces.last_mut() {
            Some(Piece::Literal(bytes)) if bytes.len() > 1 && bytes.last() == Some(&b' ') => {
                bytes.pop().is_some()
            }
            _ => false,
        }
    }

    /// The state before the first byte.
    pub fn start(&self) -> State {
        let mut places = Vec::new();
        self.enter(0, &mut places);
        State(places)
    }

    /// Adds the positions at the start of a piece.
    fn enter(&self, piece: usize, places: &mut Vec<Place>) {
        let bytes = |choice| Place { piece, at: At::Bytes { choice, at: 0 } };
        match self.pieces.get(piece) {
            None | Some(Piece::Literal(_)) => places.push(bytes(0)),
            Some(Piece::OneOf(choices)) => places.extend((0..choices.len()).map(bytes)),
            Some(Piece::Text) => places.push(Place { piece, at: At::Text(InText::Between) }),
        }
    }

    fn bytes(&self, piece: usize, choice: usize) -> Option<&[u8]> {
        match self.pieces.get(piece)? {
            Piece::Literal(bytes) => Some(bytes),
            Piece::OneOf(choices) => choices.get(choice).map(Vec::as_slice),
            Piece::Text => None,
        }
    }

    /// The state after one more byte; `None` if the byte is not allowed.
    pub fn step(&self, state: &State, byte: u8) -> Option<State> {
        let mut places = Vec::new();
        for &Place { piece, at } in &state.0 {
            match at {
                At::Bytes { choice, at } => match self.bytes(piece, choice) {
                    Some(bytes) if bytes[at] == byte && at + 1 == bytes.len() => {
                        self.enter(piece + 1, &mut places);
                    }
                    Some(bytes) if bytes[at] == byte => {
                        places.push(Place { piece, at: At::Bytes { choice, at: at + 1 } });
                    }
                    _ => {}
                },
                At::Text(InText::Between) if byte == b'"' => self.enter(piece + 1, &mut places),
                At::Text(text) => {
                    places.extend(text.step(byte).map(|next| Place { piece, at: At::Text(next) }));
                }
            }
        }
        places.sort_unstable();
        places.dedup();
        (!places.is_empty()).then_some(State(places))
    }

    /// Whether the answer is complete and nothing can follow.
    pub fn is_complete(&self, state: &State) -> bool {
        state.0.iter().all(|place| place.piece == self.pieces.len())
    }

    /// Whether the answer is complete, though more may follow.
    pub fn may_end(&self, state: &State) -> bool {
        state.0.iter().any(|place| place.piece == self.pieces.len())
    }

    /// The bytes that must come next.
    pub fn forced(&self, state: &State) -> &[u8] {
        match state.0.as_slice() {
            [Place { piece, at: At::Bytes { at, .. } }] => match self.pieces.get(*piece) {
                Some(Piece::Literal(bytes)) => &bytes[*at..],
                _ => &[],
            },
            _ => &[],
        }
    }

    /// Whether the next byte may close a string.
    pub fn may_end_text(&self, state: &State) -> bool {
        state.0.iter().any(|place| place.at == At::Text(InText::Between))
    }

    /// Maximum number of bytes of an answer, without the contents of strings.
    pub fn most_bytes(&self) -> usize {
        let of_piece = |piece: &Piece| match piece {
            Piece::Literal(bytes) => bytes.len(),
            Piece::OneOf(choices) => choices.iter().map(Vec::len).max().unwrap_or(0),
            Piece::Text => 1,
        };
        self.pieces.iter().map(of_piece).sum()
    }

    /// Whether it contains strings, which may have any length.
    pub fn has_text(&self) -> bool {
        self.pieces.contains(&Piece::Text)
    }
}

impl InText {
    /// The state after one more byte other than the closing quotation mark. Sources: RFC 8259 §7, RFC 3629 §4.
    fn step(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Between, b'\\') => Some(Self::Escaped),
            (Self::Between, b' ' | b'!' | b'#'..=0x7F) => Some(Self::Between),
            (Self::Between, 0xC2..=0xDF) => Some(Self::Inside(1, 0x80, 0xBF)),
            (Self::Between, 0xE0) => Some(Self::Inside(2, 0xA0, 0xBF)),
            (Self::Between, 0xED) => Some(Self::Inside(2, 0x80, 0x9F)),
            (Self::Between, 0xE1..=0xEF) => Some(Self::Inside(2, 0x80, 0xBF)),
            (Self::Between, 0xF0) => Some(Self::Inside(3, 0x90, 0xBF)),
            (Self::Between, 0xF1..=0xF3) => Some(Self::Inside(3, 0x80, 0xBF)),
            (Self::Between, 0xF4) => Some(Self::Inside(3, 0x80, 0x8F)),
            (Self::Escaped, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Some(Self::Between),
            (Self::Inside(1, low, high), byte) if (low..=high).contains(&byte) => Some(Self::Between),
            (Self::Inside(left, low, high), byte) if (low..=high).contains(&byte) => {
                Some(Self::Inside(left - 1, 0x80, 0xBF))
            }
            _ => None,
        }
    }
}
