//! How much text to take and how to cut it.

use serde::{Deserialize, Serialize};

use super::error::CorpusError;
use super::split::DOCUMENT_TOKENS;

/// Text to reserve per fragment, in units of its own tokens: windows do not cover the ends of documents.
const FRAGMENT_MARGIN: f64 = 1.25;
/// Bounds of the evaluate share. The lower one keeps enough documents for the fragments.
const SHARE_BOUNDS: (f64, f64) = (0.2, 0.8);

/// How much text to take and how to cut it. [`CorpusParams::check`] comes before use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusParams {
    /// Tokens to fit on, rounded up to whole contexts.
    pub fit_tokens: usize,
    /// Positions of a context, without the prefix.
    pub ctx_tokens: usize,
    /// Fragments to evaluate on.
    pub eval_fragments: usize,
    /// Positions of a fragment.
    pub fragment_tokens: usize,
    /// Assigns documents to splits and places their windows.
    pub seed: u64,
    /// Lines of JSON that may give no document.
    pub bad_lines: usize,
    /// Rejects fragments with a token that decodes to U+FFFD, instead of cutting between characters.
    pub reject_replacement: bool,
    /// Token before every document of a context; `None` joins documents directly.
    pub separator_id: Option<u32>,
    /// Tokens that the model gets in front of every context and fragment. They are not part of the contexts. With
    /// a prefix, a document at a context's start has no separator, and the first token may be fitted on.
    pub prefix: Vec<u32>,
}

impl CorpusParams {
    /// Checks that all sizes are in range.
    pub fn check(&self) -> Result<(), CorpusError> {
        let checks = [
            ("fit_tokens", self.fit_tokens, self.fit_tokens > 0, "at least 1"),
            (
                "ctx_tokens",
                self.ctx_tokens,
                self.ctx_tokens > 1,
                "at least 2, because position 0 is left out",
            ),
            ("eval_fragments", self.eval_fragments, self.eval_fragments > 0, "at least 1"),
            (
                "fragment_tokens",
                self.fragment_tokens,
                (2..=DOCUMENT_TOKENS).contains(&self.fragment_tokens),
                "2 to 4096",
            ),
        ];
        match checks.into_iter().find(|(_, _, in_range, _)| !in_range) {
            Some((field, got, _, expected)) => Err(CorpusError::Params { field, got, expected }),
            None => Ok(()),
        }
    }

    /// Number of fit contexts.
    pub fn n_contexts(&self) -> usize {
        self.fit_tokens.div_ceil(self.ctx_tokens)
    }

    /// Share of documents in the evaluate split: E / (E + fit tokens) with E = 1.25 × fragment tokens, clamped to
    /// 0.2–0.8. The factor covers the ends of documents, where no window fits.
    pub fn evaluate_share(&self) -> f64 {
        let evaluate = FRAGMENT_MARGIN * self.eval_fragments as f64 * self.fragment_tokens as f64;
        let fit = self.n_contexts() as f64 * self.ctx_tokens as f64;
        (evaluate / (evaluate + fit)).clamp(SHARE_BOUNDS.0, SHARE_BOUNDS.1)
    }

    /// Documents after which an endless source counts as too short.
    pub(super) fn patience(&self) -> usize {
        self.n_contexts() * self.ctx_tokens + self.eval_fragments * self.fragment_tokens
    }
}
