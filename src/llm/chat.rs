//! The chat interface: requests, replies, errors, and the trait [`ChatClient`] that joins them.

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use super::TokenUse;

/// A boxed future, so that traits with async methods can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The future that a [`ChatClient`] returns.
pub type ReplyFuture<'a, T> = BoxFuture<'a, Result<T, ChatError>>;

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::EnumString)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Instructions that hold for the whole conversation.
    System,
    /// The program that asks.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its author.
    pub role: Role,
    /// Its text.
    pub content: String,
}

/// A JSON schema that the answer has to satisfy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// Its name: letters, digits and underscores.
    pub name: String,
    /// The schema.
    pub value: serde_json::Value,
}

/// A chat request. With the client's identity it determines the answer, so both are hashed into the cache key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Maximum number of tokens of the answer.
    pub max_tokens: usize,
    /// Sampling temperature; 0 is greedy decoding.
    pub temperature: f64,
    /// Index of this sample among independent answers to the same messages: 0, 1, …
    pub sample: u64,
    /// Schema of the answer, enforced by endpoints with constrained decoding.
    pub schema: Option<Schema>,
    /// Number of alternatives to report for each token of the answer.
    pub top_logprobs: Option<u8>,
}

/// The texts of some messages, joined.
pub(super) fn joined<'a>(messages: impl IntoIterator<Item = &'a Message>, separator: &str) -> String {
    let texts = messages.into_iter().map(|message| message.content.as_str());
    texts.collect::<Vec<_>>().join(separator)
}

impl ChatRequest {
    /// The schema if it describes an object. Endpoints enforce no other kind.
    pub fn object_schema(&self) -> Option<&Schema> {
        self.schema.as_ref().filter(|schema| schema.value["type"] == "object")
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model finished.
    Stop,
    /// `max_tokens` was reached.
    Length,
    /// The endpoint or the model refused.
    Refused,
    /// The answer holds reasoning and no text.
    Thought,
    /// The model called a tool instead of answering.
    Tool,
}

/// One token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenChoice {
    /// Its text.
    pub token: String,
    /// Its log-probability in nats.
    pub logprob: f64,
    /// The likeliest tokens at this position with their log-probabilities. The chosen token may be missing.
    pub top: Vec<(String, f64)>,
}

/// The answer to a [`ChatRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// The generated text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Prompt tokens as the endpoint counts them.
    pub tokens_in: u64,
    /// Generated tokens as the endpoint counts them.
    pub tokens_out: u64,
    /// The tokens of the answer, if they were requested and the endpoint returns them.
    pub logprobs: Option<Vec<TokenChoice>>,
}

/// A request for the log-probabilities of a text's own tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptRequest {
    /// The text.
    pub prompt: String,
    /// Number of alternatives to report at each position.
    pub top: u8,
    /// Positions of interest, for clients that know the full distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
}

/// Positions in a prompt at which candidate texts are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Byte offsets of the slots in the prompt, ascending.
    pub at: Vec<usize>,
    /// The candidates, the same for each slot.
    pub texts: Vec<String>,
}

/// One token of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptToken {
    /// Its text. All texts joined are the prompt, apart from a beginning-of-text token.
    pub token: String,
    /// Its log-probability in nats given the text before it; `None` for the first token.
    pub logprob: Option<f64>,
    /// The likeliest tokens at this position.
    pub top: Vec<(String, f64)>,
}

/// The answer to a [`PromptRequest`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptReply {
    /// The tokens of the prompt; empty if `slots` answers the request.
    pub tokens: Vec<PromptToken>,
    /// `slots[s][c]`: log-probability in nats of candidate `c` at slot `s`; `None` for a candidate that is not a
    /// single token there. The whole field is `None` from clients that know only the likeliest tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<Vec<Option<f64>>>>,
    /// Prompt tokens as the endpoint counts them.
    pub tokens_in: u64,
}

/// Why a call failed. No message holds a key or more than one line of an endpoint's words.
///
/// `endpoint` is the base URL, or the path of a local model. `detail` is the endpoint's message or the cause.
/// `retry_after` is the number of seconds that the endpoint asks to wait.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[allow(missing_docs, reason = "the fields, which most variants share, are described above")]
pub enum ChatError {
    /// The key is missing or refused (401, 403).
    #[error("no access to {endpoint}: {detail}")]
    Auth { endpoint: String, detail: String },
    /// No credit is left (402, or 429 with an exhausted quota).
    #[error("{endpoint} says that the quota is used up: {detail}")]
    Quota { endpoint: String, detail: String },
    /// The model or the path does not exist (404).
    #[error("{endpoint} has no such model or path: {detail}")]
    NotFound { endpoint: String, detail: String },
    /// The request itself is invalid (400, 413, 422); a retry cannot help.
    #[error("{endpoint} refused a request: {detail}")]
    BadRequest { endpoint: String, detail: String },
    /// A redirect (3xx) to another host. It is not followed, since the request carries the key.
    #[error("{endpoint} answers with a redirect: {detail}")]
    Redirected { endpoint: String, detail: String },
    /// Too many requests (429).
    #[error("{endpoint} is limiting requests: {detail}")]
    RateLimited { endpoint: String, detail: String, retry_after: Option<f64> },
    /// The endpoint failed (408, 5xx), or its answer is unreadable. `billed` is what it counts for the failed call.
    #[error("{endpoint} failed: {detail}")]
    Server { endpoint: String, detail: String, retry_after: Option<f64>, billed: TokenUse },
    /// The connection was not established, or it broke.
    #[error("cannot reach {endpoint}: {detail}")]
    Connection { endpoint: String, detail: String },
    /// No complete answer within the timeout.
    #[error("{endpoint} gave no complete answer within {seconds} s")]
    Timeout { endpoint: String, seconds: f64 },
    /// The next call would exceed the budget; `limit` and `spent` are dollars.
    #[error("the budget of ${limit:.2} is used up (${spent:.2} spent); raise it and run again to go on")]
    Budget { limit: f64, spent: f64 },
    /// The network is off.
    #[error("the network is off, so the language model at {endpoint} cannot be asked")]
    Offline { endpoint: String },
    /// The local model at path `model` cannot be used; `missing` if one of its files does not exist.
    #[error("the local model {model} cannot be used: {detail}")]
    LocalModel { model: String, detail: String, missing: bool },
    /// The client has no such function; `detail` names an alternative.
    #[error("{endpoint} {detail}")]
    Unsupported { endpoint: String, detail: String },
}

impl ChatError {
    pub(super) fn unsupported(endpoint: &str, detail: impl Into<String>) -> Self {
        Self::Unsupported { endpoint: endpoint.into(), detail: detail.into() }
    }

    /// Tokens that the endpoint counts for the failed call.
    pub fn billed(&self) -> TokenUse {
        match self {
            Self::Server { billed, .. } => *billed,
            _ => TokenUse::default(),
        }
    }

    /// The same error with a token count. Only a failure of the endpoint is billed: it bills no request that it
    /// refuses.
    pub(super) fn with_billed(mut self, counted: TokenUse) -> Self {
        if let Self::Server { billed, .. } = &mut self {
            *billed = counted;
        }
        self
    }

    /// Whether the same request may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. } | Self::Server { .. } | Self::Connection { .. } | Self::Timeout { .. }
        )
    }
}

/// A language model. Wrappers implement this trait around another client.
pub trait ChatClient: Send + Sync {
    /// What determines an answer besides the request: protocol, base URL and model.
    fn identity(&self) -> &str;

    /// Generates one answer.
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply>;

    /// Computes the log-probabilities of a text's own tokens.
    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply>;

    /// Removes an unusable answer from the cache, so that the next run requests a new one. Returns true if the
    /// answer came from an earlier run, so that asking again at once makes sense.
    fn forget(&self, _request: &ChatRequest) -> bool {
        false
    }

    /// Removes the log-probabilities of a prompt from the cache.
    fn forget_prompt(&self, _request: &PromptRequest) {}
}
