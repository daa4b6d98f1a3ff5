//! Builds a client from a specification: the protocol and the wrappers around it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Semaphore;

use super::addresses::{Address, all_shown, is_loopback, shown};
use super::anthropic::Anthropic;
use super::balanced::{Balanced, Place};
use super::http::Http;
use super::masked::Masked;
use super::openai::OpenAi;
use super::{
    BaseUrls, Budget, Cached, ChatClient, ChatError, ChatReply, ChatRequest, ClientKind, EndpointNotes,
    LlmSpec, Meter, Metered, Pace, PromptReply, PromptRequest, ReplyFuture, Retried, RetryPolicy, Secret,
    Throttled,
};
use crate::base::Program;

/// A model's specification with what the machine and the user add to it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The specification.
    pub spec: LlmSpec,
    /// The key, from the environment variable that the specification names.
    pub key: Option<Secret>,
    /// Further keys of the run. Neither these nor `key` are kept where an endpoint repeats them.
    pub hidden: Vec<Secret>,
    /// Base URL if the specification has none; `None` for the vendor's.
    pub base_url: Option<String>,
    /// Whether the network is off. Endpoints on this machine are still used.
    pub offline: bool,
    /// Folder of cached answers.
    pub cache_folder: PathBuf,
    /// Dollars that may be spent. Models that hold clones share them.
    pub budget: Option<Budget>,
    /// Program that tests a local model's chat template in its own process when run with `try-chat-template`;
    /// `None` to skip the test.
    pub program: Option<Program>,
}

/// A connected model.
#[derive(Clone)]
pub struct Llm {
    /// Answers from the cache or from the endpoint.
    pub client: Arc<dyn ChatClient>,
    /// Its usage.
    pub meter: Meter,
    /// How the endpoint has to be asked, as learnt from its replies.
    pub remarks: EndpointNotes,
    shared: Arc<Shared>,
}

/// What all purposes of one model share.
struct Shared {
    endpoint: Endpoint,
    throttled: Arc<dyn ChatClient>,
    policy: RetryPolicy,
    remarks: EndpointNotes,
    /// Permits for requests whose answers are not stored yet.
    unsaved: Arc<Semaphore>,
    /// Number of purposes so far.
    purposes: AtomicU64,
}

/// At most 1.5 times the requests in flight may be unsaved. The rest covers answers that are being written to disk,
/// which takes much less time than a request. A killed process loses the unsaved ones.
fn max_unsaved(max_in_flight: usize) -> usize {
    max_in_flight.saturating_add(max_in_flight.div_ceil(2))
}

impl Shared {
    fn open(shared: Arc<Self>) -> Llm {
        let Endpoint { spec, budget, cache_folder, .. } = &shared.endpoint;
        let meter = Meter::new(spec.prices());
        let nth = shared.purposes.fetch_add(1, Ordering::Relaxed);
        // Different seeds keep the purposes from retrying at the same moment.
        let policy = RetryPolicy { seed: shared.policy.seed.wrapping_add(nth << 32), ..shared.policy };
        let metered = Metered::new(shared.throttled.clone(), meter.clone(), budget.clone())
            .with_thinking(spec.thinking_tokens);
        let retried = Arc::new(Retried::new(Arc::new(metered), policy));
        let cached = Cached::new(retried, cache_folder, meter.clone());
        let cached = cached.losing_at_most(shared.unsaved.clone());
        // A model in this process is deterministic.
        let is_fixed = spec.client == ClientKind::Local;
        let client = Arc::new(if is_fixed { cached.of_fixed_answers() } else { cached });
        Llm { client, meter, remarks: shared.remarks.clone(), shared }
    }
}

impl Llm {
    /// The same model with a separate meter. Rate limit, cache and budget are shared.
    pub fn with_own_meter(&self) -> Self {
        Shared::open(self.shared.clone())
    }
}

impl Endpoint {
    /// The addresses: the specification's, else the environment's, else the vendor's. The error does not repeat an
    /// invalid URL, since it may hold a key.
    fn addresses(&self) -> Result<Vec<Address>, ChatError> {
        let usual = || self.base_url.as_deref().or(self.spec.client.vendor_url()).unwrap_or_default().into();
        let given: BaseUrls = self.spec.base_url.clone().unwrap_or_else(usual);
        given.read().map_err(|problems| {
            let why: Vec<String> =
                problems.into_iter().map(|(place, why)| format!("its base URL{place} {why}")).collect();
            let endpoint = format!("a model of kind `{}`", self.spec.client.name());
            ChatError::BadRequest { endpoint, detail: why.join("; ") }
        })
    }

    fn check_spec(&self, endpoint: &str) -> Result<(), ChatError> {
        let problems: Vec<String> = self.spec.check().iter().map(ToString::to_string).collect();
        if problems.is_empty() {
            return Ok(());
        }
        Err(ChatError::BadRequest { endpoint: endpoint.to_string(), detail: problems.join("; ") })
    }

    fn check(&self, address: &Address) -> Result<(), ChatError> {
        let endpoint = shown(&address.url);
        self.check_spec(&endpoint)?;
        let on_this_machine = is_loopback(&address.url);
        if self.key.is_none() && !on_this_machine && !self.offline {
            let detail = format!("no key is set in `{}`", self.spec.key_variable());
            return Err(ChatError::Auth { endpoint, detail });
        }
        if self.budget.is_some() && self.spec.prices().is_none() && !on_this_machine {
            let detail = "has no known prices, so no budget can be held: give `price_in` and `price_out`";
            return Err(ChatError::unsupported(&endpoint, detail));
        }
        Ok(())
    }

    /// All keys that must not show.
    fn keys(&self) -> Vec<Secret> {
        let mut keys: Vec<Secret> = self.key.iter().chain(&self.hidden).cloned().collect();
        // Of a key inside another one, the longer is replaced first.
        keys.sort_by_key(|key| std::cmp::Reverse(key.expose().len()));
        keys.dedup();
        keys
    }

    /// The client of the addresses that can be reached.
    fn protocol(
        &self,
        addresses: &[Address],
        rests: RetryPolicy,
        remarks: &EndpointNotes,
    ) -> Result<Arc<dyn ChatClient>, ChatError> {
        let identity = self.spec.identity(addresses);
        let reachable = addresses.iter().filter(|address| !self.offline || is_loopback(&address.url));
        let mut places = Vec::new();
        for Address { url, weight } in reachable {
            let http = Http::new(&self.spec, url, identity.clone(), self.key.clone(), self.keys())?;
            let client: Arc<dyn ChatClient> = match self.spec.client {
                ClientKind::Anthropic => Arc::new(Anthropic(http)),
                _ => Arc::new(OpenAi::new(http, remarks.clone())),
            };
            places.push(Place { client, address: shown(url), weight: *weight });
        }
        Ok(match places.as_slice() {
            [] => Arc::new(Unreachable { endpoint: all_shown(addresses), identity }),
            [one] => one.client.clone(),
            _ => Arc::new(Balanced::new(identity, places, rests, remarks.clone())),
        })
    }
}

/// Builds the client for an endpoint. From outside in: cache, retries, budget, rate limit, keys, choice of the
/// endpoint, protocol. So a cached answer costs nothing and needs no network, and each attempt is counted. Nothing is sent yet. Fails for an invalid
/// specification, an unusable local model, a missing key, or a budget without prices.
pub fn connect(endpoint: &Endpoint) -> Result<Llm, ChatError> {
    // Different seeds keep processes that share an endpoint from retrying at the same moment.
    let seed = u64::from(std::process::id());
    let policy = RetryPolicy { retries: endpoint.spec.retries, seed, ..RetryPolicy::default() };
    connect_with(endpoint, policy)
}

/// As [`connect`], with a retry policy that replaces the specification's `retries`.
pub fn connect_with(endpoint: &Endpoint, policy: RetryPolicy) -> Result<Llm, ChatError> {
    let spec = &endpoint.spec;
    let remarks = EndpointNotes::default();
    let protocol = if spec.client == ClientKind::Local {
        endpoint.check_spec(&spec.model)?;
        open_local(endpoint)?
    } else {
        let addresses = endpoint.addresses()?;
        addresses.iter().try_for_each(|address| endpoint.check(address))?;
        endpoint.protocol(&addresses, policy, &remarks)?
    };
    let pace = Pace {
        max_in_flight: spec.max_in_flight,
        requests_per_minute: spec.requests_per_minute,
        tokens_per_minute: spec.tokens_per_minute,
    };
    let unsaved = max_unsaved(spec.max_in_flight).clamp(1, Semaphore::MAX_PERMITS);
    Ok(Shared::open(Arc::new(Shared {
        endpoint: endpoint.clone(),
        throttled: Arc::new(Throttled::new(Arc::new(Masked::new(protocol, endpoint.keys())), pace)),
        policy,
        remarks,
        unsaved: Arc::new(Semaphore::new(unsaved)),
        purposes: AtomicU64::new(0),
    })))
}

#[cfg(feature = "local-llm")]
fn open_local(endpoint: &Endpoint) -> Result<Arc<dyn ChatClient>, ChatError> {
    let Endpoint { spec, program, .. } = endpoint;
    let model = std::path::Path::new(&spec.model);
    Ok(Arc::new(super::local::Local::open(model, spec.structured, program.as_ref())?))
}

#[cfg(not(feature = "local-llm"))]
fn open_local(endpoint: &Endpoint) -> Result<Arc<dyn ChatClient>, ChatError> {
    let detail = "needs the feature `local-llm`, without which this program was built";
    Err(ChatError::unsupported(&endpoint.spec.model, detail))
}

/// An endpoint that is out of reach because the network is off.
struct Unreachable {
    endpoint: String,
    identity: String,
}

impl Unreachable {
    fn error<T>(&self) -> ReplyFuture<'_, T> {
        Box::pin(async { Err(ChatError::Offline { endpoint: self.endpoint.clone() }) })
    }
}

impl ChatClient for Unreachable {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, _request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        self.error()
    }

    fn score_prompt<'a>(&'a self, _request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        self.error()
    }
}
