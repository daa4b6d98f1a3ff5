//! Language models that explain and simulate.
//!
//! In: chat requests.
//! Out: replies with what they cost, or an error that says whether asking again can help.
//! Never: knows what a feature is, reads the environment, shows or stores a key.
//!
//! A client does one thing, speak an endpoint's protocol; wrappers with one duty each are put around
//! it: remember answers, ask again, count and stop at a budget, wait for a turn. [`connect`] puts them
//! in their order. All of it runs on a tokio runtime with time.

mod advice;
mod anthropic;
mod ask;
mod budget;
mod cached;
mod chat;
mod completions;
mod connect;
mod counter;
mod estimate;
mod http;
mod lenient;
#[cfg(feature = "local-llm")]
mod local;
mod metered;
mod openai;
mod overheard;
mod prompt;
mod reading;
mod remarks;
mod replayed;
mod retried;
#[cfg(test)]
pub(crate) mod scripted;
mod secret;
mod spec;
mod status;
#[cfg(test)]
mod tests;
mod throttled;
mod wait;

pub use ask::{ENDPOINT_REASONS, ask_until_read, failed_call};
pub use budget::Budget;
pub use cached::Cached;
pub use chat::{
    Billed, BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Finish, Message, PromptReply,
    PromptRequest, PromptToken, Role, Schema, Slots, TokenChoice,
};
pub use connect::{Endpoint, Llm, connect, connect_with};
pub use counter::{Example, Question, TokenCounter, approximate_tokens};
pub use lenient::{Lenient, Node, whole_number};
#[cfg(feature = "local-llm")]
pub use local::{TRY_TEMPLATE, try_template};
pub use metered::{Meter, Metered, Prices, Usage};
pub use overheard::{Heard, Overheard};
pub use prompt::Prompt;
pub use reading::{
    READER_VERSION, ReadProblem, answer, answer_value, is_refusal, probabilities, token_at, trimmed,
};
pub use remarks::Remarks;
pub use replayed::{Recording, Replayed};
pub use retried::{Retried, RetryPolicy};
pub use secret::Secret;
pub use spec::{ClientKind, LlmSpec, PromptLogprobs, ResponseFormat, SpecProblem};
pub use throttled::{Pace, Throttled};

/// What a lock holds. Nothing that is done under these locks can leave it half changed.
fn locked<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
