//! What a request may take, before it is sent.

use super::{ChatReply, ChatRequest, PromptRequest};

/// Texts of few ordinary words have about four characters per token; digits and code have fewer.
const CHARACTERS_PER_TOKEN: usize = 3;
/// Marks around a message.
const TOKENS_PER_MESSAGE: usize = 4;

/// Most tokens that a request is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// Of the question.
    pub tokens_in: u64,
    /// Of the answer.
    pub tokens_out: u64,
}

fn tokens(text: &str) -> usize {
    text.chars().count().div_ceil(CHARACTERS_PER_TOKEN)
}

impl Expected {
    /// Of a conversation: its characters, and the whole of the answer that it allows.
    pub fn of_chat(request: &ChatRequest) -> Self {
        let messages = request.messages.iter().map(|message| tokens(&message.content) + TOKENS_PER_MESSAGE);
        let schema = request.schema.as_ref().map_or(0, |schema| tokens(&schema.value.to_string()));
        Self { tokens_in: (messages.sum::<usize>() + schema) as u64, tokens_out: request.max_tokens as u64 }
    }

    /// Of a prompt that is scored: at most one token is generated.
    pub fn of_prompt(request: &PromptRequest) -> Self {
        Self { tokens_in: tokens(&request.prompt) as u64, tokens_out: 1 }
    }

    /// Both together.
    pub fn total(self) -> f64 {
        self.tokens_in as f64 + self.tokens_out as f64
    }

    /// What an answer took: as the endpoint counts, or by its characters where it does not.
    pub fn taken(self, reply: &ChatReply) -> Self {
        let counted = |count: u64, estimate: u64| if count == 0 { estimate } else { count };
        Self {
            tokens_in: counted(reply.tokens_in, self.tokens_in),
            tokens_out: counted(reply.tokens_out, tokens(&reply.text) as u64),
        }
    }

    /// Whether some of that is an estimate.
    pub fn is_estimated(reply: &ChatReply) -> bool {
        reply.tokens_in == 0 || (reply.tokens_out == 0 && !reply.text.is_empty())
    }
}
