//! Text from suites, corpora, models and LLMs, made harmless for each output. Nothing of it is
//! trusted: a name may hold markup, control characters or marks that reverse the reading direction.

/// Characters that change how others are shown, or show nothing: replaced by their code point, so
/// that a reader sees them.
fn is_invisible(character: char) -> bool {
    let known_blank = matches!(character,
        '\u{00AD}' | '\u{034F}' | '\u{061C}' | '\u{115F}' | '\u{1160}' | '\u{180E}'
        | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF9}'..='\u{FFFB}' | '\u{FFFE}' | '\u{FFFF}'
        | '\u{E0000}'..='\u{E007F}');
    known_blank || character.is_control()
}

/// One line in which every character shows: line breaks and tabs become spaces, other invisible
/// characters `<U+202E>`.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => shown.push(' '),
            hidden if is_invisible(hidden) => shown.push_str(&format!("<U+{:04X}>", u32::from(hidden))),
            other => shown.push(other),
        }
    }
    shown
}

/// A cell of a Markdown table.
pub fn markdown(text: &str) -> String {
    let shown: Vec<char> = visible(text).chars().collect();
    let mut escaped = String::with_capacity(shown.len());
    for (i, &character) in shown.iter().enumerate() {
        let inside_word = i > 0
            && shown[i - 1].is_alphanumeric()
            && shown.get(i + 1).is_some_and(|next| next.is_alphanumeric());
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '_' if inside_word => escaped.push('_'),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '$' | '#' | '!' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Text for LaTeX.
pub fn tex(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in visible(text).chars() {
        match character {
            '\\' => escaped.push_str(r"\textbackslash{}"),
            '{' | '}' | '$' | '&' | '#' | '_' | '%' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '~' => escaped.push_str(r"\textasciitilde{}"),
            '^' => escaped.push_str(r"\textasciicircum{}"),
            '<' => escaped.push_str(r"\textless{}"),
            '>' => escaped.push_str(r"\textgreater{}"),
            '|' => escaped.push_str(r"\textbar{}"),
            '"' => escaped.push_str(r"\textquotedbl{}"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A text field of a CSV file: quoted where needed, and never something a spreadsheet would run as
/// a formula.
pub fn csv(text: &str) -> String {
    let shown = visible(text);
    let guarded = if shown.starts_with(['=', '+', '-', '@']) { format!("'{shown}") } else { shown };
    if guarded.contains([',', '"', ';']) || guarded.starts_with(' ') || guarded.ends_with(' ') {
        format!("\"{}\"", guarded.replace('"', "\"\""))
    } else {
        guarded
    }
}

/// Text or an attribute's value in XML.
pub fn xml(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in visible(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Part of a file name: letters, digits, `-`, `_` and `.`; anything else becomes `-`.
pub fn file_stem(text: &str) -> String {
    let stem: String = text
        .chars()
        .take(80)
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' })
        .collect();
    stem.trim_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_show() {
        assert_eq!(visible("a\u{202E}b\u{0}c\nd\u{200B}"), "a<U+202E>b<U+0000>c d<U+200B>");
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

    #[test]
    fn a_file_stem_cannot_leave_its_folder() {
        assert_eq!(file_stem("../../etc/passwd"), "-..-etc-passwd");
        assert_eq!(file_stem("mlp.hook_post"), "mlp.hook_post");
    }
}
