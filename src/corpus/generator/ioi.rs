//! Sentences of indirect-object identification (Wang et al. 2022, arXiv 2211.00593).
//!
//! Two people are named, then one of them again; the other is the next word:
//! "When Mary and John went to the store, John gave a drink to" → "Mary".

use std::sync::LazyLock;

use crate::base::Stream;

use super::concept::Concept;
use super::lexicon::{LEXICON, Templates, templates};
use super::scene::Scene;

/// Which names and templates prompts use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldOut {
    /// Names and templates of the training text.
    Nothing,
    /// Names that the training text never uses in such sentences, in its templates.
    Names,
    /// Templates that the training text never uses, with its names.
    Templates,
    /// Both names and templates unseen in such sentences.
    NamesAndTemplates,
}

impl HeldOut {
    fn has_other_names(self) -> bool {
        matches!(self, Self::Names | Self::NamesAndTemplates)
    }
}

/// A text whose right continuation is the indirect object's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoiPrompt {
    /// The text, without a space at its end.
    pub prompt: String,
    /// The right next word, without a leading space.
    pub indirect_object: String,
    /// The name that occurs twice: the wrong next word.
    pub subject: String,
    /// Whether the subject is named first (A B … A) or second (B A … A).
    pub subject_first: bool,
}

/// Two texts that differ in the indirect object alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoiPair {
    /// The first text, with its answers.
    pub base: IoiPrompt,
    /// The same text with another name in the place of the indirect object.
    pub target: String,
    /// That name: the right next word of `target`.
    pub other_indirect_object: String,
}

/// First halves; `{1}` and `{2}` are the two names in either order.
static OPENINGS: Templates = LazyLock::new(|| templates(include_str!("templates/ioi_openings.txt"), ""));

/// Second halves; `{S}` is the name that is repeated. The other name follows.
static ACTIONS: Templates = LazyLock::new(|| templates(include_str!("templates/ioi_actions.txt"), ""));

/// First halves that the training text never uses.
static HELD_OUT_OPENINGS: Templates =
    LazyLock::new(|| templates(include_str!("templates/ioi_openings_held_out.txt"), ""));

/// Second halves that the training text never uses. None was replaced after a model had been measured on it.
static HELD_OUT_ACTIONS: Templates =
    LazyLock::new(|| templates(include_str!("templates/ioi_actions_held_out.txt"), ""));

const PLACES: &[&str] = &[
    "store",
    "park",
    "school",
    "market",
    "station",
    "kitchen",
    "garden",
    "office",
    "beach",
    "hospital",
    "library",
    "museum",
    "restaurant",
    "harbour",
    "farm",
    "theatre",
];

/// How a sentence ends; `{S}` and `{O}` are the subject and the indirect object.
static TAILS: Templates = LazyLock::new(|| templates(include_str!("templates/ioi_tails.txt"), ""));

/// A template and the names to fill in.
struct Filled {
    template: String,
    /// In the order of the text.
    names: [&'static str; 2],
    subject: &'static str,
    indirect_object: &'static str,
}

fn draw_name(stream: &mut Stream, held_out: bool) -> &'static str {
    let [women, men] = names(held_out);
    let pool = if stream.chance(0.5) { women } else { men };
    stream.pick::<&'static str>(pool)
}

/// First names of women and of men.
pub(super) fn names(held_out: bool) -> [&'static [&'static str]; 2] {
    let kinds = if held_out { ["held_out_woman", "held_out_man"] } else { ["woman", "man"] };
    kinds.map(|kind| LEXICON.words(kind))
}

fn fill(stream: &mut Stream, held_out: HeldOut) -> Filled {
    let held_out_names = held_out.has_other_names();
    let (openings, actions) = match held_out {
        HeldOut::Templates | HeldOut::NamesAndTemplates => (&HELD_OUT_OPENINGS, &HELD_OUT_ACTIONS),
        HeldOut::Nothing | HeldOut::Names => (&OPENINGS, &ACTIONS),
    };
    let first = draw_name(stream, held_out_names);
    let mut second = draw_name(stream, held_out_names);
    while second == first {
        second = draw_name(stream, held_out_names);
    }
    let template = format!("{} {}", stream.pick(openings), stream.pick(actions));
    let (subject, indirect_object) = if stream.chance(0.5) { (first, second) } else { (second, first) };
    Filled { template, names: [first, second], subject, indirect_object }
}

/// Writes the sentence up to its last name.
fn write(scene: &mut Scene, filled: &Filled) {
    let key = scene.writer.words();
    scene.fill(&filled.template, |scene, slot| match slot {
        "1" => mention(scene, filled, filled.names[0]),
        "2" => mention(scene, filled, filled.names[1]),
        "S" => mention_again(scene, filled.subject, &[Concept::IOI_SUBJECT_AGAIN]),
        "place" => {
            let place = *scene.stream.pick(PLACES);
            scene.push(place, &[Concept::PLACE]);
        }
        // The key makes a slot that occurs twice in a sentence draw the same word.
        kind => scene.expand(&format!("{{{kind}#{key}}}")),
    });
}

fn mention(scene: &mut Scene, filled: &Filled, name: &str) {
    let part = if name == filled.subject { Concept::IOI_SUBJECT } else { Concept::IOI_INDIRECT_OBJECT };
    scene.push(name, &[Concept::NAME, Concept::NAME_FIRST_MENTION, part, gender(name)]);
}

fn mention_again(scene: &mut Scene, name: &str, roles: &[Concept]) {
    let concepts = [Concept::NAME, Concept::NAME_LATER_MENTION, gender(name)];
    scene.push(name, &[&concepts, roles].concat());
}

fn gender(name: &str) -> Concept {
    let feminine = names(false)[0].contains(&name) || names(true)[0].contains(&name);
    if feminine { Concept::NAME_FEMININE } else { Concept::NAME_MASCULINE }
}

/// Writes sentences, each about two newly drawn people.
pub(super) fn sentences(scene: &mut Scene, words: usize) {
    loop {
        let filled = fill(&mut scene.stream, HeldOut::Nothing);
        write(scene, &filled);
        scene.push(" ", &[]);
        mention_again(scene, filled.indirect_object, &[Concept::IOI_ANSWER]);
        write_tail(scene, &filled);
        if scene.writer.words() + 25 > words {
            return;
        }
        let gap = if scene.stream.chance(0.7) { " " } else { "\n" };
        scene.push(gap, &[]);
    }
}

fn write_tail(scene: &mut Scene, filled: &Filled) {
    let tail = scene.stream.pick(&TAILS);
    scene.fill(tail, |scene, slot| {
        mention_again(scene, if slot == "S" { filled.subject } else { filled.indirect_object }, &[]);
    });
}

pub(super) fn prompt(mut scene: Scene, held_out: HeldOut) -> IoiPrompt {
    let filled = fill(&mut scene.stream, held_out);
    write(&mut scene, &filled);
    finished(scene, &filled)
}

fn finished(scene: Scene, filled: &Filled) -> IoiPrompt {
    IoiPrompt {
        prompt: scene.writer.finish().0,
        indirect_object: filled.indirect_object.to_owned(),
        subject: filled.subject.to_owned(),
        subject_first: filled.names[0] == filled.subject,
    }
}

/// A pair of texts. `scene` gives the same scene each time; `names` draws the third name.
pub(super) fn pair(scene: impl Fn() -> Scene, names: &mut Stream, held_out: HeldOut) -> IoiPair {
    let base = prompt(scene(), held_out);
    let mut scene = scene();
    let mut filled = fill(&mut scene.stream, held_out);
    let mut other = draw_name(names, held_out.has_other_names());
    while filled.names.contains(&other) {
        other = draw_name(names, held_out.has_other_names());
    }
    let place = usize::from(filled.names[0] == filled.subject);
    filled.names[place] = other;
    filled.indirect_object = other;
    write(&mut scene, &filled);
    IoiPair { base, target: finished(scene, &filled).prompt, other_indirect_object: other.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_templates_and_none_is_shared() {
        assert!(
            OPENINGS.len() * ACTIONS.len() >= 20 && HELD_OUT_OPENINGS.len() * HELD_OUT_ACTIONS.len() >= 5
        );
        assert!(HELD_OUT_OPENINGS.iter().all(|half| !OPENINGS.contains(half)));
        assert!(HELD_OUT_ACTIONS.iter().all(|half| !ACTIONS.contains(half)));
        for half in OPENINGS.iter().chain(HELD_OUT_OPENINGS.iter()) {
            assert!(half.matches("{1}").count() == 1 && half.matches("{2}").count() == 1, "{half}");
        }
        for half in ACTIONS.iter().chain(HELD_OUT_ACTIONS.iter()) {
            assert!(half.matches("{S}").count() == 1, "{half}");
        }
    }
}
