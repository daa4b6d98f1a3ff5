//! Extracts the explanation, one sentence or phrase, from a reply.

use crate::llm::{ChatReply, Lenient, ReadProblem, answer, answer_value, is_refusal, trimmed};

/// Maximum length of an explanation in characters.
const LONGEST: usize = 500;

/// Maximum length of a plain line that counts as an explanation, in characters.
const LONGEST_PLAIN: usize = 300;

/// Labels in front of an answer, in lower case and without Markdown.
const LABELS: [&str; 15] = [
    "explanation",
    "the explanation",
    "the explanation is",
    "here is the explanation",
    "here's the explanation",
    "here is my explanation",
    "here is a one-sentence explanation",
    "final explanation",
    "answer",
    "the answer is",
    "here is the answer",
    "final answer",
    "description",
    "summary",
    "response",
];

/// Beginnings of lines that offer further help, in lower case.
const OFFERS: [&str; 7] = [
    "let me know",
    "i hope this helps",
    "hope this helps",
    "feel free",
    "is there anything",
    "would you like",
    "please let me know",
];

/// The text of `{"explanation": "…"}`, or exactly one short line of plain text, from endpoints that do not enforce a
/// schema. Remarks before and after it are ignored. Quotation marks, Markdown and a label around it are removed.
///
/// # Errors
/// Refusals, truncated replies, several lines, long texts, placeholders and broken JSON.
pub fn read_sentence(reply: &ChatReply) -> Result<String, ReadProblem> {
    let text = answer(reply)?;
    if reply.text.contains('{') {
        match answer_value(reply) {
            Ok((_, node)) if !matches!(node.value, Lenient::Array(_)) => {
                return match &node.only("explanation")?.value {
                    Lenient::Text(explanation) => sentence(explanation, LONGEST),
                    _ => Err(ReadProblem::MalformedReply),
                };
            }
            _ if text.starts_with('{') || text.contains("\"explanation\"") => {
                return Err(ReadProblem::MalformedReply);
            }
            _ => {}
        }
    }
    if looks_like_json(text) { Err(ReadProblem::MalformedReply) } else { plain(text) }
}

/// Whether a text is other JSON, or has several code blocks.
fn looks_like_json(text: &str) -> bool {
    text.contains("```")
        || text.starts_with("[\"")
        || serde_json::from_str::<serde_json::Value>(text).is_ok_and(|value| !value.is_string())
}

/// The only line of a text, without an announcement before it and an offer of help after it.
fn plain(text: &str) -> Result<String, ReadProblem> {
    if is_refusal(text) {
        return Err(ReadProblem::Refused);
    }
    let lines: Vec<&str> = text.lines().map(trimmed).filter(|line| !line.is_empty()).collect();
    let announces = |line: &str| {
        let bare = without_marks(line);
        bare.ends_with(':') || LABELS.contains(&bare.to_lowercase().as_str())
    };
    let offers = |line: &str| OFFERS.iter().any(|start| line.to_lowercase().starts_with(start));
    let (first, last) = match lines.as_slice() {
        [first, _, ..] if announces(first) => (1, lines.len()),
        _ => (0, lines.len()),
    };
    let last = if last > first + 1 && offers(lines[last - 1]) { last - 1 } else { last };
    match &lines[first..last] {
        [] => Err(ReadProblem::EmptyReply),
        [line] => sentence(line, LONGEST_PLAIN),
        _ => Err(ReadProblem::NotOneSentence),
    }
}

fn without_marks(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || "*_#>`".contains(c))
}

/// Removes a list bullet, a label, emphasis, and quotation marks around the whole sentence. Quotation marks around
/// one or two words stay, because these words may be the tokens that the explanation names.
fn bare_sentence(text: &str) -> &str {
    let mut text = trimmed(text);
    text = ["- ", "* ", "• ", "1. ", "# ", "## ", "### ", "> "]
        .iter()
        .find_map(|mark| text.strip_prefix(mark))
        .unwrap_or(text);
    text = without_label(trimmed(text));
    for mark in ["**", "__", "*", "_"] {
        let inside = text.strip_prefix(mark).and_then(|inside| inside.strip_suffix(mark));
        text = inside.filter(|inside| !inside.contains(mark)).map_or(text, trimmed);
    }
    text = without_label(text);
    for (open, close) in [('"', '"'), ('\'', '\''), ('`', '`'), ('“', '”'), ('‘', '’'), ('«', '»')]
    {
        let inside = text.strip_prefix(open).and_then(|inside| inside.strip_suffix(close));
        let whole = |inside: &&str| !inside.contains([open, close]) && inside.split_whitespace().count() > 2;
        text = inside.filter(whole).map_or(text, trimmed);
    }
    text
}

fn without_label(text: &str) -> &str {
    match text.split_once(':') {
        Some((label, rest)) if LABELS.contains(&without_marks(label).to_lowercase().as_str()) => {
            // Emphasis that begins before the label ends after the label or at the end of the text.
            let opened = label.trim_start().starts_with(['*', '_']);
            let rest = rest.trim_start();
            match rest.trim_start_matches(['*', '_']) {
                inside if opened && inside != rest => trimmed(inside),
                _ if opened => trimmed(rest.trim_end_matches(['*', '_'])),
                _ => trimmed(rest),
            }
        }
        _ => text,
    }
}

fn sentence(text: &str, longest: usize) -> Result<String, ReadProblem> {
    let text = bare_sentence(text);
    if text.is_empty() {
        return Err(ReadProblem::EmptyReply);
    }
    if is_refusal(text) {
        return Err(ReadProblem::Refused);
    }
    let several_lines = text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
    // A line that ends with a colon announces an answer that is missing.
    if several_lines || text.ends_with(':') || text.chars().count() > longest || is_placeholder(text) {
        return Err(ReadProblem::NotOneSentence);
    }
    Ok(text.to_string())
}

fn is_placeholder(text: &str) -> bool {
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let says_nothing = ["", "n/a", "none", "null", "unknown", "unclear", "explanation", "no explanation"];
    // An explanation may be a quoted character, such as `"!"`.
    says_nothing.contains(&bare.as_str()) && !text.contains(['"', '\'', '`'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::llm::Finish;

    fn read(text: &str) -> Result<String, ReadProblem> {
        finished(text, Finish::Stop)
    }

    fn finished(text: &str, finish: Finish) -> Result<String, ReadProblem> {
        read_sentence(&ChatReply { text: text.into(), finish, tokens_in: 1, tokens_out: 1, logprobs: None })
    }

    #[test]
    fn json_and_one_plain_line_are_read() {
        for text in [
            r#"{"explanation": "names of rivers"}"#,
            "```json\n{\"explanation\": \" names of rivers \"}\n```",
            "names of rivers",
            "Explanation: names of rivers\n",
            "**Explanation:** names of rivers",
            "**Explanation**: names of rivers",
            "**Explanation: names of rivers**",
            "Explanation:\n\nnames of rivers",
            "Here is the explanation:\n\n\"names of rivers\"\n\nLet me know if you need more.",
            "## Explanation\n- names of rivers",
            "\"names of rivers\"",
            "“names of rivers”",
            "*names of rivers*",
            "\u{feff}`names of rivers`",
            "```\nnames of rivers\n```\nLet me know if you need anything else.",
            "<think>\nperhaps {\"a\": 1}\n</think>\n\nnames of rivers",
            "It could be animals.\n</think>\n\nnames of rivers",
            "Sure:\n```JSON\n{\"Explanation\": \"Explanation: names of rivers\",}\n```\nAnything else?",
            r#"{"explanation": "\"names of rivers\""}"#,
            r#"{"explanation": "**Explanation:** names of rivers"}"#,
            r#"{"reasoning": "Elbe, Po", "explanation": "names of rivers"}"#,
        ] {
            assert_eq!(read(text).as_deref(), Ok("names of rivers"), "{text}");
        }
        for text in [
            r#"the sign "!""#,
            r#"" the""#,
            r#""he" or "she""#,
            "words: he, she",
            "the sign {",
            "[MASK] and other marks",
            "it's *emphasis* in Markdown",
        ] {
            assert_eq!(read(text).as_deref(), Ok(text));
        }
        assert!(read(r#"{"explanation": "\"I'm sorry\" and other apologies"}"#).is_ok());
    }

    #[test]
    fn nothing_else_is_an_explanation() {
        use ReadProblem::*;
        let essay = "A long account of many things. ".repeat(30);
        for (text, problem) in [
            ("", EmptyReply),
            ("  \n", EmptyReply),
            (r#"{"explanation": ""}"#, EmptyReply),
            (r#"{"explanation": "I'm sorry, I can't help with that."}"#, Refused),
            ("I'm sorry, but I can't assist with that request.", Refused),
            ("I’m unable to determine a pattern.", Refused),
            (r#"{"explanation": "names of riv"#, MalformedReply),
            (r#"{"explanation": 7}"#, MalformedReply),
            (r#"{"explanation": "a", "explanation": "b"}"#, MalformedReply),
            (r#"{"answer": "names of rivers"}"#, MalformedReply),
            (r#"["names of rivers"]"#, MalformedReply),
            ("7", MalformedReply),
            ("[1, 2]", MalformedReply),
            (r#"{"explanation": "a b c"} {"explanation": "a b c"}"#, MalformedReply),
            (r#"names of rivers {"explanation": "a"} {"explanation": "b"}"#, MalformedReply),
            ("```\na b\n```\n```\nc d\n```", MalformedReply),
            ("Explanation:", EmptyReply),
            ("Here is the explanation:", EmptyReply),
            ("The words are:", NotOneSentence),
            ("First line.\nSecond line.", NotOneSentence),
            (r#"{"explanation": "two\nlines"}"#, NotOneSentence),
            (r#"{"explanation": "N/A"}"#, NotOneSentence),
            ("…", NotOneSentence),
            (&essay, NotOneSentence),
        ] {
            assert_eq!(read(text), Err(problem), "{text}");
        }
        assert_eq!(finished("names of", Finish::Length), Err(Truncated));
        assert_eq!(finished("names of rivers", Finish::Refused), Err(Refused));
    }
}
