//! Client for OpenAI's protocol: `POST {base}/chat/completions` and `POST {base}/completions`.

use std::collections::BTreeSet;
use std::sync::Mutex;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::advice::{is_about_schema, wants_max_completion_tokens};
use super::batched::Batches;
use super::chat::joined;
use super::completions::{self, Outcomes};
use super::http::Http;
use super::openai_answer::{Answer, finish_of};
use super::{
    ChatClient, ChatError, ChatReply, ChatRequest, ClientKind, EndpointNotes, Finish, PromptReply,
    PromptRequest, ReplyFuture, ResponseFormat, TokenChoice, TokenUse, locked,
};

/// The name that newer models use for the maximum number of tokens.
const NEWER_FIELD: &str = "max_completion_tokens";

/// A model behind an OpenAI-compatible endpoint. The `model` in an answer is not compared with the requested one,
/// because vendors resolve aliases to dated names.
pub(super) struct OpenAi {
    http: Http,
    learnt: Mutex<Learnt>,
    remarks: EndpointNotes,
    chats: Batches<ChatRequest, ChatReply>,
    prompts: Batches<PromptRequest, PromptReply>,
}

/// Forms of a request that the endpoint refused during this run.
#[derive(Debug, Clone, Default, PartialEq)]
struct Learnt {
    /// Whether to send [`NEWER_FIELD`] in place of `max_tokens_field`.
    newer_field: bool,
    /// Names of the schemas that it refused.
    refused_schemas: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Choice {
    index: Option<u64>,
    message: Option<AnswerMessage>,
    finish_reason: Option<String>,
    logprobs: Option<Value>,
}

#[derive(Deserialize)]
struct AnswerMessage {
    content: Option<Value>,
    refusal: Option<String>,
    reasoning: Option<Value>,
    reasoning_content: Option<Value>,
    tool_calls: Option<Value>,
}

impl OpenAi {
    pub fn new(http: Http, remarks: EndpointNotes) -> Self {
        let batch = http.spec.batch;
        let (chats, prompts) = (Batches::new(batch), Batches::new(batch));
        Self { http, learnt: Mutex::default(), remarks, chats, prompts }
    }

    fn chat_body(&self, request: &ChatRequest, learnt: &Learnt) -> Value {
        let mut body = self.sampling_fields(request, learnt);
        body.insert("messages".into(), json!(request.messages));
        let takes = |name: &String| self.http.spec.structured && !learnt.refused_schemas.contains(name);
        if let Some(schema) = request.object_schema().filter(|schema| takes(&schema.name)) {
            let form = match self.http.spec.response_format {
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
        self.http.spec.with_extra(body)
    }

    /// `request` has the settings of all prompts.
    fn completion_body(&self, request: &ChatRequest, prompts: &[String], learnt: &Learnt) -> Value {
        let mut body = self.sampling_fields(request, learnt);
        let prompts = prompts.iter().map(String::as_str);
        body.insert("prompt".into(), completions::prompt_field(prompts));
        if let Some(top) = request.top_logprobs {
            body.insert("logprobs".into(), json!(top));
        }
        self.http.spec.with_extra(body)
    }

    /// The fields of both request types. The sample index is the seed: samples differ, and an endpoint that honours
    /// seeds can reproduce each of them.
    fn sampling_fields(&self, request: &ChatRequest, learnt: &Learnt) -> Map<String, Value> {
        let field = if learnt.newer_field { NEWER_FIELD } else { &self.http.spec.max_tokens_field };
        Map::from_iter([
            ("model".into(), json!(self.http.spec.model)),
            (field.into(), json!(request.max_tokens + self.http.spec.thinking_tokens)),
            ("temperature".into(), json!(request.temperature)),
            ("seed".into(), json!(request.sample)),
        ])
    }

    /// Posts a body with the settings of `request`. After a refusal that names a different form, posts the body in that
    /// form.
    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        questions: usize,
        request: &ChatRequest,
        body: impl Fn(&Learnt) -> Value,
    ) -> Result<T, ChatError> {
        loop {
            let learnt = locked(&self.learnt).clone();
            match self.http.ask(path, &body(&learnt), questions).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.learn(&learnt, request, error)?,
            }
        }
    }

    /// Learns from a refusal which form the endpoint takes. Returns the refusal if it names no other form, or a form
    /// that was `used` already.
    fn learn(&self, used: &Learnt, request: &ChatRequest, error: ChatError) -> Result<(), ChatError> {
        let ChatError::BadRequest { endpoint, detail } = &error else { return Err(error) };
        let (newer, max_tokens_field) = (NEWER_FIELD, &self.http.spec.max_tokens_field);
        let schema = request.object_schema().filter(|_| self.http.spec.structured).map(|schema| &schema.name);
        let schema = schema.filter(|name| is_about_schema(detail) && !used.refused_schemas.contains(*name));
        let wants_newer =
            wants_max_completion_tokens(detail) && !used.newer_field && max_tokens_field != newer;
        let remark = if wants_newer {
            locked(&self.learnt).newer_field = true;
            format!(
                "{endpoint} refused `{max_tokens_field}` ({detail}), so `{newer}` is sent in its place: set \
                 `max_tokens_field: {newer}` in `llm` to avoid the refused requests"
            )
        } else if let Some(name) = schema {
            locked(&self.learnt).refused_schemas.insert(name.clone());
            format!(
                "{endpoint} refused the schema of the answer ({detail}), so it is sent without: set \
                 `structured: false` in `llm` to avoid the refused requests, or try `response_format: json_object`"
            )
        } else {
            return Err(error);
        };
        self.remarks.add(remark);
        Ok(())
    }

    async fn chat_completion(&self, request: &ChatRequest) -> Result<ChatReply, ChatError> {
        let answer: Answer<Choice> =
            self.ask("chat/completions", 1, request, |learnt| self.chat_body(request, learnt)).await?;
        let (choice, count) = answer.first_choice(&self.http, |choice| choice.index)?;
        let odd = |detail: &str| self.http.odd(detail).with_billed(count.known());
        let message = choice.message.ok_or_else(|| odd("answered without a message"))?;
        let text = message.content.as_ref().map(text_of).unwrap_or_default();
        let refusal = message.refusal.filter(|refusal| !refusal.is_empty());
        let is_empty = text.trim().is_empty();
        let calls_tool = message.tool_calls.as_ref().and_then(Value::as_array).is_some_and(|c| !c.is_empty());
        let thoughts = [&message.reasoning, &message.reasoning_content];
        let has_thought = thoughts.into_iter().flatten().any(|value| !text_of(value).trim().is_empty());
        let finish = match finish_of(choice.finish_reason.as_deref()) {
            None => return Err(odd("broke off its answer with an error")),
            Some(_) if refusal.is_some() => Finish::Refused,
            Some(Finish::Stop) if is_empty && calls_tool => Finish::Tool,
            Some(Finish::Stop) if is_empty && has_thought => Finish::Thought,
            Some(finish) => finish,
        };
        let TokenUse { tokens_in, tokens_out } = count.known();
        Ok(ChatReply {
            text: if text.is_empty() { refusal.unwrap_or_default() } else { text },
            finish,
            tokens_in,
            tokens_out,
            logprobs: choice.logprobs.as_ref().and_then(token_choices),
        })
    }

    async fn completion(&self, request: &ChatRequest) -> Result<ChatReply, ChatError> {
        let settings = || {
            let ChatRequest { max_tokens, temperature, sample, top_logprobs, .. } = request;
            json!([max_tokens, temperature, sample, top_logprobs]).to_string()
        };
        let send = |requests| self.completions(requests);
        self.chats.ask(settings, request, send, |error| self.stops_batches(error)).await
    }

    /// Answers to plain texts with equal settings. A model without a chat template gets the contents of the messages,
    /// joined by blank lines.
    async fn completions(&self, requests: Vec<ChatRequest>) -> Result<Outcomes<ChatReply>, ChatError> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let prompts: Vec<String> = requests.iter().map(|request| joined(&request.messages, "\n\n")).collect();
        let body = |learnt: &Learnt| self.completion_body(first, &prompts, learnt);
        let answer = self.ask(completions::PATH, prompts.len(), first, body).await?;
        let lengths: Vec<usize> = prompts.iter().map(String::len).collect();
        completions::read_answers(&self.http, answer, &lengths)
    }

    async fn score(&self, request: &PromptRequest) -> Result<PromptReply, ChatError> {
        let settings = || completions::scoring_settings(request);
        let send =
            |requests: Vec<PromptRequest>| async move { completions::score(&self.http, &requests).await };
        self.prompts.ask(settings, request, send, |error| self.stops_batches(error)).await
    }

    fn stops_batches(&self, error: &ChatError) {
        self.remarks.add(format!(
            "several batches of prompts failed ({error}), so prompts are sent one by one: leave out `batch` in `llm`"
        ));
    }
}

impl ChatClient for OpenAi {
    fn identity(&self) -> &str {
        &self.http.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        match self.http.spec.client {
            ClientKind::OpenaiCompletions => Box::pin(self.completion(request)),
            _ => Box::pin(self.chat_completion(request)),
        }
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(self.score(request))
    }
}

/// The text of a `content`: a string, or a list of parts, without the parts that hold reasoning.
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

/// The tokens of an answer; `None` if any is incomplete, because a gap would shift all later positions.
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
