//! Tokens that a call took, counted from the field `usage` of the endpoint's answer.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Prompt tokens in Anthropic's protocol, which counts tokens written to and read from its prompt cache separately.
pub(super) const ANTHROPIC_INPUT: [&str; 3] =
    ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];

/// Tokens of one call. A failed call may be billed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUse {
    /// Prompt tokens.
    pub tokens_in: u64,
    /// Generated tokens.
    pub tokens_out: u64,
}

impl TokenUse {
    /// Tokens in and out together.
    pub(super) fn total(self) -> f64 {
        self.tokens_in as f64 + self.tokens_out as f64
    }
}

/// Counts in OpenAI's protocol; `None` if the endpoint gives no positive number.
#[derive(Default, Clone, Copy)]
pub(super) struct TokenCount {
    pub prompt_tokens: Option<u64>,
    pub completion_tokens: Option<u64>,
}

impl<'de> Deserialize<'de> for TokenCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let usage = Value::deserialize(deserializer)?;
        let count = |name| usage.get(name).and_then(number);
        Ok(Self { prompt_tokens: count("prompt_tokens"), completion_tokens: count("completion_tokens") })
    }
}

impl TokenCount {
    /// The counts, with 0 for missing ones.
    pub fn known(self) -> TokenUse {
        TokenUse {
            tokens_in: self.prompt_tokens.unwrap_or(0),
            tokens_out: self.completion_tokens.unwrap_or(0),
        }
    }
}

/// A positive count, also if it is written as a float, which is rounded, or as text.
fn number(written: &Value) -> Option<u64> {
    let float = || written.as_f64().or_else(|| written.as_str()?.trim().parse().ok());
    let rounded =
        || float().filter(|count| count.is_finite() && *count >= 0.5).map(|count| count.round() as u64);
    written.as_u64().or_else(rounded)
}

/// Sum of the named counts of a `usage` object.
pub(super) fn sum(usage: &Value, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| number(usage.get(*name)?)).fold(0, u64::saturating_add)
}

/// The counts of an answer in either protocol.
pub(super) fn billed_in(answer: &Value) -> TokenUse {
    let usage = &answer["usage"];
    TokenUse {
        tokens_in: sum(usage, &["prompt_tokens"]).saturating_add(sum(usage, &ANTHROPIC_INPUT)),
        tokens_out: sum(usage, &["completion_tokens", "output_tokens"]),
    }
}
