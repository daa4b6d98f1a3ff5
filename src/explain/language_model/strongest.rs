use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::features::{ActivationRecord, Evidence, TokenTexts, quoted};
use crate::llm::{ChatRequest, Prompt};

use super::excerpts::Shown;
use super::{LanguageExplainer, question, version};

pub(in crate::explain) const PROMPT: Prompt =
    Prompt { name: "strongest", text: include_str!("../prompts/strongest.txt") };

/// Shows only the strongest token of each fragment, completed to the left to a word, and each word once. The prompt has
/// about 200 tokens instead of thousands, for models that cannot follow long prompts. An explanation cannot mention
/// the context, since it is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strongest {
    /// Number of fragments shown; `non_firing` is ignored.
    pub shown: Shown,
    /// Temperature of the explainer.
    pub temperature: f64,
    /// Worked examples in the prompt; `None` for all.
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
        let records = self.shown.firing(evidence);
        for word in records.iter().filter_map(|record| word(record, evidence.first_scored(), texts)) {
            if !words.contains(&word) {
                words.push(word);
            }
        }
        let messages = PROMPT.messages_with(self.shots, &[("words", &words.join(", "))]);
        question(messages, self.temperature, sample)
    }
}

/// The strongest token, the first of equals, completed to the left to a word. `None` if no activation is above 0. A
/// token that is not part of a word is shown as a JSON string.
fn word(record: &ActivationRecord, first_scored: usize, texts: &TokenTexts<'_>) -> Option<String> {
    let scored = record.activations.iter().enumerate().skip(first_scored);
    let (place, _) = scored.filter(|(_, activation)| **activation > 0.0).fold(None, strongest)?;
    let text = |place: usize| texts(record.tokens[place]);
    let is_word = |text: &str| !text.is_empty() && text.chars().all(char::is_alphanumeric);
    let mut word = text(place);
    if is_word(word.trim_start()) {
        let mut from = place;
        // A word starts with a space, or after a token that is not a word.
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
