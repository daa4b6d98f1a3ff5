//! API keys, and their removal from texts of an endpoint.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::lenient::end_of_string;

/// Shorter texts are not keys but placeholders such as `x` for local servers. Hiding them would garble messages.
const LEAST_HIDDEN: usize = 4;

/// Keys with fewer letters and digits may be common words. Their encoded forms are not searched.
const LEAST_DISTINCT: usize = 8;

/// Replacement for the key.
const HIDDEN: &str = "***";

/// An API key. It prints as `***`, and only this module's siblings can read it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The key without surrounding white space; `None` if it is empty.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_string()))
    }

    /// The key itself, for a request's header.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// Replaces the key by `***`: in any case, percent-encoded, in base64, in hexadecimal, or broken by spaces, line
    /// breaks and punctuation.
    pub(super) fn hidden_in(&self, text: &str) -> String {
        if self.0.len() < LEAST_HIDDEN {
            return text.to_string();
        }
        let text = text.replace(&self.0, HIDDEN);
        if self.is_distinct() { without(text, &self.forms()) } else { text }
    }

    /// Replaces the key inside JSON strings; the order of the JSON stays. A key that may be a common word (`EMPTY`,
    /// `token`) stays, because an answer may contain it.
    pub(super) fn hidden_in_json(&self, json: &str) -> String {
        let forms = self.forms();
        if !self.is_distinct() || !forms.iter().any(|form| Letters::of(json).find(form).is_some()) {
            return json.to_string();
        }
        let (mut shown, mut rest) = (String::with_capacity(json.len()), json);
        while let Some(start) = rest.find('"') {
            let Some(end) = end_of_string(rest, start) else { break };
            let (before, written) = (&rest[..start], &rest[start..end]);
            shown.push_str(before);
            let hidden = serde_json::from_str(written).ok().and_then(|text: String| {
                let hidden = self.hidden_in(&text);
                (hidden != text).then(|| serde_json::Value::from(hidden).to_string())
            });
            shown.push_str(hidden.as_deref().unwrap_or(written));
            rest = &rest[end..];
        }
        shown + rest
    }

    /// Whether it cannot be a common word.
    fn is_distinct(&self) -> bool {
        let letters = self.0.bytes().filter(u8::is_ascii_alphanumeric).count();
        letters >= LEAST_DISTINCT && self.0.bytes().any(|byte| byte.is_ascii_digit())
    }

    /// Letters and digits, in lower case, of every form that is searched.
    fn forms(&self) -> Vec<Vec<u8>> {
        let bytes = self.0.as_bytes();
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
        let texts =
            [self.0.clone(), percent(""), percent("-_.~"), hexadecimal, inside(0), inside(1), inside(2)];
        let mut forms: Vec<Vec<u8>> = texts.iter().map(|text| Letters::of(text).signs).collect();
        forms.retain(|form| form.len() >= LEAST_DISTINCT);
        forms
    }
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

    /// The byte range of a form's first occurrence in the text.
    fn find(&self, form: &[u8]) -> Option<std::ops::Range<usize>> {
        let first = self.signs.windows(form.len()).position(|window| window == form)?;
        Some(self.places[first]..self.places[first + form.len() - 1] + 1)
    }
}

fn without(mut text: String, forms: &[Vec<u8>]) -> String {
    for form in forms {
        while let Some(place) = Letters::of(&text).find(form) {
            text.replace_range(place, HIDDEN);
        }
    }
    text
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
    fn json_stays_json_in_its_order() {
        let key = Secret::new(KEY).expect("a key");
        let json = format!("{{\"z\": \"a {KEY} b\\n\", \"a\": [1, \"\\\"{KEY}\"], \"n\": {{}}}}");
        let hidden = key.hidden_in_json(&json);
        assert_eq!(hidden, "{\"z\": \"a *** b\\n\", \"a\": [1, \"\\\"***\"], \"n\": {}}");
        let plain = "{\"a\": \"b\"}";
        assert_eq!(key.hidden_in_json(plain), plain);
        for broken in ["\"", "{\"a", "\\\"", &format!("\"{KEY}")] {
            let _ = key.hidden_in_json(broken);
        }
        // A word that local servers are given for a key may be what an answer is about.
        let word = Secret::new("EMPTY").expect("a key");
        assert_eq!(word.hidden_in_json("{\"a\": \"EMPTY boxes\"}"), "{\"a\": \"EMPTY boxes\"}");
        assert_eq!(word.hidden_in("the key EMPTY, empty"), "the key ***, empty");
    }
}
