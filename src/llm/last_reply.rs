//! The last reply or error of a client, kept so that a failure can be shown with its cause.

use std::fmt;
use std::sync::Mutex;

use super::status::{line_of, one_line};
use super::{ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, ReplyFuture, locked};
use crate::base::Attempt;

/// Maximum number of characters shown of a reply.
const MOST_OF_REPLY: usize = 600;

/// Number of tokens shown from the end of a prompt.
const LAST_TOKENS: usize = 3;

/// Number of alternatives shown for each of these tokens.
const ALTERNATIVES: usize = 5;

/// A client's last reply or error. It prints as one line without terminal control characters.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// An answer.
    Reply(ChatReply),
    /// The end of a scored prompt.
    Reading(String),
    /// An error.
    Error(ChatError),
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) if reply.text.trim().is_empty() => f.write_str("one reply: (empty)"),
            Self::Reply(reply) => write!(f, "one reply: {}", line_of(&reply.text, MOST_OF_REPLY)),
            Self::Reading(end) => write!(f, "the end of one scored prompt: {}", one_line(end)),
            Self::Error(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Heard {}

impl Heard {
    /// What the user can change, if an error's words tell.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Error(error) => error.advice(),
            _ => None,
        }
    }
}

/// Client that keeps the last reply or error of one piece of work.
pub struct LastReply<'a> {
    inner: &'a dyn ChatClient,
    last: Mutex<Option<Heard>>,
    last_prompt: Mutex<Option<PromptRequest>>,
}

impl<'a> LastReply<'a> {
    /// Wraps `inner`.
    pub fn new(inner: &'a dyn ChatClient) -> Self {
        Self { inner, last: Mutex::default(), last_prompt: Mutex::default() }
    }

    /// The last reply or error; `None` if there was no request. If the work failed, the last scored prompt leaves the
    /// cache, so the next run scores it again.
    pub fn heard<T>(self, attempt: &Attempt<T>) -> Option<Heard> {
        if let (Attempt::Missing(_), Some(prompt)) = (attempt, locked(&self.last_prompt).as_ref()) {
            self.inner.forget_prompt(prompt);
        }
        locked(&self.last).take()
    }

    fn keep<T>(&self, answer: Result<T, ChatError>, heard: impl Fn(&T) -> Heard) -> Result<T, ChatError> {
        *locked(&self.last) = Some(match &answer {
            Ok(reply) => heard(reply),
            Err(error) => Heard::Error(error.clone()),
        });
        answer
    }
}

fn end_of(reply: &PromptReply) -> Heard {
    let shown = reply.tokens.iter().rev().take(LAST_TOKENS).rev().map(|token| {
        let others = token.top.iter().take(ALTERNATIVES).map(|(other, _)| format!("{other:?}"));
        format!("{:?} (likeliest: {})", token.token, others.collect::<Vec<_>>().join(" "))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    Heard::Reading(if shown.is_empty() { "the reply has no tokens".into() } else { shown })
}

impl ChatClient for LastReply<'_> {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        let heard = |reply: &ChatReply| Heard::Reply(reply.clone());
        Box::pin(async move { self.keep(self.inner.chat(request).await, heard) })
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(async move {
            *locked(&self.last_prompt) = Some(request.clone());
            self.keep(self.inner.score_prompt(request).await, end_of)
        })
    }

    fn forget(&self, request: &ChatRequest) -> bool {
        self.inner.forget(request)
    }

    fn forget_prompt(&self, request: &PromptRequest) {
        self.inner.forget_prompt(request);
    }
}
