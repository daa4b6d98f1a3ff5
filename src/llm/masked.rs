//! Removal of keys from replies: an endpoint may repeat what it was sent.

use std::ops::Range;
use std::sync::Arc;

use super::secret::{HIDDEN, Secret, merged, without};
use super::{ChatClient, ChatReply, ChatRequest, PromptReply, PromptRequest, ReplyFuture};

/// Client that replaces keys in replies by `***`, before anything else sees them. Errors come without keys from the
/// protocols, since they are cut to one line there. The thoughts of a model are not part of a reply.
pub(super) struct Masked {
    inner: Arc<dyn ChatClient>,
    keys: Vec<Secret>,
}

impl Masked {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn ChatClient>, keys: Vec<Secret>) -> Self {
        Self { inner, keys }
    }

    fn places(&self, text: &str) -> Vec<Range<usize>> {
        merged(self.keys.iter().flat_map(|key| key.places_in_answer(text)).collect())
    }

    fn mask(&self, text: &mut String) {
        // Where JSON is written inside of an answer, its reader decodes such letters later.
        let plain = unescaped(text);
        let places = self.places(plain.as_deref().unwrap_or(text));
        if !places.is_empty() {
            *text = without(plain.as_deref().unwrap_or(text), &places);
        }
    }

    /// Masks keys in tokens; a key may span several. Calls `hit` for each token that is changed.
    fn mask_tokens(&self, tokens: &mut [&mut String], mut hit: impl FnMut(usize)) {
        let joined: String = tokens.iter().map(|token| token.as_str()).collect();
        let places = self.places(&joined);
        let mut start = 0;
        for (nth, token) in tokens.iter_mut().enumerate() {
            let own = start..start + token.len();
            start = own.end;
            if !places.iter().any(|place| place.start < own.end && own.start < place.end) {
                continue;
            }
            let mut shown = String::new();
            for (at, c) in token.char_indices().map(|(at, c)| (own.start + at, c)) {
                match places.iter().find(|place| place.contains(&at)) {
                    None => shown.push(c),
                    Some(place) if place.start == at => shown.push_str(HIDDEN),
                    Some(_) => {}
                }
            }
            **token = shown;
            hit(nth);
        }
    }

    fn without_keys(&self, mut reply: ChatReply) -> ChatReply {
        self.mask(&mut reply.text);
        if let Some(choices) = &mut reply.logprobs {
            let mut changed = Vec::new();
            let mut tokens: Vec<&mut String> = choices.iter_mut().map(|choice| &mut choice.token).collect();
            self.mask_tokens(&mut tokens, |nth| changed.push(nth));
            // The alternatives to a part of a key begin with that part.
            changed.into_iter().for_each(|nth| choices[nth].top.clear());
            choices.iter_mut().flat_map(|choice| &mut choice.top).for_each(|(token, _)| self.mask(token));
        }
        reply
    }

    fn without_keys_in_prompt(&self, mut reply: PromptReply) -> PromptReply {
        let mut changed = Vec::new();
        let mut tokens: Vec<&mut String> = reply.tokens.iter_mut().map(|token| &mut token.token).collect();
        self.mask_tokens(&mut tokens, |nth| changed.push(nth));
        changed.into_iter().for_each(|nth| reply.tokens[nth].top.clear());
        reply.tokens.iter_mut().flat_map(|token| &mut token.top).for_each(|(token, _)| self.mask(token));
        reply
    }
}

/// A text with its JSON escapes of ASCII decoded: `\u0073` is `s`, and line breaks and other controls are spaces. `None`
/// if it has none. Quotation marks and backslashes stay escaped, so that JSON stays JSON.
fn unescaped(text: &str) -> Option<String> {
    let (mut plain, mut rest, mut found) = (String::new(), text, false);
    while let Some(at) = rest.find('\\') {
        let after = &rest[at + 1..];
        plain.push_str(&rest[..at]);
        let (decoded, length) = decoded(after);
        match decoded {
            Some(c) => plain.push(c),
            None => plain.extend(["\\", &after[..length]]),
        }
        found |= decoded.is_some();
        rest = &after[length..];
    }
    found.then(|| plain + rest)
}

/// What a JSON escape stands for, if it is decoded, and the bytes that it has behind its backslash.
fn decoded(after: &str) -> (Option<char>, usize) {
    let code = || u8::from_str_radix(after.strip_prefix("u00")?.get(..2)?, 16).ok();
    match after.as_bytes().first() {
        Some(b'n' | b'r' | b't' | b'f' | b'b') => (Some(' '), 1),
        Some(b'u') => match code() {
            Some(c) if c.is_ascii_graphic() && !b"\"\\".contains(&c) => (Some(char::from(c)), 5),
            Some(c) if c.is_ascii_control() || c == b' ' => (Some(' '), 5),
            _ => (None, 1),
        },
        Some(c) if c.is_ascii() => (None, 1),
        _ => (None, 0),
    }
}

impl ChatClient for Masked {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(async { Ok(self.without_keys(self.inner.chat(request).await?)) })
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(async { Ok(self.without_keys_in_prompt(self.inner.score_prompt(request).await?)) })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::llm::scripted::{Scripted, block_on, said, said_in_tokens};
    use crate::llm::{ChatError, PromptToken, TokenChoice};

    const KEYS: [&str; 2] = ["sk-example-0123456789", "hf_abcDEF012345"];

    fn masked(inner: Scripted) -> Masked {
        Masked::new(Arc::new(inner), KEYS.iter().filter_map(|key| Secret::new(key)).collect())
    }

    fn ask(reply: ChatReply) -> Result<ChatReply, ChatError> {
        let request = ChatRequest {
            messages: Vec::new(),
            max_tokens: 1,
            temperature: 0.0,
            sample: 0,
            schema: None,
            top_logprobs: None,
        };
        let client = masked(Scripted::new(move |_| Ok(reply.clone())));
        block_on(client.chat(&request))
    }

    fn answer(text: &str) -> String {
        ask(said(text)).expect("an answer").text
    }

    #[test]
    fn every_form_of_every_key_is_taken_out_of_an_answer() {
        for key in KEYS {
            for form in [
                key.to_string(),
                key.to_uppercase(),
                format!("{}\\n{}", &key[..7], &key[7..]).replace("\\n", "\n"),
                format!("{}\\n{}", &key[..7], &key[7..]),
                format!("{}\\u000a{}", &key[..7], &key[7..]),
                format!("{}\u{200b}{}", &key[..9], &key[9..]),
                STANDARD.encode(format!("Bearer {key}")),
                key.bytes().map(|byte| format!("{byte:02x}")).collect(),
                key.chars().map(|c| format!("\\u{:04x}", c as u32)).collect(),
                format!("\\u{:04X}{}", key.as_bytes()[0], &key[1..]),
            ] {
                let shown = answer(&format!("{{\"explanation\": \"the word {form} here\"}}"));
                assert!(shown.contains(HIDDEN) && shown.len() < 60, "{form}: {shown}");
                assert!(shown.ends_with(" here\"}"), "{form}: {shown}");
            }
        }
        for plain in ["caf\\u00e9 \\u0041", "an example, 0123456789", "\\u00", "\\u00zz", "a\\nb\\\\n"] {
            assert_eq!(answer(plain), plain);
        }
    }

    #[test]
    fn a_key_in_tokens_is_taken_out_of_all_of_them() {
        let tokens: [(&str, &[(&str, f64)]); 4] = [
            ("a sk-exam", &[("a sk-exam", 0.9)]),
            ("ple-01234", &[("ple", 0.1)]),
            ("56789 b", &[]),
            ("c", &[("c", 0.5)]),
        ];
        let reply = ask(said_in_tokens(&tokens)).expect("an answer");
        assert_eq!(reply.text, "a *** bc");
        let choices = reply.logprobs.expect("tokens");
        let texts: Vec<&str> = choices.iter().map(|choice: &TokenChoice| choice.token.as_str()).collect();
        assert_eq!(texts, ["a ***", "", " b", "c"]);
        let kept: Vec<usize> = choices.iter().map(|choice| choice.top.len()).collect();
        assert_eq!(kept, [0, 0, 0, 1]);

        let token =
            |text: &str| PromptToken { token: text.into(), logprob: None, top: vec![(KEYS[1].into(), -1.0)] };
        let tokens = vec![token("sk-example-"), token("0123456789"), token(" fine")];
        let client = masked(Scripted::scoring(move |_| {
            Ok(PromptReply { tokens: tokens.clone(), ..Default::default() })
        }));
        let request = PromptRequest { prompt: String::new(), top: 1, slots: None };
        let reply = block_on(client.score_prompt(&request)).expect("scores");
        let text = serde_json::to_string(&reply).expect("JSON");
        assert!(!text.contains("0123456789") && !text.contains("hf_") && text.contains(" fine"), "{text}");
    }

    proptest! {
        #[test]
        fn no_key_survives_in_any_surroundings(before in "\\PC{0,30}", after in "\\PC{0,30}", nth in 0..2_usize) {
            let shown = answer(&format!("{before}{}{after}", KEYS[nth]));
            prop_assert!(!shown.contains(KEYS[nth]), "{shown}");
        }
    }
}
