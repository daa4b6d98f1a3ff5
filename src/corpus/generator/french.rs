//! The second language: simple French with agreement of gender and number.

use std::sync::LazyLock;

use crate::base::Stream;

use super::concept::Concept;
use super::lexicon::{Templates, templates};
use super::scene::Scene;

/// Masculine nouns, then feminine ones; a noun is named by its index in both lists together.
const MASCULINE: [&str; 12] = [
    "chat", "chien", "livre", "jardin", "pain", "gâteau", "cheval", "train", "fromage", "vélo", "bateau",
    "chapeau",
];
const FEMININE: [&str; 12] = [
    "maison", "table", "voiture", "fleur", "chaise", "lettre", "porte", "pomme", "rue", "ville", "robe",
    "montagne",
];
/// Masculine singular forms; the feminine ends in `e`, the plural adds `s`.
const ADJECTIVES: [&str; 11] =
    ["petit", "grand", "noir", "vert", "rouge", "jeune", "joli", "froid", "chaud", "rond", "fragile"];
/// Stems of verbs in -er.
const STEMS: &[&str] = &[
    "regard", "cherch", "trouv", "port", "dessin", "lav", "pouss", "aim", "montr", "donn", "gard", "détest",
];
static PLACES: Templates = LazyLock::new(|| templates(include_str!("templates/french_places.txt"), ""));
static TIMES: Templates = LazyLock::new(|| templates(include_str!("templates/french_times.txt"), ", "));

#[derive(Clone, Copy)]
struct Noun {
    word: &'static str,
    feminine: bool,
    plural: bool,
}

impl Noun {
    fn draw(stream: &mut Stream, nouns: &[usize]) -> Self {
        let index = *stream.pick(nouns);
        let feminine = index >= MASCULINE.len();
        let word = if feminine { FEMININE[index - MASCULINE.len()] } else { MASCULINE[index] };
        Self { word, feminine, plural: stream.chance(0.35) }
    }

    fn text(self) -> String {
        match self.word.strip_suffix("al") {
            _ if !self.plural => self.word.to_owned(),
            Some(stem) => format!("{stem}aux"),
            None if self.word.ends_with("eau") => format!("{}x", self.word),
            None => format!("{}s", self.word),
        }
    }
}

/// Writes sentences about four nouns and three verbs, drawn once for the document.
pub(super) fn french(scene: &mut Scene, words: usize) {
    let order = scene.stream.permutation(MASCULINE.len() + FEMININE.len());
    let nouns = &order[..4];
    let stems: Vec<&str> = (0..3).map(|_| *scene.stream.pick(STEMS)).collect();
    let adjective = scene.stream.below(ADJECTIVES.len());
    while scene.writer.words() + 14 < words {
        sentence(scene, nouns, &stems, adjective);
        let end = if scene.stream.chance(0.1) { "\n\n" } else { " " };
        scene.push(end, &[]);
    }
}

/// Writes one sentence. All words are drawn first, in the same order for every form of sentence.
fn sentence(scene: &mut Scene, nouns: &[usize], stems: &[&str], adjective: usize) {
    let noun = Noun::draw(&mut scene.stream, nouns);
    let other = Noun::draw(&mut scene.stream, nouns);
    let place = format!(" {}", scene.stream.pick(&PLACES));
    let adjective = if scene.stream.chance(0.6) { adjective } else { scene.stream.below(ADJECTIVES.len()) };
    let stem = *scene.stream.pick(stems);
    let person = *scene.stream.pick(&["{A}", "{B}", "{A}"]);
    match scene.stream.below(8) {
        0 => {
            phrase(scene, "", noun, true, true);
            be(scene, noun, adjective);
        }
        1 => {
            subject(scene, person, stem, "e");
            phrase(scene, " ", other, true, false);
            scene.push(&place, &[]);
        }
        2 => {
            subject(scene, "{A} et {B}", stem, "ent");
            phrase(scene, " ", other, false, false);
        }
        3 => {
            let time = scene.stream.pick(&TIMES);
            scene.push(time, &[]);
            subject(scene, "{A.il}", stem, "e");
            phrase(scene, " ", noun, true, false);
            phrase(scene, " et ", other, true, false);
        }
        4 => {
            phrase(scene, "Il y a ", noun, false, false);
            scene.push(&place, &[]);
        }
        5 => {
            scene.expand(person);
            scene.push(if stem.starts_with('a') { " n'" } else { " ne " }, &[]);
            scene.push(&format!("{stem}e"), &[Concept::FRENCH_VERB]);
            phrase(scene, " pas ", noun, true, false);
        }
        6 => {
            phrase(scene, "", noun, true, true);
            scene.push(&place, &[]);
            be(scene, noun, adjective);
            phrase(scene, ", mais ", other, true, false);
            be(scene, other, adjective);
        }
        _ => {
            phrase(scene, "Est-ce que ", noun, true, false);
            be(scene, noun, adjective);
            return scene.push(" ?", &[]);
        }
    }
    scene.push(".", &[]);
}

/// Writes a subject and its verb.
fn subject(scene: &mut Scene, people: &str, stem: &str, ending: &str) {
    scene.expand(people);
    scene.push(&format!(" {stem}{ending}"), &[Concept::FRENCH_VERB]);
}

/// Writes `before`, then the noun with its article.
fn phrase(scene: &mut Scene, before: &str, noun: Noun, definite: bool, capital: bool) {
    let article = match (definite, noun.plural, noun.feminine) {
        (true, true, _) => "les",
        (true, false, true) => "la",
        (true, false, false) => "le",
        (false, true, _) => "des",
        (false, false, true) => "une",
        (false, false, false) => "un",
    };
    let article = if capital { super::inflect::capital(article) } else { article.to_owned() };
    scene.push(before, &[]);
    scene.push(&article, &[Concept::FRENCH_ARTICLE]);
    scene.push(" ", &[]);
    let number = if noun.plural { Concept::NOUN_PLURAL } else { Concept::NOUN_SINGULAR };
    scene.push(&noun.text(), &[Concept::FRENCH_NOUN, number]);
}

/// Writes the verb *être* and an adjective that agrees with the noun.
fn be(scene: &mut Scene, noun: Noun, adjective: usize) {
    let adjective = ADJECTIVES[adjective];
    let feminine = if noun.feminine && !adjective.ends_with('e') { "e" } else { "" };
    let plural = if noun.plural { "s" } else { "" };
    scene.push(if noun.plural { " sont" } else { " est" }, &[Concept::FRENCH_VERB]);
    scene.push(&format!(" {adjective}{feminine}{plural}"), &[Concept::FRENCH_ADJECTIVE]);
}
