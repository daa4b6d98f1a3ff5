//! Several endpoints of one model. Each request goes to one of them:
//!
//!   argmin_e (n_e + 1) / w_e,   n_e: requests in flight at endpoint e, w_e: its weight; ties: the first of the list
//!
//! An endpoint that fails three times in a row rests (a circuit breaker; Nygard 2018, "Release It!"):
//!
//!   rest_n = min(base * 2^n, cap) seconds for rest n = 0, 1, … since its last answer
//!
//! After a rest one request tries it. Its answer ends the failure; otherwise the next rest begins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::status::is_unavailable;
use super::{
    ChatClient, ChatError, ChatReply, ChatRequest, EndpointNotes, PromptReply, PromptRequest, ReplyFuture,
    RetryPolicy, TokenUse, locked,
};

/// Failures in a row after which an endpoint rests.
const FAILURES_IN_A_ROW: u32 = 3;

/// One endpoint of a model.
pub(super) struct Place {
    pub client: Arc<dyn ChatClient>,
    /// Its address, for messages.
    pub address: String,
    pub weight: f64,
}

/// Client that spreads requests over endpoints. A request that finds nobody at one endpoint goes to the next usable one
/// at once. If none is usable, it goes to the least loaded one and fails as it would with this endpoint alone.
pub(super) struct Balanced {
    identity: String,
    places: Vec<Place>,
    states: Mutex<Vec<State>>,
    /// Bounds of the rests are those of the waits before retries.
    rests: RetryPolicy,
    remarks: EndpointNotes,
}

/// What is known of one endpoint.
#[derive(Debug, Default)]
struct State {
    in_flight: usize,
    /// Failures in a row.
    failures: u32,
    /// Rests since its last answer.
    rests: u32,
    /// End of the present rest; `None` while it is used.
    rests_until: Option<Instant>,
    /// Whether the request that tries it after a rest is in flight.
    on_trial: bool,
}

impl State {
    fn is_usable(&self, now: Instant) -> bool {
        self.rests_until.is_none_or(|end| now >= end && !self.on_trial)
    }
}

/// A request in flight at one endpoint, until this is dropped.
struct Turn<'a> {
    of: &'a Balanced,
    nth: usize,
    /// Rests of the endpoint when the request started.
    rests: u32,
    is_trial: bool,
}

impl Balanced {
    /// Endpoints that give the same answers, and what `identity` they have together.
    pub fn new(identity: String, places: Vec<Place>, rests: RetryPolicy, remarks: EndpointNotes) -> Self {
        let states = Mutex::new(places.iter().map(|_| State::default()).collect());
        Self { identity, places, states, rests, remarks }
    }

    /// The endpoint for a request that the `tried` ones could not answer; none if no other one is usable.
    fn turn(&self, tried: &[usize]) -> Option<Turn<'_>> {
        let mut states = locked(&self.states);
        let now = Instant::now();
        let load = |nth: &usize| (states[*nth].in_flight + 1) as f64 / self.places[*nth].weight;
        let all = || 0..self.places.len();
        let usable = all().filter(|nth| !tried.contains(nth) && states[*nth].is_usable(now));
        let least = usable.min_by(|a, b| load(a).total_cmp(&load(b)));
        // The first attempt is made in any case: its error tells why nothing works.
        let any = || all().filter(|_| tried.is_empty()).min_by(|a, b| load(a).total_cmp(&load(b)));
        let nth = least.or_else(any)?;
        let state = &mut states[nth];
        let is_trial = state.rests_until.is_some() && state.is_usable(now);
        state.in_flight += 1;
        state.on_trial |= is_trial;
        Some(Turn { of: self, nth, rests: state.rests, is_trial })
    }

    async fn asked<'a, T>(
        &'a self,
        ask: impl Fn(&'a dyn ChatClient) -> ReplyFuture<'a, T>,
    ) -> Result<T, ChatError> {
        let (mut tried, mut failed) = (Vec::new(), None);
        while let Some(turn) = self.turn(&tried) {
            let outcome = ask(self.places[turn.nth].client.as_ref()).await;
            tried.push(turn.nth);
            turn.end(outcome.as_ref().err());
            match outcome {
                // What was billed is counted with its error, before the next attempt.
                Err(error) if is_unavailable(&error) && error.billed() == TokenUse::default() => {
                    failed = Some(error);
                }
                other => return other,
            }
        }
        Err(failed.unwrap_or_else(|| ChatError::unsupported(&self.identity, "has no endpoint")))
    }

    fn remark(&self, nth: usize) {
        let address = &self.places[nth].address;
        self.remarks.add(format!(
            "{address} failed {FAILURES_IN_A_ROW} times in a row, so its requests went to the model's other endpoints \
             until it answered again"
        ));
    }
}

impl Turn<'_> {
    fn end(&self, error: Option<&ChatError>) {
        let is_failure =
            |error: &ChatError| is_unavailable(error) || matches!(error, ChatError::Timeout { .. });
        let mut states = locked(&self.of.states);
        let state = &mut states[self.nth];
        if !error.is_some_and(is_failure) {
            let in_flight = state.in_flight;
            *state = State { in_flight, ..State::default() };
            return;
        }
        // Requests that started before the present rest tell nothing new.
        if self.rests != state.rests {
            return;
        }
        state.failures += 1;
        if state.failures < FAILURES_IN_A_ROW {
            return;
        }
        let doublings = i32::try_from(state.rests).unwrap_or(i32::MAX);
        let RetryPolicy { base_seconds, cap_seconds, .. } = self.of.rests;
        let rest = Duration::try_from_secs_f64((base_seconds * 2f64.powi(doublings)).min(cap_seconds));
        state.rests_until = Instant::now().checked_add(rest.unwrap_or(Duration::ZERO));
        state.rests += 1;
        self.of.remark(self.nth);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut states = locked(&self.of.states);
        let state = &mut states[self.nth];
        state.in_flight -= 1;
        state.on_trial &= !self.is_trial;
    }
}

impl ChatClient for Balanced {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(self.asked(move |client| client.chat(request)))
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(self.asked(move |client| client.score_prompt(request)))
    }
}
