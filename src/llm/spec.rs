//! A language model as a suite describes it, and the checks of its settings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use reqwest::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Prices;
use super::addresses::{Address, BaseUrls, all_shown};

/// Number of answers that a local model generates in one batch, so that its weights are read once for all.
pub(super) const LOCAL_SIDE_BY_SIDE: usize = 16;
/// Placeholder of the key in `headers` and `query`.
pub(super) const KEY_PLACE: &str = "{key}";
/// Request fields that `omit` can name, beside `max_tokens_field`.
const OMITTED: [&str; 9] = [
    "temperature",
    "seed",
    "max_tokens",
    "max_completion_tokens",
    "response_format",
    "logprobs",
    "top_logprobs",
    "return_token_ids",
    "tool_choice",
];
/// Headers that carry keys. A literal value would put the key into the suite file.
const KEY_HEADERS: [&str; 5] = ["authorization", "proxy-authorization", "x-api-key", "api-key", "cookie"];

/// Protocol of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// `POST {base}/chat/completions`: OpenAI, vLLM, llama.cpp, Ollama, OpenRouter and many more.
    #[default]
    Openai,
    /// `POST {base}/completions`: models without a chat template; messages are joined by empty lines.
    OpenaiCompletions,
    /// `POST {base}/v1/messages`.
    Anthropic,
    /// A model in this process.
    Local,
}

impl ClientKind {
    /// Name in suites.
    pub fn name(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::OpenaiCompletions => "openai_completions",
            Self::Anthropic => "anthropic",
            Self::Local => "local",
        }
    }

    /// The vendor's address; none for a local model.
    pub fn vendor_url(self) -> Option<&'static str> {
        match self {
            Self::Openai | Self::OpenaiCompletions => Some("https://api.openai.com/v1"),
            Self::Anthropic => Some("https://api.anthropic.com"),
            Self::Local => None,
        }
    }

    /// Default number of requests in flight. A local model has as many as it answers in one batch.
    pub fn usual_in_flight(self) -> usize {
        if self == Self::Local { LOCAL_SIDE_BY_SIDE } else { 64 }
    }
}

/// How an endpoint returns the log-probabilities of a prompt's own tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptLogprobs {
    /// The prompt is echoed with log-probabilities (`echo`, `logprobs`).
    #[default]
    Echo,
    /// vLLM's own field `prompt_logprobs`.
    Vllm,
}

/// How the schema of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ResponseFormat {
    /// OpenAI's form, `json_schema`.
    #[default]
    JsonSchema,
    /// `json_object` with a field `schema`: llama-cpp-python.
    JsonObject,
}

/// A language model in a suite. It never holds a key, only the name of the environment variable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[schemars(extend("required" = ["client", "model"]))]
#[serde(default)]
pub struct LlmSpec {
    /// The protocol of the endpoint.
    pub client: ClientKind,
    /// Name of the model at the endpoint. For `local`: a folder with `config.json`, `model.safetensors` and
    /// `tokenizer.json`, or a file `….gguf`.
    pub model: String,
    /// Address of the endpoint, `https://host/v1`, without `/chat/completions`; for `anthropic` without `/v1`. An
    /// endpoint on this machine (`http://127.0.0.1:8000/v1`) needs no key.
    ///
    /// A list names several endpoints that serve the same model: `[http://a:8000/v1, {url: http://b:8000/v1, weight:
    /// 2}]`. Each request goes to the one with the fewest requests in flight per weight (default 1). An endpoint that
    /// cannot be reached, answers with status 502, 503 or 504, or is silent until the timeout, three times in a row, is
    /// left out for a time that grows from 1 to 60 seconds; its requests go to the others. Answers are cached for the
    /// list as a set: neither order nor weights matter, but another set of addresses asks anew.
    #[schemars(
        schema_with = "BaseUrls::schema",
        extend("x-default" = "`OPENAI_BASE_URL`, else the vendor's")
    )]
    pub base_url: Option<BaseUrls>,
    /// Environment variable that holds the key. Never write the key itself into a suite.
    #[schemars(extend("x-default" = "`OPENAI_API_KEY`, `ANTHROPIC_API_KEY`"))]
    pub api_key_env: Option<String>,
    /// Additional headers. `{key}` in a value is replaced by the key, which is then sent only there.
    pub headers: BTreeMap<String, String>,
    /// Query parameters, such as `api-version`. `{key}` is replaced by the key.
    pub query: BTreeMap<String, String>,
    /// Fields added to every request, such as `repeat_penalty: 1.0` for llama-cpp-python, whose server defaults to
    /// 1.1. `null` removes a field.
    pub extra_body: BTreeMap<String, Value>,
    /// Fields left out of every request, for endpoints that reject them: `temperature`, `seed`, `response_format`,
    /// `logprobs`, `top_logprobs`, …
    pub omit: BTreeSet<String>,
    /// The endpoint's field for the limit of output tokens. `max_completion_tokens` is also used if the endpoint
    /// asks for it.
    pub max_tokens_field: String,
    /// Tokens added to the limit of every answer, for models that reason before they answer.
    #[schemars(range(min = 0, max = 10_000_000))]
    pub thinking_tokens: usize,
    /// Maximum number of requests in flight, at all endpoints of the model together.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100_000), extend("x-default" = "`64` for each address; `local`: `16`"))]
    pub max_in_flight: usize,
    /// Maximum number of prompts in one request to `openai_completions`, which accepts lists of prompts. Prompts with
    /// the same settings that wait at the same time are sent together, and each is cached alone. The request lasts as
    /// long as its slowest answer, so this is for log-probabilities and short answers. A batch that fails is asked one
    /// by one. `max_in_flight` and the limits per minute count prompts.
    #[serde(skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 1_000))]
    pub batch: usize,
    /// Maximum number of requests per minute.
    #[schemars(range(min = 1e-3, max = 1e9))]
    pub requests_per_minute: Option<f64>,
    /// Maximum number of tokens per minute, input and output together.
    #[schemars(range(min = 1.0, max = 1e12))]
    pub tokens_per_minute: Option<f64>,
    /// Context length of the model: tokens of a question and its answer. Longer questions are refused before any
    /// request.
    #[schemars(range(min = 1, max = 1_000_000_000), extend("x-default" = "none; `local`: the model's"))]
    pub context_tokens: Option<usize>,
    /// Dollars per million input tokens. A budget needs both prices.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub price_in: Option<f64>,
    /// Dollars per million output tokens.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub price_out: Option<f64>,
    /// Maximum time for one answer, in seconds.
    #[schemars(range(min = 0.01, max = 86_400.0))]
    pub timeout_seconds: f64,
    /// Retries after a temporary failure, such as a rate limit.
    #[schemars(range(min = 0, max = 1_000))]
    pub retries: u32,
    /// Whether to send a JSON schema of the answer.
    pub structured: bool,
    /// How the schema is sent.
    pub response_format: ResponseFormat,
    /// How the log-probabilities of a prompt are requested.
    pub prompt_logprobs: PromptLogprobs,
}

// Stored results are keyed by the specification as it is written, so a batch of 1 is left out.
fn is_one(batch: &usize) -> bool {
    *batch == 1
}

impl Default for LlmSpec {
    fn default() -> Self {
        Self {
            client: ClientKind::default(),
            model: String::new(),
            base_url: None,
            api_key_env: None,
            headers: BTreeMap::new(),
            query: BTreeMap::new(),
            extra_body: BTreeMap::new(),
            omit: BTreeSet::new(),
            max_tokens_field: "max_tokens".into(),
            thinking_tokens: 0,
            max_in_flight: 64,
            batch: 1,
            requests_per_minute: None,
            tokens_per_minute: None,
            context_tokens: None,
            price_in: None,
            price_out: None,
            timeout_seconds: 60.0,
            retries: 6,
            structured: true,
            response_format: ResponseFormat::default(),
            prompt_logprobs: PromptLogprobs::default(),
        }
    }
}

/// An invalid setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecProblem {
    /// The field. A key inside it follows after a dot: `headers.x-title`.
    pub field: String,
    /// What is wrong, and what was expected.
    pub why: String,
}

impl fmt::Display for SpecProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.why)
    }
}

impl LlmSpec {
    /// A specification with default settings.
    pub fn new(client: ClientKind, model: &str) -> Self {
        Self { client, model: model.to_string(), max_in_flight: client.usual_in_flight(), ..Self::default() }
    }

    /// The specification with its client's default for what a suite left out: the number of requests in flight, for
    /// each endpoint.
    pub fn with_client_defaults(mut self) -> Self {
        if self.max_in_flight == 0 {
            let endpoints = self.base_url.as_ref().map_or(1, BaseUrls::n).max(1);
            self.max_in_flight = endpoints * self.client.usual_in_flight();
        }
        self
    }

    /// Prices per million tokens, if known. A local model is free.
    pub fn prices(&self) -> Option<Prices> {
        if self.client == ClientKind::Local {
            return Some(Prices { price_in: 0.0, price_out: 0.0 });
        }
        Some(Prices { price_in: self.price_in?, price_out: self.price_out? })
    }

    /// Environment variable that holds the key.
    pub fn key_variable(&self) -> &str {
        match (&self.api_key_env, self.client) {
            (Some(name), _) => name,
            (None, ClientKind::Anthropic) => "ANTHROPIC_API_KEY",
            (None, _) => "OPENAI_API_KEY",
        }
    }

    /// All problems, in the order of the fields.
    pub fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Problems(Vec::new());
        if self.model.trim().is_empty() {
            problems.add("model", "is empty: give the model's name");
        }
        for (place, why) in self.base_url.iter().filter_map(|urls| urls.read().err()).flatten() {
            problems.add(&format!("base_url{place}"), &why);
        }
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if self.api_key_env.as_deref().is_some_and(|name| name.is_empty() || !is_name(name)) {
            problems.add(
                "api_key_env",
                "is not the name of an environment variable (never write the key itself here)",
            );
        }
        self.check_headers(&mut problems);
        if self.client == ClientKind::Local {
            self.check_local(&mut problems);
        }
        if self.max_tokens_field.is_empty() {
            problems.add("max_tokens_field", "is empty: expected `max_tokens` or another name");
        }
        if let Some(unknown) = self.omit.iter().find(|field| !self.can_omit(field)) {
            let why = format!(
                "names `{unknown}`, which cannot be left out: expected some of {}",
                OMITTED.join(", ")
            );
            problems.add("omit", &why);
        }
        if self.max_in_flight == 0 {
            problems.add("max_in_flight", "is 0: expected at least 1");
        }
        if self.batch == 0 {
            problems.add("batch", "is 0: expected at least 1");
        }
        if self.batch > 1 && self.client != ClientKind::OpenaiCompletions {
            let why = "is for `client: openai_completions` only: a request of this client asks one question";
            problems.add("batch", why);
        }
        self.check_numbers(&mut problems);
        problems.0
    }

    fn can_omit(&self, field: &str) -> bool {
        OMITTED.contains(&field) || field == self.max_tokens_field
    }

    /// Checks that local models are compiled in, and that no field of an endpoint is set.
    fn check_local(&self, problems: &mut Problems) {
        if !cfg!(feature = "local-llm") {
            problems.add(
                "client",
                "is `local`, which this program was built without: build it with the feature `local-llm`",
            );
        }
        for (field, given) in [
            ("base_url", self.base_url.is_some()),
            ("api_key_env", self.api_key_env.is_some()),
            ("headers", !self.headers.is_empty()),
            ("query", !self.query.is_empty()),
            ("extra_body", !self.extra_body.is_empty()),
            ("omit", !self.omit.is_empty()),
            ("thinking_tokens", self.thinking_tokens > 0),
            ("price_in", self.price_in.is_some()),
            ("price_out", self.price_out.is_some()),
        ] {
            if given {
                problems.add(field, "is for endpoints only: a `local` model is a path in `model`");
            }
        }
    }

    fn check_headers(&self, problems: &mut Problems) {
        for (name, value) in &self.headers {
            let field = format!("headers.{name}");
            if HeaderName::from_bytes(name.as_bytes()).is_err() {
                problems.add(&field, "is not a valid header name");
            }
            if HeaderValue::from_str(value).is_err() {
                problems.add(&field, "has an invalid value for a header");
            }
            if KEY_HEADERS.contains(&name.to_ascii_lowercase().as_str()) && !value.contains(KEY_PLACE) {
                problems.add(
                    &field,
                    "carries a key: write `{key}` and name the variable of the key in `api_key_env`",
                );
            }
        }
    }

    fn check_numbers(&self, problems: &mut Problems) {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        for (field, value) in [
            ("requests_per_minute", self.requests_per_minute),
            ("tokens_per_minute", self.tokens_per_minute),
            ("timeout_seconds", Some(self.timeout_seconds)),
        ] {
            if let Some(value) = value.filter(|&value| !positive(value)) {
                problems.add(field, &format!("is {value}: expected a number above 0"));
            }
        }
        for (field, value) in [("price_in", self.price_in), ("price_out", self.price_out)] {
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                problems.add(field, &format!("is {value}: expected dollars per million tokens, 0 or more"));
            }
        }
        if self.price_in.is_some() != self.price_out.is_some() {
            let missing = if self.price_in.is_some() { "price_out" } else { "price_in" };
            problems.add(missing, "is missing: give both prices or neither");
        }
    }

    /// Everything beside the request that determines an answer, in one line without a key. Which of several endpoints
    /// answers is no part of it.
    pub(super) fn identity(&self, addresses: &[Address]) -> String {
        let mut text = format!("{} {} {}", self.client.name(), all_shown(addresses), self.model);
        if !self.query.is_empty() {
            text.push_str(&format!(" query={}", Value::from_iter(self.query.clone())));
        }
        if !self.extra_body.is_empty() {
            text.push_str(&format!(" body={}", Value::from_iter(self.extra_body.clone())));
        }
        if !self.omit.is_empty() {
            text.push_str(&format!(" omit={}", Value::from_iter(self.omit.iter().map(String::as_str))));
        }
        if self.thinking_tokens > 0 {
            text.push_str(&format!(" thinking_tokens={}", self.thinking_tokens));
        }
        if !self.structured {
            text.push_str(" unstructured");
        }
        if self.response_format == ResponseFormat::JsonObject {
            text.push_str(" response_format=json_object");
        }
        if self.prompt_logprobs == PromptLogprobs::Vllm {
            text.push_str(" prompt_logprobs=vllm");
        }
        text
    }

    /// The body as sent: without the fields of `omit`, with those of `extra_body`, and without fields that are null
    /// there.
    pub(super) fn with_extra(&self, mut body: Map<String, Value>) -> Value {
        body.retain(|name, _| !self.omit.contains(name));
        for (name, value) in &self.extra_body {
            if value.is_null() {
                body.remove(name);
            } else {
                body.insert(name.clone(), value.clone());
            }
        }
        Value::Object(body)
    }
}

struct Problems(Vec<SpecProblem>);

impl Problems {
    fn add(&mut self, field: &str, why: &str) {
        self.0.push(SpecProblem { field: field.to_string(), why: why.to_string() });
    }
}
