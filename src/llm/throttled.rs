use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::estimate::Expected;
use super::{BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, locked};

/// How much may be asked at once and per minute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Most requests under way at once.
    pub max_in_flight: usize,
    /// Most requests per minute.
    pub requests_per_minute: Option<f64>,
    /// Most tokens per minute, in and out together.
    pub tokens_per_minute: Option<f64>,
}

/// Lets requests wait for their turn. What passes without delay after a rest is what one second
/// allows, so no minute has more than 1/60 above its limit.
pub struct Throttled {
    inner: Arc<dyn ChatClient>,
    turns: Semaphore,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

impl Throttled {
    /// A client that asks `inner` no faster than `pace`.
    pub fn new(inner: Arc<dyn ChatClient>, pace: Pace) -> Self {
        Self {
            inner,
            turns: Semaphore::new(pace.max_in_flight.clamp(1, Semaphore::MAX_PERMITS)),
            requests: pace.requests_per_minute.map(Bucket::new),
            tokens: pace.tokens_per_minute.map(Bucket::new),
        }
    }

    async fn in_turn<'a, T>(
        &'a self,
        expected: Expected,
        ask: BoxFuture<'a, Result<T, ChatError>>,
        taken: impl Fn(&T) -> Expected,
    ) -> Result<T, ChatError> {
        // The semaphore is never closed, so there always is a turn.
        let _turn = self.turns.acquire().await.ok();
        let waits = [
            self.requests.as_ref().map(|bucket| bucket.take(1.0)),
            self.tokens.as_ref().map(|bucket| bucket.take(expected.total())),
        ];
        if let Some(wait) = waits.into_iter().flatten().max().filter(|wait| !wait.is_zero()) {
            tokio::time::sleep(wait).await;
        }
        let reply = ask.await?;
        if let Some(bucket) = &self.tokens {
            bucket.give(expected.total() - taken(&reply).total());
        }
        Ok(reply)
    }
}

impl ChatClient for Throttled {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        let expected = Expected::of_chat(request);
        Box::pin(self.in_turn(expected, self.inner.chat(request), move |reply| expected.taken(reply)))
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        let expected = Expected::of_prompt(request);
        let taken = move |reply: &PromptReply| Expected { tokens_in: reply.tokens_in, ..expected };
        Box::pin(self.in_turn(expected, self.inner.score_prompt(request), taken))
    }
}

/// A token bucket: it fills at a steady rate up to what a second brings, and what is taken beyond its
/// content is a debt that later takers wait for.
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

    /// Takes `amount` and says how long to wait before using it.
    fn take(&self, amount: f64) -> Duration {
        let mut level = locked(&self.state);
        let now = Instant::now();
        let grown = now.duration_since(level.at).as_secs_f64() * self.per_second;
        level.content = (level.content + grown).min(self.capacity);
        level.at = now;
        // A request larger than the bucket goes when the bucket is full.
        let missing = amount.min(self.capacity) - level.content;
        level.content -= amount;
        Duration::try_from_secs_f64((missing / self.per_second).max(0.0)).unwrap_or(Duration::MAX)
    }

    /// Gives back what was not used, or takes what was used beyond.
    fn give(&self, amount: f64) {
        locked(&self.state).content += amount;
    }
}
