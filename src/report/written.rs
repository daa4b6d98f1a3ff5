//! Texts that the subject writes with a feature raised, each beside another one behind the same prompt: those that an
//! explainer of the output saw, and those that a judge told apart.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Questions shown of a feature.
pub const SHOWN_QUESTIONS: usize = 4;

/// A prompt with two texts behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TextPair {
    /// The evaluation fragment whose beginning is the prompt.
    pub fragment: usize,
    /// The prompt.
    pub prompt: String,
    /// Written with the feature's code raised.
    pub steered: String,
    /// Written without that.
    pub other: String,
}

/// A line of `continuations/`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Continuations {
    /// The feature.
    pub feature: usize,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Tokens that the direction raises and lowers, each with the effect on its logit; shown to explainers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<[Vec<(u32, f64)>; 2]>,
    /// Tokens whose log-probability rises and falls with the feature clamped, in nats; shown to explainers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<[Vec<(u32, f64)>; 2]>,
    /// Texts that explainers saw. The others are unsteered.
    pub shown: Vec<TextPair>,
    /// What the other texts of questions are written with: `random` (direction) or `none`.
    pub control: String,
    /// Texts that judges told apart.
    pub asked: Vec<TextPair>,
}

/// The answer to a question of `intervention`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The evaluation fragment whose beginning is the prompt.
    pub fragment: usize,
    /// The place of the steered text in the question, 1 or 2.
    pub steered: u8,
    /// The text that the judge chose; none if both are the same, and nothing was asked.
    pub says: Option<u8>,
}

impl Chosen {
    /// Whether the answer is right; none if nothing was asked.
    pub fn is_right(&self) -> Option<bool> {
        Some(self.says? == self.steered)
    }
}

/// A question of `intervention` with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AnsweredQuestion {
    /// The texts.
    #[serde(flatten)]
    pub texts: TextPair,
    /// What the other text is written with: `random` (direction) or `none`.
    pub control: String,
    /// Whether the judge chose the steered text; null if both are the same, or there is no answer.
    pub right: Option<bool>,
}

impl Continuations {
    /// The first questions, with their answers among `chosen`.
    pub fn questions(&self, chosen: &[Chosen]) -> Vec<AnsweredQuestion> {
        let question = |texts: &TextPair| AnsweredQuestion {
            texts: texts.clone(),
            control: self.control.clone(),
            right: chosen.iter().find(|one| one.fragment == texts.fragment).and_then(Chosen::is_right),
        };
        self.asked.iter().take(SHOWN_QUESTIONS).map(question).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_finds_its_answer() {
        let pair =
            |fragment| TextPair { fragment, prompt: "p".into(), steered: "s".into(), other: "o".into() };
        let line = Continuations { asked: (0..6).map(pair).collect(), ..Continuations::default() };
        let chosen = [(0, Some(1)), (1, Some(2)), (2, None)];
        let chosen = chosen.map(|(fragment, says)| Chosen { fragment, steered: 2, says });
        let right: Vec<Option<bool>> = line.questions(&chosen).iter().map(|one| one.right).collect();
        assert_eq!(right, [Some(false), Some(true), None, None]);
    }
}
