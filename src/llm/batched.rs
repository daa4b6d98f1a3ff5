//! Joins questions that wait at the same time into one request, for endpoints that accept lists of prompts.
//!
//! The first of some questions with equal settings waits a moment for others, then sends all of them. If their request
//! fails, each is asked alone.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use super::status::is_unavailable;
use super::{ChatError, TokenUse, locked};

/// Longest wait for further questions. It is short beside an answer.
const LINGER: Duration = Duration::from_millis(5);

/// Failed batches in a row after which no other is sent.
const FAILURES_ALLOWED: u32 = 3;

/// Outcome of one question.
type Outcome<T> = Result<T, ChatError>;

/// Questions with the places of their answers.
type Members<Q, T> = Vec<(Q, oneshot::Sender<Outcome<T>>)>;

/// Questions that will be sent together, without the first one.
struct Group<Q, T> {
    is_full: Notify,
    members: Mutex<Members<Q, T>>,
}

/// Batches that are being gathered, by the settings of their questions.
pub(super) struct Batches<Q, T> {
    /// Questions in one batch.
    most: usize,
    open: Mutex<HashMap<String, Arc<Group<Q, T>>>>,
    /// Failed batches since the last good one.
    failures: AtomicU32,
}

/// What a question does in its batch.
enum Part<'a, Q, T> {
    /// It sends the batch.
    First(Open<'a, Q, T>),
    Member(oneshot::Receiver<Outcome<T>>),
}

/// A batch that is being gathered by its first question. Dropping it sends the members away: they ask alone.
struct Open<'a, Q, T> {
    batches: &'a Batches<Q, T>,
    settings: String,
    group: Arc<Group<Q, T>>,
}

impl<Q, T> Open<'_, Q, T> {
    /// Ends the gathering.
    fn close(&self) -> Members<Q, T> {
        let mut open = locked(&self.batches.open);
        if open.get(&self.settings).is_some_and(|group| Arc::ptr_eq(group, &self.group)) {
            open.remove(&self.settings);
        }
        std::mem::take(&mut *locked(&self.group.members))
    }
}

impl<Q, T> Drop for Open<'_, Q, T> {
    fn drop(&mut self) {
        drop(self.close());
    }
}

impl<Q: Clone, T> Batches<Q, T> {
    /// Batches of at most `most` questions; 1 to send each alone.
    pub fn new(most: usize) -> Self {
        Self { most, open: Mutex::default(), failures: AtomicU32::new(0) }
    }

    /// Answers a question. `settings` is the part of a request that all questions of a batch share. `send` makes one
    /// request of some questions and returns an outcome for each of them, in their order. `on_stop` is told the reason
    /// why no more batches will be sent.
    pub async fn ask<F: Future<Output = Result<Vec<Outcome<T>>, ChatError>>>(
        &self,
        settings: impl FnOnce() -> String,
        question: &Q,
        send: impl Fn(Vec<Q>) -> F,
        on_stop: impl FnOnce(&ChatError),
    ) -> Outcome<T> {
        if self.most > 1 && self.failures.load(Ordering::Relaxed) < FAILURES_ALLOWED {
            let answered = match self.join(settings(), question) {
                // The sender is dropped if the batch failed.
                Part::Member(answer) => answer.await.ok(),
                Part::First(open) => self.sent(&open, question, &send, on_stop).await,
            };
            if let Some(outcome) = answered {
                return outcome;
            }
        }
        only(send(vec![question.clone()]).await?)
    }

    fn join(&self, settings: String, question: &Q) -> Part<'_, Q, T> {
        let mut open = locked(&self.open);
        let Some(group) = open.get(&settings).cloned() else {
            let group = Arc::new(Group { is_full: Notify::new(), members: Mutex::default() });
            open.insert(settings.clone(), group.clone());
            return Part::First(Open { batches: self, settings, group });
        };
        let (sender, receiver) = oneshot::channel();
        let mut members = locked(&group.members);
        members.push((question.clone(), sender));
        if members.len() + 1 >= self.most {
            open.remove(&settings);
            group.is_full.notify_one();
        }
        Part::Member(receiver)
    }

    /// Gathers and sends a batch. Returns the first question's outcome; none if it has to be asked alone.
    async fn sent<F: Future<Output = Result<Vec<Outcome<T>>, ChatError>>>(
        &self,
        open: &Open<'_, Q, T>,
        first: &Q,
        send: &impl Fn(Vec<Q>) -> F,
        on_stop: impl FnOnce(&ChatError),
    ) -> Option<Outcome<T>> {
        // A timeout means that no more questions came.
        let _ = tokio::time::timeout(LINGER, open.group.is_full.notified()).await;
        let members = open.close();
        if members.is_empty() {
            return None;
        }
        let questions = std::iter::once(first).chain(members.iter().map(|(question, _)| question));
        let n = members.len() + 1;
        let mut outcomes = match send(questions.cloned().collect()).await {
            Ok(outcomes) => {
                self.failures.store(0, Ordering::Relaxed);
                outcomes
            }
            Err(error) if concerns_each(&error) => shares(&error, n).collect(),
            Err(error) => {
                if self.failures.fetch_add(1, Ordering::Relaxed) + 1 == FAILURES_ALLOWED {
                    on_stop(&error);
                }
                shares(&error, n).filter(|_| error.billed() != TokenUse::default()).collect()
            }
        }
        .into_iter();
        let own = outcomes.next();
        for ((_, sender), outcome) in members.into_iter().zip(outcomes) {
            // A question that nobody waits for any more needs no answer.
            let _ = sender.send(outcome);
        }
        own
    }
}

/// Whether each question of a failed batch would fail alone too.
fn concerns_each(error: &ChatError) -> bool {
    is_unavailable(error)
        || !matches!(
            error,
            ChatError::BadRequest { .. } | ChatError::Server { .. } | ChatError::Unsupported { .. }
        )
}

/// The error of a batch for each of its `n` questions, with an equal share of what was billed.
fn shares<T>(error: &ChatError, n: usize) -> impl Iterator<Item = Outcome<T>> {
    let billed = error.billed();
    let equal = vec![1; n];
    let (input, output) = (shared(billed.tokens_in, &equal), shared(billed.tokens_out, &equal));
    input
        .into_iter()
        .zip(output)
        .map(|(tokens_in, tokens_out)| Err(error.clone().with_billed(TokenUse { tokens_in, tokens_out })))
}

/// Divides a count of tokens in proportion to sizes. The parts are whole numbers whose sum is `total`.
pub(super) fn shared(total: u64, sizes: &[usize]) -> Vec<u64> {
    let all = sizes.iter().map(|&size| size.max(1) as u128).sum::<u128>();
    let mut before = 0;
    let upto = |sum: u128| u64::try_from(u128::from(total) * sum / all).unwrap_or(total);
    let part = |&size: &usize| {
        let start = before;
        before += size.max(1) as u128;
        upto(before) - upto(start)
    };
    sizes.iter().map(part).collect()
}

/// The outcome of a question that was sent alone.
fn only<T>(outcomes: Vec<Outcome<T>>) -> Outcome<T> {
    let missing = || ChatError::unsupported("a request", "was answered without an outcome");
    outcomes.into_iter().next().unwrap_or_else(|| Err(missing()))
}
