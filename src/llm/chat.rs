use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

/// A future that can be held in a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

/// A JSON schema that the answer has to satisfy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// A name for it, letters, digits and underscores.
    pub name: String,
    /// The schema.
    pub value: serde_json::Value,
}

/// A question. Everything in it may change the answer, and nothing else in the program does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Most tokens of the answer.
    pub max_tokens: usize,
    /// 0 takes the likeliest token each time.
    pub temperature: f64,
    /// Which of several independent answers to the same question: 0, 1, …
    pub sample: u64,
    /// What the answer must look like, for endpoints that can hold a model to it.
    pub schema: Option<Schema>,
    /// How many alternatives to report for each token of the answer.
    pub top_logprobs: Option<u8>,
}

impl ChatRequest {
    /// The schema, where endpoints can be held to it: they take objects alone.
    pub fn object_schema(&self) -> Option<&Schema> {
        self.schema.as_ref().filter(|schema| schema.value["type"] == "object")
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model was done.
    Stop,
    /// `max_tokens` was reached.
    Length,
    /// The endpoint or the model refused.
    Refused,
    /// There is a thought and no answer.
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
    /// The likeliest tokens in its place with their log-probabilities, itself among them or not.
    pub top: Vec<(String, f64)>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChatReply {
    /// What the model said.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the question, as the endpoint counts them.
    pub tokens_in: u64,
    /// Tokens of the answer.
    pub tokens_out: u64,
    /// Token by token, where asked for and given.
    pub logprobs: Option<Vec<TokenChoice>>,
}

/// A text whose own tokens' log-probabilities are wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptRequest {
    /// The text.
    pub prompt: String,
    /// How many alternatives to report at each position.
    pub top: u8,
    /// Places of the text that matter, for clients that know every token's probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Slots>,
}

/// Places in a prompt at which some texts are weighed against each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Where they begin, in bytes of the prompt, rising.
    pub at: Vec<usize>,
    /// What may stand there.
    pub texts: Vec<String>,
}

/// One token of a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PromptToken {
    /// Its text; the texts of all tokens joined are the prompt, save for a beginning-of-text token.
    pub token: String,
    /// Its log-probability in nats given what is before it; none for the first.
    pub logprob: Option<f64>,
    /// The likeliest tokens in its place.
    pub top: Vec<(String, f64)>,
}

/// What a model thinks of a text.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PromptReply {
    /// Token by token; empty where `slots` says all that was asked.
    pub tokens: Vec<PromptToken>,
    /// For each slot asked about, the log-probability in nats of each text there; none for a text that is not one
    /// token at that place. None from clients that tell the likeliest tokens alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<Vec<Vec<Option<f64>>>>,
    /// Tokens of the prompt, as the endpoint counts them.
    pub tokens_in: u64,
}

/// Tokens that an endpoint counts for a call without a usable answer: they are paid like any others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Billed {
    /// Of the question.
    pub tokens_in: u64,
    /// Of what was answered.
    pub tokens_out: u64,
}

/// Why there is no answer. Texts never hold a key, and of what an endpoint said at most a line.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ChatError {
    /// The key is missing or refused (401, 403).
    #[error("{endpoint} refused the key: {detail}")]
    Auth {
        /// Base URL.
        endpoint: String,
        /// What it said, and which variable holds the key.
        detail: String,
    },
    /// No credit is left (402, or 429 with an exhausted quota).
    #[error("{endpoint} says that the quota is used up: {detail}")]
    Quota {
        /// Base URL.
        endpoint: String,
        /// What it said.
        detail: String,
    },
    /// The model or the path is not there (404, or an answer of another model).
    #[error("{endpoint} has no such model or path: {detail}")]
    NotFound {
        /// Base URL.
        endpoint: String,
        /// What it said.
        detail: String,
    },
    /// The request itself is wrong (400, 413, 422): asking again cannot help.
    #[error("{endpoint} refused a request: {detail}")]
    BadRequest {
        /// Base URL.
        endpoint: String,
        /// What it said.
        detail: String,
    },
    /// It sends the question elsewhere (3xx), where a question with a key is not taken.
    #[error("{endpoint} answers with a redirect: {detail}")]
    Redirected {
        /// Base URL.
        endpoint: String,
        /// Where to.
        detail: String,
    },
    /// Too many requests (429).
    #[error("{endpoint} is limiting requests: {detail}")]
    RateLimited {
        /// Base URL.
        endpoint: String,
        /// What it said.
        detail: String,
        /// Seconds it asked to wait.
        retry_after: Option<f64>,
    },
    /// The endpoint failed (408, 5xx), or its answer could not be read.
    #[error("{endpoint} failed: {detail}")]
    Server {
        /// Base URL.
        endpoint: String,
        /// What it said.
        detail: String,
        /// Seconds it asked to wait.
        retry_after: Option<f64>,
        /// What it says the failed call took all the same.
        billed: Billed,
    },
    /// The connection could not be made or broke.
    #[error("cannot reach {endpoint}: {detail}")]
    Connection {
        /// Base URL.
        endpoint: String,
        /// Why.
        detail: String,
    },
    /// No complete answer in time.
    #[error("{endpoint} gave no complete answer within {seconds} s")]
    Timeout {
        /// Base URL.
        endpoint: String,
        /// The limit.
        seconds: f64,
    },
    /// The next call would pass the budget.
    #[error("the budget of ${limit:.2} is used up (${spent:.2} spent); raise it and run again to go on")]
    Budget {
        /// Dollars allowed.
        limit: f64,
        /// Dollars spent.
        spent: f64,
    },
    /// The network is off.
    #[error("a language model at {endpoint} was wanted and the network is off")]
    Offline {
        /// Base URL.
        endpoint: String,
    },
    /// The model in this process cannot be used.
    #[error("the local model {model} cannot be used: {detail}")]
    LocalModel {
        /// Where it is.
        model: String,
        /// Why, and what was expected.
        detail: String,
        /// Whether a file is not there.
        missing: bool,
    },
    /// The client cannot do what was asked.
    #[error("{endpoint} {detail}")]
    Unsupported {
        /// Base URL, or the local model.
        endpoint: String,
        /// What it cannot do, and what to use instead.
        detail: String,
    },
}

impl ChatError {
    /// What the failed call took by the endpoint's own count.
    pub fn billed(&self) -> Billed {
        match self {
            Self::Server { billed, .. } => *billed,
            _ => Billed::default(),
        }
    }

    /// The same error of a call that took so much. Only an endpoint that broke down on its way can have
    /// counted something; what it turns away it does not bill.
    pub(super) fn with_billed(mut self, taken: Billed) -> Self {
        if let Self::Server { billed, .. } = &mut self {
            *billed = taken;
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

/// A model that answers. Wrappers implement it around another client.
pub trait ChatClient: Send + Sync {
    /// What, beside the request, decides an answer: protocol, base URL and model.
    fn identity(&self) -> &str;

    /// One answer.
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>>;

    /// Log-probabilities of a text's own tokens.
    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>>;

    /// Called where an answer came to nothing: where answers are stored, the next one may be another. True where the
    /// answer was an earlier run's, so that the question can be asked anew at once.
    fn forget(&self, _request: &ChatRequest) -> bool {
        false
    }

    /// The same of a prompt's probabilities.
    fn forget_prompt(&self, _request: &PromptRequest) {}
}
