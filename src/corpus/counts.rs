//! Counts of what was read and used, and the error that they are too small.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::bad_lines::BadLines;

/// Pieces per file from which text without separators is told to be one document.
const MANY_PIECES: usize = 8;

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
    /// Lines of JSON that were left out because they give no text.
    #[serde(default, skip_serializing_if = "BadLines::is_empty")]
    pub bad_lines: BadLines,
    /// Lines of JSON whose text is empty. They are no documents.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub empty_texts: usize,
    /// Plain text in which no separator was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undivided: Option<Undivided>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl CorpusCounts {
    /// What readers of the results must know, with the number of bad lines that is allowed.
    pub fn warnings(&self, allowed: usize) -> Vec<String> {
        let bad = (!self.bad_lines.is_empty())
            .then(|| format!("corpus: {}; `limits.bad_lines` allows {allowed}", self.bad_lines));
        let long = self.undivided.as_ref().filter(|text| self.documents >= MANY_PIECES * text.files);
        let long =
            long.map(|text| format!("corpus: {text}; here each piece of 4,096 tokens counts as a document"));
        bad.into_iter().chain(long).collect()
    }

    /// What may be at fault where a corpus gives too little, as the end of a sentence.
    pub(super) fn causes(&self) -> String {
        let undivided =
            self.undivided.as_ref().filter(|text| text.files == 1 || self.documents > 2 * text.files);
        let bad = (!self.bad_lines.is_empty()).then(|| self.bad_lines.to_string());
        let empty = (self.empty_texts > 0).then(|| format!("{} lines have an empty text", self.empty_texts));
        let causes = undivided.map(ToString::to_string).into_iter().chain(bad).chain(empty);
        causes.map(|cause| format!("; {cause}")).collect()
    }
}

/// Plain text in which no separator was found: every file is one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Undivided {
    /// Files that were read.
    pub files: usize,
    /// The line that would have ended a document.
    pub separator: String,
    /// Texts between blank lines in what was read.
    pub paragraphs: usize,
}

impl std::fmt::Display for Undivided {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.files {
            1 => f.write_str("one document: ")?,
            n => write!(f, "each of {n} files is one document: ")?,
        }
        write!(f, "{}; set `corpus.separator`", no_separator(&self.separator))?;
        if self.paragraphs > self.files {
            let n = self.paragraphs;
            write!(
                f,
                " (`corpus.separator: \"\"` ends documents at blank lines: {n} documents in what was read)"
            )?;
        }
        Ok(())
    }
}

/// Says that no line ended a document.
pub(super) fn no_separator(separator: &str) -> String {
    match separator {
        "" => "no blank line was found".into(),
        line => format!("no line `{}` was found", line.escape_debug()),
    }
}

/// How much text there is and how much is needed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "too little text in {name}: the evaluate split gives {fragments_found} fragments of {fragment_tokens} tokens \
     from {} documents ({fragments_needed} needed), the fit split {fit_found} tokens \
     ({fit_needed} needed); {} {} documents were read ({} tokens; {} \
     evaluate documents were shorter than a fragment, {} repeated another, {} fragments \
     were rejected{}): give more text, or lower `corpus.eval_fragments` or `corpus.fit_tokens`{}",
    counts.eval_documents, if gave_up.is_some() { "the first" } else { "all" }, counts.documents,
    counts.tokens_read, counts.short_documents, counts.duplicates, counts.rejected,
    gave_up.as_deref().map(|why| format!("; {why}")).unwrap_or_default(), counts.causes()
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
    /// Why the rest was not read.
    pub gave_up: Option<String>,
}
