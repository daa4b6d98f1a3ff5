//! Prompts whose label follows from how they were written.

use strum::{IntoStaticStr, VariantArray};

use super::concept::Concept;
use super::{Document, Generator, Register};
use crate::base::Stream;

/// Pieces of text in front of the last one: a word is about one piece.
const LEAST_PIECES: usize = 6;

/// Most pieces of a prompt.
const MOST_PIECES: usize = 40;

/// A concept with two labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum LabelledConcept {
    /// Whether the noun that ends the prompt is singular or plural.
    NounNumber,
    /// Whether the name that ends the prompt is a woman's or a man's.
    NameGender,
    /// Whether the prompt begins a story or a dialogue.
    TextKind,
}

impl LabelledConcept {
    /// Its name: `noun_number`.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The two labels.
    pub fn labels(self) -> [&'static str; 2] {
        match self {
            Self::NounNumber => ["singular", "plural"],
            Self::NameGender => ["feminine", "masculine"],
            Self::TextKind => ["narration", "dialogue"],
        }
    }

    /// The concepts that the last piece of a prompt has, one per label; none if the kind of text is the label.
    fn of_piece(self) -> Option<[Concept; 2]> {
        match self {
            Self::NounNumber => Some([Concept::NOUN_SINGULAR, Concept::NOUN_PLURAL]),
            Self::NameGender => Some([Concept::NAME_FEMININE, Concept::NAME_MASCULINE]),
            Self::TextKind => None,
        }
    }
}

impl Generator {
    /// Prompt `nth` of a concept, with the label `nth % 2`: the beginning of a document. None if that document has no place
    /// where the prompt could end. The documents are no part of the embedded corpus.
    pub fn labelled_prompt(&self, concept: LabelledConcept, nth: usize) -> Option<String> {
        let (label, index) = (nth % 2, nth.to_string());
        let mut stream = Stream::named(self.seed, &["generator", "labelled", concept.name(), &index]);
        let register = match concept {
            LabelledConcept::NounNumber => Register::Exposition,
            LabelledConcept::NameGender => *stream.pick(&[Register::Narration, Register::Dialogue]),
            LabelledConcept::TextKind => [Register::Narration, Register::Dialogue][label],
        };
        let document = Self::write(register, stream.clone());
        let ends: Vec<usize> = match concept.of_piece() {
            Some(of_label) => ends_with(&document, of_label, label),
            None => (LEAST_PIECES..MOST_PIECES.min(document.spans.len())).collect(),
        };
        let last = *(!ends.is_empty()).then(|| stream.pick(&ends))?;
        let text: String = document.spans[..=last].iter().map(|span| span.text.as_str()).collect();
        let text = text.trim_end();
        (!text.is_empty()).then(|| text.to_string())
    }
}

/// Places of pieces with one of two concepts, and without the other. Occupations and objects are left out: only their
/// plurals are labelled with a number.
fn ends_with(document: &Document, of_label: [Concept; 2], label: usize) -> Vec<usize> {
    let (wanted, other) = (of_label[label], of_label[1 - label]);
    let is_end = |nth: &usize| {
        let concepts = &document.spans[*nth].concepts;
        let has = |concept: &Concept| concepts.contains(concept);
        has(&wanted) && ![other, Concept::ROLE, Concept::OBJECT].iter().any(has)
    };
    (LEAST_PIECES..MOST_PIECES.min(document.spans.len())).filter(is_end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_alternate_and_hold_for_the_text() {
        let generator = Generator::new(7);
        for &concept in LabelledConcept::VARIANTS {
            let prompts: Vec<Option<String>> =
                (0..200).map(|nth| generator.labelled_prompt(concept, nth)).collect();
            for label in 0..2 {
                let found = prompts.iter().skip(label).step_by(2).flatten().count();
                assert!(found >= 5, "{}: {found} of 100 with label {label}", concept.name());
            }
            assert_eq!(prompts[0], generator.labelled_prompt(concept, 0));
        }
        let women = [false, true].map(|held_out| super::super::ioi::names(held_out)[0]).concat();
        let names = (0..200)
            .filter_map(|nth| Some((nth, generator.labelled_prompt(LabelledConcept::NameGender, nth)?)));
        for (nth, text) in names {
            let name = text.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            assert_eq!(women.contains(&name), nth % 2 == 0, "{text}");
        }
    }
}
