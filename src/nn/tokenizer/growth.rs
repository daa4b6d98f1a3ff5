//! A limit on the length of normalized texts: in a damaged or malicious file a few replacements in a row can ask for more
//! memory than there is.
//!
//!   bytes after each step <= 20 · bytes of the text + 10,000

use std::ops::Range;
use std::sync::Arc;

use serde_json::Value;
use tokenizers::utils::SysRegex;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use super::checks::{MAX_REPLACEMENT, added, each_part};
use crate::base::contained;

/// Characters of Unicode grow up to 11 times (U+FDFA under NFKC).
const MAX_GROWTH: usize = 20;
const ALLOWANCE: usize = 10_000;

/// Bytes of a text that are normalized at a time, so that one step makes no more than a few MB before it is measured.
const AT_ONCE: usize = 1 << 16;

/// The steps of a normalizer that may exceed the limit.
#[derive(Debug, Clone)]
pub(super) struct GrowthLimit {
    steps: Vec<Step>,
    /// Added tokens that are found before the normalizer runs, by their first byte. It runs on each text between two of
    /// them alone.
    separators: Vec<Vec<String>>,
}

#[derive(Debug, Clone)]
struct Step {
    /// Its `type` in the file.
    kind: String,
    replaced: Option<Replacement>,
    normalizer: NormalizerWrapper,
}

#[derive(Debug, Clone)]
struct Replacement {
    pattern: Pattern,
    /// Bytes of the replacing text.
    content: usize,
}

#[derive(Debug, Clone)]
enum Pattern {
    Text(String),
    Regex(Arc<SysRegex>),
    /// The start of the text.
    Start,
}

impl GrowthLimit {
    /// None if no text can exceed the limit, as with most published normalizers. An error if the decoder, which is not
    /// measured, may exceed it.
    pub fn of(json: &Value) -> Result<Option<Self>, String> {
        let mut growth = 1.0;
        each_part(json.get("decoder").unwrap_or(&Value::Null), "decoders", &mut |part| {
            growth *= growth_of_decoder(part);
            Ok(())
        })?;
        if growth > MAX_GROWTH as f64 {
            return Err(format!(
                "its `decoder` may make a text {growth:.0} times as long, at most {MAX_GROWTH} are allowed"
            ));
        }
        let Some(normalizer) = json.get("normalizer").filter(|normalizer| !normalizer.is_null()) else {
            return Ok(None);
        };
        let (mut steps, mut growth) = (Vec::new(), 1.0);
        each_part(normalizer, "normalizers", &mut |part| {
            growth *= growth_of(part);
            let normalizer =
                serde_json::from_value(part.clone()).map_err(|error| format!("`normalizer`: {error}"))?;
            let kind = part["type"].as_str().unwrap_or("without a type").to_string();
            steps.push(Step { kind, replaced: Replacement::of(part), normalizer });
            Ok(())
        })?;
        if growth <= MAX_GROWTH as f64 {
            return Ok(None);
        }
        let mut separators = vec![Vec::new(); 256];
        for content in added(json).filter(|token| token["normalized"] != true) {
            let content = content["content"].as_str().unwrap_or_default();
            if let Some(&first) = content.as_bytes().first() {
                separators[usize::from(first)].push(content.to_string());
            }
        }
        Ok(Some(Self { steps, separators }))
    }

    /// Fails if the steps make a text too long.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let limit = text.len().saturating_mul(MAX_GROWTH).saturating_add(ALLOWANCE);
        // Bytes after each step.
        let mut made = vec![0usize; self.steps.len()];
        for part in self.parts(text) {
            let mut normalized = NormalizedString::from(&text[part]);
            for ((nth, step), made) in self.steps.iter().enumerate().zip(&mut made) {
                let before = normalized.get();
                let added = step.replaced.as_ref().map_or(0, |replaced| replaced.bytes_added(before));
                if made.saturating_add(before.len()).saturating_add(added) <= limit {
                    // The library panics on some sequences of steps.
                    let ran = contained(|| step.normalizer.normalize(&mut normalized));
                    let ran = ran.and_then(|outcome| outcome.map_err(|error| error.to_string()));
                    ran.map_err(|why| {
                        format!("its `normalizer`, step {} ({}), fails on a text: {why}", nth + 1, step.kind)
                    })?;
                    *made += normalized.get().len();
                    if *made <= limit {
                        continue;
                    }
                }
                return Err(format!(
                    "its `normalizer`, step {} ({}), makes more than {limit} bytes of a text of {}; no published \
                     tokenizer does, so the file is damaged or malicious",
                    nth + 1,
                    step.kind,
                    text.len()
                ));
            }
        }
        Ok(())
    }

    /// The parts of a text between added tokens, the long ones cut.
    fn parts(&self, text: &str) -> Vec<Range<usize>> {
        let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
        let bytes = text.as_bytes();
        while at < bytes.len() {
            let separators = self.separators[usize::from(bytes[at])].iter();
            let found = separators.filter(|content| bytes[at..].starts_with(content.as_bytes()));
            let length = found.map(String::len).max().unwrap_or(0);
            let cut = at - start >= AT_ONCE && text.is_char_boundary(at);
            if length > 0 || cut {
                parts.push(start..at);
                start = at + length;
            }
            at += length.max(1);
        }
        parts.push(start..bytes.len());
        parts.retain(|part| !part.is_empty());
        parts
    }
}

impl Replacement {
    fn of(part: &Value) -> Option<Self> {
        if let Some(text) = part.get("prepend").and_then(Value::as_str) {
            return Some(Self { pattern: Pattern::Start, content: text.len() });
        }
        let content = part.get("content")?.as_str()?.len();
        let text = |at: &str| part.pointer(at).and_then(Value::as_str);
        let pattern = match (text("/pattern/String"), text("/pattern/Regex")) {
            (Some(text), _) => Pattern::Text(text.to_string()),
            // Invalid expressions are refused when the normalizer is read.
            (None, regex) => Pattern::Regex(Arc::new(SysRegex::new(regex?).ok()?)),
        };
        Some(Self { pattern, content })
    }

    /// An upper bound of the bytes that the replacements add to `text`.
    fn bytes_added(&self, text: &str) -> usize {
        let matches = match &self.pattern {
            Pattern::Start => 1,
            Pattern::Text(pattern) => text.matches(pattern.as_str()).count(),
            Pattern::Regex(regex) => regex.find_iter(text).count(),
        };
        matches.saturating_mul(self.content)
    }
}

/// Largest number of bytes that a step makes of one byte. A part of a text can be as short as that.
fn growth_of(part: &Value) -> f64 {
    if let Some(Replacement { pattern, content }) = Replacement::of(part) {
        return match pattern {
            Pattern::Text(pattern) if !pattern.is_empty() => (content as f64 / pattern.len() as f64).max(1.0),
            _ => 1.0 + content as f64,
        };
    }
    match part["type"].as_str() {
        Some("NFC" | "NFD") => 3.0,
        Some("NFKC" | "NFKD" | "BertNormalizer") => 12.0,
        Some("Lowercase" | "ByteLevel") => 2.0,
        Some("Strip" | "StripAccents" | "Nmt") => 1.0,
        _ => MAX_REPLACEMENT as f64,
    }
}

/// The same of a decoder, which also works on single tokens.
fn growth_of_decoder(part: &Value) -> f64 {
    match part["type"].as_str() {
        Some("Replace") | None if part.get("content").is_some() => growth_of(part),
        Some("BPEDecoder" | "WordPiece") => 2.0,
        _ => 1.0,
    }
}
