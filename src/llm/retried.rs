use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, locked};
use crate::base::Stream;

/// How often and after what time a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Repetitions after the first attempt.
    pub retries: u32,
    /// Seconds of the first wait at most; each later one may be twice as long.
    pub base_seconds: f64,
    /// Seconds that no wait of our own choice exceeds.
    pub cap_seconds: f64,
    /// Seconds that an endpoint may ask to wait; when it asks for more, the error is returned at once.
    pub patience_seconds: f64,
    /// Seed of the stream `llm/retry` that the waits are drawn from. It decides no result; processes
    /// that share an endpoint should have different ones, lest they come back together.
    pub seed: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 6, base_seconds: 1.0, cap_seconds: 60.0, patience_seconds: 300.0, seed: 0 }
    }
}

/// Asks again after errors that may pass: after a time drawn uniformly from 0 to a limit that doubles,
/// and not before the endpoint wants to be asked.
pub struct Retried {
    inner: Arc<dyn ChatClient>,
    policy: RetryPolicy,
    stream: Mutex<Stream>,
}

impl Retried {
    /// A client that repeats what `inner` fails at.
    pub fn new(inner: Arc<dyn ChatClient>, policy: RetryPolicy) -> Self {
        Self { inner, policy, stream: Mutex::new(Stream::new(policy.seed, "llm/retry")) }
    }

    /// Seconds to wait after the error of attempt number `attempt`, from 0; none to give up.
    fn pause(&self, error: &ChatError, attempt: u32) -> Option<f64> {
        if !error.is_passing() || attempt >= self.policy.retries {
            return None;
        }
        let doublings = i32::try_from(attempt).unwrap_or(i32::MAX);
        let limit = (self.policy.base_seconds * 2f64.powi(doublings)).min(self.policy.cap_seconds);
        let jitter = limit * locked(&self.stream).unit();
        match error {
            ChatError::RateLimited { retry_after: Some(asked), .. }
            | ChatError::Server { retry_after: Some(asked), .. } => {
                // Past what was asked, lest all that were turned away come back at once.
                (*asked <= self.policy.patience_seconds).then(|| asked + jitter.min(self.policy.base_seconds))
            }
            _ => Some(jitter),
        }
    }

    async fn repeated<'a, T>(
        &'a self,
        ask: impl Fn() -> BoxFuture<'a, Result<T, ChatError>>,
    ) -> Result<T, ChatError> {
        let mut attempt = 0;
        loop {
            let error = match ask().await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let Some(seconds) = self.pause(&error, attempt) else { return Err(error) };
            tokio::time::sleep(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)).await;
            attempt += 1;
        }
    }
}

impl ChatClient for Retried {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        Box::pin(self.repeated(move || self.inner.chat(request)))
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        Box::pin(self.repeated(move || self.inner.score_prompt(request)))
    }
}
