//! How every chart looks: colours by meaning, sizes of text, the typeface.
//!
//! Colours of methods are those of M. Okabe and K. Ito, *Color Universal Design* (2008), which people with any
//! of the common colour deficiencies tell apart; no chart says anything by colour alone.

use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::canvas::Paper;

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Words and axes.
    Text,
    /// Words of less weight.
    Muted,
    /// Grid lines.
    Grid,
    /// Every second layer.
    Band,
    /// Controls.
    Control,
    /// Methods, by number.
    Series(usize),
}

/// Okabe and Ito's colours, darkest first; the yellow is darkened so that it shows on white.
const SERIES: [&str; N_COLOURS] =
    ["#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#b3a100"];

/// Colours of methods.
pub const N_COLOURS: usize = 8;

/// Font size of a chart's heading, px.
pub const TITLE_SIZE: u32 = 17;
/// Font size of panel titles and axis labels, px.
pub const LABEL_SIZE: u32 = 13;
/// Font size of tick labels and captions, px.
pub const TICK_SIZE: u32 = 12;
/// Font size of counts beside data, px.
pub const SMALL_SIZE: u32 = 11;
/// Room around a drawing, px.
pub const MARGIN: f64 = 16.0;

/// The typeface that the PNG backend brings along, then what is near to it.
pub const FONT: &str = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif";
/// Its Latin and Greek letters, digits and the signs of mathematics, without hints, for files of SVG: 14 KB that
/// make them look like the PNG wherever they are opened. Its licence stands beside it.
const FONT_FILE: &[u8] = include_bytes!("font/dejavu_sans.woff2");
/// PNG pixels per px.
pub const SCALE: f32 = 2.0;

impl Ink {
    /// The colour as CSS has it: fixed in a file, a variable of the style sheet on a page.
    pub fn css(self, paper: Paper) -> String {
        let (fixed, variable) = match self {
            Self::Text => ("#1b1f24", "--ink"),
            Self::Muted => ("#57606a", "--muted"),
            Self::Grid => ("#e1e4e8", "--grid"),
            Self::Band => ("#f5f6f8", "--band"),
            Self::Control => ("#8c959f", "--control"),
            Self::Series(nth) => {
                return match paper {
                    Paper::File => SERIES[nth % N_COLOURS].to_string(),
                    Paper::Page => format!("var(--series{})", nth % N_COLOURS),
                };
            }
        };
        match paper {
            Paper::File => fixed.to_string(),
            Paper::Page => format!("var({variable})"),
        }
    }
}

/// A style sheet that brings the typeface along.
pub fn font_face() -> &'static str {
    static SHEET: OnceLock<String> = OnceLock::new();
    SHEET.get_or_init(|| {
        let font = BASE64_STANDARD.encode(FONT_FILE);
        format!(
            "<style>@font-face{{font-family:\"DejaVu Sans\";\
             src:url(\"data:font/woff2;base64,{font}\") format(\"woff2\")}}</style>"
        )
    })
}
