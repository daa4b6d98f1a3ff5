use futures_util::future::try_join_all;
use serde_json::json;

use super::numbers::Choices;
use super::{LanguageSimulator, STRONGEST, TOP, temperature};
use crate::base::{Attempt, Digest, Digester};
use crate::features::{marked_text, one_line, quoted};
use crate::llm::{
    BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Example, Prompt, Question, ReadProblem, Schema,
    answer, ask_until_read, is_refusal, whole_number,
};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "per_token", text: include_str!("../prompts/per_token.txt") };

/// Tokens of a reply: a number, and room for endpoints that count an end.
const MAX_TOKENS: usize = 16;

/// One question per token, which shows the text up to and including it: the reference that the others
/// are cheaper than. The value is the expectation over 0–10 where the endpoint gives probabilities,
/// else the integer written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerToken {
    /// Worked examples in the question; none: all there are.
    pub shots: Option<usize>,
}

impl PerToken {
    /// The question about the last of these tokens.
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

    /// The value of one token. The reply is a whole number from 0 to 10, which may stand in quotes or asterisks and
    /// behind a label, and nothing else.
    pub fn read(&self, reply: &ChatReply) -> Result<f64, ReadProblem> {
        let text = answer(reply)?;
        if is_refusal(text) {
            return Err(ReadProblem::Refused);
        }
        let last = text.rsplit([':', '=']).next().unwrap_or(text);
        let bare =
            last.trim_matches(|c: char| c.is_whitespace() || "\"'*`".contains(c)).trim_end_matches('.');
        let level = whole_number(bare, STRONGEST)?;
        match &reply.logprobs {
            Some(choices) => {
                let start = text.len() - last.len();
                let digits = text[start..].find(|c: char| c.is_ascii_digit());
                let at = start + digits.ok_or(ReadProblem::MalformedReply)?;
                Choices::new(Some(choices), text)?.expected(at)
            }
            None => Ok(f64::from(level)),
        }
    }

    async fn one(
        &self,
        client: &dyn ChatClient,
        explanation: &str,
        tokens: &[String],
        allowance: usize,
    ) -> Result<Attempt<f64>, ChatError> {
        let request = |sample| self.request(explanation, tokens, sample);
        ask_until_read(client, request, |reply| self.read(reply), 0, allowance).await
    }
}

/// A whole number: for clients that can hold an answer to more than objects.
fn schema() -> Schema {
    let levels: Vec<u8> = (0..=STRONGEST).collect();
    Schema { name: "activation".into(), value: json!({"type": "integer", "enum": levels}) }
}

impl LanguageSimulator for PerToken {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        let mut digester = Digester::new("simulator");
        digester.text(self.name()).digest(&PROMPT.digest()).json(&(TOP, self.shots));
        digester.finish()
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
        Box::pin(async move {
            let one = |last: usize| self.one(client, explanation, &tokens[..=last], allowance);
            let values = try_join_all((0..tokens.len()).map(one)).await?;
            // A fragment with a token missing is missing, for the first such token's reason.
            Ok(Attempt::all(values).map(Simulation::told))
        })
    }
}
