//! Parser for JSON as language models write it, with the byte offset of every value.
//!
//! It follows RFC 8259, except that a comma before a closing bracket is allowed. Objects keep repeated keys and the
//! written order. The maximum nesting depth is 32.

use super::ReadProblem;

const DEEPEST: usize = 32;

/// Maximum number of `[` in the prose around a value that begin no list.
const MOST_FALSE_STARTS: usize = 256;

/// A value and its position.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Byte offset of its first character.
    pub at: usize,
    /// The value.
    pub value: Lenient,
}

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Lenient {
    /// Keys and values in the written order, including repeated keys.
    Object(Vec<(String, Node)>),
    /// A list.
    Array(Vec<Node>),
    /// A string, decoded.
    Text(String),
    /// A number, as written.
    Number(String),
    /// `true`, `false` or `null`.
    Word,
}

impl Node {
    /// The value of a key that occurs exactly once, in any case. Otherwise the reply is malformed.
    pub fn only(&self, key: &str) -> Result<&Self, ReadProblem> {
        let Lenient::Object(entries) = &self.value else { return Err(ReadProblem::MalformedReply) };
        let mut found = entries.iter().filter(|(name, _)| name.trim().eq_ignore_ascii_case(key));
        match (found.next(), found.next()) {
            (Some((_, node)), None) => Ok(node),
            _ => Err(ReadProblem::MalformedReply),
        }
    }

    /// Byte offset of a number's first digit, which follows the quotation mark if the number is written as a string.
    pub fn digits_at(&self) -> usize {
        match &self.value {
            Lenient::Text(text) => self.at + 1 + (text.len() - text.trim_start().len()),
            _ => self.at,
        }
    }

    /// A whole number from 0 to `most`, written as `7`, `7.0`, `"7"` or `"7.0"`. Errors as for [`whole_number`].
    pub fn whole_number(&self, most: u8) -> Result<u8, ReadProblem> {
        match &self.value {
            Lenient::Number(written) => whole_number(written, most),
            Lenient::Text(text) => whole_number(text, most),
            _ => Err(ReadProblem::MalformedReply),
        }
    }
}

/// Parses a whole number from 0 to `most`, written as in JSON; a fraction of zeros is allowed. Fails with
/// [`ReadProblem::OutOfRange`] for another whole number, [`ReadProblem::MalformedReply`] for anything else.
pub fn whole_number(text: &str, most: u8) -> Result<u8, ReadProblem> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), "0"));
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    if !is_digits(digits) || leading_zero || !is_digits(fraction) || fraction.bytes().any(|byte| byte != b'0')
    {
        return Err(ReadProblem::MalformedReply);
    }
    let level = whole.parse::<i8>().ok().and_then(|level| u8::try_from(level).ok());
    level.filter(|&level| level <= most).ok_or(ReadProblem::OutOfRange)
}

/// The only object or list in a text with prose around it. A text with none, with several, or with a `{` outside the
/// value is malformed.
pub fn only_value(text: &str) -> Result<Node, ReadProblem> {
    let (mut found, mut at, mut false_starts) = (None, 0, 0);
    while let Some(start) = text[at..].find(['{', '[']).map(|place| at + place) {
        match parse_at(text, start) {
            Some((node, end)) => {
                if found.replace(node).is_some() {
                    return Err(ReadProblem::MalformedReply);
                }
                at = end;
            }
            None if text[start..].starts_with('{') || false_starts == MOST_FALSE_STARTS => {
                return Err(ReadProblem::MalformedReply);
            }
            None => {
                false_starts += 1;
                at = start + 1;
            }
        }
    }
    found.ok_or(ReadProblem::MalformedReply)
}

/// Parses the value at byte `start`. Returns it with the offset of the byte after it.
fn parse_at(text: &str, start: usize) -> Option<(Node, usize)> {
    let mut reader = Reader { text, at: start };
    let node = reader.value(0)?;
    Some((node, reader.at))
}

/// Offset of the byte after the JSON string whose opening quotation mark is at `start`.
fn end_of_string(json: &str, start: usize) -> Option<usize> {
    let bytes = json.as_bytes();
    let mut end = start + 1;
    while *bytes.get(end)? != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some(end + 1)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_blank(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Reads the next character if it is this one, and returns whether it was.
    fn takes(&mut self, sign: u8) -> bool {
        self.skip_blank();
        let is = self.peek() == Some(sign);
        self.at += usize::from(is);
        is
    }

    fn value(&mut self, depth: usize) -> Option<Node> {
        self.skip_blank();
        let at = self.at;
        let value = match self.peek()? {
            b'{' if depth < DEEPEST => Lenient::Object(self.items(b'}', |reader| reader.entry(depth))?),
            b'[' if depth < DEEPEST => Lenient::Array(self.items(b']', |reader| reader.value(depth + 1))?),
            b'"' => Lenient::Text(self.string()?),
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.word()?,
        };
        Some(Node { at, value })
    }

    /// Reads items separated by commas, up to `close`. A comma before `close` is allowed.
    fn items<T>(&mut self, close: u8, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        let mut items = Vec::new();
        while !self.takes(close) {
            items.push(item(self)?);
            if !self.takes(b',') {
                return self.takes(close).then_some(items);
            }
        }
        Some(items)
    }

    fn entry(&mut self, depth: usize) -> Option<(String, Node)> {
        self.skip_blank();
        let key = (self.peek() == Some(b'"')).then(|| self.string())??;
        if !self.takes(b':') {
            return None;
        }
        Some((key, self.value(depth + 1)?))
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        self.at = end_of_string(self.text, start)?;
        serde_json::from_str(self.text.get(start..self.at)?).ok()
    }

    fn number(&mut self) -> Option<Lenient> {
        let rest = &self.text[self.at..];
        let sign = |c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E'));
        let written = &rest[..rest.find(sign).unwrap_or(rest.len())];
        // Rejects invalid numbers and those beyond the range of f64.
        serde_json::from_str::<f64>(written).ok()?;
        self.at += written.len();
        Some(Lenient::Number(written.to_string()))
    }

    fn word(&mut self) -> Option<Lenient> {
        let rest = &self.text[self.at..];
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        Some(Lenient::Word)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(node: &Node) -> Vec<String> {
        match &node.value {
            Lenient::Array(items) => items
                .iter()
                .map(|item| match &item.value {
                    Lenient::Text(text) | Lenient::Number(text) => text.clone(),
                    other => format!("{other:?}"),
                })
                .collect(),
            other => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn one_value_is_found_among_prose_and_two_are_none() {
        let read = |text: &str| only_value(text).map(|node| (node.at, texts(&node)));
        let found = |at: usize, items: &[&str]| Ok((at, items.iter().map(ToString::to_string).collect()));
        assert_eq!(read("[1, 2]"), found(0, &["1", "2"]));
        assert_eq!(read("so [as asked]: [1, \"a\\\"]\" ,] done"), found(15, &["1", "a\"]"]));
        assert_eq!(read("```json\n[1.0]\n```\nanything else?"), found(8, &["1.0"]));
        for text in [
            "",
            "none",
            "[1] [2]",
            "{} {}",
            "{\"a\": 1} {",
            "{\"a\": 1",
            "{a: 1}",
            "[1 2]",
            "[01]",
            "[,]",
            "[1,,]",
        ] {
            assert_eq!(read(text), Err(ReadProblem::MalformedReply), "{text}");
        }
        assert_eq!(read(&"[".repeat(100_000)), Err(ReadProblem::MalformedReply));
        assert_eq!(read(&format!("[1{}]", "0".repeat(400))), Err(ReadProblem::MalformedReply));
    }

    #[test]
    fn whole_numbers_come_in_four_spellings() {
        let node = only_value(r#"[7, 7.0, "7", " 7.00 ", 0, 10]"#).expect("a list");
        let Lenient::Array(items) = &node.value else { panic!("a list") };
        let read: Vec<_> = items.iter().map(|item| item.whole_number(10)).collect();
        assert_eq!(read, [Ok(7), Ok(7), Ok(7), Ok(7), Ok(0), Ok(10)]);
        for text in ["11", "-1", "300", "100000000000000000000", "11.0"] {
            assert_eq!(whole_number(text, 10), Err(ReadProblem::OutOfRange), "{text}");
        }
        for text in ["", "7.5", "07", "7.", ".0", "1e1", "+7", "seven", "\u{0667}", "7,0", "NaN"] {
            assert_eq!(whole_number(text, 10), Err(ReadProblem::MalformedReply), "{text}");
        }
    }

    #[test]
    fn a_repeated_key_is_malformed() {
        let node = only_value(r#"{"Explanation": "x", "b": 1, "b": 2}"#).expect("an object");
        assert!(node.only("explanation").is_ok() && node.only("b").is_err() && node.only("c").is_err());
    }

    proptest! {
        #[test]
        fn whatever_is_json_is_read_and_nothing_makes_it_panic(text in "[\\[\\]{}\",:0-9a-z .\\\\é-]{0,40}", tail in any::<String>()) {
            let is_container = |value: &serde_json::Value| value.is_object() || value.is_array();
            if serde_json::from_str(&text).is_ok_and(|value| is_container(&value)) {
                prop_assert!(only_value(&text).is_ok());
            }
            let _ = only_value(&format!("{text}{tail}"));
        }
    }
}
