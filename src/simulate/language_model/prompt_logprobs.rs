//! All values of a fragment from one scored prompt; nothing is generated.
//!
//! The prompt lists the tokens, each with a filler word in place of its value:
//!
//!   "token"\tunknown
//!
//! The value of a token is the expectation over the numbers at its filler (the slot): over all of them if the client
//! knows the full distribution, else over those among the likeliest tokens.
//!
//! If the tokenizer writes 10 as two tokens, the probability of `1` would stand for both 1 and 10. The scale is then
//! 0–9 and values are multiplied by 10/9. The client says so, or the worked examples in the reply show it.
//!
//! Source: Bills et al. 2023.

use tokio::sync::Mutex;

use super::likelihood::{self, attempt};
use super::numbers::{Distribution, Reading, reading};
use super::{LanguageSimulator, STRONGEST, TOP, scored, version};
use crate::base::{Attempt, Digest, Missing};
use crate::features::{one_line, quoted};
use crate::llm::{
    BoxFuture, ChatClient, ChatError, Example, Prompt, PromptReply, PromptRequest, ReadProblem, Slots,
    probabilities, token_at,
};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "prompt_logprobs", text: include_str!("../prompts/prompt_logprobs.txt") };

/// The filler word.
pub(super) const SLOT: &str = "unknown";

/// Largest share of tokens without a value; above it the fragment fails.
const MISSING_ALLOWED: f64 = 0.1;

/// The kind `prompt_logprobs`. It needs a client that scores prompts.
#[derive(Debug)]
pub struct PromptLogprobs {
    shots: Option<usize>,
    /// Whether 10 is two tokens. The first reply decides it, and all other requests wait for that reply; later ones
    /// then need one request instead of two. It does not affect the values.
    splits_ten: Mutex<Option<bool>>,
}

/// Contents of a reply on one scale.
#[derive(Debug, Clone, PartialEq)]
enum Read {
    Values(Vec<Option<f64>>),
    SplitsTen,
}

impl PromptLogprobs {
    /// With this number of worked examples; `None` for all.
    pub fn new(shots: Option<usize>) -> Self {
        Self { shots, splits_ten: Mutex::default() }
    }

    /// The prompt on a scale from 0 to `most`, which is 10 or 9.
    pub fn request(&self, explanation: &str, tokens: &[String], most: u8) -> PromptRequest {
        let fills = [("explanation", one_line(explanation)), ("most", most.to_string())];
        let fills = fills.each_ref().map(|(name, text)| (*name, text.as_str()));
        let mut prompt = PROMPT.plain_with(self.shots, &fills);
        let mut at = Vec::with_capacity(tokens.len());
        for token in tokens {
            prompt.push_str(&quoted(token));
            prompt.push('\t');
            at.push(prompt.len());
            prompt.push_str(SLOT);
            prompt.push('\n');
        }
        let texts = (0..=most).map(|level| level.to_string()).collect();
        PromptRequest { prompt, top: TOP, slots: Some(Slots { at, texts }) }
    }

    async fn ask(
        &self,
        client: &dyn ChatClient,
        explanation: &str,
        tokens: &[String],
        most: u8,
    ) -> Result<Attempt<Read>, ChatError> {
        let request = self.request(explanation, tokens, most);
        let reply = match likelihood::reply(client, &request).await? {
            Attempt::Done(reply) => reply,
            Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
        };
        Ok(match read(&reply, &request.prompt, tokens.len(), most) {
            Ok(Read::Values(values)) if lacks_values(&values) => {
                Attempt::Missing(Missing::Failed("untold_slots".into()))
            }
            read => attempt(read),
        })
    }

    async fn both_scales(
        &self,
        client: &dyn ChatClient,
        explanation: &str,
        tokens: &[String],
    ) -> Result<Attempt<Simulation>, ChatError> {
        let known = self.splits_ten.lock().await;
        if *known != Some(true) {
            // The lock is kept only for the first request, so that later ones do not wait for each other.
            let mut first = Some(known).filter(|known| known.is_none());
            let read = self.ask(client, explanation, tokens, STRONGEST).await?;
            if let (Some(first), Attempt::Done(read)) = (&mut first, &read) {
                **first = Some(*read == Read::SplitsTen);
            }
            match read {
                Attempt::Done(Read::Values(expected)) => return Ok(Attempt::Done(Simulation { expected })),
                Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
                Attempt::Done(Read::SplitsTen) => {}
            }
        }
        Ok(match self.ask(client, explanation, tokens, STRONGEST - 1).await? {
            Attempt::Done(Read::Values(expected)) => Attempt::Done(Simulation { expected }),
            // Impossible: 0 to 9 are single digits.
            Attempt::Done(Read::SplitsTen) => Attempt::Missing(ReadProblem::NoLogprobs.into()),
            Attempt::Missing(missing) => Attempt::Missing(missing),
        })
    }
}

impl LanguageSimulator for PromptLogprobs {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, &(TOP, self.shots, SLOT))
    }

    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example> {
        vec![scored(self.request(explanation, tokens, STRONGEST))]
    }

    /// Ignores `allowance`: a prompt's log-probabilities are the same each time.
    fn simulate<'a>(
        &'a self,
        client: &'a dyn ChatClient,
        explanation: &'a str,
        tokens: &'a [String],
        _allowance: usize,
    ) -> BoxFuture<'a, Result<Attempt<Simulation>, ChatError>> {
        Box::pin(self.both_scales(client, explanation, tokens))
    }
}

fn lacks_values(values: &[Option<f64>]) -> bool {
    let missing = values.iter().filter(|value| value.is_none()).count();
    missing as f64 > MISSING_ALLOWED * values.len() as f64
}

/// The values at the `n_tokens` slots, scaled to 0–10.
fn read(reply: &PromptReply, prompt: &str, n_tokens: usize, most: u8) -> Result<Read, ReadProblem> {
    match &reply.slots {
        Some(slots) if slots.len() == n_tokens => Ok(compared(slots, most)),
        Some(_) => Err(ReadProblem::NoLogprobs),
        None => listed(reply, prompt, n_tokens, most),
    }
}

/// The values from the log-probabilities of all numbers, `slots[token][number]`.
fn compared(slots: &[Vec<Option<f64>>], most: u8) -> Read {
    let ten = usize::from(STRONGEST);
    if most == STRONGEST && slots.iter().all(|slot| slot.get(ten).copied().flatten().is_none()) {
        return Read::SplitsTen;
    }
    let value = |slot: &Vec<Option<f64>>| {
        let known = (0..=most).zip(slot).filter_map(|(level, logprob)| Some((level, (*logprob)?)));
        // Relative to the likeliest number, because all probabilities may underflow.
        let largest = known.clone().map(|(_, logprob)| logprob).fold(f64::NEG_INFINITY, f64::max);
        let mut distribution = Distribution::default();
        known.for_each(|(level, logprob)| distribution.add(level, (logprob - largest).exp()));
        distribution.expected().map(|value| value * scale(most))
    };
    Read::Values(slots.iter().map(value).collect())
}

/// The factor from a scale of 0 to `most` to the scale of 0–10.
fn scale(most: u8) -> f64 {
    f64::from(STRONGEST) / f64::from(most)
}

/// The values from the likeliest tokens at the last `n_tokens` slots.
///
/// Slots are found by the text between tab and line break, which quoted tokens never contain. So it does not matter if
/// an endpoint shows parts of characters inexactly.
fn listed(reply: &PromptReply, prompt: &str, n_tokens: usize, most: u8) -> Result<Read, ReadProblem> {
    let joined: String = reply.tokens.iter().map(|token| token.token.as_str()).collect();
    let slots = fields(&joined, SLOT);
    if slots.len() != fields(prompt, SLOT).len() || slots.len() < n_tokens {
        return Err(ReadProblem::NoLogprobs);
    }
    if most == STRONGEST && splits_ten(reply, &joined) {
        return Ok(Read::SplitsTen);
    }
    let value = |&at: &usize| Ok(expected(reply, at, most)?.map(|value| value * scale(most)));
    slots[slots.len() - n_tokens..].iter().map(value).collect::<Result<_, _>>().map(Read::Values)
}

/// Offsets of the fields with this content: after a tab, up to the end of the line.
fn fields(text: &str, content: &str) -> Vec<usize> {
    let whole = |at: &usize| text[at + content.len()..].chars().next().is_none_or(|c| c == '\n' || c == '\r');
    text.match_indices('\t')
        .map(|(tab, _)| tab + 1)
        .filter(|&at| text[at..].starts_with(content))
        .filter(whole)
        .collect()
}

fn splits_ten(reply: &PromptReply, joined: &str) -> bool {
    fields(joined, "10").into_iter().any(|at| match place(reply, at) {
        Some((number, before)) => reading(&reply.tokens[number].token, before) != Some(Reading::Number(10)),
        None => true,
    })
}

fn place(reply: &PromptReply, at: usize) -> Option<(usize, &str)> {
    token_at(reply.tokens.iter().map(|token| token.token.as_str()), at)
}

/// The expected value at byte `at`; `None` if no number is among the likeliest tokens.
fn expected(reply: &PromptReply, at: usize, most: u8) -> Result<Option<f64>, ReadProblem> {
    let (number, before) = place(reply, at).ok_or(ReadProblem::NoLogprobs)?;
    let top = reply.tokens[number].top.iter().map(|(token, logprob)| (token.as_str(), *logprob));
    let mut distribution = Distribution::default();
    for (token, probability) in probabilities(top)? {
        match reading(token, before) {
            Some(Reading::Number(value)) if value <= most => distribution.add(value, probability),
            Some(Reading::OneOrTen) => distribution.add(1, probability),
            _ => {}
        }
    }
    Ok(distribution.expected())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::llm::PromptToken;

    #[derive(Deserialize)]
    struct Case {
        kind: String,
        tokens: Vec<String>,
        #[serde(default)]
        response: Value,
        expected_activations: Vec<f64>,
    }

    fn reply_of(response: &Value) -> PromptReply {
        let logprobs = &response["choices"][0]["logprobs"];
        let texts = logprobs["tokens"].as_array().expect("tokens");
        let tops = logprobs["top_logprobs"].as_array().expect("alternatives");
        let top = |top: &Value| -> Vec<(String, f64)> {
            let entries = top.as_object().into_iter().flatten();
            entries.map(|(token, logprob)| (token.clone(), logprob.as_f64().expect("a number"))).collect()
        };
        let token = |(text, alternatives): (&Value, &Value)| PromptToken {
            token: text.as_str().expect("text").into(),
            logprob: None,
            top: top(alternatives),
        };
        PromptReply { tokens: texts.iter().zip(tops).map(token).collect(), tokens_in: 1, slots: None }
    }

    /// The file's other cases have a form that is not requested here, and expect zeros for unreadable values.
    #[test]
    fn expected_values_are_those_of_the_published_parser() {
        let Some(folder) = std::env::var_os("AUTOINTERP_SHARED").map(std::path::PathBuf::from) else {
            println!("skipped: AUTOINTERP_SHARED is not set");
            return;
        };
        let path = folder.join("neuron_data").join("simulation_parse_golden.json");
        let text = crate::base::read_to_string(&path).expect("the shared file");
        let cases: Vec<Case> = serde_json::from_str(&text).expect("its fields");
        let mut checked = 0;
        for case in cases.iter().filter(|case| case.kind == "logprobs") {
            let reply = reply_of(&case.response);
            let prompt = case.response["choices"][0]["text"].as_str().expect("text");
            let Ok(Read::Values(values)) = read(&reply, prompt, case.tokens.len(), 10) else {
                panic!("not read: {:?}", case.tokens);
            };
            for (value, expected) in values.iter().zip(&case.expected_activations) {
                assert!(
                    value.is_some_and(|value| (value - expected).abs() < 1e-9),
                    "{value:?} for {expected}"
                );
            }
            checked += values.len();
        }
        assert!(checked > 50, "{checked} values");
    }
}
