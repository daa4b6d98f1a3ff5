//! Classes of characters by Unicode general category.

use unicode_general_category::{GeneralCategory, get_general_category};

/// True for marks that are drawn on the character before them (Mn, Mc, Me).
pub fn is_combining(character: char) -> bool {
    use GeneralCategory::{EnclosingMark, NonspacingMark, SpacingMark};
    matches!(get_general_category(character), NonspacingMark | SpacingMark | EnclosingMark)
}

/// True for format characters (Cf): joiners, direction marks, soft hyphens, tags.
pub fn is_format(character: char) -> bool {
    get_general_category(character) == GeneralCategory::Format
}

/// True for characters that show nothing or change how others are shown: controls (Cc), format characters (Cf), line and
/// paragraph separators (Zl, Zp), unassigned code points (Cn), Hangul fillers and the grapheme joiner.
pub fn is_invisible(character: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator, Unassigned};
    // Letters and a mark by category, but without a glyph.
    let blank = matches!(character, '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}');
    let category = get_general_category(character);
    blank || matches!(category, Control | Format | LineSeparator | ParagraphSeparator | Unassigned)
}

/// True for code points without a standard meaning (Co).
pub fn is_private_use(character: char) -> bool {
    get_general_category(character) == GeneralCategory::PrivateUse
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_every_script_combine() {
        // A Hebrew accent, an Arabic vowel, Devanagari, Bengali and Thai vowel signs, a musical stem.
        for mark in ['\u{0591}', '\u{064B}', '\u{093E}', '\u{09BE}', '\u{0E31}', '\u{1D165}'] {
            assert!(is_combining(mark), "{mark:?}");
        }
        assert!(['\u{0301}', '\u{20DD}', '\u{FE0F}', '\u{E0100}'].into_iter().all(is_combining));
        assert!(!['a', '\u{200D}', '\u{1F600}', '字'].into_iter().any(is_combining));
    }

    #[test]
    fn format_characters_of_every_script_are_invisible() {
        // Syriac abbreviation mark, shorthand format overlap, musical beam begin, hieroglyph joiner.
        for hidden in ['\u{070F}', '\u{1BCA0}', '\u{1D173}', '\u{13430}'] {
            assert!(is_format(hidden) && is_invisible(hidden), "{hidden:?}");
        }
        // A noncharacter, separators, a filler, the grapheme joiner, a control.
        let others = ['\u{1FFFF}', '\u{2028}', '\u{2029}', '\u{3164}', '\u{034F}', '\u{85}'];
        assert!(others.into_iter().all(|hidden| is_invisible(hidden) && !is_format(hidden)));
        assert!(!['a', ' ', '\u{0301}', '\u{FFFD}', '\u{1F600}', '\u{E000}'].into_iter().any(is_invisible));
        assert!(is_private_use('\u{E000}') && is_private_use('\u{10FFFD}') && !is_private_use('a'));
    }

    /// The characters of the lists by hand that these functions replace.
    #[test]
    fn known_invisible_characters_stay_invisible() {
        let ranges = [
            '\u{AD}'..='\u{AD}',
            '\u{61C}'..='\u{61C}',
            '\u{180E}'..='\u{180E}',
            '\u{200B}'..='\u{200F}',
            '\u{2028}'..='\u{202E}',
            '\u{2060}'..='\u{206F}',
            '\u{FEFF}'..='\u{FEFF}',
            '\u{FFF0}'..='\u{FFFB}',
            '\u{E0000}'..='\u{E007F}',
        ];
        for hidden in ranges.into_iter().flatten() {
            assert!(is_invisible(hidden), "{hidden:?}");
        }
    }
}
