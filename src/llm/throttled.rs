//! Rate limit by token buckets.
//!
//!   content(t) = min(content + rate * dt, capacity),  capacity = max(rate * 1 s, 1)
//!
//! A request takes its amount at once. If the content was smaller, the request waits until it is refilled. So a
//! minute exceeds its limit by at most 1/60.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::{
    ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, ReplyFuture, TokenUse, locked,
};

/// Limits of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Maximum number of requests in flight.
    pub max_in_flight: usize,
    /// Maximum number of requests per minute.
    pub requests_per_minute: Option<f64>,
    /// Maximum number of tokens per minute, in and out together.
    pub tokens_per_minute: Option<f64>,
}

/// Client that delays requests to keep within a [`Pace`].
pub struct Throttled {
    inner: Arc<dyn ChatClient>,
    in_flight: Semaphore,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Throttled {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn ChatClient>, pace: Pace) -> Self {
        Self {
            inner,
            in_flight: Semaphore::new(pace.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            requests: pace.requests_per_minute.map(Bucket::new),
            tokens: pace.tokens_per_minute.map(Bucket::new),
        }
    }

    async fn in_turn<'a, T>(
        &'a self,
        expected: impl FnOnce() -> TokenUse,
        ask: ReplyFuture<'a, T>,
        taken: impl Fn(TokenUse, &T) -> TokenUse,
    ) -> Result<T, ChatError> {
        // The semaphore is never closed, so this cannot fail.
        let _permit = self.in_flight.acquire().await.ok();
        let tokens = self.tokens.as_ref().map(|bucket| (bucket, expected()));
        let waits = [
            self.requests.as_ref().map(|bucket| bucket.take(1.0)),
            tokens.map(|(bucket, expected)| bucket.take(expected.total())),
        ];
        if let Some(wait) = waits.into_iter().flatten().max().filter(|wait| !wait.is_zero()) {
            tokio::time::sleep(wait).await;
        }
        let reply = ask.await?;
        if let Some((bucket, expected)) = tokens {
            bucket.give(expected.total() - taken(expected, &reply).total());
        }
        Ok(reply)
    }
}

impl ChatClient for Throttled {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        let expected = || TokenUse::of_chat(request);
        Box::pin(self.in_turn(expected, self.inner.chat(request), TokenUse::taken))
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        let expected = || TokenUse::of_prompt(request);
        let taken = |expected, reply: &PromptReply| TokenUse { tokens_in: reply.tokens_in, ..expected };
        Box::pin(self.in_turn(expected, self.inner.score_prompt(request), taken))
    }
}

struct Bucket {
    per_second: f64,
    capacity: f64,
    state: Mutex<Level>,
}

struct Level {
    content: f64,
    at: Instant,
}

impl Bucket {
    fn new(per_minute: f64) -> Self {
        let per_second = per_minute / 60.0;
        let capacity = per_second.max(1.0);
        Self { per_second, capacity, state: Mutex::new(Level { content: capacity, at: Instant::now() }) }
    }

    /// Takes `amount` and returns the wait before it may be used.
    fn take(&self, amount: f64) -> Duration {
        let mut level = locked(&self.state);
        let now = Instant::now();
        let grown = now.duration_since(level.at).as_secs_f64() * self.per_second;
        level.content = (level.content + grown).min(self.capacity);
        level.at = now;
        // A request larger than the bucket starts when the bucket is full.
        let missing = amount.min(self.capacity) - level.content;
        level.content -= amount;
        Duration::try_from_secs_f64((missing / self.per_second).max(0.0)).unwrap_or(Duration::MAX)
    }

    /// Returns an unused amount; a negative one is an extra charge.
    fn give(&self, amount: f64) {
        locked(&self.state).content += amount;
    }
}
