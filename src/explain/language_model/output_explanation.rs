use serde::{Deserialize, Serialize};

use crate::base::{Digest, Missing};
use crate::features::{Evidence, OutputEvidence, TokenChange, TokenChanges, TokenTexts, marked_text, quoted};
use crate::llm::{ChatRequest, Prompt};

use super::{LanguageExplainer, question, version};

pub(in crate::explain) const PROMPT: Prompt =
    Prompt { name: "output_explanation", text: include_str!("../prompts/output_explanation.txt") };

/// Shows what a feature does and no text on which it fires: tokens that its direction raises and lowers, tokens whose
/// probability rises and falls while it is clamped, and clamped texts beside unchanged ones. Source: Gur-Arieh et al. 2025,
/// arXiv 2501.08319 (VocabProj and TokenChange; the texts are this project's own addition).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputExplanation {
    /// Tokens shown of each list.
    pub tokens: usize,
    /// Temperature of the explainer.
    pub temperature: f64,
    /// Worked examples in the prompt; `None` for all.
    #[serde(default)]
    pub shots: Option<usize>,
}

impl Default for OutputExplanation {
    fn default() -> Self {
        Self { tokens: 10, temperature: 1.0, shots: None }
    }
}

impl LanguageExplainer for OutputExplanation {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, self)
    }

    fn request(&self, evidence: &Evidence, texts: &TokenTexts<'_>, sample: u64) -> ChatRequest {
        let nothing = OutputEvidence::default();
        let output = evidence.output().and_then(|output| output.as_ref().ok()).unwrap_or(&nothing);
        let shown = self.shown(output, texts);
        question(PROMPT.messages_with(self.shots, &[("evidence", &shown)]), self.temperature, sample)
    }

    fn unanswerable(&self, evidence: &Evidence) -> Option<Missing> {
        match evidence.output() {
            Some(Ok(_)) => None,
            Some(Err(why)) => Some(Missing::Undefined((*why).into())),
            None => Some(Missing::Undefined("no_output".into())),
        }
    }
}

impl OutputExplanation {
    fn shown(&self, output: &OutputEvidence, texts: &TokenTexts<'_>) -> String {
        let direct = match &output.direct {
            Some(changes) => self.changes(changes, texts),
            None => "The direction does not reach the output directly.".into(),
        };
        let mut shown =
            format!("By itself\n{direct}\n\nHeld high\n{}", self.changes(&output.measured, texts));
        let text = |tokens: &[u32]| {
            let tokens: Vec<String> = tokens.iter().map(|&token| texts(token)).collect();
            marked_text(&tokens, &[])
        };
        for (nth, pair) in output.texts.iter().enumerate() {
            shown.push_str(&format!(
                "\n\nOpening {}: {}\nheld high: {}\nwithout: {}",
                nth + 1,
                text(&pair.prompt),
                text(&pair.steered),
                text(&pair.other)
            ));
        }
        shown
    }

    fn changes(&self, changes: &TokenChanges, texts: &TokenTexts<'_>) -> String {
        let listed = |list: &[TokenChange]| {
            let tokens = list.iter().take(self.tokens).map(|(token, _)| quoted(&texts(*token)));
            let tokens = tokens.collect::<Vec<_>>().join(", ");
            if tokens.is_empty() { "none".to_string() } else { tokens }
        };
        format!("more likely: {}\nless likely: {}", listed(&changes.raised), listed(&changes.lowered))
    }
}
