//! A language model in this process.
//!
//! In: a model folder or a GGUF file; requests.
//! Out: answers, generated in batches by one thread; its matrix products use all threads.
//! Never: reaches the network, returns an answer that violates its schema.
//!
//! The common beginning of many requests is read once ([`prefixes`]). Answers with a schema are generated under a
//! grammar ([`grammar`], [`vocabulary`]). An answer depends only on its request and the model's files, not on what
//! else is in the batch.

mod answer;
mod engine;
mod grammar;
mod model;
mod prefixes;
mod sampling;
mod template;
#[cfg(test)]
mod tests;
mod vocabulary;

use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use tokio::sync::oneshot;

use self::engine::{Engine, Job};
use self::model::{LocalModel, local_error};
pub use self::template::apart::{ARGUMENT as TRY_TEMPLATE, try_template, try_template_here};
use crate::base::Program;

use super::{ChatClient, ChatError, ChatReply, ChatRequest, PromptReply, PromptRequest, ReplyFuture};

/// Bytes of the thread's stack: as many as a program's first thread has, since templates nest.
const STACK: usize = 8 << 20;

/// Client of a model in this process. Dropping it ends the model's thread.
pub(super) struct Local {
    jobs: Sender<Job>,
    name: String,
    identity: String,
}

impl Local {
    /// Reads a model and starts its thread. `structured` enforces schemas. If `program` is given, it runs the chat
    /// template in a process of its own: see [`try_template`].
    pub fn open(path: &Path, structured: bool, program: Option<&Program>) -> Result<Self, ChatError> {
        let mut model = LocalModel::open(path)?;
        model.renderer = program.cloned();
        if let Some(program) = program {
            let failed = |what: String| model.failed(format!("its chat template {what}"));
            model.template.check_apart(program).map_err(failed)?;
        }
        let name = model.name.clone();
        let identity = format!("{}{}", model.identity, if structured { "" } else { " unstructured" });
        let (jobs, queue) = channel();
        let thread = std::thread::Builder::new().name("local model".into()).stack_size(STACK);
        thread
            .spawn(move || Engine::new(model, structured).run(&queue))
            .map_err(|error| local_error(&name, format!("its thread could not start: {error}")))?;
        Ok(Self { jobs, name, identity })
    }

    async fn answer<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, ChatError>>) -> Job,
    ) -> Result<T, ChatError> {
        let (back, answer) = oneshot::channel();
        let gone = || local_error(&self.name, "its thread has ended".into());
        self.jobs.send(job(back)).map_err(|_| gone())?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl ChatClient for Local {
    fn identity(&self) -> &str {
        &self.identity
    }

    fn chat<'a>(&'a self, request: &'a ChatRequest) -> ReplyFuture<'a, ChatReply> {
        Box::pin(self.answer(|back| Job::Chat(request.clone(), back)))
    }

    fn score_prompt<'a>(&'a self, request: &'a PromptRequest) -> ReplyFuture<'a, PromptReply> {
        Box::pin(self.answer(|back| Job::Prompt(request.clone(), back)))
    }
}
