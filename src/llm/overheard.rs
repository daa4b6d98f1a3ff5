use std::fmt;
use std::sync::Mutex;

use super::status::{line_of, one_line};
use crate::base::Attempt;

use super::{BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, locked};

/// Most characters of a reply that is shown as an example.
const MOST_OF_REPLY: usize = 600;

/// Tokens at the end of a prompt that are shown with what else could stand there.
const LAST_TOKENS: usize = 3;

/// Likeliest alternatives shown of each.
const ALTERNATIVES: usize = 5;

/// What was last heard from a model, for a person to read: in one line, without what could steer a terminal.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// An answer.
    Reply(ChatReply),
    /// The end of a prompt that it scored.
    Reading(String),
    /// Why there was no answer.
    Error(ChatError),
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reply(reply) if reply.text.trim().is_empty() => f.write_str("one reply: nothing at all"),
            Self::Reply(reply) => write!(f, "one reply: {}", line_of(&reply.text, MOST_OF_REPLY)),
            Self::Reading(end) => write!(f, "the end of one prompt as it was read: {}", one_line(end)),
            Self::Error(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Heard {}

impl Heard {
    /// What to change, as far as an endpoint's words tell.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::Error(error) => error.advice(),
            _ => None,
        }
    }
}

/// Passes every question on and keeps the last thing heard, so that a failure can be shown with its cause.
pub struct Overheard<'a> {
    inner: &'a dyn ChatClient,
    last: Mutex<Option<Heard>>,
    last_prompt: Mutex<Option<PromptRequest>>,
}

impl<'a> Overheard<'a> {
    /// A client for one piece of work.
    pub fn new(inner: &'a dyn ChatClient) -> Self {
        Self { inner, last: Mutex::default(), last_prompt: Mutex::default() }
    }

    /// What was heard last; none where nothing was asked. Where the work came to nothing, the probabilities of the
    /// prompt that was scored last are forgotten: the next run asks for them again.
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
    Heard::Reading(if shown.is_empty() { "no token of it was told".into() } else { shown })
}

impl ChatClient for Overheard<'_> {
    fn identity(&self) -> &str {
        self.inner.identity()
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        Box::pin(
            async move { self.keep(self.inner.chat(request).await, |reply| Heard::Reply(reply.clone())) },
        )
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
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
