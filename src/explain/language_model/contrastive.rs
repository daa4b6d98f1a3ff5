use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::features::{Evidence, TokenTexts, marked_text};
use crate::llm::{ChatRequest, Prompt};

use super::excerpts::{Excerpt, Shown, excerpts, numbered};
use super::{LanguageExplainer, question, version};

pub(in crate::explain) const PROMPT: Prompt =
    Prompt { name: "contrastive", text: include_str!("../prompts/contrastive.txt") };

/// As `Highlighted`, with additional fragments on which the feature does not fire. Source: Paulo et al. 2024.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrastive {
    /// Number of fragments shown.
    pub shown: Shown,
    /// Temperature of the explainer.
    pub temperature: f64,
    /// Worked examples in the prompt; `None` for all.
    #[serde(default)]
    pub shots: Option<usize>,
}

impl Default for Contrastive {
    fn default() -> Self {
        Self { shown: Shown { top: 10, random: 5, non_firing: 5 }, temperature: 1.0, shots: None }
    }
}

impl LanguageExplainer for Contrastive {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, self)
    }

    fn request(&self, evidence: &Evidence, texts: &TokenTexts<'_>, sample: u64) -> ChatRequest {
        let firing = excerpts(&self.shown.firing(evidence), evidence.first_scored(), texts);
        let firing = numbered(firing.iter().map(Excerpt::running));
        let fills = [("excerpts", firing.as_str()), ("silent", &self.silent(evidence, texts))];
        question(PROMPT.messages_with(self.shots, &fills), self.temperature, sample)
    }
}

impl Contrastive {
    fn silent(&self, evidence: &Evidence, texts: &TokenTexts<'_>) -> String {
        let records = self.shown.silent(evidence);
        if records.is_empty() {
            return "There are none.".into();
        }
        numbered(records.iter().map(|record| {
            let texts: Vec<String> = record.tokens.iter().map(|&token| texts(token)).collect();
            format!("{}\n", marked_text(&texts, &[]))
        }))
    }
}
