use serde::Deserialize;

use crate::llm::{ChatReply, ReadProblem, answer, is_refusal};

/// Longest explanation, in characters.
const LONGEST: usize = 500;

/// Longest plain line that passes for an explanation, in characters.
const LONGEST_PLAIN: usize = 300;

#[derive(Deserialize)]
struct Answer {
    explanation: String,
}

/// The one sentence or phrase of a reply: the text of `{"explanation": "…"}`, or, from endpoints that
/// can't be held to a schema, exactly one short line of plain text.
///
/// Refusals, replies cut short, several lines, long texts, placeholders and broken JSON are not taken
/// for explanations.
pub fn read_sentence(reply: &ChatReply) -> Result<String, ReadProblem> {
    let text = answer(reply)?;
    match serde_json::from_str::<Answer>(text) {
        // An array would pass for the fields of the answer in their order.
        Ok(answer) if text.starts_with('{') => sentence(&answer.explanation, LONGEST),
        _ if looks_like_json(text) => Err(ReadProblem::MalformedReply),
        _ => sentence(without_label(text), LONGEST_PLAIN),
    }
}

/// Broken or other JSON, or a code block: whatever was meant, it is not a plain sentence.
fn looks_like_json(text: &str) -> bool {
    text.starts_with(['{', '[']) || text.contains("```") || serde_json::from_str::<f64>(text).is_ok()
}

fn without_label(text: &str) -> &str {
    const LABEL: &str = "explanation:";
    match text.get(..LABEL.len()) {
        Some(start) if start.eq_ignore_ascii_case(LABEL) => text[LABEL.len()..].trim(),
        _ => text,
    }
}

fn sentence(text: &str, longest: usize) -> Result<String, ReadProblem> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ReadProblem::EmptyReply);
    }
    if is_refusal(text) {
        return Err(ReadProblem::Refused);
    }
    let several_lines = text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'));
    // A line that ends in a colon announces an answer that is missing.
    if several_lines || text.ends_with(':') || text.chars().count() > longest || is_placeholder(text) {
        return Err(ReadProblem::NotOneSentence);
    }
    Ok(text.to_string())
}

fn is_placeholder(text: &str) -> bool {
    let bare = text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let says_nothing = ["", "n/a", "none", "null", "unknown", "unclear", "explanation", "no explanation"];
    // An explanation may consist of a quoted sign, such as `"!"`.
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
            r#"{"reasoning": "Elbe, Po", "explanation": "names of rivers"}"#,
        ] {
            assert_eq!(read(text).as_deref(), Ok("names of rivers"), "{text}");
        }
        assert_eq!(read(r#"the sign "!""#).as_deref(), Ok(r#"the sign "!""#));
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
            ("Here is the explanation:", NotOneSentence),
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
