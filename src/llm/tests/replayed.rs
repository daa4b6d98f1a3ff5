//! A client for tests that answers from recorded replies.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::super::{ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, ReplyFuture};
use crate::base::{Digest, Digester};

type Script<Q, A> = Box<dyn Fn(&Q) -> Result<A, ChatError> + Send + Sync>;

/// One line of a cassette: a request and its reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The request.
    pub request: ChatRequest,
    /// The reply.
    pub reply: ChatReply,
}

/// Client that answers from a function or from recorded replies.
pub struct Replayed {
    identity: String,
    chat: Script<ChatRequest, ChatReply>,
    prompts: Option<Script<PromptRequest, PromptReply>>,
    calls: AtomicUsize,
}

impl ChatRequest {
    /// Digest of the full request, the key of a recorded reply.
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::new("llm-request");
        digester.json(self);
        digester.finish()
    }
}

impl Replayed {
    /// Answers with a function.
    pub fn scripted(
        identity: &str,
        script: impl Fn(&ChatRequest) -> Result<ChatReply, ChatError> + Send + Sync + 'static,
    ) -> Self {
        let identity = identity.to_string();
        Self { identity, chat: Box::new(script), prompts: None, calls: AtomicUsize::new(0) }
    }

    /// Answers by the digest of the request ([`ChatRequest::digest`]). A missing reply is [`ChatError::NotFound`] with
    /// that digest.
    pub fn recorded(identity: &str, answers: HashMap<Digest, ChatReply>) -> Self {
        let endpoint = identity.to_string();
        Self::scripted(identity, move |request| {
            let digest = request.digest();
            answers.get(&digest).cloned().ok_or_else(|| ChatError::NotFound {
                endpoint: endpoint.clone(),
                detail: format!("no answer was recorded for request {}", digest.short()),
            })
        })
    }

    /// Answers from a cassette: one [`Recording`] in JSON per line. Of several for one request, the last one counts.
    ///
    /// # Errors
    /// [`ChatError::BadRequest`] with the number of the first invalid line.
    pub fn cassette(identity: &str, lines: &str) -> Result<Self, ChatError> {
        let mut answers = HashMap::new();
        for (index, line) in lines.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let recording: Recording = serde_json::from_str(line).map_err(|error| ChatError::BadRequest {
                endpoint: identity.to_string(),
                detail: format!("line {} of the cassette is not a recording: {error}", index + 1),
            })?;
            answers.insert(recording.request.digest(), recording.reply);
        }
        Ok(Self::recorded(identity, answers))
    }

    /// Scores prompts with a function.
    pub fn with_prompts(
        mut self,
        script: impl Fn(&PromptRequest) -> Result<PromptReply, ChatError> + Send + Sync + 'static,
    ) -> Self {
        self.prompts = Some(Box::new(script));
        self
    }

    /// Number of requests so far.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl ChatClient for Replayed {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            (self.chat)(request)
        })
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let unsupported = || ChatError::unsupported(&self.identity, "has no script for scoring prompts");
            self.prompts.as_ref().ok_or_else(unsupported)?(request)
        })
    }
}
