//! API keys, and their removal from texts of an endpoint.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Shorter texts are not keys but placeholders such as `x` for local servers. Hiding them would garble messages.
const LEAST_HIDDEN: usize = 4;

/// Shorter keys stay in answers: placeholders such as `EMPTY` or `token` may be what an answer is about.
const LEAST_IN_ANSWER: usize = 8;

/// Keys with fewer letters and digits may be common words. Their encoded forms are not searched.
const LEAST_DISTINCT: usize = 8;

/// Keys without a digit may be words in a row, such as `not-needed`, unless they are this long.
const LEAST_OF_LETTERS: usize = 16;

/// Replacement for the key.
pub(super) const HIDDEN: &str = "***";

/// An API key. It prints as `***`, and only this module's siblings can read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    key: String,
    /// Letters and digits, in lower case, of every form that is searched; none for a key that may be a word.
    forms: Arc<[Vec<u8>]>,
}

impl Secret {
    /// The key without surrounding white space; `None` if it is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        let forms = if is_distinct(text) { forms(text) } else { Vec::new() };
        (!text.is_empty()).then(|| Self { key: text.to_string(), forms: forms.into() })
    }

    /// The key itself, for a request's header.
    pub(super) fn expose(&self) -> &str {
        &self.key
    }

    /// Replaces the key in an endpoint's message by `***`: in any case, percent-encoded, in base64, in hexadecimal, or
    /// broken by spaces, line breaks and punctuation.
    pub fn hidden_in(&self, text: &str) -> String {
        without(text, &self.places(text, LEAST_HIDDEN))
    }

    /// Whether a text holds the key in any of these forms. Never for a key of fewer than 8 characters.
    pub fn is_in(&self, text: &str) -> bool {
        !self.places_in_answer(text).is_empty()
    }

    /// Where the key stands in an answer, in any of these forms; nowhere if it has fewer than 8 characters.
    pub(super) fn places_in_answer(&self, text: &str) -> Vec<Range<usize>> {
        self.places(text, LEAST_IN_ANSWER)
    }

    /// Byte ranges, ascending and apart.
    fn places(&self, text: &str, least: usize) -> Vec<Range<usize>> {
        if self.key.len() < least || text.len() < least {
            return Vec::new();
        }
        let literal = text.match_indices(&self.key).map(|(start, key)| start..start + key.len());
        let mut found: Vec<Range<usize>> = literal.collect();
        if !self.forms.is_empty() {
            let letters = Letters::of(text);
            found.extend(self.forms.iter().flat_map(|form| letters.find_all(form)));
        }
        merged(found)
    }
}

/// Whether a key cannot be a common word, or words in a row.
fn is_distinct(key: &str) -> bool {
    let letters = key.bytes().filter(u8::is_ascii_alphanumeric).count();
    letters >= LEAST_OF_LETTERS
        || (letters >= LEAST_DISTINCT && key.bytes().any(|byte| byte.is_ascii_digit()))
}

fn forms(key: &str) -> Vec<Vec<u8>> {
    let bytes = key.as_bytes();
    // Encoders differ in whether they encode `-`, `_`, `.` and `~`.
    let percent = |kept: &str| -> String {
        let encoded = |&byte: &u8| match char::from(byte) {
            c if c.is_ascii_alphanumeric() || kept.contains(c) => c.to_string(),
            _ => format!("%{byte:02X}"),
        };
        bytes.iter().map(encoded).collect()
    };
    let hexadecimal: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    // The base64 form depends on the number of bytes before the key, modulo 3.
    let inside = |before: usize| {
        let encoded = STANDARD.encode([&vec![0; before], bytes].concat());
        let (first, last) = ((8 * before).div_ceil(6), 8 * (before + bytes.len()) / 6);
        encoded[first..last].to_string()
    };
    let texts = [key.to_string(), percent(""), percent("-_.~"), hexadecimal, inside(0), inside(1), inside(2)];
    let mut forms: Vec<Vec<u8>> = texts.iter().map(|text| Letters::of(text).signs).collect();
    forms.retain(|form| form.len() >= LEAST_DISTINCT);
    forms
}

/// The letters and digits of a text in lower case, with their byte offsets. Letters outside ASCII become 0, which
/// occurs in no key.
struct Letters {
    signs: Vec<u8>,
    places: Vec<usize>,
}

impl Letters {
    fn of(text: &str) -> Self {
        let known = |(place, c): (usize, char)| match c {
            c if c.is_ascii_alphanumeric() => Some((c.to_ascii_lowercase() as u8, place)),
            c if c.is_alphanumeric() => Some((0, place)),
            _ => None,
        };
        let (signs, places) = text.char_indices().filter_map(known).unzip();
        Self { signs, places }
    }

    /// The byte ranges of a form's occurrences in the text.
    fn find_all(&self, form: &[u8]) -> Vec<Range<usize>> {
        let (mut found, mut from) = (Vec::new(), 0);
        while let Some(at) = self.signs[from..].windows(form.len()).position(|window| window == form) {
            let (first, next) = (from + at, from + at + form.len());
            found.push(self.places[first]..self.places[next - 1] + 1);
            from = next;
        }
        found
    }
}

/// Ranges in order, with those that overlap joined.
pub(super) fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut all: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match all.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => all.push(range),
        }
    }
    all
}

/// A text with [`HIDDEN`] in place of some ranges.
pub(super) fn without(text: &str, places: &[Range<usize>]) -> String {
    let (mut shown, mut from) = (String::with_capacity(text.len()), 0);
    for place in places {
        shown.push_str(&text[from..place.start]);
        shown.push_str(HIDDEN);
        from = place.end;
    }
    shown + &text[from..]
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "sk-Proj_0123/45+67=";

    #[test]
    fn a_key_is_hidden_in_every_form() {
        let key = Secret::new(KEY).expect("a key");
        let encoded = |before: &str| STANDARD.encode(format!("{before}{KEY}"));
        let forms = [
            KEY.to_string(),
            KEY.to_uppercase(),
            "sk-Proj_\n0123/45+67=".into(),
            "sk-Proj_01 23/45+67=".into(),
            "sk%2DProj%5F0123%2F45%2B67%3D".into(),
            "sk-Proj_0123%2F45%2B67%3D".into(),
            encoded(""),
            encoded("x:"),
            encoded("Bearer "),
            KEY.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ];
        for form in &forms {
            for text in [form.clone(), format!("bad key ({form}), sent as {form}")] {
                let hidden = key.hidden_in(&text);
                assert!(hidden.contains(HIDDEN) && !hidden.contains("0123"), "{form}: {hidden}");
                let letters = |text: &str| text.bytes().filter(u8::is_ascii_alphanumeric).count();
                assert!(letters(&hidden) < letters(&text) - 8, "{form}: {hidden}");
            }
        }
        assert_eq!(key.hidden_in("no key at all: 0123"), "no key at all: 0123");
    }

    #[test]
    fn placeholders_for_keys_stay_in_answers() {
        for (key, text, hidden) in [
            ("EMPTY", "the key EMPTY, empty", "the key EMPTY, empty"),
            ("not-needed", "which is not needed here", "which is not needed here"),
            ("not-needed", "with not-needed as key", "with *** as key"),
            ("lm-studio", "LM Studio", "LM Studio"),
            ("abcdefghijklmnopqr", "ABCDEFGHI JKLMNOPQR", "***"),
        ] {
            let key = Secret::new(key).expect("a key");
            assert_eq!(without(text, &key.places_in_answer(text)), hidden);
        }
        let word = Secret::new("EMPTY").expect("a key");
        assert_eq!(word.hidden_in("the key EMPTY, empty"), "the key ***, empty");
    }
}
