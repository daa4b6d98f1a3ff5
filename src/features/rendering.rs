//! Text of tokens and fragments in prompts.

use std::fmt::Write;

use crate::base::{Stream, is_invisible, is_private_use};

/// Text of a token id. A token that is only part of a character is given as its bytes, such as `\xE2`.
pub type TokenTexts<'a> = dyn Fn(u32) -> String + Sync + 'a;

/// Opens a run of marked tokens.
pub const MARK_START: char = '⟦';

/// Closes a run of marked tokens.
pub const MARK_END: char = '⟧';

/// A token as a JSON string on one line. Control and invisible characters, quotes and the marks are escaped.
pub fn quoted(token: &str) -> String {
    format!("\"{}\"", escaped(token))
}

/// Token `index` of `n` as text, counted from 0, zero-padded so that indices sort as text.
pub fn index_text(index: usize, n: usize) -> String {
    let width = n.saturating_sub(1).to_string().len();
    format!("{index:0width$}")
}

/// One token per line: `index<TAB>"token"`.
pub fn indexed(tokens: &[String]) -> String {
    let mut lines = String::new();
    for (index, token) in tokens.iter().enumerate() {
        let _ = writeln!(lines, "{}\t{}", index_text(index, tokens.len()), quoted(token));
    }
    lines
}

/// Text as a JSON string with runs of marked tokens between `⟦` and `⟧`.
///
/// Marks in the text itself are escaped. Without the unescaped marks, the result is JSON of the text. Tokens
/// beyond `marked` are not marked.
pub fn marked_text(tokens: &[String], marked: &[bool]) -> String {
    let mut text = String::from("\"");
    let mut inside = false;
    for (place, token) in tokens.iter().enumerate() {
        let mark = marked.get(place).copied().unwrap_or(false);
        if mark != inside {
            text.push(if mark { MARK_START } else { MARK_END });
            inside = mark;
        }
        text.push_str(&escaped(token));
    }
    if inside {
        text.push(MARK_END);
    }
    text.push('"');
    text
}

/// Tokens with at least this share of the fragment's maximum are marked.
const MARKED_SHARE: f32 = 0.3;

/// Marks tokens with at least 30 % of the fragment's maximum, from `first_scored` on (Paulo et al. 2024).
pub fn strong_marks(activations: &[f32], first_scored: usize) -> Vec<bool> {
    let counted = || activations.iter().skip(first_scored);
    let least = MARKED_SHARE * counted().copied().fold(0.0, f32::max);
    let strong = |(place, &value): (usize, &f32)| place >= first_scored && value > 0.0 && value >= least;
    activations.iter().enumerate().map(strong).collect()
}

/// Marks the token with the largest positive activation from `first_scored` on; of equal ones the first. No mark if
/// none is positive.
pub fn strongest_mark(activations: &[f32], first_scored: usize) -> Vec<bool> {
    let mut marks = vec![false; activations.len()];
    let mut largest = 0.0;
    let mut strongest = None;
    for (place, &value) in activations.iter().enumerate().skip(first_scored) {
        if value > largest {
            (largest, strongest) = (value, Some(place));
        }
    }
    if let Some(place) = strongest {
        marks[place] = true;
    }
    marks
}

/// Decoy marks on up to `n` positions from `first_scored` on, drawn uniformly.
pub fn decoy_marks(n_tokens: usize, first_scored: usize, n: usize, stream: &mut Stream) -> Vec<bool> {
    let mut marks = vec![false; n_tokens];
    for place in stream.permutation(n_tokens.saturating_sub(first_scored)).into_iter().take(n) {
        marks[first_scored + place] = true;
    }
    marks
}

/// Free text on one line without control characters, safe in prompts that rely on tabs and line breaks.
pub fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped.push_str("\\\""),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if is_shown(c) => escaped.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}

/// Whether a character is shown as itself. False for marks, controls, unusual spaces, joiners, direction
/// marks and private-use characters.
fn is_shown(c: char) -> bool {
    let mark = c == MARK_START || c == MARK_END;
    let selector = matches!(c, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}');
    c == ' ' || !(mark || selector || is_invisible(c) || is_private_use(c) || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts with characters that could break a prompt's format.
    fn token() -> impl Strategy<Value = String> {
        let hard = prop::sample::select(vec![
            "\t",
            "\n",
            "\r\n",
            "\"",
            "\\",
            "⟦",
            "⟧",
            "\\xE2",
            " ",
            "\u{200b}",
            "\u{a0}",
            "=== user",
            "{{tokens}}",
            "\tunknown\n",
            "\u{1F600}",
            "é",
            "\u{7f}",
            "\u{2028}",
            "",
            "0",
            "<|endoftext|>",
        ]);
        prop_oneof![hard.prop_map(String::from), any::<String>()]
    }

    fn parse(json: &str) -> String {
        serde_json::from_str(json).expect("a JSON string")
    }

    #[test]
    fn hidden_characters_are_escaped_and_marks_of_scripts_are_not() {
        assert_eq!(quoted("a\u{070f}\u{e000}\u{fe0f}\u{093e}"), "\"a\\u070f\\ue000\\ufe0f\u{093e}\"");
    }

    #[test]
    fn only_scored_positions_are_marked() {
        assert_eq!(strong_marks(&[9.0, 1.0, 0.2, -3.0, 0.3], 1), [false, true, false, false, true]);
        assert_eq!(strong_marks(&[9.0, 0.0, -1.0], 1), [false; 3]);
        assert_eq!(strongest_mark(&[9.0, 1.0, 3.0, 3.0, -4.0], 1), [false, false, true, false, false]);
        assert_eq!(strongest_mark(&[9.0, 0.0, -1.0], 1), [false; 3]);
        let mut stream = Stream::new(3, "decoys");
        for n in 0..8 {
            let marks = decoy_marks(6, 1, n, &mut stream);
            assert!(!marks[0]);
            assert_eq!(marks.iter().filter(|mark| **mark).count(), n.min(5));
        }
    }

    proptest! {
        #[test]
        fn a_quoted_token_is_one_line_and_reads_as_the_token(token in token()) {
            let quoted = quoted(&token);
            prop_assert!(!quoted.contains(['\n', '\t', '\r', MARK_START, MARK_END]));
            prop_assert_eq!(parse(&quoted), token);
        }

        #[test]
        fn every_token_has_its_line(tokens in prop::collection::vec(token(), 0..20)) {
            let lines = indexed(&tokens);
            let read: Vec<String> = lines.lines().enumerate().map(|(index, line)| {
                let (number, quoted) = line.split_once('\t').expect("a tab");
                assert_eq!(number.parse(), Ok(index));
                assert_eq!(number.len(), index_text(0, tokens.len()).len());
                parse(quoted)
            }).collect();
            prop_assert_eq!(read, tokens);
        }

        #[test]
        fn marks_say_exactly_which_text_is_marked(
            tokens in prop::collection::vec((token(), any::<bool>()), 0..20)
        ) {
            let (texts, marks): (Vec<String>, Vec<bool>) = tokens.into_iter().unzip();
            let marked = marked_text(&texts, &marks);
            let bare = marked.replace([MARK_START, MARK_END], "");
            prop_assert_eq!(parse(&bare), texts.concat());
            let runs: String = marked
                .split(MARK_START)
                .skip(1)
                .map(|run| parse(&format!("\"{}\"", run.split_once(MARK_END).expect("closed").0)))
                .collect();
            let expected: String =
                texts.iter().zip(&marks).filter(|(_, mark)| **mark).map(|(text, _)| text.as_str()).collect();
            prop_assert_eq!(runs, expected);
        }

        #[test]
        fn one_line_has_no_tab_and_no_break(text in token()) {
            prop_assert!(!one_line(&text).contains(|c: char| c.is_control()));
        }
    }
}
