//! Counts of what was read and used, and the error that they are too small.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of what was read and used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CorpusCounts {
    /// Documents of the source.
    pub source_documents: usize,
    /// Documents after long ones were cut. The counts below use these.
    pub documents: usize,
    /// Documents with tokens in the contexts.
    pub fit_documents: usize,
    /// Evaluate documents with at least one window.
    pub eval_documents: usize,
    /// Evaluate documents shorter than a fragment.
    pub short_documents: usize,
    /// Evaluate documents left out because they repeat an earlier one.
    pub duplicates: usize,
    /// Windows left out because a token decodes to U+FFFD.
    pub rejected: usize,
    /// Tokens read, over both splits.
    pub tokens_read: usize,
    /// Special tokens in the text itself, by id. They are data like any other token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub special_tokens: BTreeMap<u32, usize>,
    /// Share of documents in the evaluate split.
    pub evaluate_share: f64,
}

/// How much text there is and how much is needed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "too little text in {name}: the evaluate split gives {fragments_found} fragments of {fragment_tokens} tokens \
     from {} documents ({fragments_needed} needed), the fit split {fit_found} tokens \
     ({fit_needed} needed); all {} documents were read ({} tokens; {} \
     evaluate documents were shorter than a fragment, {} repeated another, {} fragments \
     were rejected): give more text, or lower `corpus.eval_fragments` or `corpus.fit_tokens`",
    counts.eval_documents, counts.documents, counts.tokens_read, counts.short_documents, counts.duplicates,
    counts.rejected
)]
pub struct TooLittleText {
    /// Name of the source.
    pub name: String,
    /// Tokens of a fragment.
    pub fragment_tokens: usize,
    /// Fragments in the text.
    pub fragments_found: usize,
    /// Fragments asked for.
    pub fragments_needed: usize,
    /// Fit tokens in the text.
    pub fit_found: usize,
    /// Fit tokens asked for, rounded up to whole contexts.
    pub fit_needed: usize,
    /// Counts of what was read.
    pub counts: CorpusCounts,
}
