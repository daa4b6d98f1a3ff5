//! Extracts the answer from a model's reply: without reasoning, end-of-turn tokens and code fences.

use super::lenient::{Node, only_value};
use super::{ChatReply, Finish, ReadProblem, TokenChoice};
use crate::base::is_format;

/// Version of these rules. Results depend on it and cached answers do not: a new version reads the cached answers
/// again, without new requests.
pub const READER_VERSION: u32 = 2;

/// Tags around reasoning, in lower case.
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

/// Start of the answer in a reply with several channels.
const FINAL_CHANNEL: &str = "<|channel|>final<|message|>";

/// End-of-turn tokens that servers leave in the text.
const ENDS: [&str; 7] =
    ["<|im_end|>", "<|eot_id|>", "<|end|>", "<|return|>", "<|endoftext|>", "<end_of_turn>", "</s>"];

/// The answer in a finished reply, a slice of `reply.text`: without reasoning, end-of-turn tokens and invisible
/// characters at the ends. If there is exactly one code block, its content.
pub fn answer(reply: &ChatReply) -> Result<&str, ReadProblem> {
    let text = trimmed(unfenced(said(reply)?));
    if text.is_empty() { Err(ReadProblem::EmptyReply) } else { Ok(text) }
}

/// The only JSON object or list in a reply, and the slice of `reply.text` to which its byte offsets refer. Prose and
/// code fences around it are ignored. Two objects are ambiguous and therefore an error.
pub fn answer_value(reply: &ChatReply) -> Result<(&str, Node), ReadProblem> {
    // First, so that an empty code block is an empty reply.
    let bare = answer(reply)?;
    let text = said(reply)?;
    match only_value(text) {
        Ok(node) => Ok((text, node)),
        Err(_) if is_refusal(bare) => Err(ReadProblem::Refused),
        Err(problem) => Err(problem),
    }
}

/// A finished reply without reasoning and end-of-turn tokens.
fn said(reply: &ChatReply) -> Result<&str, ReadProblem> {
    match reply.finish {
        Finish::Stop => {}
        Finish::Refused => return Err(ReadProblem::Refused),
        // A truncated reply is not trusted, even if it can be parsed.
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

/// Removes white space and invisible characters at both ends.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || is_format(c))
}

/// The text after all reasoning. The opening tag is missing if the chat template wrote it into the prompt.
fn after_thoughts(text: &str) -> Result<&str, ReadProblem> {
    // ASCII lower case keeps byte offsets.
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
    // A tag inside a JSON answer or a code block is part of the answer.
    if !text[from..].starts_with(['{', '[', '`']) {
        let ends = THOUGHTS.iter().filter_map(|(_, close)| Some(lower[from..].rfind(close)? + close.len()));
        from += ends.max().unwrap_or(0);
    }
    Ok(&text[from..])
}

/// The content of the only code block, without the name of its language.
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

/// Whether a text declines to answer: it starts with a refusal, or with an apology followed by the first person. So
/// "sorry and other words of regret" is an answer.
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

/// The index of the token that contains byte `at` of the joined tokens, and the part of it before `at`.
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
    /// The alternatives at this position, including the token itself, with probabilities. Their sum may be below 1.
    pub fn alternatives(&self) -> Result<Vec<(&str, f64)>, ReadProblem> {
        let own = Some((self.token.as_str(), self.logprob))
            .filter(|_| !self.top.iter().any(|(token, _)| *token == self.token));
        probabilities(self.top.iter().map(|(token, logprob)| (token.as_str(), *logprob)).chain(own))
    }
}

/// Converts log-probabilities to probabilities. Minus infinity becomes 0; NaN and values above 0 are errors.
pub fn probabilities<'a>(
    logprobs: impl IntoIterator<Item = (&'a str, f64)>,
) -> Result<Vec<(&'a str, f64)>, ReadProblem> {
    // Rounding at the endpoint may make the log-probability of a certain token slightly positive.
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
    fn answers_are_read_in_every_form() {
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
    fn several_answers_or_none_are_errors() {
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
    fn refusals_are_distinguished_from_texts_about_apologies() {
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
