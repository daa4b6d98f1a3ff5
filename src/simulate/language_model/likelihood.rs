//! Values by how much the explanation raises the probability of each token.
//!
//!   value_t = clamp(ln p(token_t | explanation, tokens before t) - ln p(token_t | "something", tokens before t),
//!                   -10, 10)     nats; the first text in quotes is what the prompt says the fragment contains
//!
//! Source: the surprisal scores of Paulo et al. 2024 (arXiv 2410.13928), token by token.

use super::{LanguageSimulator, scored, version};
use crate::base::{Attempt, Digest};
use crate::features::one_line;
use crate::llm::{
    BoxFuture, ChatClient, ChatError, Example, Prompt, PromptReply, PromptRequest, ReadProblem, failed_call,
};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "likelihood", text: include_str!("../prompts/likelihood.txt") };

/// Replaces the explanation in the reference prompt.
const NOTHING: &str = "something";

/// Alternatives requested per position. Only the text's own tokens are used.
pub(super) const TOP: u8 = 1;

/// Largest absolute value, in nats.
const MOST_NATS: f64 = 10.0;

/// The kind `likelihood`. It needs a client that scores prompts.
///
/// The model does what it was trained for, predict the next token. So small models can do it that cannot rate
/// activations on a scale; `results/README.md` has the numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Likelihood;

impl Likelihood {
    /// The prompt for an explanation, or the reference prompt. It ends with the fragment's text.
    pub fn request(&self, explanation: Option<&str>, tokens: &[String]) -> PromptRequest {
        let explanation = one_line(explanation.unwrap_or(NOTHING));
        let head = PROMPT.plain(&[("explanation", &explanation)]);
        PromptRequest { prompt: format!("{}{}", head.trim_end(), tokens.concat()), top: TOP, slots: None }
    }

    /// Log-probabilities of the tokens under an explanation.
    pub(super) async fn ask(
        &self,
        client: &dyn ChatClient,
        explanation: Option<&str>,
        tokens: &[String],
    ) -> Result<Attempt<Vec<f64>>, ChatError> {
        Ok(match reply(client, &self.request(explanation, tokens)).await? {
            Attempt::Done(reply) => attempt(log_likelihoods(&reply, tokens)),
            Attempt::Missing(missing) => Attempt::Missing(missing),
        })
    }
}

/// Scores a prompt. A failure that is specific to this request is counted.
pub(super) async fn reply(
    client: &dyn ChatClient,
    request: &PromptRequest,
) -> Result<Attempt<PromptReply>, ChatError> {
    match client.score_prompt(request).await {
        Ok(reply) => Ok(Attempt::Done(reply)),
        Err(error) => failed_call(error).map(Attempt::Missing),
    }
}

/// The value, or the counted failure.
pub(super) fn attempt<T>(read: Result<T, ReadProblem>) -> Attempt<T> {
    read.map_or_else(|problem| Attempt::Missing(problem.into()), Attempt::Done)
}

impl LanguageSimulator for Likelihood {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, &(NOTHING, TOP, MOST_NATS))
    }

    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example> {
        [None, Some(explanation)].map(|claim| scored(self.request(claim, tokens))).into()
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
            let with = match self.ask(client, Some(explanation), tokens).await? {
                Attempt::Done(with) => with,
                Attempt::Missing(missing) => return Ok(Attempt::Missing(missing)),
            };
            let without = self.ask(client, None, tokens).await?;
            let gain = |(with, without): (&f64, &f64)| (with - without).clamp(-MOST_NATS, MOST_NATS);
            Ok(without.map(|without| Simulation::told(with.iter().zip(&without).map(gain))))
        })
    }
}

/// The log-probability of each token of the fragment. If the client's tokens differ from the fragment's, each of its
/// tokens counts for the fragment's token in which it ends.
pub(super) fn log_likelihoods(reply: &PromptReply, tokens: &[String]) -> Result<Vec<f64>, ReadProblem> {
    let text = tokens.concat();
    let mut ends: Vec<usize> = Vec::with_capacity(tokens.len());
    for token in tokens {
        ends.push(ends.last().copied().unwrap_or(0) + token.len());
    }
    let mut sums = vec![0.0; tokens.len()];
    // From the end, so that the tokens of the prompt before the fragment do not matter.
    let (mut end, mut parts) = (text.len(), 0.0);
    for token in reply.tokens.iter().rev() {
        let own = token.token.as_str();
        let logprob = token.logprob.filter(|logprob| logprob.is_finite());
        let found = place(&text[..end], own, parts != 0.0);
        if found.is_none() && !is_part(own) {
            return Err(ReadProblem::NoLogprobs);
        }
        parts += logprob.ok_or(ReadProblem::NoLogprobs)?;
        let Some(start) = found else { continue };
        if let Some(sum) = sums.get_mut(ends.partition_point(|&of| of < end)) {
            *sum += parts;
        }
        (end, parts) = (start, 0.0);
        if end == 0 {
            return Ok(sums);
        }
    }
    Err(ReadProblem::NoLogprobs)
}

/// The start of a token that ends the text; 0 for a token that begins before the text. After skipped parts of
/// characters (`skipped`), up to [`MOST_PARTS`] characters may follow the token.
fn place(text: &str, token: &str, skipped: bool) -> Option<usize> {
    if token.ends_with(text) {
        return Some(0);
    }
    if let Some(start) = text.strip_suffix(token).map(str::len) {
        return Some(start);
    }
    let at = text.rfind(token).filter(|_| skipped && !token.is_empty())?;
    (text[at + token.len()..].chars().count() <= MOST_PARTS).then_some(at)
}

/// Maximum number of consecutive characters that a model's tokens may split.
const MOST_PARTS: usize = 8;

/// Whether a token is part of a character: shown as escaped bytes or as the replacement character.
fn is_part(token: &str) -> bool {
    token.is_empty() || token.contains("\\x") || token.contains('\u{FFFD}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::PromptToken;

    fn reply_of(tokens: &[(&str, f64)]) -> PromptReply {
        let token = |(token, logprob): &(&str, f64)| PromptToken {
            token: (*token).into(),
            logprob: Some(*logprob),
            top: Vec::new(),
        };
        PromptReply { tokens: tokens.iter().map(token).collect(), ..PromptReply::default() }
    }

    fn texts(tokens: &[&str]) -> Vec<String> {
        tokens.iter().map(|token| (*token).to_string()).collect()
    }

    #[test]
    fn tokens_count_where_they_end_however_the_text_is_cut() {
        let fragment = texts(&[" the", " old", "est", " oak", "\n"]);
        let same = [
            ("contains", -9.0),
            (":", -9.0),
            (" the", -1.0),
            (" old", -2.0),
            ("est", -3.0),
            (" oak", -4.0),
            ("\n", -5.0),
        ];
        assert_eq!(log_likelihoods(&reply_of(&same), &fragment), Ok(vec![-1.0, -2.0, -3.0, -4.0, -5.0]));
        let other = [("x", -9.0), (": the", -1.0), (" oldest", -2.0), (" oak\n", -4.0)];
        assert_eq!(log_likelihoods(&reply_of(&other), &fragment), Ok(vec![-1.0, 0.0, -2.0, 0.0, -4.0]));
        assert_eq!(log_likelihoods(&reply_of(&other[2..]), &fragment), Err(ReadProblem::NoLogprobs));
        let wrong = [(" the", -1.0), (" older", -2.0), (" oak", -4.0), ("\n", -5.0)];
        assert_eq!(log_likelihoods(&reply_of(&wrong), &fragment), Err(ReadProblem::NoLogprobs));
    }

    #[test]
    fn parts_of_characters_count_for_the_token_that_they_make_up() {
        let fragment = texts(&[" a", " \u{1F600}", "\u{E9}", " b"]);
        let cut = [
            (":", -9.0),
            (" a", -1.0),
            (" ", -1.0),
            ("\\xF0\\x9F", -2.0),
            ("\\x98\\x80", -3.0),
            ("\u{E9}", -4.0),
            (" b", -5.0),
        ];
        assert_eq!(log_likelihoods(&reply_of(&cut), &fragment), Ok(vec![-1.0, -6.0, -4.0, -5.0]));
    }
}
