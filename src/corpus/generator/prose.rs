//! Registers of running text: narration, dialogue, letters, exposition.

use std::sync::LazyLock;

use super::lexicon::{Templates, templates};
use super::scene::Scene;

static OPENINGS: Templates = LazyLock::new(|| templates(include_str!("templates/openings.txt"), " "));
static EVENTS: Templates = LazyLock::new(|| templates(include_str!("templates/events.txt"), " "));
static CLOSINGS: Templates = LazyLock::new(|| templates(include_str!("templates/closings.txt"), ""));
static MEETINGS: Templates = LazyLock::new(|| templates(include_str!("templates/meetings.txt"), "\n"));
static TURNS: Templates = LazyLock::new(|| templates(include_str!("templates/turns.txt"), "\n"));
static LETTER_LINES: Templates = LazyLock::new(|| templates(include_str!("templates/letter.txt"), " "));
static CLAIMS: Templates = LazyLock::new(|| templates(include_str!("templates/claims.txt"), " "));

/// Writes sentences until the document has `words` words. After each, a paragraph ends with probability `p_break`.
fn paragraphs(scene: &mut Scene, words: usize, p_break: f64, sentence: impl Fn(&mut Scene)) {
    while scene.writer.words() < words {
        sentence(scene);
        if scene.stream.chance(p_break) {
            scene.push("\n\n", &[]);
        }
    }
}

pub(super) fn narration(scene: &mut Scene, words: usize) {
    scene.tell_between(0, 1, &OPENINGS);
    scene.tell(&EVENTS);
    paragraphs(scene, words - 15, 0.08, |scene| scene.tell(&EVENTS));
    scene.tell_between(0, 1, &CLOSINGS);
}

/// Writes a conversation of two people.
pub(super) fn dialogue(scene: &mut Scene, words: usize) {
    scene.tell_between(0, 1, &MEETINGS);
    let mut speaker = 0;
    scene.tell_between(0, 1, &TURNS);
    while scene.writer.words() + 12 < words {
        speaker = 1 - speaker;
        scene.tell_between(speaker, 1 - speaker, &TURNS);
    }
}

/// Writes a letter: heading, greeting, body, close. Its facts stay the same to the signature.
pub(super) fn letter(scene: &mut Scene, words: usize) {
    scene.expand("{A.city}, {month#m} {day#e}, {year#y}\n\nDear {B},\n\n");
    paragraphs(scene, words - 18, 0.15, |scene| scene.tell_between(0, 1, &LETTER_LINES));
    if !scene.writer.at_line_start() {
        scene.push("\n\n", &[]);
    }
    scene.expand("<Yours sincerely|With love|Best wishes|Kind regards>,\n{A} {surname}<\n\nP.S. Say hello to {C} from me.|>");
}

/// Writes facts about the things of a topic.
pub(super) fn exposition(scene: &mut Scene, words: usize) {
    scene.expand("<The {x}|On {x.s}|{^x.s} and {y.s}|About {x.s}>\n\n");
    paragraphs(scene, words - 12, 0.12, |scene| scene.tell_between(0, 1, &CLAIMS));
}
