use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::estimate::Expected;
use super::{
    Billed, BoxFuture, Budget, ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest,
    locked,
};

/// Dollars per million tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Prices {
    /// Of questions.
    pub price_in: f64,
    /// Of answers.
    pub price_out: f64,
}

impl Prices {
    fn dollars(self, tokens_in: u64, tokens_out: u64) -> f64 {
        (tokens_in as f64 * self.price_in + tokens_out as f64 * self.price_out) / 1e6
    }
}

/// What a model was asked and what it took.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Usage {
    /// Requests that were answered; attempts that failed are not among them.
    pub requests: u64,
    /// Requests answered without asking the endpoint.
    pub cached: u64,
    /// Answers that could not be stored and would be paid again.
    pub not_stored: u64,
    /// Answers whose tokens the endpoint did not count: they are estimated, a token per three characters.
    #[serde(default)]
    pub estimated: u64,
    /// Tokens of questions, without the cached ones and with those of failed calls that the endpoint
    /// counted.
    pub tokens_in: u64,
    /// Tokens of answers, likewise.
    pub tokens_out: u64,
    /// What they cost; none where the prices are not known.
    pub dollars: Option<f64>,
}

impl Usage {
    fn add(&mut self, tokens_in: u64, tokens_out: u64) {
        self.tokens_in = self.tokens_in.saturating_add(tokens_in);
        self.tokens_out = self.tokens_out.saturating_add(tokens_out);
    }

    /// Both together; dollars where both are known.
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            cached: self.cached + other.cached,
            not_stored: self.not_stored + other.not_stored,
            estimated: self.estimated + other.estimated,
            tokens_in: self.tokens_in.saturating_add(other.tokens_in),
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
            dollars: self.dollars.zip(other.dollars).map(|(mine, theirs)| mine + theirs),
        }
    }
}

/// A count that clients write and others read; clones share it.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    prices: Option<Prices>,
    usage: Mutex<Usage>,
}

impl Meter {
    /// A count from zero.
    pub fn new(prices: Option<Prices>) -> Self {
        Self(Arc::new(Counted { prices, usage: Mutex::default() }))
    }

    /// The count as it is now. Dollars are computed from the tokens, so that they do not depend on
    /// the order of the answers.
    pub fn usage(&self) -> Usage {
        let usage = *locked(&self.0.usage);
        let dollars = self.0.prices.map(|prices| prices.dollars(usage.tokens_in, usage.tokens_out));
        Usage { dollars, ..usage }
    }

    /// Counts an answer that cost nothing.
    pub(super) fn count_cached(&self) {
        locked(&self.0.usage).cached += 1;
    }

    /// Counts an answer that could not be stored.
    pub(super) fn count_not_stored(&self) {
        locked(&self.0.usage).not_stored += 1;
    }

    fn count(&self, taken: Expected, is_estimated: bool) {
        let mut usage = locked(&self.0.usage);
        usage.requests += 1;
        usage.estimated += u64::from(is_estimated);
        usage.add(taken.tokens_in, taken.tokens_out);
    }

    fn count_failed(&self, billed: Billed) {
        locked(&self.0.usage).add(billed.tokens_in, billed.tokens_out);
    }

    fn dollars(&self, tokens: Expected) -> f64 {
        self.0.prices.map_or(0.0, |prices| prices.dollars(tokens.tokens_in, tokens.tokens_out))
    }
}

/// Counts what is asked and stops before a budget is passed. Before a call its estimated cost is set
/// aside (a token per three characters, and the whole of the answer that is allowed); after it, what
/// it took is counted, by the endpoint's numbers where it gives some. A call that failed counts with
/// what the endpoint says it took, so each attempt has to pass here by itself.
pub struct Metered {
    inner: Arc<dyn ChatClient>,
    meter: Meter,
    budget: Option<Budget>,
}

impl Metered {
    /// A client that writes `meter` and holds to `budget`. Without prices nothing costs anything.
    pub fn new(inner: Arc<dyn ChatClient>, meter: Meter, budget: Option<Budget>) -> Self {
        Self { inner, meter, budget }
    }

    async fn counted<'a, T>(
        &'a self,
        expected: Expected,
        ask: BoxFuture<'a, Result<T, ChatError>>,
        taken: impl Fn(&T) -> (Expected, bool),
    ) -> Result<T, ChatError> {
        let reserved = match &self.budget {
            Some(budget) => Some(budget.reserve(self.meter.dollars(expected)).await?),
            None => None,
        };
        let outcome = ask.await;
        let taken = match &outcome {
            Ok(reply) => {
                let (taken, is_estimated) = taken(reply);
                self.meter.count(taken, is_estimated);
                taken
            }
            Err(error) => {
                let billed = error.billed();
                self.meter.count_failed(billed);
                Expected { tokens_in: billed.tokens_in, tokens_out: billed.tokens_out }
            }
        };
        if let Some(reserved) = reserved {
            reserved.settle(self.meter.dollars(taken));
        }
        outcome
    }
}

impl ChatClient for Metered {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        let expected = Expected::of_chat(request);
        let taken = move |reply: &ChatReply| (expected.taken(reply), Expected::is_estimated(reply));
        Box::pin(self.counted(expected, self.inner.chat(request), taken))
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        let expected = Expected::of_prompt(request);
        let taken = |reply: &PromptReply| (Expected { tokens_in: reply.tokens_in, tokens_out: 0 }, false);
        Box::pin(self.counted(expected, self.inner.score_prompt(request), taken))
    }
}
