//! Surprisal score: the gain in log-likelihood of a text from an explanation (Paulo et al. 2024).

use crate::base::Digest;
use crate::features::one_line;
use crate::llm::{Prompt, PromptReply, PromptRequest, ReadProblem};

const PROMPT: Prompt = Prompt { name: "surprisal", text: include_str!("prompts/surprisal.txt") };

/// Explanation of the baseline prompt. It also occurs among the prompt's worked examples, so that the model knows
/// it.
const NOTHING: &str = "nothing in particular";

/// Requested alternatives per token: only the text's own tokens matter.
const TOP: u8 = 1;

/// Digest of the prompt.
pub fn surprisal_digest() -> Digest {
    PROMPT.digest()
}

/// The prompt that ends in `text` (one line from `marked_text`), under an explanation or `NOTHING`.
pub fn surprisal_request(explanation: Option<&str>, text: &str) -> PromptRequest {
    let explanation = one_line(explanation.unwrap_or(NOTHING));
    let fills = [("explanation", explanation.as_str()), ("text", text)];
    PromptRequest { prompt: PROMPT.plain(&fills), top: TOP, slots: None }
}

/// Gain in log-likelihood of a text from an explanation (Paulo et al. 2024, arXiv 2410.13928), in nats, over all
/// tokens of the text:
///
///   gain = ln p(text | explanation) − ln p(text | nothing in particular)
///
/// # Errors
/// [`ReadProblem::NoLogprobs`] unless both replies end in the text's line, cut into the same tokens, each with a
/// finite log-probability.
pub fn surprisal(explained: &PromptReply, plain: &PromptReply) -> Result<f64, ReadProblem> {
    let (explained, plain) = (last_line(explained)?, last_line(plain)?);
    let same = explained.iter().map(|(token, _)| token).eq(plain.iter().map(|(token, _)| token));
    if !same || explained.is_empty() {
        return Err(ReadProblem::NoLogprobs);
    }
    let gain: f64 = explained.iter().zip(&plain).map(|((_, with), (_, without))| with - without).sum();
    if gain.is_finite() { Ok(gain) } else { Err(ReadProblem::NoLogprobs) }
}

/// Tokens after the last line break, with their log-probabilities. The function searches for the break and not for
/// the text, because endpoints may not return the text's bytes exactly.
fn last_line(reply: &PromptReply) -> Result<Vec<(&str, f64)>, ReadProblem> {
    let breaks = |token: &str| token.rfind('\n').map(|at| at + 1);
    let last = reply.tokens.iter().rposition(|token| token.token.contains('\n'));
    let last = last.ok_or(ReadProblem::NoLogprobs)?;
    // A token that contains the break and the start of the text belongs to the line.
    let shared = breaks(&reply.tokens[last].token).is_some_and(|end| end < reply.tokens[last].token.len());
    let of_line = &reply.tokens[if shared { last } else { last + 1 }..];
    let scored = of_line.iter().map(|token| Some((token.token.as_str(), token.logprob?)));
    scored.collect::<Option<_>>().ok_or(ReadProblem::NoLogprobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::PromptToken;

    fn reply(tokens: &[(&str, f64)]) -> PromptReply {
        let token = |(token, logprob): &(&str, f64)| PromptToken {
            token: token.to_string(),
            logprob: Some(*logprob),
            top: Vec::new(),
        };
        PromptReply { tokens: tokens.iter().map(token).collect(), tokens_in: 1, slots: None }
    }

    #[test]
    fn the_two_prompts_end_alike_and_differ_in_the_claim_alone() {
        let text = "\"a\\nb\"";
        let (explained, plain) =
            (surprisal_request(Some("words\nof two"), text), surprisal_request(None, text));
        let (before, line) = explained.prompt.rsplit_once('\n').expect("lines");
        assert_eq!(line, text);
        assert!(before.ends_with("\nIn common: words of two"));
        let swapped = before.replace("words of two", NOTHING) + "\n" + text;
        assert_eq!(plain.prompt, swapped);
        assert!(!plain.prompt.contains("{{"));
    }

    #[test]
    fn only_the_texts_own_tokens_count() {
        let with = reply(&[("claim", -9.0), ("\n", -4.0), ("\"He", -2.0), (" sawed", -1.0), ("\"", -0.5)]);
        let without = reply(&[("none", -1.0), ("\n", -1.0), ("\"He", -2.5), (" sawed", -4.0), ("\"", -0.5)]);
        assert_eq!(surprisal(&with, &without), Ok(3.5));
        // The line break and the first word share a token.
        let with = reply(&[("claim", -9.0), ("\n\"He", -2.0), ("\"", -1.0)]);
        let without = reply(&[("none", -1.0), ("\n\"He", -2.5), ("\"", -3.0)]);
        assert_eq!(surprisal(&with, &without), Ok(2.5));
    }

    #[test]
    fn what_cannot_be_compared_has_no_value() {
        let whole = reply(&[("x", -1.0), ("\n", -1.0), ("\"He\"", -2.0)]);
        let cut = reply(&[("x", -1.0), ("\n", -1.0), ("\"", -1.0), ("He\"", -2.0)]);
        let endless = reply(&[("x", -1.0), ("\n", -1.0), ("\"He\"", f64::NEG_INFINITY)]);
        let one_line = reply(&[("\"He\"", -2.0)]);
        let mut silent = whole.clone();
        silent.tokens[2].logprob = None;
        for other in [cut, endless, one_line, silent, reply(&[("x\n", -1.0)])] {
            assert_eq!(surprisal(&whole, &other), Err(ReadProblem::NoLogprobs), "{other:?}");
            assert_eq!(surprisal(&other, &whole), Err(ReadProblem::NoLogprobs), "{other:?}");
        }
    }
}
