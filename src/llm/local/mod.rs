//! A language model in this process.
//!
//! In: a model folder or a GGUF file, and questions.
//! Out: answers, several generated side by side on one thread that the products of matrices then share out.
//! Never: reaches the network, returns an answer that breaks the form asked for.
//!
//! What many questions begin with is read once (`prefixes`); an answer with a schema is held to it token by token
//! (`shape`, `vocabulary`). An answer depends on the question and the model's files alone, not on what else is
//! under way.

mod answer;
mod engine;
mod model;
mod prefixes;
mod sampling;
mod shape;
mod template;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

use self::engine::{Engine, Job};
use self::model::LocalModel;
pub use self::template::apart::{ARGUMENT as TRY_TEMPLATE, try_template};
use super::{BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest};

/// A model in this process. Its thread ends when it is dropped.
pub(super) struct Local {
    jobs: Sender<Job>,
    name: String,
    identity: String,
}

impl Local {
    /// Reads a model and starts its thread. With `structured`, answers are held to their schemas. Its chat template is
    /// first tried in a process of `program`, where one is given: see [`try_template`].
    ///
    /// # Errors
    /// [`ChatError::LocalModel`] where there is no model or it cannot be used.
    pub fn open(path: &Path, structured: bool, program: Option<&Path>) -> Result<Self, ChatError> {
        let model = LocalModel::open(path)?;
        if let Some(program) = program {
            let failed = |what: String| model.failed(&format!("its chat template {what}"));
            model.template.check_apart(program).map_err(failed)?;
        }
        let name = model.name.clone();
        let identity = format!("{}{}", model.identity, if structured { "" } else { " unstructured" });
        let (jobs, queue) = channel();
        std::thread::Builder::new()
            .name("local model".into())
            .spawn(move || Engine::new(model, structured).run(&queue))
            .map_err(|error| ChatError::LocalModel {
                model: name.clone(),
                detail: format!("got no thread: {error}"),
                missing: false,
            })?;
        Ok(Self { jobs, name, identity })
    }

    async fn answer<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, ChatError>>) -> Job,
    ) -> Result<T, ChatError> {
        let (back, answer) = oneshot::channel();
        let gone = || ChatError::LocalModel {
            model: self.name.clone(),
            detail: "stopped answering".into(),
            missing: false,
        };
        self.jobs.send(job(back)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl ChatClient for Local {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ChatError>> {
        Box::pin(self.answer(|back| Job::Chat(request.clone(), back)))
    }

    fn score_prompt<'a>(
        &'a self,
        request: &'a PromptRequest,
    ) -> BoxFuture<'a, Result<PromptReply, ChatError>> {
        Box::pin(self.answer(|back| Job::Prompt(request.clone(), back)))
    }
}
