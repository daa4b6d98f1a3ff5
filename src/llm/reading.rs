use super::lenient::{Node, only_value};
use super::{ChatReply, Finish, TokenChoice};
use crate::base::is_format;

/// Version of how replies are read. A result rests on it; stored answers do not, so a new version reads them again
/// and asks for nothing.
pub const READER_VERSION: u32 = 2;

/// What opens and closes a thought, in lower case.
const THOUGHTS: [(&str, &str); 11] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<reason>", "</reason>"),
    ("<analysis>", "</analysis>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("[think]", "[/think]"),
    ("\u{25c1}think\u{25b7}", "\u{25c1}/think\u{25b7}"),
];

/// Where the answer begins in a reply of several channels.
const FINAL_CHANNEL: &str = "<|channel|>final<|message|>";

/// Marks of a turn's end that servers leave in the text.
const ENDS: [&str; 7] =
    ["<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|endoftext|>", "<end_of_turn>", "</s>"];

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
    /// There is a thought and no answer.
    OnlyReasoning,
    /// The model called a tool that nobody offered.
    ToolCall,
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
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Refused,
        Self::Truncated,
        Self::EmptyReply,
        Self::OnlyReasoning,
        Self::ToolCall,
        Self::MalformedReply,
        Self::NotOneSentence,
        Self::WrongCount,
        Self::OutOfRange,
        Self::NoLogprobs,
    ];

    /// The text that tallies count by.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Truncated => "truncated",
            Self::EmptyReply => "empty_reply",
            Self::OnlyReasoning => "only_reasoning",
            Self::ToolCall => "tool_call",
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

/// What a finished reply says: without thoughts, marks of a turn's end and what shows nothing around it. Where it
/// holds one code block, that block's content. It is a part of `reply.text`.
pub fn answer(reply: &ChatReply) -> Result<&str, ReadProblem> {
    let text = trimmed(unfenced(said(reply)?));
    if text.is_empty() { Err(ReadProblem::EmptyReply) } else { Ok(text) }
}

/// The one JSON object or list of a reply, with the text that its places count in, a part of `reply.text`. Prose and
/// code fences around it say nothing; a second object is a second answer, so there is none.
pub fn answer_value(reply: &ChatReply) -> Result<(&str, Node), ReadProblem> {
    // A fence without anything in it is as empty as no text.
    let bare = answer(reply)?;
    let text = said(reply)?;
    match only_value(text) {
        Ok(node) => Ok((text, node)),
        Err(_) if is_refusal(bare) => Err(ReadProblem::Refused),
        Err(problem) => Err(problem),
    }
}

/// All of a finished reply but its thoughts.
fn said(reply: &ChatReply) -> Result<&str, ReadProblem> {
    match reply.finish {
        Finish::Stop => {}
        Finish::Refused => return Err(ReadProblem::Refused),
        // A reply cut short is not trusted even where it happens to parse.
        Finish::Length => return Err(ReadProblem::Truncated),
        Finish::Thought => return Err(ReadProblem::OnlyReasoning),
        Finish::Tool => return Err(ReadProblem::ToolCall),
    }
    let mut text = trimmed(after_thoughts(trimmed(&reply.text))?);
    while let Some(rest) = ENDS.iter().find_map(|end| text.strip_suffix(end)) {
        text = trimmed(rest);
    }
    if text.is_empty() { Err(ReadProblem::EmptyReply) } else { Ok(text) }
}

/// A text without white space and characters that show nothing at its ends.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_format(c))
}

/// What stands behind thoughts, each between its tags or, where a template opened it, before the tag that ends it.
fn after_thoughts(text: &str) -> Result<&str, ReadProblem> {
    // The same bytes, so places in one are places in the other.
    let lower = text.to_ascii_lowercase();
    if let Some(at) = lower.rfind(FINAL_CHANNEL) {
        return Ok(&text[at + FINAL_CHANNEL.len()..]);
    }
    let mut from = 0;
    let behind = |from: usize| from + (text[from..].len() - text[from..].trim_start().len());
    while let Some((open, close)) = THOUGHTS.iter().find(|(open, _)| lower[from..].starts_with(open)) {
        let thought = from + open.len();
        from = behind(thought + lower[thought..].find(close).ok_or(ReadProblem::Truncated)? + close.len());
    }
    // A tag inside of an answer in JSON is part of what it says.
    if !text[from..].starts_with(['{', '[', '`']) {
        let ends = THOUGHTS.iter().filter_map(|(_, close)| Some(lower[from..].rfind(close)? + close.len()));
        from += ends.max().unwrap_or(0);
    }
    Ok(&text[from..])
}

/// The content of the only code block, without the word that says its language.
fn unfenced(text: &str) -> &str {
    const FENCE: &str = "```";
    let mut parts = text.split(FENCE);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(_), Some(inside), Some(_), None) => {
            let word = inside.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(inside.len());
            let is_language = inside[word..].trim_start_matches([' ', '\r']).starts_with('\n');
            if is_language { &inside[word..] } else { inside }
        }
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
    use super::super::lenient::Lenient;
    use super::*;

    fn reply(text: &str, finish: Finish) -> ChatReply {
        ChatReply { text: text.into(), finish, tokens_in: 1, tokens_out: 1, logprobs: None }
    }

    fn list(text: &str) -> Result<Vec<u8>, ReadProblem> {
        let reply = reply(text, Finish::Stop);
        let (said, node) = answer_value(&reply)?;
        assert!(text.contains(said), "{said}");
        let Lenient::Array(items) = &node.value else { return Err(ReadProblem::MalformedReply) };
        items.iter().map(|item| item.whole_number(9)).collect()
    }

    #[test]
    fn an_answer_is_read_in_every_dress() {
        for text in [
            " [1, 2] ",
            "\u{feff}[1, 2]",
            "\u{200b}\n[1, 2]",
            "```json\n[1, 2]\n```",
            "```JSON\n[1, 2]\n```",
            "```\n[1, 2]\n```\nAnything else?",
            "Here it is:\n```json5\n[1, 2]\n```",
            "Here it is: [1, 2]",
            "<think>[3]? no</think>\n[1, 2]",
            "<think></think>[1, 2]",
            "<THINKING>{\"a\": 1}</Thinking>\n[1, 2]",
            "<reasoning>no</reasoning><thought>yes</thought> [1, 2]",
            "It may be [3].\n</think>\n\n[1, 2]",
            "Sure. <think>{</think>[1, 2]",
            "[THINK]a[/THINK][1, 2]",
            "<|channel|>analysis<|message|>[3]<|end|><|start|>assistant<|channel|>final<|message|>[1, 2]<|return|>",
            "[1, 2]<|im_end|>",
            "[1, 2,]",
            "[\"1\", 2.0]",
        ] {
            assert_eq!(list(text), Ok(vec![1, 2]), "{text}");
        }
        let about_tags = reply("{\"a\": \"the tag </think>\"}", Finish::Stop);
        assert_eq!(answer_value(&about_tags).map(|(text, _)| text.len()), Ok(about_tags.text.len()));
        assert_eq!(answer(&reply("```text\nwords\n```\nBye.", Finish::Stop)), Ok("words"));
        assert_eq!(answer(&reply("```words```", Finish::Stop)), Ok("words"));
    }

    #[test]
    fn two_answers_or_none_are_no_answer() {
        use ReadProblem::*;
        for (text, problem) in [
            ("[1] [2]", MalformedReply),
            ("```json\n[1]\n```\n```json\n[1]\n```", MalformedReply),
            ("[1] or {\"a\": 2}", MalformedReply),
            ("[1] {", MalformedReply),
            ("one", MalformedReply),
            ("<think>[3]", Truncated),
            ("<think>[3]</think>", EmptyReply),
            ("", EmptyReply),
            ("``````", EmptyReply),
            ("I’m sorry, but I can’t help with this.", Refused),
        ] {
            assert_eq!(list(text), Err(problem), "{text}");
        }
        for (finish, problem) in [
            (Finish::Length, Truncated),
            (Finish::Refused, Refused),
            (Finish::Thought, OnlyReasoning),
            (Finish::Tool, ToolCall),
        ] {
            assert_eq!(answer(&reply("[1]", finish)), Err(problem));
        }
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
