use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::features::{ActivationRecord, Evidence, TokenTexts, quoted};
use crate::llm::{ChatRequest, Prompt};

use super::excerpts::Shown;
use super::{LanguageExplainer, question, version};

pub(in crate::explain) const PROMPT: Prompt =
    Prompt { name: "strongest", text: include_str!("../prompts/strongest.txt") };

/// Shows of each fragment its strongest token alone, with the beginning of its word, each word once: a question of some
/// 200 tokens where the others take thousands, for models that lose their way in long ones. What stands before a word
/// is not shown, so an explanation says nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strongest {
    /// Fragments shown; non-firing ones are left out whatever it says.
    pub shown: Shown,
    /// Temperature of the explainer.
    pub temperature: f64,
    /// Worked examples in the question; none: all there are.
    #[serde(default)]
    pub shots: Option<usize>,
}

impl Default for Strongest {
    fn default() -> Self {
        Self { shown: Shown { top: 10, random: 10, non_firing: 0 }, temperature: 1.0, shots: None }
    }
}

impl LanguageExplainer for Strongest {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, self)
    }

    fn request(&self, evidence: &Evidence, texts: &TokenTexts<'_>, sample: u64) -> ChatRequest {
        let mut words: Vec<String> = Vec::new();
        for word in self
            .shown
            .firing(evidence)
            .iter()
            .filter_map(|record| word(record, evidence.first_scored(), texts))
        {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let messages = PROMPT.messages_with(self.shots, &[("words", &words.join(", "))]);
        question(messages, self.temperature, sample)
    }
}

/// The strongest token that counts, the first of equals, with the part of its word before it; none where nothing is above
/// 0. What is no word is a JSON string.
fn word(record: &ActivationRecord, first_scored: usize, texts: &TokenTexts<'_>) -> Option<String> {
    let scored = record.activations.iter().enumerate().skip(first_scored);
    let (place, _) = scored.filter(|(_, activation)| **activation > 0.0).fold(None, strongest)?;
    let text = |place: usize| texts(record.tokens[place]);
    let is_word = |text: &str| !text.is_empty() && text.chars().all(char::is_alphanumeric);
    let mut word = text(place);
    if is_word(word.trim_start()) {
        let mut from = place;
        // A word begins with a space, or behind what is no letter.
        while from > 0 && is_word(&word) && is_word(text(from - 1).trim_start()) {
            from -= 1;
            word.insert_str(0, &text(from));
        }
        return Some(word.trim_start().to_string());
    }
    Some(quoted(&word))
}

fn strongest<'a>(best: Option<(usize, &'a f32)>, next: (usize, &'a f32)) -> Option<(usize, &'a f32)> {
    best.filter(|best| best.1 >= next.1).or(Some(next))
}
