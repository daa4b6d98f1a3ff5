//! Counts of requests, tokens and dollars, and the budget.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::budget::Cost;
use super::{
    Budget, ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, ReplyFuture, TokenUse,
    locked,
};

/// Prices in dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// Of prompts.
    pub price_in: f64,
    /// Of answers.
    pub price_out: f64,
}

impl Prices {
    fn dollars(self, tokens: TokenUse) -> f64 {
        (tokens.tokens_in as f64 * self.price_in + tokens.tokens_out as f64 * self.price_out) / 1e6
    }
}

/// Requests to a language model and their cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Usage {
    /// Answered requests; failed attempts do not count.
    pub requests: u64,
    /// Requests answered without asking the endpoint.
    pub cached: u64,
    /// Answers that could not be cached; a later run pays for them again.
    pub not_stored: u64,
    /// Stored answers that were damaged, exchanged, or of an older version without their question: asked again.
    #[serde(default)]
    pub damaged: u64,
    /// Answers without token counts by the endpoint: estimated as one token per three characters.
    #[serde(default)]
    pub estimated: u64,
    /// Tokens of prompts, without cached requests; failed calls that the endpoint bills are included.
    pub tokens_in: u64,
    /// Tokens of answers, counted in the same way.
    pub tokens_out: u64,
    /// Cost in dollars; null if the prices are unknown.
    pub dollars: Option<f64>,
}

impl Usage {
    fn add(&mut self, tokens: TokenUse) {
        self.tokens_in = self.tokens_in.saturating_add(tokens.tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(tokens.tokens_out);
    }

    /// The sum of both. Its dollars are known if both are.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            cached: self.cached + other.cached,
            not_stored: self.not_stored + other.not_stored,
            damaged: self.damaged + other.damaged,
            estimated: self.estimated + other.estimated,
            tokens_in: self.tokens_in.saturating_add(other.tokens_in),
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
            dollars: self.dollars.zip(other.dollars).map(|(mine, theirs)| mine + theirs),
        }
    }
}

/// Running count of a client's usage. Clones share it.
#[derive(Debug, Clone)]
pub struct Meter {
    prices: Option<Prices>,
    counted: Arc<Mutex<Usage>>,
    has_waited: Arc<AtomicBool>,
}

impl Meter {
    /// A count from zero.
    pub fn new(prices: Option<Prices>) -> Self {
        Self { prices, counted: Arc::default(), has_waited: Arc::default() }
    }

    /// The current count. Dollars are computed from the token sums, so they do not depend on the order of answers.
    pub fn usage(&self) -> Usage {
        let usage = *locked(&self.counted);
        let tokens = TokenUse { tokens_in: usage.tokens_in, tokens_out: usage.tokens_out };
        Usage { dollars: self.prices.map(|prices| prices.dollars(tokens)), ..usage }
    }

    /// Changes the count.
    pub(super) fn count(&self, change: impl FnOnce(&mut Usage)) {
        change(&mut locked(&self.counted));
    }

    /// Notes that a question waits for another process.
    pub(super) fn waits_for_another(&self) {
        self.has_waited.store(true, Ordering::Relaxed);
    }

    /// Whether a question has waited for another process, which asked it too.
    pub fn has_waited(&self) -> bool {
        self.has_waited.load(Ordering::Relaxed)
    }

    fn cost(&self, tokens: TokenUse) -> Cost {
        let TokenUse { tokens_in, tokens_out } = tokens;
        let dollars = |tokens_in, tokens_out| {
            self.prices.map_or(0.0, |prices| prices.dollars(TokenUse { tokens_in, tokens_out }))
        };
        Cost { input: dollars(tokens_in, 0), output: dollars(0, tokens_out) }
    }
}

/// Client that counts calls and keeps to a budget. Before a call its estimated cost is reserved: one token per three
/// characters of the prompt, and an answer of `max_tokens` with the thoughts before it; more if the endpoint billed more
/// than that before, see [`Budget`]. Afterwards the real cost replaces it. A failed call costs what the endpoint bills
/// for it, so each retry has to pass through this client.
pub struct Metered {
    inner: Arc<dyn ChatClient>,
    meter: Meter,
    budget: Option<Budget>,
    thinking_tokens: u64,
}

impl Metered {
    /// Wraps `inner`. Without prices no call costs anything.
    pub fn new(inner: Arc<dyn ChatClient>, meter: Meter, budget: Option<Budget>) -> Self {
        Self { inner, meter, budget, thinking_tokens: 0 }
    }

    /// Reserves so many tokens more for each answer.
    pub fn with_thinking(self, tokens: usize) -> Self {
        Self { thinking_tokens: tokens as u64, ..self }
    }

    async fn counted<'a, T>(
        &'a self,
        expected: TokenUse,
        ask: ReplyFuture<'a, T>,
        taken: impl Fn(&T) -> (TokenUse, bool),
    ) -> Result<T, ChatError> {
        let reserved = match &self.budget {
            Some(budget) => Some(budget.reserve(self.meter.cost(expected)).await?),
            None => None,
        };
        let outcome = ask.await;
        let (tokens, is_estimated) = match &outcome {
            Ok(reply) => taken(reply),
            Err(error) => (error.billed(), false),
        };
        self.meter.count(|usage| {
            usage.requests += u64::from(outcome.is_ok());
            usage.estimated += u64::from(is_estimated);
            usage.add(tokens);
        });
        if let Some(reserved) = reserved {
            reserved.settle(self.meter.cost(tokens));
        }
        outcome
    }
}

impl ChatClient for Metered {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        let expected = TokenUse::of_chat(request);
        let most = TokenUse { tokens_out: expected.tokens_out + self.thinking_tokens, ..expected };
        let taken = move |reply: &ChatReply| (expected.taken(reply), TokenUse::is_estimated(reply));
        Box::pin(self.counted(most, self.inner.chat(request), taken))
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        let expected = TokenUse::of_prompt(request);
        let taken = |reply: &PromptReply| (TokenUse { tokens_in: reply.tokens_in, tokens_out: 0 }, false);
        Box::pin(self.counted(expected, self.inner.score_prompt(request), taken))
    }
}
