//! Activations predicted by a language model that is told the explanation and the tokens.
//!
//! In: a sentence, the texts of a fragment's tokens, a chat client.
//! Out: one expected activation from 0 to 10 per token, or a counted reason why there is none.
//! Never: puts zeros in the place of what could not be read; asks a model to repeat tokens.
//!
//! Six kinds that need different things of an endpoint: `generated` needs nothing but text,
//! `generated_expected` and `per_token` the probabilities of generated tokens, `prompt_logprobs` and `likelihood` those
//! of a prompt's own tokens, `exemplar` those of all tokens. Results name the kind, as their scores differ.
//!
//! Sources: Bills et al. 2023 (expected value over 0–10 from token probabilities, all at once or one
//! token at a time). Prompts and worked examples are this project's own.

pub(super) mod exemplar;
pub(super) mod generated;
pub(super) mod likelihood;
mod numbers;
pub(super) mod per_token;
pub(super) mod prompt_logprobs;

#[cfg(test)]
mod tests;

use crate::base::{Attempt, Digest};
use crate::llm::{BoxFuture, ChatClient, ChatError, Example};

use super::Simulation;

pub use exemplar::Exemplar;
pub use generated::Generated;
pub use likelihood::Likelihood;
pub use per_token::PerToken;
pub use prompt_logprobs::PromptLogprobs;

/// The strongest activation of the scale.
const STRONGEST: u8 = 10;

/// Alternatives asked for per token: the most that endpoints commonly give.
const TOP: u8 = 20;

/// Temperature of a question asked again. The first is asked at 0, where the model would repeat itself.
const TEMPERATURE_AGAIN: f64 = 0.7;

/// A way to let a language model predict activations.
pub trait LanguageSimulator: Send + Sync {
    /// The kind, as suites and results spell it.
    fn name(&self) -> &'static str;

    /// Version of the question: its prompt text and its parameters.
    fn digest(&self) -> Digest;

    /// What is asked about a fragment, with answers of usual length: for working out what many take.
    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example>;

    /// Exactly one value from 0 to 10 per token; `tokens` is not empty.
    fn simulate<'a>(
        &'a self,
        client: &'a dyn ChatClient,
        explanation: &'a str,
        tokens: &'a [String],
        allowance: usize,
    ) -> BoxFuture<'a, Result<Attempt<Simulation>, ChatError>>;
}

/// The activations that a sentence leads a model to expect on a fragment, one per token, 0–10.
///
/// `tokens` are the texts of the fragment's tokens. An unreadable reply is asked again with the next
/// sample number, at most `allowance` times, and then counted as failed with its reason.
pub async fn simulate_with(
    client: &dyn ChatClient,
    simulator: &dyn LanguageSimulator,
    explanation: &str,
    tokens: &[String],
    allowance: usize,
) -> Result<Attempt<Simulation>, ChatError> {
    if tokens.is_empty() {
        return Ok(Attempt::Done(Simulation::told([])));
    }
    simulator.simulate(client, explanation, tokens, allowance).await
}

fn temperature(sample: u64) -> f64 {
    if sample == 0 { 0.0 } else { TEMPERATURE_AGAIN }
}
