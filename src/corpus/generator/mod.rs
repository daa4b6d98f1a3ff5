//! Generator of English and French documents in 13 registers. Every word is labelled with its concepts.
//!
//! In: a seed and a document's index.
//! Out: text, and spans that say which concepts each word instantiates.
//! Never: knows a tokenizer or a model; copies text from anywhere.
//!
//! Grammars, word lists and templates are this crate's own. People, things and choices stay the same within
//! a document: a verb goes with its noun, a pronoun with its person, a total with its items. Context therefore
//! predicts more than bigrams and trigrams do.

mod code;
mod concept;
mod concepts;
mod french;
mod inflect;
mod ioi;
mod label;
mod lexicon;
mod prose;
mod scene;
mod structured;
#[cfg(test)]
mod tests;
mod writer;

use strum::VariantArray;

use crate::base::Stream;

pub use concept::{Concept, ConceptSet, Span};
pub use concepts::LabelledConcept;
pub use ioi::{HeldOut, IoiPair, IoiPrompt};
pub use label::label;

use scene::Scene;

/// A kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray)]
pub enum Register {
    /// Stories.
    Narration,
    /// Talk, with contractions and apostrophes.
    Dialogue,
    /// Letters.
    Letter,
    /// Facts about a topic.
    Exposition,
    /// Dates and prices.
    Ledger,
    /// Recipes.
    Recipe,
    /// Lists.
    List,
    /// Code with brackets and strings.
    Code,
    /// Web addresses and JSON.
    Data,
    /// Text with citations and references.
    Citation,
    /// French.
    French,
    /// Sums and word problems.
    Arithmetic,
    /// Indirect-object sentences.
    Ioi,
}

/// Writes a document of about the given number of words.
type Write = fn(&mut Scene, usize);

impl Register {
    /// Every register.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The concept that every span of such a document has.
    pub fn concept(self) -> Concept {
        self.recipe().0
    }

    /// Share of documents, in percent; the shares sum to 100.
    fn percent(self) -> usize {
        self.recipe().1
    }

    /// Concept, share of documents in percent, and writer.
    fn recipe(self) -> (Concept, usize, Write) {
        match self {
            Self::Narration => (Concept::NARRATION, 20, prose::narration),
            Self::Dialogue => (Concept::DIALOGUE, 12, prose::dialogue),
            Self::Letter => (Concept::LETTER, 8, prose::letter),
            Self::Exposition => (Concept::EXPOSITION, 8, prose::exposition),
            Self::Ledger => (Concept::LEDGER, 5, structured::ledger),
            Self::Recipe => (Concept::RECIPE, 6, structured::recipe),
            Self::List => (Concept::LIST, 4, structured::list),
            Self::Code => (Concept::CODE, 8, code::code),
            Self::Data => (Concept::DATA, 6, structured::data),
            Self::Citation => (Concept::CITATION, 2, structured::citation),
            Self::French => (Concept::FRENCH, 5, french::french),
            Self::Arithmetic => (Concept::ARITHMETIC, 1, structured::arithmetic),
            Self::Ioi => (Concept::IOI, 15, ioi::sentences),
        }
    }

    fn draw(stream: &mut Stream) -> Self {
        let mut at = stream.below(100);
        for &register in Self::ALL {
            if at < register.percent() {
                return register;
            }
            at -= register.percent();
        }
        Self::Narration
    }
}

/// A generated document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The whole text.
    pub text: String,
    /// What kind of text it is.
    pub register: Register,
    /// The text in pieces, each with its concepts. Joined, the pieces are `text`.
    pub spans: Vec<Span>,
}

/// Writes documents from a seed. Document `i` depends only on the seed and `i`.
#[derive(Debug)]
pub struct Generator {
    seed: u64,
}

impl Generator {
    /// Creates a generator. Equal seeds give equal documents.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The document at `index`, of 100 to 400 words. The register is drawn.
    pub fn document(&self, index: u64) -> Document {
        let mut stream = Stream::named(self.seed, &["generator", "document", &index.to_string()]);
        let register = Register::draw(&mut stream);
        Self::write(register, stream)
    }

    /// Document `index` of the given register.
    pub fn document_in(&self, register: Register, index: u64) -> Document {
        let parts = ["generator", register.concept().name(), &index.to_string()];
        Self::write(register, Stream::named(self.seed, &parts))
    }

    /// `n` prompts, with both name orders equally likely. The same seed gives the same prompts.
    pub fn ioi_prompts(&self, n: usize, held_out: HeldOut) -> Vec<IoiPrompt> {
        let prompt = |index: usize| {
            let parts = ["generator", "ioi", &format!("{held_out:?}"), &index.to_string()];
            let scene = Scene::new(Stream::named(self.seed, &parts), Concept::IOI);
            ioi::prompt(scene, held_out)
        };
        (0..n).map(prompt).collect()
    }

    /// Pair `index` of prompts that differ in the indirect object alone.
    pub fn ioi_pair(&self, index: usize, held_out: HeldOut) -> IoiPair {
        let parts = ["generator", "ioi pair", &format!("{held_out:?}"), &index.to_string()];
        let scene = || Scene::new(Stream::named(self.seed, &parts), Concept::IOI);
        let mut names = Stream::named(self.seed, &[&parts[..], &["third name"]].concat());
        ioi::pair(scene, &mut names, held_out)
    }

    /// Every first name that documents use. Held-out names never occur in indirect-object sentences.
    pub fn names(held_out: bool) -> Vec<&'static str> {
        ioi::names(held_out).concat()
    }

    fn write(register: Register, mut stream: Stream) -> Document {
        let words = 140 + stream.below(220);
        let mut scene = Scene::new(stream, register.concept());
        (register.recipe().2)(&mut scene, words);
        let (text, spans) = scene.writer.finish();
        Document { text, register, spans }
    }
}
