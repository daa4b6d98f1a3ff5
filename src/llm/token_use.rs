//! Tokens that a call takes: estimated before it, then counted from the field `usage` of the endpoint's answer.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{ChatReply, ChatRequest, PromptRequest};

/// Ordinary prose has about four characters per token; digits and code have fewer.
const CHARACTERS_PER_TOKEN: usize = 3;
/// Tokens of the chat template around a message.
pub(super) const TOKENS_PER_MESSAGE: usize = 4;
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

fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN)
}

impl TokenUse {
    /// Upper estimate for a conversation: its characters, and an answer of `max_tokens`.
    pub(super) fn of_chat(request: &ChatRequest) -> Self {
        let messages = request.messages.iter().map(|message| tokens(&message.content) + TOKENS_PER_MESSAGE);
        let schema = request.schema.as_ref().map_or(0, |schema| tokens(&schema.value.to_string()));
        Self { tokens_in: (messages.sum::<usize>() + schema) as u64, tokens_out: request.max_tokens as u64 }
    }

    /// Estimate for a prompt that is scored: at most one token is generated.
    pub(super) fn of_prompt(request: &PromptRequest) -> Self {
        Self { tokens_in: tokens(&request.prompt) as u64, tokens_out: 1 }
    }

    /// Tokens in and out together.
    pub(super) fn total(self) -> f64 {
        self.tokens_in as f64 + self.tokens_out as f64
    }

    /// Tokens that an answer took: the endpoint's counts, and estimates in place of missing ones.
    pub(super) fn taken(self, reply: &ChatReply) -> Self {
        let counted = |count: u64, estimate: u64| if count == 0 { estimate } else { count };
        Self {
            tokens_in: counted(reply.tokens_in, self.tokens_in),
            tokens_out: counted(reply.tokens_out, tokens(&reply.text) as u64),
        }
    }

    /// Whether [`TokenUse::taken`] contains an estimate.
    pub(super) fn is_estimated(reply: &ChatReply) -> bool {
        reply.tokens_in == 0 || (reply.tokens_out == 0 && !reply.text.is_empty())
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
