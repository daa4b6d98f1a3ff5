//! Escaping of text from suites, corpora, models and LLMs for each output format. All such text is untrusted: a
//! name may hold markup, control characters or marks that reverse the reading direction.

use crate::base::{is_combining, is_invisible};

/// `<U+202E>`
fn code_point(character: char) -> String {
    format!("<U+{:04X}>", u32::from(character))
}

/// One line with every character visible: line breaks and tabs become spaces, other invisible characters `<U+202E>`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => shown.push(' '),
            hidden if is_invisible(hidden) => shown.push_str(&code_point(hidden)),
            other => shown.push(other),
        }
    }
    shown
}

/// Longest text of a token on a page, in characters.
const TOKEN_CHARACTERS: usize = 48;

/// A token with every character visible: line breaks `↵`, tabs `⇥`, a token of spaces only `␣`, other invisible
/// characters `<U+202E>`, the empty token `∅`. A long token is cut, with its length.
pub fn token(text: &str) -> String {
    if text.is_empty() {
        return "∅".to_string();
    }
    if text.chars().all(|character| character == ' ') && text.len() <= TOKEN_CHARACTERS {
        return "␣".repeat(text.len());
    }
    let mut shown = String::with_capacity(text.len().min(4 * TOKEN_CHARACTERS));
    for (place, character) in text.chars().enumerate() {
        if place == TOKEN_CHARACTERS {
            shown.push_str(&format!("…({} characters)", text.chars().count()));
            break;
        }
        match character {
            ' ' => shown.push(' '),
            '\n' => shown.push('↵'),
            '\r' => shown.push('␍'),
            '\t' => shown.push('⇥'),
            hidden if is_invisible(hidden) || hidden.is_whitespace() => shown.push_str(&code_point(hidden)),
            mark if place == 0 && is_combining(mark) => shown.extend(['◌', mark]),
            other => shown.push(other),
        }
    }
    shown
}

/// Visible text of at most `most` characters of the original, and whether it was cut.
pub fn shortened(text: &str, most: usize) -> (String, bool) {
    let mut characters = text.chars();
    let kept: String = characters.by_ref().take(most).collect();
    let cut = characters.next().is_some();
    (visible(&kept) + if cut { "…" } else { "" }, cut)
}

/// The same JSON without characters that could end a `script` element, open a comment or read as markup.
pub fn inert_json(json: &str) -> String {
    let mut inert = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                inert.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => inert.push(other),
        }
    }
    inert
}

/// A cell of a Markdown table.
pub fn markdown(text: &str) -> String {
    let shown: Vec<char> = visible(text).chars().collect();
    let is_letter = |at: Option<usize>| at.and_then(|at| shown.get(at)).is_some_and(|c| c.is_alphanumeric());
    let escape = |(i, &character): (usize, &char)| match character {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        // Inside a word, an underscore is not emphasis.
        '_' if is_letter(i.checked_sub(1)) && is_letter(Some(i + 1)) => "_".to_string(),
        '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '$' | '#' | '!' => format!("\\{character}"),
        other => other.to_string(),
    };
    shown.iter().enumerate().map(escape).collect()
}

/// Text for LaTeX.
pub fn tex(text: &str) -> String {
    let escape = |character| match character {
        '\\' => r"\textbackslash{}".to_string(),
        '{' | '}' | '$' | '&' | '#' | '_' | '%' => format!("\\{character}"),
        '~' => r"\textasciitilde{}".to_string(),
        '^' => r"\textasciicircum{}".to_string(),
        '<' => r"\textless{}".to_string(),
        '>' => r"\textgreater{}".to_string(),
        '|' => r"\textbar{}".to_string(),
        '"' => r"\textquotedbl{}".to_string(),
        other => other.to_string(),
    };
    visible(text).chars().map(escape).collect()
}

/// A text field of a CSV file: quoted where needed, and never a formula that a spreadsheet would run.
pub fn csv(text: &str) -> String {
    let shown = visible(text);
    let guarded = if shown.starts_with(['=', '+', '-', '@']) { format!("'{shown}") } else { shown };
    if guarded.contains([',', '"', ';']) || guarded.starts_with(' ') || guarded.ends_with(' ') {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

/// Text or an attribute's value in XML and HTML.
pub fn xml(text: &str) -> String {
    let escape = |character| match character {
        '&' => "&amp;".to_string(),
        '<' => "&lt;".to_string(),
        '>' => "&gt;".to_string(),
        '"' => "&quot;".to_string(),
        '\'' => "&apos;".to_string(),
        other => other.to_string(),
    };
    visible(text).chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_show() {
        assert_eq!(visible("a\u{202E}b\u{0}c\nd\u{200B}"), "a<U+202E>b<U+0000>c d<U+200B>");
    }

    #[test]
    fn every_character_of_a_token_shows() {
        assert_eq!(token(" a\n\tb\r"), " a↵⇥b␍");
        assert_eq!(token("  "), "␣␣");
        assert_eq!(token(""), "∅");
        assert_eq!(token("\u{200D}\u{202E}\u{FFFD}\u{A0}"), "<U+200D><U+202E>\u{FFFD}<U+00A0>");
        assert_eq!(token("\u{0301}e\u{0301}"), "◌\u{0301}e\u{0301}");
        // Marks of Devanagari and Hebrew, and a format character of shorthand.
        assert_eq!(token("\u{093E}\u{0591}\u{1BCA0}"), "◌\u{093E}\u{0591}<U+1BCA0>");
        let long = token(&"x".repeat(10_000));
        assert!(long.chars().count() < 80 && long.ends_with("…(10000 characters)"), "{long}");
    }

    #[test]
    fn json_in_a_page_ends_no_element() {
        let text = "</script><!--<script>&\u{2028}\"\\";
        let json = serde_json::to_string(text).expect("JSON");
        let inert = inert_json(&json);
        for bad in ["<", ">", "&", "\u{2028}"] {
            assert!(!inert.contains(bad), "{inert}");
        }
        assert_eq!(serde_json::from_str::<String>(&inert).expect("JSON"), text);
        assert_eq!(shortened("abc\ndef", 5), ("abc d…".to_string(), true));
        assert_eq!(shortened("abc", 5), ("abc".to_string(), false));
    }

    #[test]
    fn a_markdown_cell_stays_one_cell_and_holds_no_markup() {
        assert_eq!(markdown("a|b\nc"), r"a\|b c");
        assert_eq!(markdown("<script>alert(1)</script>"), "&lt;script&gt;alert(1)&lt;/script&gt;");
        assert_eq!(markdown("[x](javascript:y) `z` *w*"), r"\[x\](javascript:y) \`z\` \*w\*");
        assert_eq!(markdown("top_and_random _x_"), r"top_and_random \_x\_");
    }

    #[test]
    fn tex_specials_are_text() {
        assert_eq!(
            tex(r"50% of {a_b} & #1 $x$ ~^\input"),
            r"50\% of \{a\_b\} \& \#1 \$x\$ \textasciitilde{}\textasciicircum{}\textbackslash{}input"
        );
    }

    #[test]
    fn a_csv_field_is_quoted_and_no_formula() {
        assert_eq!(csv("plain"), "plain");
        assert_eq!(csv("say \"hi\", you"), "\"say \"\"hi\"\", you\"");
        assert_eq!(csv("=cmd()"), "'=cmd()");
        assert_eq!(csv("two\nlines"), "two lines");
    }
}
