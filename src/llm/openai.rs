//! `POST {base}/chat/completions`, and a client that scores prompts, or answers altogether, through
//! `POST {base}/completions`.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::advice::{is_about_schema, wants_max_completion_tokens};
use super::completions;
use super::http::Http;
use super::{
    Billed, BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, ClientKind, Finish, LlmSpec,
    PromptReply, PromptRequest, Remarks, ResponseFormat, TokenChoice, locked,
};

/// The field for the most tokens of an answer that newer models want.
const NEWER_FIELD: &str = "max_completion_tokens";

/// A model behind an OpenAI-compatible endpoint.
///
/// The `model` that an answer names is not compared with the one that was asked for: vendors answer
/// with dated names of what was asked for by an alias.
pub(super) struct OpenAi {
    http: Http,
    identity: String,
    spec: LlmSpec,
    learnt: Mutex<Learnt>,
    remarks: Remarks,
}

/// How the endpoint wants to be asked, as far as it said so.
#[derive(Debug, Clone, Default, PartialEq)]
struct Learnt {
    /// Whether the most tokens of an answer go by [`NEWER_FIELD`].
    newer_field: bool,
    /// Names of schemas that it does not take.
    refused_schemas: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Answer {
    choices: Option<Vec<Choice>>,
    #[serde(default)]
    usage: TokenCount,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    message: Option<Said>,
    finish_reason: Option<String>,
    logprobs: Option<Value>,
}

#[derive(Deserialize)]
struct Said {
    content: Option<Value>,
    refusal: Option<String>,
    reasoning: Option<Value>,
    reasoning_content: Option<Value>,
    tool_calls: Option<Value>,
}

/// Tokens as the endpoint counts them, in whatever form; none where it does not say.
#[derive(Default, Clone, Copy)]
pub(super) struct TokenCount {
    /// Of the question.
    pub prompt_tokens: Option<u64>,
    /// Of the answer.
    pub completion_tokens: Option<u64>,
}

impl<'de> Deserialize<'de> for TokenCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let usage = Value::deserialize(deserializer)?;
        let count = |name| usage.get(name).and_then(Self::number);
        Ok(Self { prompt_tokens: count("prompt_tokens"), completion_tokens: count("completion_tokens") })
    }
}

impl TokenCount {
    /// A count above 0 that may be written as a fraction or as text.
    pub fn number(written: &Value) -> Option<u64> {
        let float = || written.as_f64().or_else(|| written.as_str()?.trim().parse().ok());
        // A fraction becomes the nearest number that there is.
        let whole =
            || float().filter(|count| count.is_finite() && *count >= 0.5).map(|count| count.round() as u64);
        written.as_u64().or_else(whole)
    }

    /// What a call took that came to nothing.
    pub fn billed(self) -> Billed {
        Billed { tokens_in: self.prompt_tokens.unwrap_or(0), tokens_out: self.completion_tokens.unwrap_or(0) }
    }
}

impl OpenAi {
    /// A client around an endpoint.
    pub fn new(http: Http, identity: String, spec: LlmSpec, remarks: Remarks) -> Self {
        Self { http, identity, spec, learnt: Mutex::default(), remarks }
    }

    fn body(&self, request: &ChatRequest, learnt: &Learnt) -> Value {
        let mut body = self.sampled(request, learnt);
        body.insert("messages".into(), json!(request.messages));
        let takes = |name: &String| self.spec.structured && !learnt.refused_schemas.contains(name);
        if let Some(schema) = request.object_schema().filter(|schema| takes(&schema.name)) {
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
    fn sampled(&self, request: &ChatRequest, learnt: &Learnt) -> Map<String, Value> {
        let mut body = Map::new();
        let field = if learnt.newer_field { NEWER_FIELD } else { &self.spec.max_tokens_field };
        body.insert("model".into(), json!(self.spec.model));
        body.insert(field.into(), json!(request.max_tokens + self.spec.thinking_tokens));
        body.insert("temperature".into(), json!(request.temperature));
        body.insert("seed".into(), json!(request.sample));
        body
    }

    /// Takes from a refusal how the endpoint wants to be asked, for this run; the refusal itself where it does not
    /// say, or was asked so already.
    fn learn(&self, used: &Learnt, request: &ChatRequest, error: ChatError) -> Result<(), ChatError> {
        let ChatError::BadRequest { endpoint, detail } = &error else { return Err(error) };
        let (newer, max_tokens_field) = (NEWER_FIELD, &self.spec.max_tokens_field);
        let schema = request.object_schema().filter(|_| self.spec.structured).map(|schema| &schema.name);
        if wants_max_completion_tokens(detail) && !used.newer_field && max_tokens_field != newer {
            locked(&self.learnt).newer_field = true;
            self.remarks.add(format!(
                "{endpoint} refused `{max_tokens_field}` ({detail}), so `{newer}` is sent in its place: set \
                 `max_tokens_field: {newer}` in `llm` to save the first questions"
            ));
            return Ok(());
        }
        if let Some(name) =
            schema.filter(|name| is_about_schema(detail) && !used.refused_schemas.contains(*name))
        {
            locked(&self.learnt).refused_schemas.insert(name.clone());
            self.remarks.add(format!(
                "{endpoint} refused the schema of the answer ({detail}), so it was asked without: set \
                 `structured: false` in `llm` to save the first questions, or try `response_format: json_object`"
            ));
            return Ok(());
        }
        Err(error)
    }

    async fn chat_completion(&self, request: &ChatRequest) -> Result<ChatReply, ChatError> {
        let answer: Answer = loop {
            let learnt = locked(&self.learnt).clone();
            match self.http.ask("chat/completions", &self.body(request, &learnt)).await {
                Ok(answer) => break answer,
                Err(error) => self.learn(&learnt, request, error)?,
            }
        };
        let count = answer.usage;
        let odd = |detail: &str| self.http.odd(detail).with_billed(count.billed());
        let choice = first_of(answer.choices, |choice: &Choice| choice.index);
        let choice = choice.ok_or_else(|| odd("answered without a choice"))?;
        let said = choice.message.ok_or_else(|| odd("answered without a message"))?;
        let text = said.content.as_ref().map(text_of).unwrap_or_default();
        let refusal = said.refusal.filter(|refusal| !refusal.is_empty());
        let is_there =
            |value: &Option<Value>| value.as_ref().is_some_and(|value| !text_of(value).trim().is_empty());
        let called =
            said.tool_calls.as_ref().and_then(Value::as_array).is_some_and(|calls| !calls.is_empty());
        let finish = match finish_of(choice.finish_reason.as_deref()) {
            Some(_) if refusal.is_some() => Finish::Refused,
            Some(Finish::Stop) if text.trim().is_empty() && called => Finish::Tool,
            Some(Finish::Stop)
                if text.trim().is_empty()
                    && (is_there(&said.reasoning) || is_there(&said.reasoning_content)) =>
            {
                Finish::Thought
            }
            Some(finish) => finish,
            None => return Err(odd("broke off its answer with an error")),
        };
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
        loop {
            let learnt = locked(&self.learnt).clone();
            let mut body = self.sampled(request, &learnt);
            body.insert("prompt".into(), json!(contents.join("\n\n")));
            if let Some(top) = request.top_logprobs {
                body.insert("logprobs".into(), json!(top));
            }
            match completions::complete(&self.http, &self.spec.with_extra(body)).await {
                Ok(reply) => return Ok(reply),
                Err(error) => self.learn(&learnt, request, error)?,
            }
        }
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

/// The choice of index 0, else the first.
pub(super) fn first_of<C>(choices: Option<Vec<C>>, index: impl Fn(&C) -> Option<u64>) -> Option<C> {
    let mut choices = choices.unwrap_or_default();
    let first = choices.iter().position(|choice| index(choice) == Some(0)).unwrap_or(0);
    (first < choices.len()).then(|| choices.swap_remove(first))
}

/// A content that is a text, or a list of parts with texts; thoughts among them are no part of it.
fn text_of(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_string();
    }
    let is_thought = |part: &&Value| {
        let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
        kind.contains("think") || kind.contains("reason")
    };
    let parts = content.as_array().into_iter().flatten().filter(|part| !is_thought(part));
    parts.filter_map(|part| part.as_str().or_else(|| part.get("text")?.as_str())).collect()
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
