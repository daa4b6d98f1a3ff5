//! Estimates of the tokens that a call takes, made before it and where the endpoint gives no count.

use super::{ChatReply, ChatRequest, PromptRequest, TokenUse};

/// Ordinary prose has about four characters per token; digits and code have fewer.
const CHARACTERS_PER_TOKEN: usize = 3;
/// Tokens of the chat template around a message.
pub(super) const TOKENS_PER_MESSAGE: usize = 4;

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
