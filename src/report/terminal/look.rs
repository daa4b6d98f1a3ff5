//! What a terminal can show.

/// Colours that a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ink {
    /// None: the text has to say everything.
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
    /// Text that stands out.
    pub fn bold(&self, text: &str) -> String {
        self.styled("1", text)
    }

    /// Text that stands back.
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
