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

/// A colour on a light background and on a dark one.
type Pair = (&'static str, &'static str);

/// Okabe and Ito's colours; the yellow is darkened for a white background. For a dark background each is changed so that
/// it has a contrast of 3 or more there and all stay apart. The style sheet of the pages has the same pairs.
const SERIES: [Pair; N_COLOURS] = [
    ("#000000", "#ffffff"),
    ("#d55e00", "#e2611a"),
    ("#0072b2", "#3d93d9"),
    ("#009e73", "#12a079"),
    ("#cc79a7", "#e29cc4"),
    ("#56b4e9", "#8fd0f7"),
    ("#e69f00", "#e8a020"),
    ("#b3a100", "#f6ec6b"),
];

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

/// The name of a drawing's dark look: `chart.svg#dark` is drawn with the dark colours.
pub const DARK: &str = "dark";

impl Ink {
    /// All colours.
    fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Paper, Self::Text, Self::Muted, Self::Grid, Self::Band, Self::Control];
        others.into_iter().chain((0..N_COLOURS).map(Self::Series))
    }

    /// The light and the dark colour.
    fn pair(self) -> Pair {
        match self {
            Self::Paper => ("#ffffff", "#14171b"),
            Self::Text => ("#1b1f24", "#e8eaed"),
            Self::Muted => ("#57606a", "#a4adb8"),
            Self::Grid => ("#e1e4e8", "#343b44"),
            Self::Band => ("#f5f6f8", "#1b1f25"),
            Self::Control => ("#8c959f", "#8b949e"),
            Self::Series(nth) => SERIES[nth % N_COLOURS],
        }
    }

    /// The name of the style sheet's variable.
    fn variable(self) -> String {
        match self {
            Self::Paper => "paper".to_string(),
            Self::Text => "ink".to_string(),
            Self::Muted => "muted".to_string(),
            Self::Grid => "grid".to_string(),
            Self::Band => "band".to_string(),
            Self::Control => "control".to_string(),
            Self::Series(nth) => format!("series{}", nth % N_COLOURS),
        }
    }

    /// The CSS colour: fixed in a file, a variable of the style sheet on a page.
    pub fn css(self, paper: Paper) -> String {
        match paper {
            Paper::File => self.pair().0.to_string(),
            Paper::Page => format!("var(--{})", self.variable()),
        }
    }
}

/// The style sheet of a file: the embedded typeface, and the dark colours that a dark page asks for with
/// `#dark`. Without that, and in every program that is no browser, the file is light.
pub fn sheet() -> &'static str {
    static SHEET: LazyLock<String> = LazyLock::new(|| {
        let font = BASE64_STANDARD.encode(FONT_FILE);
        let dark = |ink: Ink| {
            let (light, dark) = ink.pair();
            ["fill", "stroke"].map(|of| format!("svg:target [{of}=\"{light}\"]{{{of}:{dark}}}")).concat()
        };
        format!(
            "<style>@font-face{{font-family:\"DejaVu Sans\";\
             src:url(\"data:font/woff2;base64,{font}\") format(\"woff2\")}}{}</style>",
            Ink::all().map(dark).collect::<String>()
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
        for ink in Ink::all() {
            let (light, dark) = ink.pair();
            let line = format!("--{}: light-dark({light}, {dark});", ink.variable());
            assert!(sheet.contains(&line), "{line}");
        }
    }

    #[test]
    fn no_two_colours_are_the_same() {
        let light: Vec<&str> = Ink::all().map(|ink| ink.pair().0).collect();
        assert_eq!(
            crate::base::distinct(light.clone()),
            light,
            "a file's colours are exchanged by their values"
        );
    }
}
