use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::features::{Evidence, TokenTexts};
use crate::llm::{ChatRequest, Prompt};

use super::excerpts::{Excerpt, Shown, excerpts, numbered};
use super::{LanguageExplainer, question, version};

pub(in crate::explain) const PROMPT: Prompt =
    Prompt { name: "highlighted", text: include_str!("../prompts/highlighted.txt") };

/// Shows running text with marks around tokens of at least 30 % of their fragment's maximum, and lists the marked
/// tokens with their activations from 0 to 10. Source: Paulo et al. 2024.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Highlighted {
    /// Number of fragments shown; `non_firing` is ignored.
    pub shown: Shown,
    /// Temperature of the explainer.
    pub temperature: f64,
    /// Worked examples in the prompt; `None` for all.
    #[serde(default)]
    pub shots: Option<usize>,
}

impl Default for Highlighted {
    fn default() -> Self {
        Self { shown: Shown { top: 10, random: 10, non_firing: 0 }, temperature: 1.0, shots: None }
    }
}

impl LanguageExplainer for Highlighted {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, self)
    }

    fn request(&self, evidence: &Evidence, texts: &TokenTexts<'_>, sample: u64) -> ChatRequest {
        let excerpts = excerpts(&self.shown.firing(evidence), evidence.first_scored(), texts);
        let firing = numbered(excerpts.iter().map(Excerpt::running));
        question(PROMPT.messages_with(self.shots, &[("excerpts", &firing)]), self.temperature, sample)
    }
}
