use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};

use super::numbers::Choices;
use super::{LanguageSimulator, STRONGEST, TOP, temperature};
use crate::base::{Attempt, Digest, Digester};
use crate::features::{index_text, indexed, one_line};
use crate::llm::{
    BoxFuture, ChatClient, ChatError, ChatReply, ChatRequest, Example, Prompt, Question, ReadProblem, Schema,
    answer, answer_json, ask_until_read,
};
use crate::simulate::Simulation;

pub(super) const PROMPT: Prompt =
    Prompt { name: "generated", text: include_str!("../prompts/generated.txt") };

/// Tokens of a reply, beyond those of its values.
const FRAME_TOKENS: usize = 100;

/// Tokens of one value with its index.
const ENTRY_TOKENS: usize = 12;

/// The model writes all values of a fragment in one reply, `{"activations": {"00": 3, "01": 0, …}}`.
///
/// The schema names every index, so an endpoint that holds a model to it can't leave one out; indices
/// have one width, as such endpoints take keys in the schema's order and that sorts them as text.
/// Reading is as strict: each index exactly once, with or without its leading zeros, each value a JSON
/// integer from 0 to 10. A string `"7"`, a fraction `7.0`, other digits and other forms are unreadable, never zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generated {
    /// Takes each value's expectation over 0–10 from the probabilities of its tokens
    /// (`generated_expected`) instead of the integer written (`generated`). The two are not comparable.
    pub expected_value: bool,
    /// Worked examples in the question; none: all there are.
    pub shots: Option<usize>,
}

impl Generated {
    /// The question.
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

    /// The values of a reply about `n_tokens` tokens, in their order.
    pub fn read(&self, reply: &ChatReply, n_tokens: usize) -> Result<Simulation, ReadProblem> {
        let answered: Answer = answer_json(reply)?;
        // An array would pass for the fields of the answer in their order.
        if !answer(reply)?.starts_with('{') {
            return Err(ReadProblem::MalformedReply);
        }
        let entries = answered.activations.checked(n_tokens)?;
        let values = if self.expected_value {
            expected_values(reply, &entries)?
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

/// Every index with its value; the levels are listed, as not every endpoint knows bounds of integers.
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    activations: Entries,
}

/// The entries of a JSON object in the order written, repeated ones too.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of activations by index")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

/// One value of an answer.
struct Entry {
    key: String,
    index: usize,
    level: u8,
}

impl Entries {
    /// Every index below `n_tokens` once, in the order written.
    fn checked(self, n_tokens: usize) -> Result<Vec<Entry>, ReadProblem> {
        let mut seen = vec![false; n_tokens];
        let mut entries = Vec::with_capacity(n_tokens);
        for (key, value) in self.0 {
            let index = index(&key, n_tokens).ok_or(ReadProblem::MalformedReply)?;
            let seen = seen.get_mut(index).ok_or(ReadProblem::WrongCount)?;
            if std::mem::replace(seen, true) {
                return Err(ReadProblem::MalformedReply);
            }
            entries.push(Entry { key, index, level: level(&value)? });
        }
        if entries.len() == n_tokens { Ok(entries) } else { Err(ReadProblem::WrongCount) }
    }
}

/// The number of a key as the prompt writes it, or without leading zeros; no sign, no blank.
fn index(key: &str, n_tokens: usize) -> Option<usize> {
    let index: usize = key.parse().ok()?;
    (key == index.to_string() || key == index_text(index, n_tokens)).then_some(index)
}

fn level(value: &Value) -> Result<u8, ReadProblem> {
    let number = value.as_number().ok_or(ReadProblem::MalformedReply)?;
    match number.as_i64() {
        Some(level) => {
            u8::try_from(level).ok().filter(|&level| level <= STRONGEST).ok_or(ReadProblem::OutOfRange)
        }
        None => Err(ReadProblem::MalformedReply),
    }
}

/// In the order of `entries`, which is that of the text.
fn expected_values(reply: &ChatReply, entries: &[Entry]) -> Result<Vec<f64>, ReadProblem> {
    let text = answer(reply)?;
    let choices = Choices::new(reply.logprobs.as_deref(), text)?;
    let mut at = after(text, 0, "\"activations\"").ok_or(ReadProblem::MalformedReply)?;
    let mut values = Vec::with_capacity(entries.len());
    for entry in entries {
        // Keys hold digits alone, so the first such text from here on is the key; only one written
        // with escapes is not found.
        at = after(text, at, &format!("\"{}\"", entry.key)).ok_or(ReadProblem::MalformedReply)?;
        at += text[at..].find(|c: char| c.is_ascii_digit()).ok_or(ReadProblem::MalformedReply)?;
        values.push(choices.expected(at)?);
    }
    Ok(values)
}

fn after(text: &str, from: usize, part: &str) -> Option<usize> {
    text[from..].find(part).map(|place| from + place + part.len())
}
