//! The second language: simple French with agreement of gender and number.

use crate::base::Stream;

use super::concept::Concept;
use super::scene::Scene;

/// Noun, true where feminine, plural.
const NOUNS: &[(&str, bool, &str)] = &[
    ("chat", false, "chats"),
    ("chien", false, "chiens"),
    ("livre", false, "livres"),
    ("jardin", false, "jardins"),
    ("pain", false, "pains"),
    ("gâteau", false, "gâteaux"),
    ("cheval", false, "chevaux"),
    ("train", false, "trains"),
    ("fromage", false, "fromages"),
    ("vélo", false, "vélos"),
    ("bateau", false, "bateaux"),
    ("chapeau", false, "chapeaux"),
    ("maison", true, "maisons"),
    ("table", true, "tables"),
    ("voiture", true, "voitures"),
    ("fleur", true, "fleurs"),
    ("chaise", true, "chaises"),
    ("lettre", true, "lettres"),
    ("porte", true, "portes"),
    ("pomme", true, "pommes"),
    ("rue", true, "rues"),
    ("ville", true, "villes"),
    ("robe", true, "robes"),
    ("montagne", true, "montagnes"),
];
/// Masculine and feminine forms; the plural adds `s`.
const ADJECTIVES: &[(&str, &str)] = &[
    ("petit", "petite"),
    ("grand", "grande"),
    ("noir", "noire"),
    ("vert", "verte"),
    ("rouge", "rouge"),
    ("jeune", "jeune"),
    ("joli", "jolie"),
    ("froid", "froide"),
    ("chaud", "chaude"),
    ("rond", "ronde"),
    ("fragile", "fragile"),
];
/// Stems of verbs in -er.
const STEMS: &[&str] = &[
    "regard", "cherch", "trouv", "port", "dessin", "lav", "pouss", "aim", "montr", "donn", "gard", "détest",
];
const PLACES: &[&str] = &[
    "dans la cuisine",
    "à la gare",
    "près de la mer",
    "sous la pluie",
    "devant le musée",
    "dans la forêt",
    "chez le médecin",
    "à la bibliothèque",
    "au marché",
    "derrière le pont",
];
const TIMES: &[&str] = &[
    "Le matin",
    "Le soir",
    "Chaque lundi",
    "Aujourd'hui",
    "Demain",
    "En hiver",
    "En été",
    "Souvent",
    "Parfois",
    "Après le repas",
];

#[derive(Clone, Copy)]
struct Noun {
    at: usize,
    plural: bool,
}

/// Sentences about a few nouns that keep coming back.
pub(super) fn french(scene: &mut Scene<'_>, words: usize) {
    let order = scene.stream.permutation(NOUNS.len());
    let nouns = &order[..4];
    let stems: Vec<&str> = (0..3).map(|_| *scene.stream.pick(STEMS)).collect();
    let adjective = scene.stream.below(ADJECTIVES.len());
    while scene.writer.words() + 14 < words {
        sentence(scene, nouns, &stems, adjective);
        let end = if scene.stream.chance(0.1) { "\n\n" } else { " " };
        scene.push(end, &[]);
    }
}

fn some_noun(stream: &mut Stream, nouns: &[usize]) -> Noun {
    Noun { at: *stream.pick(nouns), plural: stream.chance(0.35) }
}

fn sentence(scene: &mut Scene<'_>, nouns: &[usize], stems: &[&str], adjective: usize) {
    let noun = some_noun(&mut scene.stream, nouns);
    let other = some_noun(&mut scene.stream, nouns);
    let place = *scene.stream.pick(PLACES);
    let adjective = if scene.stream.chance(0.6) { adjective } else { scene.stream.below(ADJECTIVES.len()) };
    let stem = *scene.stream.pick(stems);
    let person = *scene.stream.pick(&["{A}", "{B}", "{A}"]);
    match scene.stream.below(8) {
        0 => {
            phrase(scene, noun, true, true);
            be(scene, noun, adjective);
        }
        1 => {
            scene.expand(person);
            verb(scene, stem, false);
            scene.push(" ", &[]);
            phrase(scene, other, true, false);
            scene.push(&format!(" {place}"), &[]);
        }
        2 => {
            scene.expand("{A} et {B}");
            verb(scene, stem, true);
            scene.push(" ", &[]);
            phrase(scene, other, false, false);
        }
        3 => {
            let time = *scene.stream.pick(TIMES);
            scene.push(&format!("{time}, "), &[]);
            scene.expand("{A.il}");
            verb(scene, stem, false);
            scene.push(" ", &[]);
            phrase(scene, noun, true, false);
            scene.push(" et ", &[]);
            phrase(scene, other, true, false);
        }
        4 => {
            scene.push("Il y a ", &[]);
            phrase(scene, noun, false, false);
            scene.push(&format!(" {place}"), &[]);
        }
        5 => {
            scene.expand(person);
            scene.push(if stem.starts_with('a') { " n'" } else { " ne " }, &[]);
            scene.push(&format!("{stem}e"), &[Concept::FRENCH_VERB]);
            scene.push(" pas ", &[]);
            phrase(scene, noun, true, false);
        }
        6 => {
            phrase(scene, noun, true, true);
            scene.push(&format!(" {place}"), &[]);
            be(scene, noun, adjective);
            scene.push(", mais ", &[]);
            phrase(scene, other, true, false);
            be(scene, other, adjective);
        }
        _ => {
            scene.push("Est-ce que ", &[]);
            phrase(scene, noun, true, false);
            be(scene, noun, adjective);
            return scene.push(" ?", &[]);
        }
    }
    scene.push(".", &[]);
}

fn phrase(scene: &mut Scene<'_>, noun: Noun, definite: bool, capital: bool) {
    let (singular, feminine, plural) = NOUNS[noun.at];
    let article = match (definite, noun.plural, feminine) {
        (true, true, _) => "les",
        (true, false, true) => "la",
        (true, false, false) => "le",
        (false, true, _) => "des",
        (false, false, true) => "une",
        (false, false, false) => "un",
    };
    let article = if capital { super::inflect::capital(article) } else { article.to_owned() };
    scene.push(&article, &[Concept::FRENCH_ARTICLE]);
    scene.push(" ", &[]);
    let number = if noun.plural { Concept::NOUN_PLURAL } else { Concept::NOUN_SINGULAR };
    scene.push(if noun.plural { plural } else { singular }, &[Concept::FRENCH_NOUN, number]);
}

fn be(scene: &mut Scene<'_>, noun: Noun, adjective: usize) {
    let (masculine, feminine) = ADJECTIVES[adjective];
    let form = if NOUNS[noun.at].1 { feminine } else { masculine };
    scene.push(if noun.plural { " sont" } else { " est" }, &[Concept::FRENCH_VERB]);
    let ending = if noun.plural { "s" } else { "" };
    scene.push(&format!(" {form}{ending}"), &[Concept::FRENCH_ADJECTIVE]);
}

fn verb(scene: &mut Scene<'_>, stem: &str, plural: bool) {
    let ending = if plural { "ent" } else { "e" };
    scene.push(&format!(" {stem}{ending}"), &[Concept::FRENCH_VERB]);
}
