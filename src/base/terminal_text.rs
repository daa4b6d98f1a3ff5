//! Text from outside (files, arguments, servers), made safe to show on a terminal and in a log.

use std::borrow::Cow;

use super::is_invisible;

/// Longest line of a message, in characters. A longer one loses its middle.
const LINE_CHARACTERS: usize = 2_000;

/// Characters kept at the end of a line that is cut: what was expected and what to do comes last.
const END_CHARACTERS: usize = 600;

/// Most lines of a message.
const LINES: usize = 400;

/// The text with every character written out that a terminal could obey, or that hides or turns other text: `\x1b` for
/// controls (C0 without tab and line break, DEL, C1), `\u{202e}` for direction marks and other invisible characters.
pub fn terminal_text(text: &str) -> Cow<'_, str> {
    escaped(text, |character| match u32::from(character) {
        code @ ..=0x9f => format!("\\x{code:02x}"),
        code => format!("\\u{{{code:x}}}"),
    })
}

/// Equal JSON in which the characters that [`terminal_text`] writes out are `\uXXXX` escapes.
pub fn terminal_json(json: &str) -> Cow<'_, str> {
    escaped(json, |character| {
        character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    })
}

fn escaped(text: &str, escape: impl Fn(char) -> String) -> Cow<'_, str> {
    let is_shown = |character: char| matches!(character, '\t' | '\n') || !is_invisible(character);
    if text.chars().all(is_shown) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_shown(character) {
            shown.push(character);
        } else {
            shown.push_str(&escape(character));
        }
    }
    Cow::Owned(shown)
}

/// A message of bounded length: names and values in it may have the size of a file. What is left out is counted.
pub fn short_message(text: &str) -> Cow<'_, str> {
    let n_lines = text.lines().count();
    if n_lines <= LINES && text.lines().all(|line| line.len() <= LINE_CHARACTERS) {
        return Cow::Borrowed(text);
    }
    let mut lines: Vec<Cow<'_, str>> = text.lines().take(LINES).map(short_line).collect();
    if n_lines > LINES {
        lines.push(format!("… {} more lines", n_lines - LINES).into());
    }
    Cow::Owned(lines.join("\n"))
}

fn short_line(line: &str) -> Cow<'_, str> {
    let n = line.chars().count();
    if n <= LINE_CHARACTERS {
        return Cow::Borrowed(line);
    }
    let start: String = line.chars().take(LINE_CHARACTERS - END_CHARACTERS).collect();
    let end: String = line.chars().skip(n - END_CHARACTERS).collect();
    Cow::Owned(format!("{start}… ({} characters left out) …{end}", n - LINE_CHARACTERS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        for (text, shown) in [
            ("plain, ünïcode 日本 🙂\tand\nlines", "plain, ünïcode 日本 🙂\tand\nlines"),
            ("\u{1b}[31mred", "\\x1b[31mred"),
            ("\0\u{7}\u{8}\r\u{7f}", "\\x00\\x07\\x08\\x0d\\x7f"),
            ("\u{85}\u{9b}5m", "\\x85\\x9b5m"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("\u{200e}\u{200f}\u{61c}\u{feff}", "\\u{200e}\\u{200f}\\u{61c}\\u{feff}"),
            ("\u{e0041}", "\\u{e0041}"),
            // Written out before: stays as it is.
            ("\\u{1b}", "\\u{1b}"),
        ] {
            assert_eq!(terminal_text(text), shown);
        }
        assert_eq!(terminal_json("\"\u{9b}\u{202e}\u{e0041}\\n\""), "\"\\u009b\\u202e\\udb40\\udc41\\n\"");
    }

    #[test]
    fn a_long_message_keeps_its_beginning_and_end() {
        let long = format!("tensor `{}` has no shape: download it again", "x".repeat(1 << 20));
        let short = short_message(&long);
        assert!(short.len() < LINE_CHARACTERS + 100, "{}", short.len());
        assert!(short.starts_with("tensor `xxx") && short.ends_with("download it again"));
        assert!(short.contains("characters left out"), "{short}");
        let short = short_message(&"line\n".repeat(100_000)).into_owned();
        assert!(short.ends_with("line\n… 99600 more lines"), "{short}");
        assert_eq!(short_message("three\nshort\nlines"), "three\nshort\nlines");
    }

    /// Whether a terminal must never get the character raw.
    fn is_forbidden(character: char) -> bool {
        matches!(character, '\0'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{61c}' | '\u{200e}'
            | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    }

    /// Text of any characters, with many of the forbidden ones.
    fn hostile() -> impl Strategy<Value = String> {
        let some = prop_oneof![
            any::<char>(),
            (0u32..0xa0).prop_filter_map("a character", char::from_u32),
            (0x2000u32..0x2070).prop_filter_map("a character", char::from_u32),
        ];
        proptest::collection::vec(some, 0..40).prop_map(|characters| characters.into_iter().collect())
    }

    proptest! {
        #[test]
        fn nothing_forbidden_is_shown_and_nothing_else_is_changed(text in hostile()) {
            let shown = terminal_text(&text);
            prop_assert!(!shown.chars().any(is_forbidden));
            prop_assert_eq!(terminal_text(&shown), shown.as_ref());
            let kept: String = text.chars().filter(|&c| matches!(c, '\t' | '\n') || !is_invisible(c)).collect();
            prop_assert_eq!(terminal_text(&kept), kept.as_str());
            let long = short_message(&shown).into_owned();
            prop_assert!(!long.chars().any(is_forbidden));
        }

        #[test]
        fn json_stays_equal(text in hostile()) {
            let json = serde_json::to_string_pretty(&[&text]).expect("JSON");
            let shown = terminal_json(&json);
            prop_assert!(!shown.chars().any(is_forbidden));
            prop_assert_eq!(serde_json::from_str::<[String; 1]>(&shown).expect("JSON"), [text]);
        }
    }
}
