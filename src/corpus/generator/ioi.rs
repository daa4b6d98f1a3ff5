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

/// First halves of templates: `{1}` and `{2}` are the two names in either order.
const OPENINGS: &[&str] = &[
    "When {1} and {2} went to the {place},",
    "Then {1} and {2} met at the {place}, and",
    "After {1} and {2} left the {place},",
    "While {1} and {2} were working at the {place},",
    "Last night {1} and {2} had dinner, and",
    "Because {1} and {2} were good friends,",
    "At the {place}, {1} met {2}, and soon",
    "In {city}, {1} lived with {2}, so",
    "On {weekday}, {1} and {2} played a game, and",
    "Before {1} and {2} said goodbye,",
    "Afterwards, {1} and {2} went home, and",
    "Since {1} and {2} had the same birthday,",
    "Today {1} and {2} cleaned the {place}. Then",
    "Yesterday {1} visited {2} in {city}, and",
    "As {1} and {2} walked through the {place},",
    "Once {1} and {2} were alone,",
    "Friends of {1} and {2} were at the {place} when",
    "Early in the morning, {1} and {2} took the bus, and",
    "In the {place} {1} sat beside {2}. Later",
    "When {1} saw {2} at the {place},",
    "Next to the {place}, {1} and {2} found a {object}, and",
    "The {object} belonged to {1} and {2}, but",
    "Everyone at the {place} knew {1} and {2}, and everyone knew that",
    "During the trip to {city}, {1} and {2} shared some {food}, until",
    "Here come {1} and {2}. Every {weekday},",
    "So {1} and {2} talked, and",
    "Soon {1} and {2} were friends, and",
    "But {1} knew {2}, and",
    "Then {1} saw {2}, and",
    "At last {1} found {2}, and",
    "Because {1} admired {2},",
    "Because {1} invited {2} to {city},",
    "Since {1} had met {2} at the {place},",
    "If {1} sees {2} again,",
    "Although {1} and {2} were tired,",
    "Before the concert, {1} and {2} ate some {food}, and then",
    "After dinner, {1} joined {2} in the {place}. There",
    "Long ago {1} and {2} lived near the {place}, and",
    "In {month}, {1} worked with {2}, and so",
    "On {weekday} morning {1} called {2}, and",
    "While {1} talked with {2},",
    "Where {1} and {2} sat, it was quiet, and",
    "Outside the {place}, {1} ran into {2}, and",
    "Both {1} and {2} liked the {colour} {object}, so",
    "The teacher saw {1} and {2} at the {place}. Later",
    "All day {1} followed {2}, until",
    "It was {weekday} when {1} and {2} came home and",
    "With {1} and {2} in the {place},",
    "Neither {1} nor {2} was late, and",
    "By the {place} {1} and {2} rested, and",
    "When {1} and {2} came back from {city},",
    "Later {1} and {2} stood near the {place}, and",
    "On {weekday} evening {1} and {2} cooked some {food}, and then",
    "After the lesson, {1} and {2} talked about the {noun}. Then",
    "Because {1} helped {2} at the {place},",
    "While {1} and {2} were waiting for the train,",
    "In {month}, {1} and {2} moved to {city}, where",
    "After {1} and {2} got the {object},",
    "When it rained, {1} and {2} stayed in the {place}, and",
    "As soon as {1} and {2} reached {city},",
    "Every {weekday} {1} and {2} go to the {place}, and",
    "That evening {1} and {2} opened the {object}, and then",
    "The {colour} {object} was between {1} and {2} when",
    "One day {1} asked {2} about the {noun}, and",
    "In the evening, {1} and {2} looked at the {object}, but",
];

/// Second halves: `{S}` is the one named again; the other's name follows.
const ACTIONS: &[&str] = &[
    "{S} gave a {object} to",
    "{S} handed the {object} to",
    "{S} sent a {object} to",
    "{S} passed the {colour} {object} to",
    "{S} offered some {food} to",
    "{S} lent the {object} to",
    "{S} showed {a colour} {object} to",
    "{S} threw the {object} to",
    "{S} made some {food} for",
    "{S} bought a {object} for",
    "{S} returned the {object} to",
    "{S} brought a {object} for",
    "{S} said hello to",
    "{S} told a secret to",
    "{S} sold the {object} to",
    "{S} read a story to",
    "{S} wrote a long letter to",
    "{S} gave the {object} back to",
    "{S} left the {object} to",
    "{S} waved to",
    "{S} sang for",
    "{S} thanked",
    "{S} listened to",
    "{S} helped",
    "{S} moved the {object} closer to",
    "{S} pushed the {colour} {object} towards",
    "{S} pulled {a colour} {object} over to",
    "{S} rolled the {colour} {object} to",
    "{S} delivered some {food} to",
    "{S} dropped the {object} beside",
    "{S} packed the {colour} {object} for",
    "{S} prepared some {food} for",
    "{S} opened the {object} for",
    "{S} drew {a colour} {object} for",
    "{S} saved some {food} for",
    "{S} chose a {object} for",
    "{S} explained the {object} to",
    "{S} described the {colour} {object} to",
    "{S} complained about the {object} to",
    "{S} got some {food} from",
    "{S} borrowed the {object} from",
    "{S} hid the {colour} {object} from",
    "{S} talked about the {object} with",
    "{S} shared the {food} with",
    "{S} asked for help from",
    "{S} put the {object} next to",
    "{S} kept the {colour} {object} for",
    "{S} ran back to",
    "{S} paid for the {food} of",
    "{S} took a {object} to",
    "{S} promised the {object} to",
    "{S} carried the {colour} {object} to",
    "{S} cooked some {food} for",
    "{S} found {a colour} {object} for",
    "{S} awarded the {colour} {object} to",
    "{S} presented {a colour} {object} to",
    "{S} repeated the question to",
    "{S} baked some {food} for",
    "{S} built {a colour} {object} for",
    "{S} painted the {object} for",
    "{S} cleaned the {colour} {object} for",
    "{S} fixed the {object} of",
    "{S} gave {a colour} {object} to",
    "{S} gave the {food} to",
    "{S} brought some {food} to",
    "{S} sent the {food} back to",
    "{S} took {a colour} {object} from",
    "{S} bought some {food} for",
    "{S} wanted to give the {object} to",
    "{S} decided to show the {object} to",
    "{S} forgot to send the {object} to",
    "{S} smiled at",
    "{S} called",
    "{S} waited for",
    "{S} spoke quietly to",
    "{S} gave a gift to",
    "{S} read a long letter from",
    "{S} ordered some {food} for",
    "{S} held the {colour} {object} for",
    "{S} looked for the {object} of",
    "{S} counted the money for",
    "{S} washed the {colour} {object} for",
];

/// First halves kept from the training text.
const HELD_OUT_OPENINGS: &[&str] = &[
    "When {1} and {2} arrived at the {place},",
    "After {1} and {2} finished their work at the {place},",
    "On {weekday} {1} and {2} stayed late at the {place}, so",
    "While {1} and {2} were looking for the {object},",
    "Because it was late, {1} and {2} left the {place}, and",
    "At the {place} {1} and {2} spoke about the {noun}, and then",
    "In {month} {1} and {2} travelled to {city}, and there",
    "Before {1} and {2} had dinner,",
];

/// Second halves kept from the training text. No held-out half was exchanged after a model had been measured on it.
const HELD_OUT_ACTIONS: &[&str] = &[
    "{S} mailed the {object} to",
    "{S} served some {food} to",
    "{S} fetched {a colour} {object} for",
    "{S} gave some {food} to",
    "{S} repaired the {colour} {object} for",
    "{S} played a song for",
    "{S} handed {a colour} {object} back to",
    "{S} read the letter to",
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

/// How a sentence ends; `{S}` and `{O}` are the subject and the indirect object.
const TAILS: &[&str] = &[
    ".",
    ".",
    ".",
    " and went home.",
    ", who smiled.",
    " before leaving.",
    " again.",
    ", and everyone was happy.",
    ". {O} thanked {S}.",
    ", and {O} smiled at {S}.",
    ". Then {O} waited for {S}.",
    ". Later {O} called {S}.",
];

/// A filled template: text before the last name, its parts to write, and the two names.
struct Filled {
    template: String,
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
    let (openings, actions) = match held_out {
        HeldOut::Templates | HeldOut::NamesAndTemplates => (HELD_OUT_OPENINGS, HELD_OUT_ACTIONS),
        HeldOut::Nothing | HeldOut::Names => (OPENINGS, ACTIONS),
    };
    let first = name(stream);
    let mut second = name(stream);
    while second == first {
        second = name(stream);
    }
    let template =
        format!("{} {}", stream.pick::<&'static str>(openings), stream.pick::<&'static str>(actions));
    Filled { template, names: [first, second], subject_first: stream.chance(0.5) }
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
    let mut rest = filled.template.as_str();
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
        write_tail(scene, &filled);
        if scene.writer.words() + 25 > words {
            return;
        }
        let gap = if scene.stream.chance(0.7) { " " } else { "\n" };
        scene.push(gap, &[]);
    }
}

fn write_tail(scene: &mut Scene<'_>, filled: &Filled) {
    let mut rest = *scene.stream.pick::<&'static str>(TAILS);
    while let Some(at) = rest.find('{') {
        scene.push(&rest[..at], &[]);
        let name = if rest[at..].starts_with("{S}") { filled.subject() } else { filled.indirect_object() };
        scene.push(name, &[Concept::NAME, Concept::NAME_LATER_MENTION, sex(name)]);
        rest = &rest[at + 3..];
    }
    scene.push(rest, &[]);
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
        assert!(
            OPENINGS.len() * ACTIONS.len() >= 20 && HELD_OUT_OPENINGS.len() * HELD_OUT_ACTIONS.len() >= 5
        );
        assert!(HELD_OUT_OPENINGS.iter().all(|half| !OPENINGS.contains(half)));
        assert!(HELD_OUT_ACTIONS.iter().all(|half| !ACTIONS.contains(half)));
        for half in OPENINGS.iter().chain(HELD_OUT_OPENINGS) {
            assert!(half.matches("{1}").count() == 1 && half.matches("{2}").count() == 1, "{half}");
        }
        for half in ACTIONS.iter().chain(HELD_OUT_ACTIONS) {
            assert!(half.matches("{S}").count() == 1, "{half}");
        }
    }
}
