//! Client for Anthropic's protocol: `POST {base}/v1/messages`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::chat::joined;
use super::http::Http;
use super::token_use::{ANTHROPIC_INPUT, sum};
use super::{
    ChatClient, ChatError, ChatReply, ChatRequest, Finish, Message, PromptReply, PromptRequest, ReplyFuture,
    Role, TokenUse,
};

/// A model behind Anthropic's protocol. It has no log-probabilities and no seeds, so a request's `sample` only
/// separates cached answers.
pub(super) struct Anthropic(pub Http);

#[derive(Deserialize)]
struct Answer {
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Block {
    text: Option<String>,
    input: Option<Value>,
    thinking: Option<String>,
}

impl Anthropic {
    fn body(&self, request: &ChatRequest) -> Value {
        let (system, others): (Vec<&Message>, Vec<&Message>) =
            request.messages.iter().partition(|message| message.role == Role::System);
        let mut body = Map::from_iter([
            ("model".into(), json!(self.0.spec.model)),
            (self.0.spec.max_tokens_field.clone(), json!(request.max_tokens + self.0.spec.thinking_tokens)),
            ("temperature".into(), json!(request.temperature)),
            ("messages".into(), json!(others)),
        ]);
        if !system.is_empty() {
            body.insert("system".into(), json!(joined(system, "\n\n")));
        }
        if let Some(schema) = request.object_schema().filter(|_| self.0.spec.structured) {
            let tool = json!({
                "name": schema.name,
                "description": "Gives the answer.",
                "input_schema": schema.value,
            });
            body.insert("tools".into(), json!([tool]));
            body.insert("tool_choice".into(), json!({"type": "tool", "name": schema.name}));
        }
        self.0.spec.with_extra(body)
    }

    async fn message(&self, request: &ChatRequest) -> Result<ChatReply, ChatError> {
        let answer: Answer = self.0.ask("v1/messages", &self.body(request), 1).await?;
        let tokens_in = sum(&answer.usage, &ANTHROPIC_INPUT);
        let tokens_out = sum(&answer.usage, &["output_tokens"]);
        let billed = TokenUse { tokens_in, tokens_out };
        let odd = || self.0.odd("answered without a content").with_billed(billed);
        let blocks = answer.content.ok_or_else(odd)?;
        let finish = match answer.stop_reason.as_deref() {
            Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
            Some("refusal") => Finish::Refused,
            _ if !blocks.iter().any(Block::answers)
                && blocks.iter().any(|block| block.thinking.is_some()) =>
            {
                Finish::Thought
            }
            _ => Finish::Stop,
        };
        Ok(ChatReply { text: text_of(blocks), finish, tokens_in, tokens_out, logprobs: None })
    }
}

impl Block {
    fn answers(&self) -> bool {
        self.input.is_some() || self.text.as_ref().is_some_and(|text| !text.trim().is_empty())
    }
}

/// The input of the forced tool call, else all texts joined.
fn text_of(blocks: Vec<Block>) -> String {
    if let Some(input) = blocks.iter().find_map(|block| block.input.as_ref()) {
        return input.to_string();
    }
    blocks.into_iter().filter_map(|block| block.text).collect()
}

impl ChatClient for Anthropic {
    fn identity(&self) -> &str {
        &self.0.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(self.message(request))
    }

    fn score_prompt<'a>(&'a self, _request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        let detail = "speaks a protocol without log-probabilities, so it cannot score prompts: use an endpoint of \
                      kind `openai` that can, or a simulator that needs only text (`generated`)";
        Box::pin(async move { Err(ChatError::unsupported(&self.0.endpoint, detail)) })
    }
}
