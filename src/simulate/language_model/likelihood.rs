use super::LanguageSimulator;
use crate::base::{Attempt, Digest, Digester, Missing};
use crate::features::one_line;
use crate::llm::{
    BoxFuture, ChatClient, ChatError, Example, Prompt, PromptReply, PromptRequest, Question, ReadProblem,
    failed_call,
};
use crate::simulate::Simulation;

pub(in crate::simulate) const PROMPT: Prompt =
    Prompt { name: "likelihood", text: include_str!("../prompts/likelihood.txt") };

/// What a text is said to contain when nothing is claimed.
const NOTHING: &str = "something";

/// Alternatives asked for at each place: only the text's own tokens are looked at.
pub(super) const TOP: u8 = 1;

/// Largest value, in nats.
const MOST_NATS: f64 = 10.0;

/// No number is asked for: a token's value is by how many nats the explanation makes it likelier,
/// ln p(token | the text contains what the explanation says, the text before) − ln p(token | it contains something, the
/// text before), between −10 and 10.
///
/// It asks of a model what it was trained on, to expect the next word, so that small ones can answer that cannot
/// predict activations on a scale: in how many planted puzzles each kind finds the right explanation is in
/// `results/README.md`. Needs a client that scores prompts, and of it the tokens' own probabilities alone.
/// Source of the measure: the surprisal scores of Paulo et al. 2024, arXiv 2410.13928, token by token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Likelihood;

impl Likelihood {
    /// The question under an explanation, or under the claim that says nothing. The text ends it.
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

/// What the client says of a prompt; a call that failed for its own reasons is counted.
pub(super) async fn reply(
    client: &dyn ChatClient,
    request: &PromptRequest,
) -> Result<Attempt<PromptReply>, ChatError> {
    match client.score_prompt(request).await {
        Ok(reply) => Ok(Attempt::Done(reply)),
        Err(error) => failed_call(error).map(Attempt::Missing),
    }
}

/// What was read, or why it could not be.
pub(super) fn attempt<T>(read: Result<T, ReadProblem>) -> Attempt<T> {
    match read {
        Ok(read) => Attempt::Done(read),
        Err(problem) => Attempt::Missing(Missing::Failed(problem.reason().into())),
    }
}

impl LanguageSimulator for Likelihood {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        let mut digester = Digester::new("simulator");
        digester.text(self.name()).digest(&PROMPT.digest()).json(&(NOTHING, TOP, MOST_NATS));
        digester.finish()
    }

    fn examples(&self, explanation: &str, tokens: &[String]) -> Vec<Example> {
        let question = |explanation| Question::Prompt(self.request(explanation, tokens));
        let example = |explanation| Example { question: question(explanation), reply: String::new() };
        vec![example(None), example(Some(explanation))]
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

/// The log-probability of each token of the fragment. Where the model cuts the text otherwise, each of its tokens counts
/// for the token of the fragment in which it ends.
pub(super) fn log_likelihoods(reply: &PromptReply, tokens: &[String]) -> Result<Vec<f64>, ReadProblem> {
    let text = tokens.concat();
    let mut ends: Vec<usize> = Vec::with_capacity(tokens.len());
    for token in tokens {
        ends.push(ends.last().copied().unwrap_or(0) + token.len());
    }
    let mut sums = vec![0.0; tokens.len()];
    // From the text's end, so that what stands before it may be cut and shown in any way.
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

/// Where a token begins with which a text ends, or nearly ends where parts of a character were passed over; a token that
/// began before the text begins at 0.
fn place(text: &str, token: &str, passed: bool) -> Option<usize> {
    if token.ends_with(text) {
        return Some(0);
    }
    if let Some(start) = text.strip_suffix(token).map(str::len) {
        return Some(start);
    }
    let at = text.rfind(token).filter(|_| passed && !token.is_empty())?;
    (text[at + token.len()..].chars().count() <= MOST_PARTS).then_some(at)
}

/// Characters that a model may cut into parts one behind the other.
const MOST_PARTS: usize = 8;

/// Whether a token is shown as part of a character: by its bytes, or by the sign for what is none.
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
