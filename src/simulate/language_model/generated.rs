//! All values of a fragment in one reply, `{"activations": {"00": 3, "01": 0, …}}`.
//!
//! The schema names every index, so an endpoint that enforces it cannot omit one. Indices have equal width, because
//! such endpoints write keys in the schema's order, which is sorted as text.

use serde_json::{Map, Value, json};

use super::numbers::Choices;
use super::{LanguageSimulator, STRONGEST, TOP, temperature};
use crate::base::{Attempt, Digest, Digester};
use crate::features::{index_text, indexed, one_line};
use crate::llm::{
    BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Example, Lenient, Node, Prompt, Question,
    ReadProblem, Schema, answer_value, ask_until_read,
};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "generated", text: include_str!("../prompts/generated.txt") };

/// Tokens of a reply besides its values.
const FRAME_TOKENS: usize = 100;

/// Tokens of one index and its value.
const ENTRY_TOKENS: usize = 12;

/// The kinds `generated` and `generated_expected`.
///
/// A reply needs each index exactly once, with or without leading zeros. Each value is a whole number from 0 to 10,
/// written as `7`, `7.0` or `"7"`. Other fields of the reply are ignored. Anything else is unreadable, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    /// Whether to take the expectation over 0–10 from token probabilities (`generated_expected`), or the written
    /// integer (`generated`). The two are not comparable.
    pub expected_value: bool,
    /// Worked examples in the prompt; `None` for all.
    pub shots: Option<usize>,
}

impl Generated {
    /// The request for a fragment.
    pub fn request(&self, explanation: &str, tokens: &[String], sample: u64) -> ChatRequest {
        let fills = [("explanation", one_line(explanation)), ("tokens", indexed(tokens))];
        let fills = fills.each_ref().map(|(name, text)| (*name, text.trim_end()));
        ChatRequest {
            messages: PROMPT.messages_with(self.shots, &fills),
            max_tokens: FRAME_TOKENS + ENTRY_TOKENS * tokens.len(),
            temperature: temperature(sample),
            sample,
            schema: Some(schema(tokens.len())),
            top_logprobs: self.expected_value.then_some(TOP),
        }
    }

    /// The values of a reply, in the order of the `n_tokens` tokens.
    pub fn read(&self, reply: &ChatReply, n_tokens: usize) -> Result<Simulation, ReadProblem> {
        let (text, node) = answer_value(reply)?;
        let entries = entries(node.only("activations")?, n_tokens)?;
        let values = if self.expected_value {
            let choices = Choices::new(reply.logprobs.as_deref(), text)?;
            entries.iter().map(|entry| choices.expected(entry.at)).collect::<Result<Vec<_>, _>>()?
        } else {
            entries.iter().map(|entry| f64::from(entry.level)).collect()
        };
        let mut expected = vec![0.0; n_tokens];
        for (entry, value) in entries.iter().zip(values) {
            expected[entry.index] = value;
        }
        Ok(Simulation::told(expected))
    }
}

impl LanguageSimulator for Generated {
    fn name(&self) -> &'static str {
        if self.expected_value { "generated_expected" } else { "generated" }
    }

    fn digest(&self) -> Digest {
        let mut digester = Digester::new("simulator");
        digester.text(self.name()).digest(&PROMPT.digest()).json(&schema(2)).json(&(TOP, self.shots));
        digester.finish()
    }

    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example> {
        let entry = |index| format!("\"{}\": 0", index_text(index, tokens.len()));
        let entries: Vec<String> = (0..tokens.len()).map(entry).collect();
        let reply = format!("{{\"activations\": {{{}}}}}", entries.join(", "));
        vec![Example { question: Question::Chat(self.request(explanation, tokens, 0)), reply }]
    }

    fn simulate<'a>(
        &'a self,
        client: &'a dyn ChatClient,
        explanation: &'a str,
        tokens: &'a [String],
        allowance: usize,
    ) -> BoxFuture<'a, Result<Attempt<Simulation>, ChatError>> {
        let request = move |sample| self.request(explanation, tokens, sample);
        let read = move |reply: &ChatReply| self.read(reply, tokens.len());
        Box::pin(ask_until_read(client, request, read, 0, allowance))
    }
}

/// All indices with their values. The levels are an enum, because some endpoints ignore bounds of integers.
fn schema(n_tokens: usize) -> Schema {
    let levels: Vec<u8> = (0..=STRONGEST).collect();
    let level = || json!({"$ref": "#/$defs/level"});
    let indices: Vec<String> = (0..n_tokens).map(|index| index_text(index, n_tokens)).collect();
    let properties: Map<String, Value> = indices.iter().map(|index| (index.clone(), level())).collect();
    let value = json!({
        "type": "object",
        "properties": {
            "activations": {
                "type": "object",
                "properties": properties,
                "required": indices,
                "additionalProperties": false,
            },
        },
        "required": ["activations"],
        "additionalProperties": false,
        "$defs": {"level": {"type": "integer", "enum": levels}},
    });
    Schema { name: "activations".into(), value }
}

/// One value of a reply.
struct Entry {
    index: usize,
    level: u8,
    /// Byte offset of its first digit.
    at: usize,
}

/// All `n_tokens` values in the written order.
fn entries(activations: &Node, n_tokens: usize) -> Result<Vec<Entry>, ReadProblem> {
    let Lenient::Object(written) = &activations.value else { return Err(ReadProblem::MalformedReply) };
    let mut seen = vec![false; n_tokens];
    let mut entries = Vec::with_capacity(n_tokens.min(written.len()));
    for (key, value) in written {
        let index = index(key, n_tokens).ok_or(ReadProblem::MalformedReply)?;
        let seen = seen.get_mut(index).ok_or(ReadProblem::WrongCount)?;
        if std::mem::replace(seen, true) {
            return Err(ReadProblem::MalformedReply);
        }
        entries.push(Entry { index, level: value.whole_number(STRONGEST)?, at: value.digits_at() });
    }
    if entries.len() == n_tokens { Ok(entries) } else { Err(ReadProblem::WrongCount) }
}

/// Parses an index, with the prompt's leading zeros or without. A sign or a space is an error.
fn index(key: &str, n_tokens: usize) -> Option<usize> {
    let index: usize = key.parse().ok()?;
    (key == index.to_string() || key == index_text(index, n_tokens)).then_some(index)
}
