//! Indirect-object sentences: two people are named, one is named again, the text goes on with the other.

use crate::base::Stream;

use super::concept::Concept;
use super::lexicon;
use super::scene::Scene;

/// Which names and templates prompts are made of.
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

/// A text that a model which tracks who is who continues with the indirect object's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IoiPrompt {
    /// The text, without a space at its end.
    pub prompt: String,
    /// The right next word, without its space.
    pub indirect_object: String,
    /// The person named twice: the wrong next word.
    pub subject: String,
    /// True where the subject is named first of the two (A B … A), false where second (B A … A).
    pub subject_first: bool,
}

/// `{1}` and `{2}` are the two names in either order, `{S}` the one named again; the other follows.
const TRAINING: &[&str] = &[
    "When {1} and {2} went to the {place}, {S} gave a {object} to",
    "Then {1} and {2} met at the {place}, and {S} handed a {object} to",
    "After {1} and {2} left the {place}, {S} sent a {object} to",
    "While {1} and {2} were working at the {place}, {S} passed the {object} to",
    "Last night {1} and {2} had dinner, and {S} offered some {food} to",
    "Because {1} and {2} were good friends, {S} lent the {object} to",
    "At the {place}, {1} met {2}, and soon {S} showed {a colour} {object} to",
    "In {city}, {1} lived with {2}, so {S} often gave a {object} to",
    "On {weekday}, {1} and {2} played a game, and {S} threw the {object} to",
    "Before {1} and {2} said goodbye, {S} gave the {colour} {object} to",
    "Afterwards, {1} and {2} went home, and {S} made some {food} for",
    "Since {1} and {2} had the same birthday, {S} bought a {object} for",
    "Today {1} and {2} cleaned the {place}. Then {S} returned the {object} to",
    "Yesterday {1} visited {2} in {city}, and {S} brought a {object} for",
    "As {1} and {2} walked through the {place}, {S} said hello to",
    "Once {1} and {2} were alone, {S} told a secret to",
    "Friends of {1} and {2} were at the {place} when {S} sold the {object} to",
    "Early in the morning, {1} and {2} took the bus, and {S} read a story to",
    "In the {place} {1} sat beside {2}. Later {S} wrote a long letter to",
    "When {1} saw {2} at the {place}, {S} gave the {object} back to",
    "Next to the {place}, {1} and {2} found a {object}, and {S} gave it to",
    "The {object} belonged to {1} and {2}, but {S} left it to",
    "Everyone at the {place} knew {1} and {2}, and everyone knew that {S} would give the {object} to",
    "During the trip to {city}, {1} and {2} shared some {food}, until {S} gave the rest to",
    "Here come {1} and {2}. Every {weekday}, {S} takes a {object} to",
    "If {1} and {2} go to the {place}, {S} will give a {object} to",
];

/// Templates kept from the training text.
const HELD_OUT: &[&str] = &[
    "When {1} and {2} came back from {city}, {S} offered a {object} to",
    "Later {1} and {2} stood near the {place}, and {S} sold {a colour} {object} to",
    "On {weekday} evening {1} and {2} cooked some {food}, and then {S} passed the {food} to",
    "After the lesson, {1} and {2} talked about the {object}, which {S} had bought for",
    "Because {1} helped {2} at the {place}, {S} sent some {food} to",
    "While {1} and {2} were waiting for the train, {S} showed the {object} to",
    "In {month}, {1} and {2} moved to {city}, where {S} wrote a letter to",
];

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

const TAILS: &[&str] = &[
    ".",
    ".",
    ".",
    " and went home.",
    ", who smiled.",
    " before leaving.",
    " again.",
    ", and everyone was happy.",
];

/// A filled template: text before the last name, its parts to write, and the two names.
struct Filled {
    template: &'static str,
    names: [&'static str; 2],
    subject_first: bool,
}

fn training_name(stream: &mut Stream) -> &'static str {
    let pool = if stream.chance(0.5) { lexicon::WOMEN } else { lexicon::MEN };
    stream.pick::<&'static str>(pool)
}

fn held_out_name(stream: &mut Stream) -> &'static str {
    let pool = if stream.chance(0.5) { lexicon::HELD_OUT_WOMEN } else { lexicon::HELD_OUT_MEN };
    stream.pick::<&'static str>(pool)
}

fn fill(stream: &mut Stream, held_out: HeldOut) -> Filled {
    let name = match held_out {
        HeldOut::Names | HeldOut::NamesAndTemplates => held_out_name,
        HeldOut::Nothing | HeldOut::Templates => training_name,
    };
    let templates = match held_out {
        HeldOut::Templates | HeldOut::NamesAndTemplates => HELD_OUT,
        HeldOut::Nothing | HeldOut::Names => TRAINING,
    };
    let first = name(stream);
    let mut second = name(stream);
    while second == first {
        second = name(stream);
    }
    Filled {
        template: stream.pick::<&'static str>(templates),
        names: [first, second],
        subject_first: stream.chance(0.5),
    }
}

impl Filled {
    fn subject(&self) -> &'static str {
        self.names[usize::from(!self.subject_first)]
    }

    fn indirect_object(&self) -> &'static str {
        self.names[usize::from(self.subject_first)]
    }
}

/// Writes the sentence up to its last name.
fn write(scene: &mut Scene<'_>, filled: &Filled) {
    let mut rest = filled.template;
    let key = scene.writer.words();
    while let Some(at) = rest.find('{') {
        let end = rest[at..].find('}').map_or(rest.len(), |length| at + length);
        scene.push(&rest[..at], &[]);
        match &rest[at + 1..end] {
            "1" => mention(scene, filled.names[0], filled.names[0] == filled.subject()),
            "2" => mention(scene, filled.names[1], filled.names[1] == filled.subject()),
            "S" => scene.push(
                filled.subject(),
                &[
                    Concept::NAME,
                    Concept::NAME_LATER_MENTION,
                    Concept::IOI_SUBJECT_AGAIN,
                    sex(filled.subject()),
                ],
            ),
            "place" => {
                let place = *scene.stream.pick(PLACES);
                scene.push(place, &[Concept::PLACE]);
            }
            // What a sentence names twice is the same thing both times.
            kind => scene.expand(&format!("{{{kind}#{key}}}")),
        }
        rest = rest.get(end + 1..).unwrap_or("");
    }
    scene.push(rest, &[]);
}

fn mention(scene: &mut Scene<'_>, name: &str, is_subject: bool) {
    let part = if is_subject { Concept::IOI_SUBJECT } else { Concept::IOI_INDIRECT_OBJECT };
    scene.push(name, &[Concept::NAME, Concept::NAME_FIRST_MENTION, part, sex(name)]);
}

fn sex(name: &str) -> Concept {
    let feminine = lexicon::WOMEN.contains(&name) || lexicon::HELD_OUT_WOMEN.contains(&name);
    if feminine { Concept::NAME_FEMININE } else { Concept::NAME_MASCULINE }
}

/// Sentence after sentence, each with two people of its own.
pub(super) fn sentences(scene: &mut Scene<'_>, words: usize) {
    loop {
        let filled = fill(&mut scene.stream, HeldOut::Nothing);
        write(scene, &filled);
        let answer = filled.indirect_object();
        scene.push(" ", &[]);
        scene.push(answer, &[Concept::NAME, Concept::NAME_LATER_MENTION, Concept::IOI_ANSWER, sex(answer)]);
        let tail = *scene.stream.pick(TAILS);
        scene.push(tail, &[]);
        if scene.writer.words() + 25 > words {
            return;
        }
        let gap = if scene.stream.chance(0.7) { " " } else { "\n" };
        scene.push(gap, &[]);
    }
}

/// One prompt.
pub(super) fn prompt(mut scene: Scene<'_>, held_out: HeldOut) -> IoiPrompt {
    let filled = fill(&mut scene.stream, held_out);
    write(&mut scene, &filled);
    IoiPrompt {
        prompt: scene.writer.finish().0,
        indirect_object: filled.indirect_object().to_owned(),
        subject: filled.subject().to_owned(),
        subject_first: filled.subject_first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_templates_and_none_is_shared() {
        assert!(TRAINING.len() >= 20 && HELD_OUT.len() >= 5);
        assert!(HELD_OUT.iter().all(|template| !TRAINING.contains(template)));
        for template in TRAINING.iter().chain(HELD_OUT) {
            for slot in ["{1}", "{2}", "{S}"] {
                assert_eq!(template.matches(slot).count(), 1, "{slot} in `{template}`");
            }
        }
    }
}
