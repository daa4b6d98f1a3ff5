//! Clients for the language models that explain, simulate and judge.
//!
//! In: chat requests and prompts to score.
//! Out: replies with their cost, or an error that says whether a retry can help.
//! Never: knows what a feature is, reads the environment, shows or stores a key.
//!
//! A client speaks one protocol. [`connect`] puts five wrappers around it, each with one duty: cache, retries, budget,
//! rate limit and the removal of keys. All of them need a tokio runtime with its timer.

mod addresses;
mod advice;
mod answer_file;
mod anthropic;
mod ask;
mod balanced;
mod batched;
mod budget;
mod cached;
mod chat;
mod completions;
mod connect;
mod counter;
mod endpoint_notes;
mod estimate;
mod http;
mod last_reply;
mod ledger;
mod lenient;
#[cfg(feature = "local-llm")]
mod local;
mod masked;
mod metered;
mod openai;
mod openai_answer;
mod prompt;
mod read_problem;
mod reading;
mod retried;
mod secret;
mod spec;
mod status;
#[cfg(test)]
mod tests;
mod throttled;
mod token_use;
mod wait;

pub use addresses::{BaseUrl, BaseUrls};
pub use answer_file::{AnswerAge, verify_answer};
pub use ask::{ENDPOINT_REASONS, ask_until_read, failed_call};
pub use budget::Budget;
pub use cached::Cached;
pub use chat::{
    BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Finish, Message, PromptReply, PromptRequest,
    PromptToken, ReplyFuture, Role, Schema, Slots, TokenChoice,
};
pub use connect::{Endpoint, Llm, connect, connect_with};
pub use counter::{Example, Question, TokenCounter, approximate_tokens};
pub use endpoint_notes::EndpointNotes;
pub use last_reply::{Heard, LastReply};
pub use lenient::{Lenient, Node, whole_number};
#[cfg(feature = "local-llm")]
#[doc(hidden)]
pub use local::try_template_here;
#[cfg(feature = "local-llm")]
pub use local::{TRY_TEMPLATE, try_template};
pub use metered::{Meter, Metered, Prices, Usage};
pub use prompt::Prompt;
pub use read_problem::ReadProblem;
pub use reading::{READER_VERSION, answer, answer_value, is_refusal, probabilities, token_at, trimmed};
pub use retried::{Retried, RetryPolicy};
pub use secret::Secret;
pub use spec::{ClientKind, LlmSpec, PromptLogprobs, ResponseFormat, SpecProblem};
#[cfg(test)]
pub(crate) use tests::scripted;
pub use throttled::{Pace, Throttled};
pub use token_use::TokenUse;

/// Locks a mutex. A poisoned one is used too: no critical section here leaves its data half changed.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
