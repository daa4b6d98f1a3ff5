//! The text in a JSON value, without a look at the rest of it.
//!
//! A [`Cursor`] finds where values begin and end. Inside of values that nobody reads only strings and brackets count, so
//! `NaN` (as Python writes it), half surrogates and deep nesting there do no harm.

use std::borrow::Cow;

/// Names of fields that a message lists.
const FIELDS_SHOWN: usize = 12;

/// Why something is no JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// It ends inside of the value.
    End,
    /// A byte that cannot stand there.
    Syntax,
}

/// A place in JSON text.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Skips white space.
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), Broken> {
        self.space();
        match self.peek() {
            Some(found) if found == byte => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Broken::Syntax),
            None => Err(Broken::End),
        }
    }

    /// A string with its quotes.
    fn string(&mut self) -> Result<&'a [u8], Broken> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            let rest = &self.bytes[self.at..];
            let special = |&byte: &u8| matches!(byte, b'"' | b'\\' | b'\n');
            self.at += rest.iter().position(special).unwrap_or(rest.len());
            match self.peek().ok_or(Broken::End)? {
                b'\\' => self.at = (self.at + 2).min(self.bytes.len()),
                b'"' => {
                    self.at += 1;
                    return Ok(&self.bytes[start..self.at]);
                }
                _ => return Err(Broken::Syntax),
            }
        }
    }

    /// Any value.
    pub(super) fn value(&mut self) -> Result<&'a [u8], Broken> {
        self.space();
        let start = self.at;
        let mut open = Vec::new();
        loop {
            match self.peek().ok_or(Broken::End)? {
                b'"' => drop(self.string()?),
                bracket @ (b'{' | b'[') => {
                    open.push(if bracket == b'{' { b'}' } else { b']' });
                    self.at += 1;
                }
                bracket @ (b'}' | b']') if open.pop() == Some(bracket) => self.at += 1,
                b'}' | b']' => return Err(Broken::Syntax),
                b',' | b':' | b' ' | b'\n' | b'\r' | b'\t' if !open.is_empty() => self.at += 1,
                _ => self.scalar()?,
            }
            if open.is_empty() {
                return Ok(&self.bytes[start..self.at]);
            }
        }
    }

    /// A number or one of the words.
    fn scalar(&mut self) -> Result<(), Broken> {
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| {
            matches!(byte, b',' | b':' | b'}' | b']' | b'"' | b'{' | b'[' | b' ' | b'\n' | b'\r' | b'\t')
        };
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        let word = std::str::from_utf8(&rest[..length]).map_err(|_| Broken::Syntax)?;
        let is_word = matches!(word, "null" | "true" | "false" | "NaN" | "Infinity" | "-Infinity");
        let is_number =
            || word.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && word.parse::<f64>().is_ok();
        if is_word || is_number() {
            self.at += length;
            return Ok(());
        }
        let cut =
            length == rest.len() && ["null", "true", "false"].iter().any(|whole| whole.starts_with(word));
        Err(if cut { Broken::End } else { Broken::Syntax })
    }

    /// An object; `on` gets the key with its quotes, and the value, of each member.
    pub(super) fn object(&mut self, on: &mut dyn FnMut(&'a [u8], &'a [u8])) -> Result<(), Broken> {
        self.take(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            let key = self.string()?;
            self.take(b':')?;
            let value = self.value()?;
            on(key, value);
            self.space();
            match self.peek().ok_or(Broken::End)? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(Broken::Syntax),
            }
        }
    }
}

/// Why a JSON value gives no text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    /// The kind, for counts.
    pub(super) kind: &'static str,
    /// The whole message.
    pub(super) why: String,
}

/// The text of a document: a JSON string, or the field of an object. A field may be nested: `data.text`.
pub(super) fn text_in(value: &[u8], field: &str) -> Result<String, Flaw> {
    let no_object =
        |kind, got: String| Flaw { kind, why: format!("expected one JSON object a line, got {got}") };
    if let Err(error) = std::str::from_utf8(value) {
        let why = format!("byte {} of the line is not UTF-8", error.valid_up_to() + 1);
        return Err(Flaw { kind: "not UTF-8", why });
    }
    let value = value.trim_ascii();
    let mut cursor = Cursor::new(value);
    match value.first() {
        Some(b'"') => {
            let whole = cursor.string().is_ok() && cursor.at() == value.len();
            return if whole { decoded(value) } else { Err(no_object("invalid JSON", invalid_at(&cursor))) };
        }
        Some(b'{') => {}
        _ if cursor.value().is_ok() && cursor.at() == value.len() => {
            return Err(no_object("no JSON object", type_of(value).to_string()));
        }
        _ => return Err(no_object("invalid JSON", invalid_at(&cursor))),
    }
    let mut members = Vec::new();
    let read = cursor.object(&mut |key, value| members.push((key, value)));
    if read.is_err() || cursor.at() < value.len() {
        return Err(no_object("invalid JSON", invalid_at(&cursor)));
    }
    match member(&members, field) {
        Some(text) if text.first() == Some(&b'"') => decoded(text),
        Some(other) => {
            let why = format!(
                "field `{field}` is {}, expected a string: set `corpus.field` to a text field",
                type_of(other)
            );
            Err(Flaw { kind: if other == b"null" { "text is null" } else { "text is no string" }, why })
        }
        None => {
            let why = format!("no field `{field}`; the line has {}: set `corpus.field`", listed(&members));
            Err(Flaw { kind: "no text field", why })
        }
    }
}

fn invalid_at(cursor: &Cursor<'_>) -> String {
    let ended = if cursor.peek().is_none() { ", where the line ends too early" } else { "" };
    format!("invalid JSON at column {}{ended}", cursor.at() + 1)
}

/// The value of the last member of this name, or of one inside: `a.b` is `b` of the object `a`.
fn member<'a>(members: &[(&'a [u8], &'a [u8])], field: &str) -> Option<&'a [u8]> {
    let named =
        |name: &str| members.iter().rev().find(|(key, _)| name_of(key) == name).map(|(_, value)| *value);
    if let Some(value) = named(field) {
        return Some(value);
    }
    let (outer, inner) = field.split_once('.')?;
    let mut members = Vec::new();
    Cursor::new(named(outer)?).object(&mut |key, value| members.push((key, value))).ok()?;
    member(&members, inner)
}

/// A key without its quotes.
fn name_of(key: &[u8]) -> Cow<'_, str> {
    let inner = &key[1..key.len() - 1];
    if inner.contains(&b'\\')
        && let Ok(name) = serde_json::from_slice::<String>(key)
    {
        return Cow::Owned(name);
    }
    String::from_utf8_lossy(inner)
}

fn decoded(string: &[u8]) -> Result<String, Flaw> {
    serde_json::from_slice(string).map_err(|error| {
        // Half of a character, as Python writes it: `\ud83d` alone.
        let half = error.to_string().contains("escape") && has_surrogate(string);
        match half {
            true => {
                Flaw { kind: "half a surrogate pair", why: "the text holds half a surrogate pair".into() }
            }
            false => Flaw { kind: "invalid JSON", why: "the text is no valid JSON string".into() },
        }
    })
}

fn has_surrogate(string: &[u8]) -> bool {
    let surrogate =
        |part: &[u8]| matches!(part, [b'\\', b'u', b'd' | b'D', b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F']);
    string.windows(4).any(surrogate)
}

/// Names of the first fields.
fn listed(members: &[(&[u8], &[u8])]) -> String {
    if members.is_empty() {
        return "no field at all".into();
    }
    let named = members.iter().take(FIELDS_SHOWN);
    let shown: Vec<String> = named.map(|(key, _)| format!("`{}`", name_of(key).escape_debug())).collect();
    let more = members.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", shown.join(", "))
}

fn type_of(value: &[u8]) -> &'static str {
    match value.first() {
        Some(b'n') => "null",
        Some(b't' | b'f') => "true or false",
        Some(b'"') => "a string",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_nobody_reads_does_not_matter() {
        let deep = format!("{{\"a\": {}{}, \"text\": \"t\"}}", "[".repeat(5_000), "]".repeat(5_000));
        for line in [
            r#"{"text": "t", "score": NaN, "low": -Infinity, "big": 1e999}"#,
            r#"{"half": "\ud83d", "text": "t"}"#,
            r#"{"\u0074ext": "t"}"#,
            r#"{"text": null, "text": "t"}"#,
            r#" "t" "#,
            &deep,
        ] {
            assert_eq!(text_in(line.as_bytes(), "text"), Ok("t".into()), "{line}");
        }
        let nested = br#"{"data": {"a": 1, "text": "t"}, "a.b": "u"}"#;
        assert_eq!(text_in(nested, "data.text"), Ok("t".into()));
        assert_eq!(text_in(nested, "a.b"), Ok("u".into()));
    }

    #[test]
    fn flaws_are_named_by_kind() {
        for (line, kind) in [
            (&br#"{"text": null}"#[..], "text is null"),
            (br#"{"text": 3}"#, "text is no string"),
            (br#"{"text": ["a"]}"#, "text is no string"),
            (br#"{"txt": "a"}"#, "no text field"),
            (br#"{"text": "one \ud83d half"}"#, "half a surrogate pair"),
            (br#"{"text": "one \q"}"#, "invalid JSON"),
            (br#"{"text": "a"} more"#, "invalid JSON"),
            (br#"{"text": "a"#, "invalid JSON"),
            (br#"{"text": "a\"#, "invalid JSON"),
            (b"{\"text\": \"\xff\"}", "not UTF-8"),
            (b"[1, 2]", "no JSON object"),
            (b"null", "no JSON object"),
            (b"prose", "invalid JSON"),
        ] {
            let flaw = text_in(line, "text").expect_err(kind);
            assert_eq!(flaw.kind, kind, "{}: {}", String::from_utf8_lossy(line), flaw.why);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn valid_lines_give_what_a_full_parser_gives(text in any::<String>(), other in any::<String>(), n in any::<f64>()) {
            let line = serde_json::json!({"a": {"b": [other, n, null, true]}, "text": text, other.clone(): [n]}).to_string();
            let full: Value = serde_json::from_str(&line).expect("JSON");
            if let Value::String(expected) = &full["text"] {
                prop_assert_eq!(text_in(line.as_bytes(), "text"), Ok(expected.clone()));
            }
        }

        #[test]
        fn no_bytes_end_badly(bytes in proptest::collection::vec(prop_oneof![
            Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b'"'), Just(b'\\'), Just(b','), Just(b':'), any::<u8>(),
        ], 0..60)) {
            let _ = text_in(&bytes, "text");
            let mut cursor = Cursor::new(&bytes);
            let _ = cursor.value();
            prop_assert!(cursor.at() <= bytes.len());
        }
    }
}
