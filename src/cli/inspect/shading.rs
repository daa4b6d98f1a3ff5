//! Tokens shaded by activation, true and simulated on one scale.
//!
//! All colours have one hue; saturation rises with the activation, and the text is black. Lightness is medium, so
//! strong activations stand out on white and on black terminals. Without colours, digits below the tokens give the
//! activations.

use crate::report::{Ink, pad_right, visible_token, width};

/// Weakest and strongest colour, RGB. Colours between are interpolated linearly.
const WEAK: [u8; 3] = [203, 190, 177];
const STRONG: [u8; 3] = [255, 128, 0];

/// The same from the 256-colour palette, weakest first.
const PALETTE: [u8; 4] = [250, 180, 215, 208];

/// Activations below this share of the largest are not shaded.
const MIN_SHARE: f64 = 0.05;

/// One row of a fragment: true or simulated activations, as shares of the largest activation.
pub struct Row<'a> {
    /// `true` or `simul`.
    pub name: &'a str,
    /// One value per token, in [−1, 1].
    pub shares: Vec<f64>,
}

/// Draws a fragment in at most `columns` columns. Every line of tokens is repeated for each row of activations.
pub fn fragment(tokens: &[&str], rows: &[Row<'_>], columns: usize, ink: Ink) -> String {
    let label = rows.iter().map(|activations| width(activations.name)).max().unwrap_or(0) + 4;
    let shown: Vec<String> = tokens.iter().map(|token| visible_token(token)).collect();
    let mut text = String::new();
    for line in lines(&shown, columns.saturating_sub(label)) {
        if ink == Ink::None {
            text.push_str(&" ".repeat(label));
            text.push_str(shown[line.clone()].concat().trim_end());
            text.push('\n');
        }
        for activations in rows {
            let shaded: String = line
                .clone()
                .map(|nth| {
                    let share = activations.shares.get(nth).copied().unwrap_or(0.0);
                    let token = &shown[nth];
                    if ink == Ink::None { digit(token, share) } else { colour(token, share, ink) }
                })
                .collect();
            let row = format!("  {}  {shaded}", pad_right(activations.name, label - 4));
            text.push_str(if ink == Ink::None { row.trim_end() } else { &row });
            text.push('\n');
        }
    }
    text
}

/// Ranges of tokens that fit on one line. A token wider than a line has its own line.
fn lines(shown: &[String], columns: usize) -> Vec<std::ops::Range<usize>> {
    let mut lines = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (nth, token) in shown.iter().enumerate() {
        if nth > start && used + width(token) > columns {
            lines.push(start..nth);
            (start, used) = (nth, 0);
        }
        used += width(token);
    }
    lines.push(start..shown.len());
    lines
}

/// The activation in ninths of the largest, placed below the token's first visible character.
fn digit(token: &str, share: f64) -> String {
    let blank = width(token) - width(token.trim_start());
    let mark =
        if share >= MIN_SHARE { format!("{:.0}", (share.min(1.0) * 9.0).max(1.0)) } else { " ".into() };
    let before = if blank < width(token) { blank } else { 0 };
    let placed = if width(token) == 0 { String::new() } else { format!("{}{mark}", " ".repeat(before)) };
    pad_right(&placed, width(token))
}

fn colour(token: &str, share: f64, ink: Ink) -> String {
    match ink {
        _ if share < MIN_SHARE => token.to_string(),
        Ink::None => token.to_string(),
        Ink::True => {
            let [red, green, blue] = rgb(share);
            format!("\u{1b}[48;2;{red};{green};{blue};30m{token}\u{1b}[0m")
        }
        Ink::Palette => format!("\u{1b}[48;5;{};30m{token}\u{1b}[0m", palette(share)),
    }
}

fn rgb(share: f64) -> [u8; 3] {
    let share = share.clamp(0.0, 1.0);
    let mix = |nth: usize| f64::from(WEAK[nth]) + share * (f64::from(STRONG[nth]) - f64::from(WEAK[nth]));
    [0, 1, 2].map(|nth| mix(nth).round() as u8)
}

fn palette(share: f64) -> u8 {
    let steps = PALETTE.len() as f64;
    PALETTE[((share.clamp(0.0, 1.0) * steps).ceil() as usize).clamp(1, PALETTE.len()) - 1]
}

/// The scale of activations, in one line.
pub fn legend(largest: f64, ink: Ink) -> String {
    if ink == Ink::None {
        return format!(
            "9 is the largest activation, {largest:.3}; activations below 1/20 of it have no mark"
        );
    }
    let steps: String = (1..=5).map(|nth| colour("  ", f64::from(nth) / 5.0, ink)).collect();
    format!("0 {steps} {largest:.3}, the largest activation")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row<'static>> {
        vec![
            Row { name: "true", shares: vec![0.0, 1.0, 0.5, -0.4] },
            Row { name: "simul", shares: vec![0.04, 0.3, 0.0, 2.0] },
        ]
    }

    const TOKENS: [&str; 4] = [" old", " dog", "日本", "\u{1b}[2J\n"];

    #[test]
    fn without_colours_digits_stand_below_the_tokens() {
        let text = fragment(&TOKENS, &rows(), 60, Ink::None);
        let expected = "          old dog日本<U+001B>[2J↵\n  true        9  4\n  simul       3      9\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn lines_fit_and_both_rows_break_at_the_same_tokens() {
        let tokens: Vec<&str> = TOKENS.into_iter().cycle().take(64).collect();
        let shares: Vec<f64> = (0..64).map(|nth| f64::from(nth) / 64.0).collect();
        let rows = [Row { name: "true", shares: shares.clone() }, Row { name: "simul", shares }];
        for ink in [Ink::None, Ink::Palette, Ink::True] {
            let text = fragment(&tokens, &rows, 80, ink);
            let bare: Vec<String> = text.lines().map(without_colour).collect();
            assert!(bare.iter().all(|line| width(line) <= 80), "{text}");
            for pair in bare.chunks(if ink == Ink::None { 3 } else { 2 }) {
                let [.., real, simulated] = pair else { panic!("{text}") };
                assert_eq!(real.trim_start_matches("  true "), simulated.trim_start_matches("  simul"));
            }
        }
    }

    /// A line without its escape sequences.
    fn without_colour(line: &str) -> String {
        let mut parts = line.split("\u{1b}[");
        let first = parts.next().unwrap_or_default().to_string();
        parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
    }

    fn luminance(colour: [u8; 3]) -> f64 {
        let linear = colour.map(|part| (f64::from(part) / 255.0).powf(2.2));
        0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    }

    /// Degrees around the colour circle, and the distance from grey in levels of 255.
    fn hue(colour: [u8; 3]) -> (f64, f64) {
        let [red, green, blue] = colour.map(f64::from);
        let (most, least) = (red.max(green).max(blue), red.min(green).min(blue));
        assert!(red == most && blue == least, "between red and yellow");
        (60.0 * (green - blue) / (most - least).max(1.0), most - least)
    }

    /// A colour of the palette: 6 × 6 × 6 from 16 on, greys from 232 on.
    fn of_palette(number: u8) -> [u8; 3] {
        if number >= 232 {
            return [8 + 10 * (number - 232); 3];
        }
        let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
        let cube = number - 16;
        [level(cube / 36), level(cube / 6 % 6), level(cube % 6)]
    }

    #[test]
    fn the_scale_has_one_hue_and_stands_out_from_black_and_white() {
        let shares = [0.05, 0.25, 0.5, 0.75, 1.0];
        let smooth: Vec<[u8; 3]> = shares.iter().map(|share| rgb(*share)).collect();
        let stepped: Vec<[u8; 3]> = shares.iter().map(|share| of_palette(palette(*share))).collect();
        for colours in [smooth, stepped] {
            let mut before = -1.0;
            for colour in colours {
                let (degrees, purity) = hue(colour);
                assert!(purity < 1.0 || (25.0..35.0).contains(&degrees), "{colour:?} is at {degrees}");
                assert!(purity >= before, "{colour:?} is weaker than what is below it");
                before = purity;
                let light = luminance(colour);
                assert!((light + 0.05) / 0.05 >= 7.0, "black text on {colour:?}");
                assert!(1.05 / (light + 0.05) >= 1.7, "{colour:?} on white");
            }
        }
    }
}
