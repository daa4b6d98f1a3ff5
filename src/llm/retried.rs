//! Retries with exponential backoff and full jitter.
//!
//!   wait_n ~ U(0, min(base * 2^n, cap)) seconds before retry n = 0, 1, …
//!
//! An endpoint that asks for a wait gets that wait plus a jitter of at most `base`.
//! Source: Brooker 2015, "Exponential Backoff And Jitter" (AWS Architecture Blog).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, ReplyFuture, locked};
use crate::base::Stream;

/// Number of retries and the waits between them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryPolicy {
    /// Retries after the first attempt.
    pub retries: u32,
    /// Upper bound of the first wait in seconds; it doubles with each retry.
    pub base_seconds: f64,
    /// Upper bound of every drawn wait in seconds.
    pub cap_seconds: f64,
    /// Longest wait in seconds that an endpoint may ask for. A longer one fails at once.
    pub patience_seconds: f64,
    /// Seed of the stream `llm/retry` of waits. It affects no result. Processes that share an endpoint need
    /// different seeds, so that they do not retry at the same moment.
    pub seed: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { retries: 6, base_seconds: 1.0, cap_seconds: 60.0, patience_seconds: 300.0, seed: 0 }
    }
}

/// Client that retries after passing errors.
pub struct Retried {
    inner: Arc<dyn ChatClient>,
    policy: RetryPolicy,
    stream: Mutex<Stream>,
}

impl Retried {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn ChatClient>, policy: RetryPolicy) -> Self {
        Self { inner, policy, stream: Mutex::new(Stream::new(policy.seed, "llm/retry")) }
    }

    /// Seconds to wait after the error of attempt number `attempt`, from 0; `None` to give up.
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
                // The jitter keeps all rejected requests from returning at the same moment.
                (*asked <= self.policy.patience_seconds).then(|| asked + jitter.min(self.policy.base_seconds))
            }
            _ => Some(jitter),
        }
    }

    async fn repeated<'a, T>(&'a self, ask: impl Fn() -> ReplyFuture<'a, T>) -> Result<T, ChatError> {
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

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(self.repeated(move || self.inner.chat(request)))
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(self.repeated(move || self.inner.score_prompt(request)))
    }
}
