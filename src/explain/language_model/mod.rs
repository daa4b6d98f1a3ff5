//! Explanations in words by a language model.
//!
//! In: evidence and the text of its tokens; an explainer's chat client.
//! Out: one sentence per feature, or a counted reason why there is none.
//! Never: accepts a refusal, an essay or a broken reply as an explanation.
//!
//! Sources: Bills et al. 2023 (tokens with activations on a scale of 0–10, repeated without zeros); Paulo et al.
//! 2024, arXiv 2410.13928 (marked tokens in running text, contrasting fragments); Gur-Arieh et al. 2025, arXiv 2501.08319
//! (explanations from the output). The prompts and worked examples are this project's own.

pub(super) mod contrastive;
mod excerpts;
pub(super) mod highlighted;
pub(super) mod output_explanation;
mod read;
pub(super) mod strongest;
pub(super) mod token_activation;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::json;

use crate::base::{Attempt, Digest, Digester, Missing};
use crate::features::{Evidence, Explanation, TokenTexts};
use crate::llm::{
    ChatClient, ChatError, ChatReply, ChatRequest, Example, Message, Prompt, Question, ReadProblem, Schema,
    ask_until_read,
};

pub use contrastive::Contrastive;
pub use excerpts::Shown;
pub use highlighted::Highlighted;
pub use output_explanation::OutputExplanation;
pub use read::read_sentence;
pub use strongest::Strongest;
pub use token_activation::TokenActivation;

/// An explanation of typical length.
pub const USUAL_EXPLANATION: &str =
    "words for parts of a house and for what people keep in them, such as doors, windows and shelves";

/// Temperature of further samples if the first one is greedy.
const TEMPERATURE_AGAIN: f64 = 0.7;

/// Maximum number of tokens of a reply.
const MAX_TOKENS: usize = 300;

/// A way to ask a language model for an explanation.
pub trait LanguageExplainer: Send + Sync {
    /// The kind, as suites and results spell it.
    fn name(&self) -> &'static str;

    /// Version of the request: its prompt text and its parameters.
    fn digest(&self) -> Digest;

    /// The request. `sample` is the index among independent answers.
    fn request(&self, evidence: &Evidence, texts: &TokenTexts<'_>, sample: u64) -> ChatRequest;

    /// Why there is nothing to ask about a feature; none if there is.
    fn unanswerable(&self, evidence: &Evidence) -> Option<Missing> {
        let fires = evidence.scored_tokens().any(|(_, activation)| activation > 0.0);
        (!fires).then(|| Missing::Failed("no_positive_activation".into()))
    }

    /// The request for a feature with an answer of typical length, to estimate what many features take.
    fn example(&self, evidence: &Evidence, texts: &TokenTexts<'_>) -> Example {
        let reply = format!("{{\"explanation\": {}}}", serde_json::Value::from(USUAL_EXPLANATION));
        Example { question: Question::Chat(self.request(evidence, texts, 0)), reply }
    }

    /// The explanation in a reply.
    fn read(&self, reply: &ChatReply) -> Result<Explanation, ReadProblem> {
        read_sentence(reply).map(Explanation::Sentence)
    }
}

/// Asks for one explanation. An unreadable reply is requested again with the next sample number, at most `allowance`
/// times. Candidate `k` of several starts at sample `k · (allowance + 1)`, so candidates share no reply. A feature about
/// which there is nothing to ask has its reason without a request: most kinds need a positive activation.
pub async fn explain_with(
    client: &dyn ChatClient,
    explainer: &dyn LanguageExplainer,
    evidence: &Evidence,
    texts: &TokenTexts<'_>,
    first_sample: u64,
    allowance: usize,
) -> Result<Attempt<Explanation>, ChatError> {
    if let Some(missing) = explainer.unanswerable(evidence) {
        return Ok(Attempt::Missing(missing));
    }
    let request = |sample| explainer.request(evidence, texts, sample);
    ask_until_read(client, request, |reply| explainer.read(reply), first_sample, allowance).await
}

/// The index of the explanation with the highest finite score on calibration fragments, the first of equals. Without
/// any finite score, the first explanation; `None` without any explanation.
pub fn best_of(candidates: &[Attempt<Explanation>], scores: &[Option<f64>]) -> Option<usize> {
    let there = || (0..candidates.len()).filter(|&nth| candidates[nth].done().is_some());
    let score = |nth: usize| scores.get(nth).copied().flatten().filter(|score| score.is_finite());
    let mut best: Option<(usize, f64)> = None;
    for (nth, score) in there().filter_map(|nth| Some((nth, score(nth)?))) {
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((nth, score));
        }
    }
    best.map(|(nth, _)| nth).or_else(|| there().next())
}

fn version(prompt: &Prompt, parameters: &impl Serialize) -> Digest {
    let mut digester = Digester::new("explainer");
    digester.digest(&prompt.digest()).json(parameters).json(&schema());
    digester.finish()
}

/// Samples after a greedy first one use [`TEMPERATURE_AGAIN`], because a greedy answer would repeat.
fn question(messages: Vec<Message>, temperature: f64, sample: u64) -> ChatRequest {
    let temperature = if sample > 0 && temperature == 0.0 { TEMPERATURE_AGAIN } else { temperature };
    ChatRequest {
        messages,
        max_tokens: MAX_TOKENS,
        temperature,
        sample,
        schema: Some(schema()),
        top_logprobs: None,
    }
}

fn schema() -> Schema {
    let value = json!({
        "type": "object",
        "properties": {"explanation": {"type": "string"}},
        "required": ["explanation"],
        "additionalProperties": false,
    });
    Schema { name: "explanation".into(), value }
}
