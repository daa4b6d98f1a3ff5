use futures_util::future::try_join_all;

use super::likelihood::{self, Likelihood, log_likelihoods};
use super::{LanguageSimulator, STRONGEST};
use crate::base::{Attempt, Digest, Digester};
use crate::features::one_line;
use crate::llm::{
    BoxFuture, ChatClient, ChatError, Example, Prompt, PromptRequest, Question, ReadProblem, Slots,
};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "exemplar", text: include_str!("../prompts/exemplar.txt") };

/// What tokens are said to be examples of when nothing is claimed.
const NOTHING: &str = "something";

/// No number is asked for: a token's value is by how many nats the explanation makes it likelier in its text, as
/// `likelihood` has it, and as an example of what the explanation names: ln p(token | "Examples of" the explanation) −
/// ln p(token | "Examples of something"), both together, held between 0 and 10.
///
/// Of 20 planted puzzles, SmolLM2 with 135 million parameters solves nearly all so and about as many as by chance where
/// it is asked for numbers (`results/README.md`). Needs a client that knows every token's probability: one distribution
/// then says it of all tokens of a fragment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exemplar;

impl Exemplar {
    /// All tokens as examples of one thing, in one question; the texts asked about are those of `tokens`, each once.
    pub fn request(&self, explanation: Option<&str>, tokens: &[String]) -> PromptRequest {
        let prompt = head(explanation);
        let mut texts = tokens.to_vec();
        texts.sort();
        texts.dedup();
        let slots = Slots { at: vec![prompt.len()], texts };
        PromptRequest { prompt, top: likelihood::TOP, slots: Some(slots) }
    }

    /// Log-probabilities of `tokens` as examples.
    async fn ask(
        &self,
        client: &dyn ChatClient,
        explanation: Option<&str>,
        tokens: &[String],
    ) -> Result<Attempt<Vec<f64>>, ChatError> {
        let request = self.request(explanation, tokens);
        let reply = match likelihood::reply(client, &request).await? {
            Attempt::Done(reply) => reply,
            Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
        };
        let (Some([slot]), Some(slots)) = (reply.slots.as_deref(), &request.slots) else {
            let detail = "tells the likeliest tokens alone and `exemplar` needs the probabilities of all: take \
                          `client: local`, or the simulator `likelihood`";
            return Err(ChatError::Unsupported { endpoint: client.identity().into(), detail: detail.into() });
        };
        let work = slots.texts.iter().zip(slot);
        let work: Vec<_> =
            work.map(|(text, told)| self.one(client, explanation, text.clone(), *told)).collect();
        let told = try_join_all(work).await?;
        let place = |token| slots.texts.binary_search(token).unwrap_or(0);
        Ok(Attempt::all(told).map(|told| tokens.iter().map(|token| told[place(token)]).collect()))
    }

    /// Of a text of several tokens nothing was told with the others: it is read by itself behind the same beginning.
    async fn one(
        &self,
        client: &dyn ChatClient,
        explanation: Option<&str>,
        text: String,
        told: Option<f64>,
    ) -> Result<Attempt<f64>, ChatError> {
        if let Some(logprob) = told {
            return Ok(Attempt::Done(logprob));
        }
        let prompt = format!("{}{text}", head(explanation));
        let request = PromptRequest { prompt, top: likelihood::TOP, slots: None };
        Ok(match likelihood::reply(client, &request).await? {
            Attempt::Done(reply) => {
                likelihood::attempt(log_likelihoods(&reply, &[text]).map(|logprobs| logprobs.iter().sum()))
            }
            Attempt::Missing(missing) => Attempt::Missing(missing),
        })
    }
}

fn head(explanation: Option<&str>) -> String {
    let explanation = one_line(explanation.unwrap_or(NOTHING));
    PROMPT.plain(&[("explanation", &explanation)]).trim_end().to_string()
}

impl LanguageSimulator for Exemplar {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        let mut digester = Digester::new("simulator");
        digester.text(self.name()).digest(&PROMPT.digest()).digest(&Likelihood.digest()).text(NOTHING);
        digester.finish()
    }

    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example> {
        let question = |explanation| Question::Prompt(self.request(explanation, tokens));
        let example = |explanation| Example { question: question(explanation), reply: String::new() };
        let mut examples = Likelihood.examples(explanation, tokens);
        examples.extend([example(None), example(Some(explanation))]);
        examples
    }

    /// A prompt's probabilities are the same each time, so nothing is asked again: no `allowance`.
    fn simulate<'a>(
        &'a self,
        client: &'a dyn ChatClient,
        explanation: &'a str,
        tokens: &'a [String],
        _allowance: usize,
    ) -> BoxFuture<'a, Result<Attempt<Simulation>, ChatError>> {
        Box::pin(async move {
            let mut gains = vec![0.0; tokens.len()];
            for (sign, claim) in [(1.0, Some(explanation)), (-1.0, None)] {
                for logprobs in
                    [Likelihood.ask(client, claim, tokens).await?, self.ask(client, claim, tokens).await?]
                {
                    match logprobs {
                        Attempt::Done(logprobs) => {
                            gains
                                .iter_mut()
                                .zip(logprobs)
                                .for_each(|(gain, logprob)| *gain += sign * logprob);
                        }
                        Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
                    }
                }
            }
            if gains.iter().any(|gain| !gain.is_finite()) {
                return Ok(likelihood::attempt(Err(ReadProblem::NoLogprobs)));
            }
            Ok(Attempt::Done(Simulation::told(
                gains.into_iter().map(|gain| gain.clamp(0.0, STRONGEST.into())),
            )))
        })
    }
}
