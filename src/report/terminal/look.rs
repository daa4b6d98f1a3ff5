//! Width and colours of a terminal.

use crate::base::terminal_text;

/// What begins a style.
const STYLE: &str = "\u{1b}[";

/// Bold, dimmed, a background with black text, or the end of these.
fn is_own_style(style: &str) -> bool {
    let is_numbers = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b';');
    matches!(style, "0" | "1" | "2") || style.strip_prefix("48;").is_some_and(is_numbers)
}

/// Colours that a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ink {
    /// None.
    #[default]
    None,
    /// 256 colours by number.
    Palette,
    /// Any colour.
    True,
}

/// Width and colours of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Colours.
    pub ink: Ink,
}

impl Look {
    /// Bold text.
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// Dimmed text.
    pub fn dim(&self, text: &str) -> String {
        self.styled("2", text)
    }

    /// The text as it may be printed: escaped, except for the styles that this program writes itself.
    pub fn printable(&self, text: &str) -> String {
        if self.ink == Ink::None {
            return terminal_text(text).into_owned();
        }
        let mut parts = text.split(STYLE);
        let mut shown = terminal_text(parts.next().unwrap_or_default()).into_owned();
        for part in parts {
            match part.split_once('m').filter(|(style, _)| is_own_style(style)) {
                Some((style, rest)) => shown.push_str(&format!("{STYLE}{style}m{}", terminal_text(rest))),
                None => shown.push_str(&terminal_text(&format!("{STYLE}{part}"))),
            }
        }
        shown
    }

    fn styled(&self, code: &str, text: &str) -> String {
        match self.ink {
            Ink::None => text.to_string(),
            Ink::Palette | Ink::True => format!("{STYLE}{code}m{text}{STYLE}0m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_styles_are_printed() {
        let hostile = "\u{1b}[31mred\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}5m\u{202e}";
        let escaped = "\\x1b[31mred\\x1b[2J\\x1b]0;title\\x07\\x9b5m\\u{202e}";
        for ink in [Ink::None, Ink::Palette, Ink::True] {
            let look = Look { width: 80, ink };
            assert_eq!(look.printable(&look.bold(hostile)), look.bold(escaped));
            assert_eq!(look.printable(&format!("a{}b\n", look.dim("c"))), format!("a{}b\n", look.dim("c")));
        }
        assert_eq!(Look { width: 80, ink: Ink::None }.printable("\u{1b}[1mbold"), "\\x1b[1mbold");
        let shaded = "\u{1b}[48;2;255;128;0;30mx\u{1b}[0m";
        assert_eq!(Look { width: 80, ink: Ink::True }.printable(shaded), shaded);
    }
}
