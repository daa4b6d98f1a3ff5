//! Text of our own: documents in many registers, from a seed, with the concepts of every word.
//!
//! In: a seed and a document's index.
//! Out: text, and spans that say which concepts each word instantiates.
//! Never: knows a tokenizer or a model; copies text from anywhere.
//!
//! Grammars, word lists and templates are this crate's own. People, things and choices of a document
//! stay the same in it (a verb goes with its noun, a pronoun with its person, a total with its items), so
//! that context predicts words beyond what pairs and triples of words do.

mod code;
mod concept;
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

use crate::base::Stream;

pub use concept::{Concept, ConceptSet, Span};
pub use ioi::{HeldOut, IoiPrompt};
pub use label::label;

use lexicon::Lexicon;
use scene::Scene;

/// A kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Register {
    /// Every register.
    pub const ALL: &'static [Self] = &[
        Self::Narration,
        Self::Dialogue,
        Self::Letter,
        Self::Exposition,
        Self::Ledger,
        Self::Recipe,
        Self::List,
        Self::Code,
        Self::Data,
        Self::Citation,
        Self::French,
        Self::Arithmetic,
        Self::Ioi,
    ];

    /// The concept that every span of such a document has.
    pub fn concept(self) -> Concept {
        match self {
            Self::Narration => Concept::NARRATION,
            Self::Dialogue => Concept::DIALOGUE,
            Self::Letter => Concept::LETTER,
            Self::Exposition => Concept::EXPOSITION,
            Self::Ledger => Concept::LEDGER,
            Self::Recipe => Concept::RECIPE,
            Self::List => Concept::LIST,
            Self::Code => Concept::CODE,
            Self::Data => Concept::DATA,
            Self::Citation => Concept::CITATION,
            Self::French => Concept::FRENCH,
            Self::Arithmetic => Concept::ARITHMETIC,
            Self::Ioi => Concept::IOI,
        }
    }

    /// Share of documents, in percent; the shares sum to 100.
    fn percent(self) -> usize {
        match self {
            Self::Narration => 20,
            Self::Ioi => 15,
            Self::Dialogue => 12,
            Self::Letter | Self::Exposition | Self::Code => 8,
            Self::Recipe | Self::Data => 6,
            Self::Ledger | Self::French => 5,
            Self::List => 4,
            Self::Citation => 2,
            Self::Arithmetic => 1,
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
    /// The text in pieces, each with its concepts; joined they are `text`.
    pub spans: Vec<Span>,
}

/// Writes documents from a seed. Document `i` depends only on the seed and `i`.
pub struct Generator {
    seed: u64,
    lexicon: Lexicon,
}

impl std::fmt::Debug for Generator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generator").field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl Generator {
    /// A generator; equal seeds give equal documents.
    pub fn new(seed: u64) -> Self {
        Self { seed, lexicon: Lexicon::new() }
    }

    /// The document at `index`, of 100 to 400 words.
    pub fn document(&self, index: u64) -> Document {
        let mut stream = Stream::named(self.seed, &["generator", "document", &index.to_string()]);
        let register = Register::draw(&mut stream);
        self.write(register, stream)
    }

    /// The same of a given register: document `i` of each register is another text.
    pub fn document_in(&self, register: Register, index: u64) -> Document {
        let parts = ["generator", register.concept().name(), &index.to_string()];
        self.write(register, Stream::named(self.seed, &parts))
    }

    /// `n` prompts, both name orders in equal shares on average; the same seed gives the same prompts.
    pub fn ioi_prompts(&self, n: usize, held_out: HeldOut) -> Vec<IoiPrompt> {
        let prompt = |index: usize| {
            let parts = ["generator", "ioi", &format!("{held_out:?}"), &index.to_string()];
            let scene = Scene::new(&self.lexicon, Stream::named(self.seed, &parts), Concept::IOI);
            ioi::prompt(scene, held_out)
        };
        (0..n).map(prompt).collect()
    }

    /// Every first name that documents use; `held_out` ones are never in their indirect-object sentences.
    pub fn names(held_out: bool) -> Vec<&'static str> {
        let pools = match held_out {
            true => [lexicon::HELD_OUT_WOMEN, lexicon::HELD_OUT_MEN],
            false => [lexicon::WOMEN, lexicon::MEN],
        };
        pools.concat()
    }

    fn write(&self, register: Register, mut stream: Stream) -> Document {
        let words = 140 + stream.below(220);
        let mut scene = Scene::new(&self.lexicon, stream, register.concept());
        match register {
            Register::Narration => prose::narration(&mut scene, words),
            Register::Dialogue => prose::dialogue(&mut scene, words),
            Register::Letter => prose::letter(&mut scene, words),
            Register::Exposition => prose::exposition(&mut scene, words),
            Register::Ledger => structured::ledger(&mut scene, words),
            Register::Recipe => structured::recipe(&mut scene, words),
            Register::List => structured::list(&mut scene, words),
            Register::Code => code::code(&mut scene, words),
            Register::Data => structured::data(&mut scene, words),
            Register::Citation => structured::citation(&mut scene, words),
            Register::French => french::french(&mut scene, words),
            Register::Arithmetic => structured::arithmetic(&mut scene, words),
            Register::Ioi => ioi::sentences(&mut scene, words),
        }
        let (text, spans) = scene.writer.finish();
        Document { text, register, spans }
    }
}
