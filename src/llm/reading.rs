use serde::de::DeserializeOwned;

use super::{ChatReply, Finish, TokenChoice};

/// Why a reply is not an answer. Each has a stable snake_case reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[error("the reply cannot be used: {}", self.reason())]
pub enum ReadProblem {
    /// The endpoint or the model declined.
    Refused,
    /// It ran into the limit of tokens.
    Truncated,
    /// Nothing was said.
    EmptyReply,
    /// It does not have the form asked for.
    MalformedReply,
    /// A sentence was asked for and something else came: an essay, several lines, a placeholder.
    NotOneSentence,
    /// Too few or too many values.
    WrongCount,
    /// A number outside of the scale.
    OutOfRange,
    /// Token probabilities are needed and are not there, or don't belong to the text.
    NoLogprobs,
}

impl ReadProblem {
    /// The text that tallies count by.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Truncated => "truncated",
            Self::EmptyReply => "empty_reply",
            Self::MalformedReply => "malformed_reply",
            Self::NotOneSentence => "not_one_sentence",
            Self::WrongCount => "wrong_count",
            Self::OutOfRange => "out_of_range",
            Self::NoLogprobs => "no_logprobs",
        }
    }

    /// Whether another answer to the same question may be readable. Probabilities are the endpoint's
    /// to give: where it leaves them out once, it does so always.
    pub fn worth_asking_again(self) -> bool {
        self != Self::NoLogprobs
    }
}

/// What a finished reply says: without a leading block of thought, without the fence of a code block
/// around the whole, trimmed. It is a part of `reply.text`.
pub fn answer(reply: &ChatReply) -> Result<&str, ReadProblem> {
    if reply.finish == Finish::Refused {
        return Err(ReadProblem::Refused);
    }
    // A reply cut short is not trusted even where it happens to parse.
    if reply.finish == Finish::Length {
        return Err(ReadProblem::Truncated);
    }
    let text = unfenced(after_thought(reply.text.trim())?);
    if text.is_empty() { Err(ReadProblem::EmptyReply) } else { Ok(text) }
}

/// The answer as JSON of a known form; nothing may stand around it.
pub fn answer_json<T: DeserializeOwned>(reply: &ChatReply) -> Result<T, ReadProblem> {
    let text = answer(reply)?;
    serde_json::from_str(text)
        .map_err(|_| if is_refusal(text) { ReadProblem::Refused } else { ReadProblem::MalformedReply })
}

fn after_thought(text: &str) -> Result<&str, ReadProblem> {
    match text.strip_prefix("<think>") {
        None => Ok(text),
        Some(thought) => match thought.split_once("</think>") {
            Some((_, said)) => Ok(said.trim()),
            None => Err(ReadProblem::Truncated),
        },
    }
}

fn unfenced(text: &str) -> &str {
    let inside = || text.strip_prefix("```")?.strip_suffix("```");
    match inside() {
        Some(inside) if !inside.contains("```") => inside.strip_prefix("json").unwrap_or(inside).trim(),
        _ => text,
    }
}

/// Whether a text declines to answer. A text about apologies ("words of regret such as sorry") does
/// not; one that starts with an apology and goes on in the first person does.
pub fn is_refusal(text: &str) -> bool {
    const DECLINING: [&str; 15] = [
        "i can't",
        "i cannot",
        "i can not",
        "i won't",
        "i will not",
        "i'm unable",
        "i am unable",
        "i'm not able",
        "i am not able",
        "i must decline",
        "i have to decline",
        "i don't have enough",
        "i do not have enough",
        "as an ai",
        "as a language model",
    ];
    const APOLOGIES: [&str; 8] = [
        "i'm sorry",
        "i am sorry",
        "i'm afraid",
        "sorry",
        "i apologize",
        "i apologise",
        "my apologies",
        "unfortunately",
    ];
    let text = text.trim().to_lowercase().replace('’', "'");
    if DECLINING.iter().any(|start| text.starts_with(start)) {
        return true;
    }
    let after = APOLOGIES.iter().find_map(|start| text.strip_prefix(start));
    after.is_some_and(|after| {
        let first_person = |word: &str| word == "i" || word.starts_with("i'") || word == "can't";
        after.split(|c: char| !c.is_alphanumeric() && c != '\'').any(first_person)
    })
}

/// The token that holds byte `at` of the joined tokens: its number, and what of it stands before `at`.
pub fn token_at<'a>(tokens: impl IntoIterator<Item = &'a str>, at: usize) -> Option<(usize, &'a str)> {
    let mut start = 0;
    for (number, token) in tokens.into_iter().enumerate() {
        if at < start + token.len() {
            return token.get(..at - start).map(|before| (number, before));
        }
        start += token.len();
    }
    None
}

impl TokenChoice {
    /// What could have stood here, itself among them, with probabilities as given (they need not sum
    /// to 1). A log-probability that is none is an error.
    pub fn alternatives(&self) -> Result<Vec<(&str, f64)>, ReadProblem> {
        let own = Some((self.token.as_str(), self.logprob))
            .filter(|_| !self.top.iter().any(|(token, _)| *token == self.token));
        probabilities(self.top.iter().map(|(token, logprob)| (token.as_str(), *logprob)).chain(own))
    }
}

/// Probabilities of log-probabilities; minus infinity is 0, NaN and what exceeds 0 are errors.
pub fn probabilities<'a>(
    logprobs: impl IntoIterator<Item = (&'a str, f64)>,
) -> Result<Vec<(&'a str, f64)>, ReadProblem> {
    // Rounding at the endpoint may lift a certain token's log-probability a little above 0.
    let valid = |logprob: f64| logprob <= 1e-3;
    let probability = |(token, logprob): (&'a str, f64)| {
        if valid(logprob) { Ok((token, logprob.exp())) } else { Err(ReadProblem::NoLogprobs) }
    };
    logprobs.into_iter().map(probability).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str, finish: Finish) -> ChatReply {
        ChatReply { text: text.into(), finish, tokens_in: 1, tokens_out: 1, logprobs: None }
    }

    #[test]
    fn fences_and_thoughts_are_taken_off_and_nothing_else_is() {
        let read = |text: &str| answer_json::<Vec<u8>>(&reply(text, Finish::Stop));
        assert_eq!(read(" [1] "), Ok(vec![1]));
        assert_eq!(read("```json\n[1, 2]\n```"), Ok(vec![1, 2]));
        assert_eq!(read("<think>[3]? no</think>\n[4]"), Ok(vec![4]));
        assert_eq!(read("<think>[3]"), Err(ReadProblem::Truncated));
        assert_eq!(read("Here it is: [1]"), Err(ReadProblem::MalformedReply));
        assert_eq!(read("[1] [2]"), Err(ReadProblem::MalformedReply));
        assert_eq!(read("``````"), Err(ReadProblem::EmptyReply));
        assert_eq!(read("I’m sorry, but I can’t help with this."), Err(ReadProblem::Refused));
        assert_eq!(answer(&reply("[1]", Finish::Length)), Err(ReadProblem::Truncated));
        assert_eq!(answer(&reply("[1]", Finish::Refused)), Err(ReadProblem::Refused));
    }

    #[test]
    fn refusals_are_told_from_texts_about_apologies() {
        for text in
            ["Sorry, I can't do that.", "I cannot say", "As an AI model, …", "Unfortunately, I do not"]
        {
            assert!(is_refusal(text), "{text}");
        }
        for text in ["sorry and other words of regret", "apologies", "the word cannot", "first person: I can"]
        {
            assert!(!is_refusal(text), "{text}");
        }
    }

    #[test]
    fn a_byte_is_found_in_its_token() {
        let tokens = ["{", "\"a\":", " 10", "}"];
        assert_eq!(token_at(tokens, 6), Some((2, " ")));
        assert_eq!(token_at(tokens, 0), Some((0, "")));
        assert_eq!(token_at(tokens, 9), None);
    }
}
