use serde::{Deserialize, Serialize};

use crate::base::Digest;
use crate::features::{Evidence, TokenTexts};
use crate::llm::{ChatRequest, Prompt};

use super::excerpts::{Excerpt, Shown, excerpts, numbered};
use super::{LanguageExplainer, question, version};

pub(in crate::explain) const PROMPT: Prompt =
    Prompt { name: "token_activation", text: include_str!("../prompts/token_activation.txt") };

/// A feature is sparse if fewer than this share of the levels shown are above 0.
const SPARSE_SHARE: f64 = 0.2;

/// Lists each token with its activation from 0 to 10, scaled by the largest of the fragments shown. For a sparse
/// feature, a second list repeats only the tokens above 0. Source: Bills et al. 2023.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenActivation {
    /// Number of fragments shown; non-firing ones come last.
    pub shown: Shown,
    /// Temperature of the explainer.
    pub temperature: f64,
    /// Worked examples in the prompt; `None` for all.
    #[serde(default)]
    pub shots: Option<usize>,
}

impl Default for TokenActivation {
    fn default() -> Self {
        Self { shown: Shown { top: 5, random: 5, non_firing: 0 }, temperature: 1.0, shots: None }
    }
}

impl LanguageExplainer for TokenActivation {
    fn name(&self) -> &'static str {
        PROMPT.name
    }

    fn digest(&self) -> Digest {
        version(&PROMPT, self)
    }

    fn request(&self, evidence: &Evidence, texts: &TokenTexts<'_>, sample: u64) -> ChatRequest {
        let mut records = self.shown.firing(evidence);
        records.extend(self.shown.silent(evidence));
        let listing = listing(&excerpts(&records, evidence.first_scored(), texts));
        question(PROMPT.messages_with(self.shots, &[("excerpts", &listing)]), self.temperature, sample)
    }
}

fn listing(excerpts: &[Excerpt]) -> String {
    let all = numbered(excerpts.iter().map(|excerpt| excerpt.listing(true)));
    let levels = || excerpts.iter().flat_map(|excerpt| excerpt.levels.iter().flatten());
    let positive = levels().filter(|&&level| level > 0).count();
    if positive == 0 || positive as f64 >= SPARSE_SHARE * levels().count() as f64 {
        return all;
    }
    let positive: String = excerpts.iter().map(|excerpt| excerpt.listing(false)).collect();
    format!("{all}\nAbove 0 are only\n{positive}")
}
