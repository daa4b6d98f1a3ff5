//! Width of text, for layout.

/// Advance widths of the printable ASCII characters in DejaVu Sans from the space on, in thousandths of the font
/// size. The PNG backend draws with this font.
const ADVANCES: [u16; 95] = [
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636, 636, 636,
    636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632, 575, 775, 752, 295,
    295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838,
    500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, 635, 635, 411, 521,
    392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
];

/// Width in px at a font size in px. A character beyond ASCII counts as wide as the font size.
pub fn width(text: &str, size: f64) -> f64 {
    let advance = |character: char| {
        let index = usize::try_from(u32::from(character)).unwrap_or(usize::MAX).wrapping_sub(32);
        ADVANCES.get(index).map_or(1000.0, |advance| f64::from(*advance))
    };
    text.chars().map(advance).sum::<f64>() / 1000.0 * size
}

/// Lines no wider than `limit`, broken at spaces. A word wider than that has a line of its own.
pub fn wrap(text: &str, size: f64, limit: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= limit => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// The text, cut with `…` where it is wider than `limit`.
pub fn cut(text: &str, size: f64, limit: f64) -> String {
    if width(text, size) <= limit {
        return text.to_string();
    }
    let mut kept = String::new();
    for character in text.chars() {
        kept.push(character);
        if width(&kept, size) + size > limit {
            kept.pop();
            break;
        }
    }
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_wraps_and_cuts() {
        assert!((width("0.5", 10.0) - (6.36 + 3.18 + 6.36)).abs() < 1e-9);
        assert_eq!(wrap("aa bb cc", 10.0, width("aa bb", 10.0)), ["aa bb", "cc"]);
        let short = cut("a_rather_long_name", 10.0, 60.0);
        assert!(short.ends_with('…') && width(&short, 10.0) <= 60.0, "{short}");
        assert_eq!(cut("ok", 10.0, 60.0), "ok");
    }
}
