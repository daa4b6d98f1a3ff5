//! Values by how much the explanation raises the probability of each token, in the text and as an example.
//!
//!   value_t = clamp(text(explanation) - text(something) + example(explanation) - example(something), 0, 10)
//!
//!   text(c)    = ln p(token_t | the fragment contains c, tokens before t)     see [`super::likelihood`]
//!   example(c) = ln p(token_t | "Examples of c:")                             both in nats

use futures_util::future::try_join_all;

use super::likelihood::{self, Likelihood, log_likelihoods};
use super::{LanguageSimulator, STRONGEST, scored};
use crate::base::{Attempt, Digest, Digester};
use crate::features::one_line;
use crate::llm::{BoxFuture, ChatClient, ChatError, Example, Prompt, PromptRequest, ReadProblem, Slots};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "exemplar", text: include_str!("../prompts/exemplar.txt") };

/// Replaces the explanation in the reference prompt.
const NOTHING: &str = "something";

/// The kind `exemplar`. It needs a client that knows the full distribution: one distribution then scores all tokens
/// of a fragment as examples.
///
/// Of 20 planted puzzles, SmolLM2 with 135 million parameters solves nearly all with this kind, and about as many as by
/// chance with the kinds that ask for numbers (`results/README.md`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exemplar;

impl Exemplar {
    /// The prompt that scores all distinct tokens as examples.
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
            let detail = "returns only the likeliest tokens, but `exemplar` needs the probabilities of all: use \
                          `client: local`, or the simulator `likelihood`";
            return Err(ChatError::Unsupported { endpoint: client.identity().into(), detail: detail.into() });
        };
        let work = slots.texts.iter().zip(slot);
        let work: Vec<_> =
            work.map(|(text, known)| self.one(client, explanation, text.clone(), *known)).collect();
        let logprobs = try_join_all(work).await?;
        let place = |token| slots.texts.binary_search(token).unwrap_or(0);
        let of_tokens = |logprobs: Vec<f64>| tokens.iter().map(|token| logprobs[place(token)]).collect();
        Ok(Attempt::all(logprobs).map(of_tokens))
    }

    /// The log-probability of one text. A text of several tokens is not `known` from the distribution, so it is scored
    /// by its own request.
    async fn one(
        &self,
        client: &dyn ChatClient,
        explanation: Option<&str>,
        text: String,
        known: Option<f64>,
    ) -> Result<Attempt<f64>, ChatError> {
        if let Some(logprob) = known {
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
        let mut examples = Likelihood.examples(explanation, tokens);
        examples.extend([None, Some(explanation)].map(|claim| scored(self.request(claim, tokens))));
        examples
    }

    /// Ignores `allowance`: a prompt's log-probabilities are the same each time.
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
                    let logprobs = match logprobs {
                        Attempt::Done(logprobs) => logprobs,
                        Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
                    };
                    gains.iter_mut().zip(logprobs).for_each(|(gain, logprob)| *gain += sign * logprob);
                }
            }
            if gains.iter().any(|gain| !gain.is_finite()) {
                return Ok(Attempt::Missing(ReadProblem::NoLogprobs.into()));
            }
            let clamped = gains.into_iter().map(|gain: f64| gain.clamp(0.0, STRONGEST.into()));
            Ok(Attempt::Done(Simulation::told(clamped)))
        })
    }
}
