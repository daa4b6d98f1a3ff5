//! `POST {base}/chat/completions`, and a client that scores prompts, or answers altogether, through
//! `POST {base}/completions`.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::completions;
use super::http::Http;
use super::{
    Billed, BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, ClientKind, Finish, LlmSpec,
    PromptReply, PromptRequest, ResponseFormat, TokenChoice,
};

/// A model behind an OpenAI-compatible endpoint.
///
/// The `model` that an answer names is not compared with the one that was asked for: vendors answer
/// with dated names of what was asked for by an alias.
pub(super) struct OpenAi {
    http: Http,
    identity: String,
    spec: LlmSpec,
}

#[derive(Deserialize)]
struct Answer {
    choices: Option<Vec<Choice>>,
    usage: Option<TokenCount>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Said>,
    finish_reason: Option<String>,
    logprobs: Option<Value>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Value>,
    refusal: Option<String>,
}

/// Tokens as the endpoint counts them; 0 where it does not say.
#[derive(Deserialize, Default, Clone, Copy)]
pub(super) struct TokenCount {
    /// Of the question.
    pub prompt_tokens: Option<u64>,
    /// Of the answer.
    pub completion_tokens: Option<u64>,
}

impl TokenCount {
    /// What a call took that came to nothing.
    pub fn billed(self) -> Billed {
        Billed { tokens_in: self.prompt_tokens.unwrap_or(0), tokens_out: self.completion_tokens.unwrap_or(0) }
    }
}

impl OpenAi {
    /// A client around an endpoint.
    pub fn new(http: Http, identity: String, spec: LlmSpec) -> Self {
        Self { http, identity, spec }
    }

    fn body(&self, request: &ChatRequest) -> Value {
        let mut body = self.sampled(request);
        body.insert("messages".into(), json!(request.messages));
        if let Some(schema) = request.object_schema().filter(|_| self.spec.structured) {
            let form = match self.spec.response_format {
                ResponseFormat::JsonSchema => json!({
                    "type": "json_schema",
                    "json_schema": {"name": schema.name, "schema": schema.value, "strict": true},
                }),
                ResponseFormat::JsonObject => json!({"type": "json_object", "schema": schema.value}),
            };
            body.insert("response_format".into(), form);
        }
        if let Some(top) = request.top_logprobs {
            body.insert("logprobs".into(), json!(true));
            body.insert("top_logprobs".into(), json!(top));
        }
        self.spec.with_extra(body)
    }

    /// What both kinds of request have. The number of the sample is the seed, so that samples
    /// differ, and each can be asked for again where an endpoint honours seeds.
    fn sampled(&self, request: &ChatRequest) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("model".into(), json!(self.spec.model));
        body.insert(self.spec.max_tokens_field.clone(), json!(request.max_tokens));
        body.insert("temperature".into(), json!(request.temperature));
        body.insert("seed".into(), json!(request.sample));
        body
    }

    async fn chat_completion(&self, request: &ChatRequest) -> Result<ChatReply, ChatError> {
        let answer: Answer = self.http.ask("chat/completions", &self.body(request)).await?;
        let count = answer.usage.unwrap_or_default();
        let odd = |detail: &str| self.http.odd(detail).with_billed(count.billed());
        let choice = answer.choices.unwrap_or_default().into_iter().next();
        let choice = choice.ok_or_else(|| odd("answered without a choice"))?;
        let said = choice.message.ok_or_else(|| odd("answered without a message"))?;
        let refusal = said.refusal.filter(|refusal| !refusal.is_empty());
        let finish = match finish_of(choice.finish_reason.as_deref()) {
            Some(_) if refusal.is_some() => Finish::Refused,
            Some(finish) => finish,
            None => return Err(odd("broke off its answer with an error")),
        };
        let text = said.content.as_ref().map(text_of).unwrap_or_default();
        Ok(ChatReply {
            text: if text.is_empty() { refusal.unwrap_or_default() } else { text },
            finish,
            tokens_in: count.prompt_tokens.unwrap_or(0),
            tokens_out: count.completion_tokens.unwrap_or(0),
            logprobs: choice.logprobs.as_ref().and_then(token_choices),
        })
    }

    /// A model without a chat template gets the contents of the messages, joined by empty lines.
    async fn completion(&self, request: &ChatRequest) -> Result<ChatReply, ChatError> {
        let contents: Vec<&str> = request.messages.iter().map(|message| message.content.as_str()).collect();
        let mut body = self.sampled(request);
        body.insert("prompt".into(), json!(contents.join("\n\n")));
        if let Some(top) = request.top_logprobs {
            body.insert("logprobs".into(), json!(top));
        }
        completions::complete(&self.http, &self.spec.with_extra(body)).await
    }
}

impl ChatClient for OpenAi {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        match self.spec.client {
            ClientKind::OpenaiCompletions => Box::pin(self.completion(request)),
            _ => Box::pin(self.chat_completion(request)),
        }
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        Box::pin(completions::score(&self.http, &self.spec, request))
    }
}

/// Why an answer ended; none where the endpoint reports that it failed on the way.
pub(super) fn finish_of(reason: Option<&str>) -> Option<Finish> {
    match reason {
        Some("length") => Some(Finish::Length),
        Some("content_filter") => Some(Finish::Refused),
        Some("error" | "abort") => None,
        _ => Some(Finish::Stop),
    }
}

/// A content that is a text, or a list of parts with texts.
fn text_of(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_string();
    }
    let parts = content.as_array().into_iter().flatten();
    parts.filter_map(|part| part.get("text")?.as_str()).collect()
}

/// Token by token; none where something is missing, for a gap would shift what follows.
fn token_choices(logprobs: &Value) -> Option<Vec<TokenChoice>> {
    let pair =
        |entry: &Value| Some((entry.get("token")?.as_str()?.to_string(), entry.get("logprob")?.as_f64()?));
    let choice = |entry: &Value| {
        let (token, logprob) = pair(entry)?;
        let top = entry.get("top_logprobs").and_then(Value::as_array);
        let top = top.into_iter().flatten().map(pair).collect::<Option<_>>()?;
        Some(TokenChoice { token, logprob, top })
    };
    logprobs.get("content")?.as_array()?.iter().map(choice).collect()
}
