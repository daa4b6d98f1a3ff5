use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Url;
use tokio::sync::Semaphore;

use super::anthropic::Anthropic;
use super::http::Http;
use super::openai::OpenAi;
use super::spec::{is_loopback, parse_base_url, shown};
use super::{
    BoxFuture, Budget, Cached, ChatClient, ChatError, ChatReply, ChatRequest, ClientKind, LlmSpec, Meter,
    Metered, Pace, Prices, PromptReply, PromptRequest, Remarks, Retried, RetryPolicy, Secret, Throttled,
};

/// A model with what the machine and the user add to its specification.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The model.
    pub spec: LlmSpec,
    /// The key, out of the variable that the specification names.
    pub key: Option<Secret>,
    /// Where the endpoint is when the specification does not say; none: the vendor's address.
    pub base_url: Option<String>,
    /// Whether the network is off. Endpoints on this machine are asked all the same.
    pub offline: bool,
    /// Where answers are kept.
    pub cache_folder: PathBuf,
    /// What may be spent; models that share a clone share the money.
    pub budget: Option<Budget>,
    /// A program that tries a local model's chat template in a process of its own when it is run with
    /// `try-chat-template`; none: it is not tried.
    pub program: Option<PathBuf>,
}

/// A model ready to be asked.
#[derive(Clone)]
pub struct Llm {
    /// Answers from the cache, else from the endpoint.
    pub client: Arc<dyn ChatClient>,
    /// What it was asked and what that cost.
    pub meter: Meter,
    /// What was learnt about it on the way.
    pub remarks: Remarks,
    line: Arc<Line>,
}

/// What those who ask one model for different purposes share: the turns at its endpoint.
struct Line {
    throttled: Arc<dyn ChatClient>,
    policy: RetryPolicy,
    prices: Option<Prices>,
    budget: Option<Budget>,
    cache_folder: PathBuf,
    remarks: Remarks,
    /// Whether an answer is always the same, as those of a model in this process are.
    fixed_answers: bool,
    /// Questions asked and not stored yet.
    in_hand: Arc<Semaphore>,
    /// Purposes so far.
    purposes: AtomicU64,
}

/// Questions in hand for `turns` at the endpoint: while one answer is being stored, its turn is another's. Half as
/// many more are enough for that, since storing takes a small part of the time that answering does, and what is in
/// hand is what a killed process loses.
fn in_hand(turns: usize) -> usize {
    turns.saturating_add(turns.div_ceil(2))
}

impl Line {
    fn open(line: Arc<Self>) -> Llm {
        let meter = Meter::new(line.prices);
        let nth = line.purposes.fetch_add(1, Ordering::Relaxed);
        // Those who share an endpoint must not come back together after an error.
        let policy = RetryPolicy { seed: line.policy.seed.wrapping_add(nth << 32), ..line.policy };
        let metered = Arc::new(Metered::new(line.throttled.clone(), meter.clone(), line.budget.clone()));
        let retried = Arc::new(Retried::new(metered, policy));
        let cached = Cached::new(retried, &line.cache_folder, meter.clone());
        let cached = cached.losing_at_most(line.in_hand.clone());
        let client = Arc::new(if line.fixed_answers { cached.of_fixed_answers() } else { cached });
        Llm { client, meter, remarks: line.remarks.clone(), line }
    }
}

impl Llm {
    /// The same model for another purpose, counted apart: turns, answers kept and the budget are shared.
    pub fn for_another_purpose(&self) -> Self {
        Line::open(self.line.clone())
    }
}

impl Endpoint {
    /// Where requests go: the specification's address, else the environment's, else the vendor's.
    ///
    /// # Errors
    /// [`ChatError::BadRequest`] where it is not an address. The text is not repeated, for a key may
    /// be in it.
    fn address(&self) -> Result<Url, ChatError> {
        let given = self.spec.base_url.as_deref().or(self.base_url.as_deref());
        let text = given.or(self.spec.client.vendor_url()).unwrap_or_default();
        parse_base_url(text).map_err(|why| ChatError::BadRequest {
            endpoint: format!("a model of kind `{}`", self.spec.client.name()),
            detail: format!("its base URL {why}"),
        })
    }

    fn check(&self, base: &Url) -> Result<(), ChatError> {
        let endpoint = shown(base);
        let problems: Vec<String> = self.spec.check().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(ChatError::BadRequest { endpoint, detail: problems.join("; ") });
        }
        let on_this_machine = is_loopback(base);
        if self.key.is_none() && !on_this_machine && !self.offline {
            let detail = format!("there is none, set `{}`", self.spec.key_variable());
            return Err(ChatError::Auth { endpoint, detail });
        }
        if self.budget.is_some() && self.prices().is_none() && !on_this_machine {
            let detail =
                "has no known prices, so no budget can be held: give `price_in` and `price_out`".to_string();
            return Err(ChatError::Unsupported { endpoint, detail });
        }
        Ok(())
    }

    fn prices(&self) -> Option<Prices> {
        self.spec.prices()
    }

    fn protocol(&self, base: &Url, remarks: &Remarks) -> Result<Arc<dyn ChatClient>, ChatError> {
        let identity = self.spec.identity(base);
        if self.offline && !is_loopback(base) {
            return Ok(Arc::new(Unreachable { endpoint: shown(base), identity }));
        }
        let http = Http::new(&self.spec, base, self.key.clone())?;
        Ok(match self.spec.client {
            ClientKind::Anthropic => Arc::new(Anthropic::new(http, identity, self.spec.clone())),
            _ => Arc::new(OpenAi::new(http, identity, self.spec.clone(), remarks.clone())),
        })
    }
}

/// Puts the wrappers around an endpoint: from outside in, the cache, repetition, the count with the
/// budget, turns, the protocol. An answer from the cache therefore costs nothing and needs no
/// network, and every attempt is counted. Nothing is sent yet.
///
/// # Errors
/// [`ChatError::BadRequest`] for a specification that cannot be, [`ChatError::LocalModel`] for a local
/// model that cannot be used, [`ChatError::Auth`] for a missing key, [`ChatError::Unsupported`] for a
/// budget without prices.
pub fn connect(endpoint: &Endpoint) -> Result<Llm, ChatError> {
    // Processes that share an endpoint must not come back together after an error.
    let seed = u64::from(std::process::id());
    let policy = RetryPolicy { retries: endpoint.spec.retries, seed, ..RetryPolicy::default() };
    connect_with(endpoint, policy)
}

/// As [`connect`], with another way to repeat requests; its `retries` count, not the specification's.
///
/// # Errors
/// As [`connect`].
pub fn connect_with(endpoint: &Endpoint, policy: RetryPolicy) -> Result<Llm, ChatError> {
    let spec = &endpoint.spec;
    let remarks = Remarks::default();
    let protocol = if spec.client == ClientKind::Local {
        let problems: Vec<String> = spec.check().iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(ChatError::BadRequest { endpoint: spec.model.clone(), detail: problems.join("; ") });
        }
        open_local(endpoint)?
    } else {
        let base = endpoint.address()?;
        endpoint.check(&base)?;
        endpoint.protocol(&base, &remarks)?
    };
    let pace = Pace {
        max_in_flight: spec.max_in_flight,
        requests_per_minute: spec.requests_per_minute,
        tokens_per_minute: spec.tokens_per_minute,
    };
    let in_hand = in_hand(spec.max_in_flight);
    Ok(Line::open(Arc::new(Line {
        throttled: Arc::new(Throttled::new(protocol, pace)),
        policy,
        prices: endpoint.prices(),
        budget: endpoint.budget.clone(),
        cache_folder: endpoint.cache_folder.clone(),
        remarks,
        fixed_answers: spec.client == ClientKind::Local,
        in_hand: Arc::new(Semaphore::new(in_hand.clamp(1, Semaphore::MAX_PERMITS))),
        purposes: AtomicU64::new(0),
    })))
}

#[cfg(feature = "local-llm")]
fn open_local(endpoint: &Endpoint) -> Result<Arc<dyn ChatClient>, ChatError> {
    let Endpoint { spec, program, .. } = endpoint;
    let model = std::path::Path::new(&spec.model);
    Ok(Arc::new(super::local::Local::open(model, spec.structured, program.as_deref())?))
}

#[cfg(not(feature = "local-llm"))]
fn open_local(endpoint: &Endpoint) -> Result<Arc<dyn ChatClient>, ChatError> {
    let spec = &endpoint.spec;
    let detail = "runs in this process, which was built without the feature `local-llm`".to_string();
    Err(ChatError::Unsupported { endpoint: spec.model.clone(), detail })
}

/// An endpoint behind a network that is off.
struct Unreachable {
    endpoint: String,
    identity: String,
}

impl Unreachable {
    fn error(&self) -> ChatError {
        ChatError::Offline { endpoint: self.endpoint.clone() }
    }
}

impl ChatClient for Unreachable {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, _request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        Box::pin(async { Err(self.error()) })
    }

    fn score_prompt<'a>(
        &'a self,
        _request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        Box::pin(async { Err(self.error()) })
    }
}
