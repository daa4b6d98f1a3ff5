use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::{BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest};
use crate::base::{Digest, Digester};

type Script<Q, A> = Box<dyn Fn(&Q) -> Result<A, ChatError> + Send + Sync>;

/// One line of a cassette: a question with its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    /// The question.
    pub request: ChatRequest,
    /// The answer.
    pub reply: ChatReply,
}

/// A client that answers from a script or from recorded answers, without a network.
pub struct Replayed {
    identity: String,
    chat: Script<ChatRequest, ChatReply>,
    prompts: Option<Script<PromptRequest, PromptReply>>,
    calls: AtomicUsize,
}

impl ChatRequest {
    /// The digest by which recorded answers are found: of the whole request.
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::new("llm-request");
        digester.json(self);
        digester.finish()
    }
}

impl Replayed {
    /// Answers as `script` says.
    pub fn scripted(
        identity: &str,
        script: impl Fn(&ChatRequest) -> Result<ChatReply, ChatError> + Send + Sync + 'static,
    ) -> Self {
        let identity = identity.to_string();
        Self { identity, chat: Box::new(script), prompts: None, calls: AtomicUsize::new(0) }
    }

    /// Answers by the digest of the request ([`ChatRequest::digest`]); a request without an answer is
    /// [`ChatError::NotFound`], naming the digest.
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

    /// Answers from a cassette: [`Recording`]s in JSON, one per line; of the same question the last
    /// one counts.
    ///
    /// # Errors
    /// [`ChatError::BadRequest`] with the first line that is not a recording.
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

    /// Scores prompts as `script` says; without one that is unsupported.
    pub fn with_prompts(
        mut self,
        script: impl Fn(&PromptRequest) -> Result<PromptReply, ChatError> + Send + Sync + 'static,
    ) -> Self {
        self.prompts = Some(Box::new(script));
        self
    }

    /// How often it was asked.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl ChatClient for Replayed {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            (self.chat)(request)
        })
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        Box::pin(async move {
            self.calls.fetch_add(1, Ordering::SeqCst);
            let unsupported = || ChatError::Unsupported {
                endpoint: self.identity.clone(),
                detail: "has no script for scoring prompts".into(),
            };
            self.prompts.as_ref().ok_or_else(unsupported)?(request)
        })
    }
}
