//! A client for tests that answers by a function and records its requests.

use std::sync::Mutex;

use crate::llm::{
    ChatClient, ChatError, ChatReply, ChatRequest, Finish, PromptReply, PromptRequest, ReplyFuture,
    TokenChoice,
};

type Answer = dyn Fn(&ChatRequest) -> Result<ChatReply, ChatError> + Send + Sync;
type Scores = dyn Fn(&PromptRequest) -> Result<PromptReply, ChatError> + Send + Sync;

pub(crate) struct Scripted {
    answer: Box<Answer>,
    scores: Box<Scores>,
    pub asked: Mutex<Vec<ChatRequest>>,
    pub scored: Mutex<Vec<PromptRequest>>,
}

fn unsupported() -> ChatError {
    ChatError::unsupported("script", "has no answer for this type of request")
}

impl Scripted {
    pub fn new(
        answer: impl Fn(&ChatRequest) -> Result<ChatReply, ChatError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            answer: Box::new(answer),
            scores: Box::new(|_| Err(unsupported())),
            asked: Mutex::default(),
            scored: Mutex::default(),
        }
    }

    /// Answers sample n with the n-th text, and later samples with the last one.
    pub fn saying(texts: &[&str]) -> Self {
        let texts: Vec<String> = texts.iter().map(|text| text.to_string()).collect();
        Self::new(move |request| Ok(said(&texts[(request.sample as usize).min(texts.len() - 1)])))
    }

    pub fn scoring(
        scores: impl Fn(&PromptRequest) -> Result<PromptReply, ChatError> + Send + Sync + 'static,
    ) -> Self {
        Self { scores: Box::new(scores), ..Self::new(|_| Err(unsupported())) }
    }

    pub fn samples(&self) -> Vec<u64> {
        self.asked.lock().expect("kept").iter().map(|request| request.sample).collect()
    }
}

/// A finished reply.
pub(crate) fn said(text: &str) -> ChatReply {
    ChatReply { text: text.into(), finish: Finish::Stop, tokens_in: 1, tokens_out: 1, logprobs: None }
}

/// A finished reply in tokens, each with the probabilities of its alternatives. Without any, its probability is 1.
pub(crate) fn said_in_tokens(tokens: &[(&str, &[(&str, f64)])]) -> ChatReply {
    let choice = |(token, top): &(&str, &[(&str, f64)])| {
        let own = top.iter().find(|(other, _)| other == token).map_or(1.0, |(_, p)| *p);
        let top = top.iter().map(|(token, p)| (token.to_string(), p.ln())).collect();
        TokenChoice { token: token.to_string(), logprob: own.ln(), top }
    };
    let text: String = tokens.iter().map(|(token, _)| *token).collect();
    ChatReply { logprobs: Some(tokens.iter().map(choice).collect()), ..said(&text) }
}

impl ChatClient for Scripted {
    fn identity(&self) -> &str {
        "script"
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        self.asked.lock().expect("kept").push(request.clone());
        let reply = (self.answer)(request);
        Box::pin(async move { reply })
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        self.scored.lock().expect("kept").push(request.clone());
        let reply = (self.scores)(request);
        Box::pin(async move { reply })
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}
