use serde_json::Value;

/// References inside a schema are followed so many levels deep.
const MAX_DEPTH: usize = 16;
/// Pieces that a schema may come to.
const MAX_PIECES: usize = 100_000;

/// What an answer that satisfies a schema looks like, byte for byte, in JSON with a space after every colon and comma, as
/// worked examples have it, and with the fields in the order in which they are required.
///
/// Read are objects whose fields are all required, lists of a fixed length, choices among constants and texts:
/// what this program's own questions ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// These bytes.
    Literal(Vec<u8>),
    /// One of these.
    OneOf(Vec<Vec<u8>>),
    /// Contents of a JSON string, with the quotation mark that ends it.
    Text,
}

/// How far an answer has come; more than one place where one choice begins with another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Progress(Vec<Place>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Place {
    piece: usize,
    at: At,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum At {
    /// Bytes of a literal.
    Literal(usize),
    /// Number of the choice, and its bytes.
    Choice(usize, usize),
    Text(InText),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum InText {
    /// Between characters.
    Between,
    /// After a backslash. Characters by number are left out: half of a pair would be no text.
    Escaped,
    /// So many bytes of a character are to come, the next of them in this range.
    Inside(u8, u8, u8),
}

impl Shape {
    /// The shape that a schema describes, or what in it is not understood.
    pub fn of(schema: &Value) -> Result<Self, String> {
        let mut shape = Self { pieces: Vec::new() };
        shape.add(schema, schema, MAX_DEPTH)?;
        Ok(shape)
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
            // The space before a choice belongs to it: tokenizers have tokens for both together.
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

    /// Adds bytes to the literal that the shape ends with.
    fn literal(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Literal(bytes)) => bytes.extend_from_slice(text.as_bytes()),
            _ => self.pieces.push(Piece::Literal(text.as_bytes().to_vec())),
        }
    }

    /// Takes off the space that the shape ends with, if it does.
    fn take_space(&mut self) -> bool {
        match self.pieces.last_mut() {
            Some(Piece::Literal(bytes)) if bytes.len() > 1 && bytes.last() == Some(&b' ') => {
                bytes.pop().is_some()
            }
            _ => false,
        }
    }

    /// Before the first byte.
    pub fn start(&self) -> Progress {
        let mut places = Vec::new();
        self.enter(0, &mut places);
        Progress(places)
    }

    /// The places at the start of a piece.
    fn enter(&self, piece: usize, places: &mut Vec<Place>) {
        match self.pieces.get(piece) {
            None | Some(Piece::Literal(_)) => places.push(Place { piece, at: At::Literal(0) }),
            Some(Piece::OneOf(choices)) => {
                places.extend((0..choices.len()).map(|choice| Place { piece, at: At::Choice(choice, 0) }));
            }
            Some(Piece::Text) => places.push(Place { piece, at: At::Text(InText::Between) }),
        }
    }

    /// After one more byte; none where it cannot stand there.
    pub fn step(&self, progress: &Progress, byte: u8) -> Option<Progress> {
        let mut places = Vec::new();
        for place in &progress.0 {
            match (self.pieces.get(place.piece), place.at) {
                (Some(Piece::Literal(bytes)), At::Literal(at)) if bytes[at] == byte => {
                    self.follow(place.piece, At::Literal(at + 1), at + 1 == bytes.len(), &mut places);
                }
                (Some(Piece::OneOf(choices)), At::Choice(choice, at)) if choices[choice][at] == byte => {
                    let whole = at + 1 == choices[choice].len();
                    self.follow(place.piece, At::Choice(choice, at + 1), whole, &mut places);
                }
                (Some(Piece::Text), At::Text(InText::Between)) if byte == b'"' => {
                    self.enter(place.piece + 1, &mut places);
                }
                (Some(Piece::Text), At::Text(text)) => {
                    if let Some(next) = text.step(byte) {
                        places.push(Place { piece: place.piece, at: At::Text(next) });
                    }
                }
                _ => {}
            }
        }
        places.sort_unstable();
        places.dedup();
        (!places.is_empty()).then_some(Progress(places))
    }

    fn follow(&self, piece: usize, at: At, whole: bool, places: &mut Vec<Place>) {
        if whole {
            self.enter(piece + 1, places);
        } else {
            places.push(Place { piece, at });
        }
    }

    /// Whether an answer is whole, with nothing that could follow.
    pub fn is_whole(&self, progress: &Progress) -> bool {
        progress.0.iter().all(|place| place.piece == self.pieces.len())
    }

    /// Whether an answer may end here, though more could follow.
    pub fn may_end(&self, progress: &Progress) -> bool {
        progress.0.iter().any(|place| place.piece == self.pieces.len())
    }

    /// The bytes that must come next, whatever else does.
    pub fn forced(&self, progress: &Progress) -> &[u8] {
        match (progress.0.as_slice(), progress.0.first().and_then(|place| self.pieces.get(place.piece))) {
            ([Place { at: At::Literal(at), .. }], Some(Piece::Literal(bytes))) => &bytes[*at..],
            _ => &[],
        }
    }

    /// Whether the next byte may end a text.
    pub fn may_end_text(&self, progress: &Progress) -> bool {
        progress.0.iter().any(|place| place.at == At::Text(InText::Between))
    }

    /// Most bytes of an answer, save for those of its texts.
    pub fn most_bytes(&self) -> usize {
        let of_piece = |piece: &Piece| match piece {
            Piece::Literal(bytes) => bytes.len(),
            Piece::OneOf(choices) => choices.iter().map(Vec::len).max().unwrap_or(0),
            Piece::Text => 1,
        };
        self.pieces.iter().map(of_piece).sum()
    }

    /// Whether it has texts, which may be of any length.
    pub fn has_text(&self) -> bool {
        self.pieces.contains(&Piece::Text)
    }
}

impl InText {
    /// After one more byte of a text, other than the quotation mark that ends it. Sources: RFC 8259 §7 and
    /// RFC 3629 §4.
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
