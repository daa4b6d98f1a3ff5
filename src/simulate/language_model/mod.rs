//! Activations predicted by a language model from an explanation and the tokens.
//!
//! In: a sentence, the texts of a fragment's tokens, a chat client.
//! Out: one expected activation from 0 to 10 per token, or a counted reason why there is none.
//! Never: replaces unreadable values by zeros; asks a model to repeat tokens.
//!
//! Six kinds, by what they need from an endpoint: `generated` needs text; `generated_expected` and `per_token` the
//! log-probabilities of generated tokens; `prompt_logprobs` and `likelihood` those of a prompt's own tokens;
//! `exemplar` those of all tokens. Their scores differ, so results name the kind.
//!
//! Source: Bills et al. 2023 (expected value over 0–10 from token probabilities, for all tokens at once or one by
//! one). The prompts and worked examples are this project's own.

pub(super) mod exemplar;
pub(super) mod generated;
pub(super) mod likelihood;
mod numbers;
pub(super) mod per_token;
pub(super) mod prompt_logprobs;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::base::{Attempt, Digest, Digester};
use crate::llm::{BoxFuture, ChatClient, ChatError, Example, Prompt, PromptRequest, Question};

use super::Simulation;

pub use exemplar::Exemplar;
pub use generated::Generated;
pub use likelihood::Likelihood;
pub use per_token::PerToken;
pub use prompt_logprobs::PromptLogprobs;

/// Largest level of the scale.
const STRONGEST: u8 = 10;

/// Alternatives requested per token: the maximum of most endpoints.
const TOP: u8 = 20;

/// Temperature of all samples but the first, which is greedy: repeating it would give the same answer.
const TEMPERATURE_AGAIN: f64 = 0.7;

/// A way to predict activations with a language model.
pub trait LanguageSimulator: Send + Sync {
    /// The kind, as suites and results spell it.
    fn name(&self) -> &'static str;

    /// Version of the request: its prompt text and its parameters.
    fn digest(&self) -> Digest;

    /// The requests for one fragment, with answers of typical length, to estimate what many fragments take.
    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example>;

    /// Predicts one value per token. `tokens` is not empty. An unreadable reply is requested again at most `allowance`
    /// times.
    fn simulate<'a>(
        &'a self,
        client: &'a dyn ChatClient,
        explanation: &'a str,
        tokens: &'a [String],
        allowance: usize,
    ) -> BoxFuture<'a, Result<Attempt<Simulation>, ChatError>>;
}

/// The activations of a fragment that an explanation predicts, one per token, 0–10.
///
/// `tokens` are the texts of the fragment's tokens. An unreadable reply is requested again with the next sample
/// number, at most `allowance` times. After that it is a counted failure.
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

fn version(prompt: &Prompt, parameters: &impl Serialize) -> Digest {
    let mut digester = Digester::new("simulator");
    digester.text(prompt.name).digest(&prompt.digest()).json(parameters);
    digester.finish()
}

/// A prompt to score, which has no answer of its own.
fn scored(request: PromptRequest) -> Example {
    Example { question: Question::Prompt(request), reply: String::new() }
}
