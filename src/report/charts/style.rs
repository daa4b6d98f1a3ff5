//! Colours by meaning, sizes of text and the typeface of every chart.
//!
//! The colours of methods are those of M. Okabe and K. Ito, *Color Universal Design* (2008), which people with the
//! common colour deficiencies tell apart. Each method also has its own shape, so charts read without colour
//! (`palette.rs` says which method has which).

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Where a drawing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paper {
    /// A file: white background, fixed colours, title and caption drawn.
    File,
    /// A page with a style sheet that defines the colours, light and dark.
    Page,
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// The background.
    Paper,
    /// Words and axes.
    Text,
    /// Secondary words.
    Muted,
    Grid,
    /// Background of every second layer.
    Band,
    Control,
    /// Methods, by number.
    Series(usize),
}

/// Okabe and Ito's colours; the yellow is darkened for a white background. The style sheet of the pages has the same,
/// and lighter ones for a dark background.
const SERIES: [&str; N_COLOURS] =
    ["#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#b3a100"];

/// Number of colours of methods.
pub const N_COLOURS: usize = 8;

/// Font size of a chart's title, px.
pub const TITLE_SIZE: u32 = 17;
/// Font size of panel titles and axis labels, px.
pub const LABEL_SIZE: u32 = 13;
/// Font size of tick labels and captions, px.
pub const TICK_SIZE: u32 = 12;
/// Font size of counts beside data, px.
pub const SMALL_SIZE: u32 = 11;
/// Margin around a drawing, px.
pub const MARGIN: f64 = 16.0;

/// The typeface of the PNG backend, then similar ones.
pub const FONT: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
/// DejaVu Sans (Latin, Greek, digits, mathematical signs; no hints), embedded in SVG files so that they look like
/// the PNG everywhere. The licence is beside it.
const FONT_FILE: &[u8] = include_bytes!("font/dejavu_sans.woff2");
/// PNG pixels per px.
pub const SCALE: f32 = 2.0;

impl Ink {
    /// The CSS colour: fixed in a file, a variable of the style sheet on a page.
    pub fn css(self, paper: Paper) -> String {
        let (fixed, variable) = match self {
            Self::Paper => ("#ffffff", "paper".to_string()),
            Self::Text => ("#1b1f24", "ink".to_string()),
            Self::Muted => ("#57606a", "muted".to_string()),
            Self::Grid => ("#e1e4e8", "grid".to_string()),
            Self::Band => ("#f5f6f8", "band".to_string()),
            Self::Control => ("#8c959f", "control".to_string()),
            Self::Series(nth) => (SERIES[nth % N_COLOURS], format!("series{}", nth % N_COLOURS)),
        };
        match paper {
            Paper::File => fixed.to_string(),
            Paper::Page => format!("var(--{variable})"),
        }
    }
}

/// A style sheet with the embedded typeface.
pub fn font_face() -> &'static str {
    static SHEET: LazyLock<String> = LazyLock::new(|| {
        let font = BASE64_STANDARD.encode(FONT_FILE);
        format!(
            "<style>@font-face{{font-family:\"DejaVu Sans\";\
             src:url(\"data:font/woff2;base64,{font}\") format(\"woff2\")}}</style>"
        )
    });
    &SHEET
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_have_the_same_colours_as_files() {
        let sheet = include_str!("../pages/style.css");
        for (nth, colour) in SERIES.iter().enumerate() {
            assert!(sheet.contains(&format!("--series{nth}: light-dark({colour}, ")), "{colour}");
        }
        for ink in [Ink::Paper, Ink::Text, Ink::Muted, Ink::Grid, Ink::Band, Ink::Control] {
            let variable = ink.css(Paper::Page);
            let name = variable.trim_start_matches("var(").trim_end_matches(')');
            let light = format!("{name}: light-dark({}, ", ink.css(Paper::File));
            assert!(sheet.contains(&light), "{light}");
        }
    }
}
