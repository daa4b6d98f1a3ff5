//! `POST {base}/v1/messages`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::http::Http;
use super::openai::TokenCount;
use super::{
    Billed, BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Finish, LlmSpec, Message, PromptReply,
    PromptRequest, Role,
};

/// A model behind Anthropic's protocol. There are no log-probabilities and no seeds: the number of
/// a sample only keeps stored answers apart.
pub(super) struct Anthropic {
    http: Http,
    identity: String,
    spec: LlmSpec,
}

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
    /// A client around an endpoint.
    pub fn new(http: Http, identity: String, spec: LlmSpec) -> Self {
        Self { http, identity, spec }
    }

    fn body(&self, request: &ChatRequest) -> Value {
        let is_system = |message: &&Message| message.role == Role::System;
        let system: Vec<&str> =
            request.messages.iter().filter(is_system).map(|m| m.content.as_str()).collect();
        let others: Vec<&Message> = request.messages.iter().filter(|message| !is_system(message)).collect();
        let mut body = Map::new();
        body.insert("model".into(), json!(self.spec.model));
        body.insert(
            self.spec.max_tokens_field.clone(),
            json!(request.max_tokens + self.spec.thinking_tokens),
        );
        body.insert("temperature".into(), json!(request.temperature));
        body.insert("messages".into(), json!(others));
        if !system.is_empty() {
            body.insert("system".into(), json!(system.join("\n\n")));
        }
        if let Some(schema) = request.object_schema().filter(|_| self.spec.structured) {
            let tool = json!({
                "name": schema.name,
                "description": "Gives the answer.",
                "input_schema": schema.value,
            });
            body.insert("tools".into(), json!([tool]));
            body.insert("tool_choice".into(), json!({"type": "tool", "name": schema.name}));
        }
        self.spec.with_extra(body)
    }

    async fn message(&self, request: &ChatRequest) -> Result<ChatReply, ChatError> {
        let answer: Answer = self.http.ask("v1/messages", &self.body(request)).await?;
        // Tokens as the endpoint counts them, those from and into its own cache apart.
        let count = |name: &str| answer.usage.get(name).and_then(TokenCount::number).unwrap_or(0);
        let read = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"];
        let tokens_in = read.into_iter().map(count).fold(0, u64::saturating_add);
        let tokens_out = count("output_tokens");
        let billed = Billed { tokens_in, tokens_out };
        let odd = || self.http.odd("answered without a content").with_billed(billed);
        let blocks = answer.content.ok_or_else(odd)?;
        let finish = match answer.stop_reason.as_deref() {
            Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
            Some("refusal") => Finish::Refused,
            _ if !blocks.iter().any(Block::says) && blocks.iter().any(|block| block.thinking.is_some()) => {
                Finish::Thought
            }
            _ => Finish::Stop,
        };
        Ok(ChatReply { text: text_of(blocks), finish, tokens_in, tokens_out, logprobs: None })
    }
}

impl Block {
    fn says(&self) -> bool {
        self.input.is_some() || self.text.as_ref().is_some_and(|text| !text.trim().is_empty())
    }
}

/// The input of the forced tool call, else the texts.
fn text_of(blocks: Vec<Block>) -> String {
    if let Some(input) = blocks.iter().find_map(|block| block.input.as_ref()) {
        return input.to_string();
    }
    blocks.into_iter().filter_map(|block| block.text).collect()
}

impl ChatClient for Anthropic {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        Box::pin(self.message(request))
    }

    fn score_prompt<'a>(
        &'a self,
        _request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        let detail = "speaks a protocol without log-probabilities, so it cannot score prompts: take an endpoint of \
                      kind `openai` that can, or a simulator that reads answers";
        let endpoint = self.http.endpoint().to_string();
        Box::pin(async move { Err(ChatError::Unsupported { endpoint, detail: detail.into() }) })
    }
}
