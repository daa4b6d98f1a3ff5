//! One request per token, which shows the text up to and including that token.

use futures_util::future::try_join_all;
use serde_json::json;

use super::numbers::Choices;
use super::{LanguageSimulator, STRONGEST, TOP, temperature, version};
use crate::base::{Attempt, Digest};
use crate::features::{marked_text, one_line, quoted};
use crate::llm::{
    BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Example, Prompt, Question, ReadProblem, Schema,
    answer, ask_until_read, is_refusal, whole_number,
};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "per_token", text: include_str!("../prompts/per_token.txt") };

/// Maximum number of tokens of a reply: a number, and some for endpoints that count end-of-turn tokens.
const MAX_TOKENS: usize = 16;

/// The kind `per_token`, the reference that the cheaper kinds approximate. The value is the expectation over 0–10 if
/// the endpoint returns log-probabilities, else the written integer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerToken {
    /// Worked examples in the prompt; `None` for all.
    pub shots: Option<usize>,
}

impl PerToken {
    /// The request for the last of these tokens.
    pub fn request(&self, explanation: &str, tokens: &[String], sample: u64) -> ChatRequest {
        let last = tokens.last().map(String::as_str).unwrap_or_default();
        let fills = [
            ("explanation", one_line(explanation)),
            ("text", marked_text(tokens, &[])),
            ("token", quoted(last)),
        ];
        let fills = fills.each_ref().map(|(name, text)| (*name, text.as_str()));
        ChatRequest {
            messages: PROMPT.messages_with(self.shots, &fills),
            max_tokens: MAX_TOKENS,
            temperature: temperature(sample),
            sample,
            schema: Some(schema()),
            top_logprobs: Some(TOP),
        }
    }

    /// The value of one token. The reply must be a whole number from 0 to 10. Quotes, asterisks and a label in front
    /// are allowed.
    pub fn read(&self, reply: &ChatReply) -> Result<f64, ReadProblem> {
        let text = answer(reply)?;
        if is_refusal(text) {
            return Err(ReadProblem::Refused);
        }
        let last = text.rsplit([':', '=']).next().unwrap_or(text);
        let bare =
            last.trim_matches(|c: char| c.is_whitespace() || "\"'*`".contains(c)).trim_end_matches('.');
        let level = whole_number(bare, STRONGEST)?;
        let Some(choices) = &reply.logprobs else { return Ok(f64::from(level)) };
        let start = text.len() - last.len();
        let digits = text[start..].find(|c: char| c.is_ascii_digit());
        let at = start + digits.ok_or(ReadProblem::MalformedReply)?;
        Choices::new(Some(choices), text)?.expected(at)
    }
}

/// A whole number. Only clients that enforce schemas of other types than objects use it.
fn schema() -> Schema {
    let levels: Vec<u8> = (0..=STRONGEST).collect();
    Schema { name: "activation".into(), value: json!({"type": "integer", "enum": levels}) }
}

impl LanguageSimulator for PerToken {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, &(TOP, self.shots))
    }

    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example> {
        let question = |last: usize| Question::Chat(self.request(explanation, &tokens[..=last], 0));
        let example = |last| Example { question: question(last), reply: "0".into() };
        (0..tokens.len()).map(example).collect()
    }

    fn simulate<'a>(
        &'a self,
        client: &'a dyn ChatClient,
        explanation: &'a str,
        tokens: &'a [String],
        allowance: usize,
    ) -> BoxFuture<'a, Result<Attempt<Simulation>, ChatError>> {
        let one = move |last: usize| {
            let request = move |sample| self.request(explanation, &tokens[..=last], sample);
            let read = move |reply: &ChatReply| self.read(reply);
            ask_until_read(client, request, read, 0, allowance)
        };
        Box::pin(async move {
            let values = try_join_all((0..tokens.len()).map(one)).await?;
            // If a token is missing, the fragment is missing, for the reason of the first such token.
            Ok(Attempt::all(values).map(Simulation::told))
        })
    }
}
