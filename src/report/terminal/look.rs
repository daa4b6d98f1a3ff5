//! Width and colours of a terminal.

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

    fn styled(&self, code: &str, text: &str) -> String {
        match self.ink {
            Ink::None => text.to_string(),
            Ink::Palette | Ink::True => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}
