//! Text for a terminal: escaped, and measured in columns by the Unicode width of its characters.

use unicode_width::UnicodeWidthStr;

use crate::report::escape::visible;

/// Characters kept for each column, at most: combining marks take no column, so their number needs a limit.
const MARKS_PER_COLUMN: usize = 4;

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// A token or an explanation on one line with every character visible: a line break as `↵`, a tab as `→`.
pub fn visible_token(text: &str) -> String {
    visible(&text.replace('\n', "↵").replace('\t', "→"))
}

/// A text in at most `columns` columns, with `…` where it is cut.
pub fn cut(text: &str, columns: usize) -> String {
    let shown = visible(text);
    if fits(&shown, columns) {
        return shown;
    }
    let ellipsis = if columns > 0 { "…" } else { "" };
    format!("{}{ellipsis}", head(&shown, columns.saturating_sub(1)))
}

fn fits(text: &str, columns: usize) -> bool {
    width(text) <= columns && text.chars().count() <= columns * MARKS_PER_COLUMN
}

/// The longest beginning of a text that fits.
fn head(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().map(|(start, character)| start + character.len_utf8());
    let end = ends.take_while(|&end| fits(&text[..end], columns)).last();
    &text[..end.unwrap_or(0)]
}

/// Padded on the left.
pub fn pad_left(text: &str, columns: usize) -> String {
    format!("{}{text}", " ".repeat(columns.saturating_sub(width(text))))
}

/// Padded on the right.
pub fn pad_right(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// A text in lines of at most `columns` columns, broken at spaces, and inside a word only where the word is
/// longer than a line. Never empty.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(2);
    let mut lines = vec![String::new()];
    for word in visible(text).split(' ').filter(|word| !word.is_empty()) {
        let mut rest = word;
        while let Some(line) = lines.last_mut() {
            let gap = if line.is_empty() { "" } else { " " };
            if fits(&format!("{line}{gap}{rest}"), columns) {
                line.push_str(gap);
                line.push_str(rest);
                break;
            }
            if line.is_empty() {
                let part = head(rest, columns);
                // A single character that does not fit is left out; otherwise the loop would not end.
                let step =
                    if part.is_empty() { rest.chars().next().map_or(0, char::len_utf8) } else { part.len() };
                line.push_str(part);
                rest = &rest[step..];
            }
            lines.push(String::new());
            if rest.is_empty() {
                lines.pop();
                break;
            }
        }
    }
    lines
}

/// The same in at most `most` lines; the last one ends in `…` if something is left out.
pub fn wrap_at_most(text: &str, columns: usize, most: usize) -> Vec<String> {
    let mut lines = wrap(text, columns);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            *last = format!("{} …", head(last, columns.saturating_sub(2)).trim_end());
        }
    }
    lines
}

/// Facts in two columns: the name in `label` columns, then the fact, wrapped.
pub fn labelled_list(facts: &[(&str, String)], label: usize, columns: usize) -> String {
    let mut text = String::new();
    for (name, fact) in facts {
        let name = visible(name);
        for (nth, line) in wrap(fact, columns.saturating_sub(label)).iter().enumerate() {
            text.push_str(
                format!("{}{line}", pad_right(if nth == 0 { &name } else { "" }, label)).trim_end(),
            );
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!(width("日本"), 4);
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("plain", 5), "plain");
        assert_eq!(cut("plain", 0), "");
        assert_eq!(pad_left("日", 4), "  日");
        assert_eq!(pad_right("日", 4), "日  ");
    }

    #[test]
    fn marks_without_end_are_cut() {
        let stacked = format!("a{}", "\u{0301}".repeat(10_000));
        assert!(cut(&stacked, 10).chars().count() <= 10 * MARKS_PER_COLUMN + 1);
        assert!(wrap(&stacked, 10).iter().all(|line| line.chars().count() <= 10 * MARKS_PER_COLUMN));
    }

    #[test]
    fn lines_break_at_spaces_and_long_words_inside() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 10), [""]);
        assert!(wrap("日本語の文章", 5).iter().all(|line| width(line) <= 5));
    }

    #[test]
    fn what_is_left_out_is_said() {
        assert_eq!(wrap_at_most("one two three four", 9, 2), ["one two", "three …"]);
        assert_eq!(wrap_at_most("one two three", 9, 2), ["one two", "three"]);
        assert!(wrap_at_most("abcdefghijklmnopq", 6, 2).iter().all(|line| width(line) <= 6));
    }

    #[test]
    fn facts_fold_beside_their_word() {
        let text =
            labelled_list(&[("disk", "12 GB of activations at once".into()), ("", String::new())], 6, 20);
        assert_eq!(text, "disk  12 GB of\n      activations at\n      once\n\n");
    }

    #[test]
    fn hostile_text_reaches_no_terminal() {
        assert_eq!(visible_token("a\u{1b}[31mb\u{202e}c\n\t"), "a<U+001B>[31mb<U+202E>c↵→");
        assert!(!cut("\u{1b}[2J", 40).contains('\u{1b}'));
        assert!(!wrap("\u{1b}[2J", 40)[0].contains('\u{1b}'));
    }
}
