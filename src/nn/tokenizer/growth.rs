//! A limit on the length of normalized texts: in a damaged or malicious file a few replacements in a row can ask for more
//! memory than there is.
//!
//!   bytes after each step <= 100 · bytes of the text + 10,000

use serde_json::Value;
use tokenizers::utils::SysRegex;
use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};

use super::checks::each_part;

const MAX_GROWTH: usize = 100;
const ALLOWANCE: usize = 10_000;

/// The steps of a normalizer that may exceed the limit.
#[derive(Debug, Clone)]
pub(super) struct GrowthLimit(Vec<Step>);

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
    Regex(String),
}

impl GrowthLimit {
    /// None if no text can exceed the limit, as with the normalizers of published models.
    pub fn of(json: &Value) -> Result<Option<Self>, String> {
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
        Ok((growth > MAX_GROWTH as f64).then_some(Self(steps)))
    }

    /// Fails if the steps make a text too long.
    pub fn check(&self, text: &str) -> Result<(), String> {
        let limit = text.len().saturating_mul(MAX_GROWTH).saturating_add(ALLOWANCE);
        let mut normalized = NormalizedString::from(text);
        for (nth, step) in self.0.iter().enumerate() {
            let before = normalized.get();
            let added = step.replaced.as_ref().map_or(0, |replaced| replaced.bytes_added(before));
            if before.len().saturating_add(added) <= limit {
                step.normalizer.normalize(&mut normalized).map_err(|error| error.to_string())?;
                if normalized.get().len() <= limit {
                    continue;
                }
            }
            return Err(format!(
                "its `normalizer`, step {} ({}), makes more than {limit} bytes of a text of {}; no published tokenizer \
                 does, so the file is damaged or malicious",
                nth + 1,
                step.kind,
                text.len()
            ));
        }
        Ok(())
    }
}

impl Replacement {
    fn of(part: &Value) -> Option<Self> {
        let content = part.get("content")?.as_str()?.len();
        let text = |at: &str| part.pointer(at).and_then(Value::as_str).map(str::to_string);
        let pattern =
            text("/pattern/String").map(Pattern::Text).or_else(|| text("/pattern/Regex").map(Pattern::Regex));
        Some(Self { pattern: pattern?, content })
    }

    /// An upper bound of the bytes that the replacements add to `text`.
    fn bytes_added(&self, text: &str) -> usize {
        let matches = match &self.pattern {
            Pattern::Text(pattern) => text.matches(pattern.as_str()).count(),
            // Invalid expressions were refused when the normalizer was read.
            Pattern::Regex(pattern) => {
                SysRegex::new(pattern).map_or(0, |regex| regex.find_iter(text).count())
            }
        };
        matches.saturating_mul(self.content)
    }
}

/// Largest number of bytes that a step makes of one byte.
fn growth_of(part: &Value) -> f64 {
    if let Some(Replacement { pattern, content }) = Replacement::of(part) {
        return match pattern {
            Pattern::Text(pattern) if !pattern.is_empty() => (content as f64 / pattern.len() as f64).max(1.0),
            _ => 1.0 + content as f64,
        };
    }
    match part["type"].as_str() {
        Some("Prepend") => 1.0 + part["prepend"].as_str().map_or(0, str::len) as f64 / 100.0,
        Some("NFC" | "NFD" | "NFKC" | "NFKD" | "Nmt" | "BertNormalizer") => 12.0,
        Some("Lowercase" | "ByteLevel") => 2.0,
        Some("Strip" | "StripAccents") => 1.0,
        _ => MAX_GROWTH as f64,
    }
}
