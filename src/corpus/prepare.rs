use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::fragments::{FragmentPool, Fragments};
use super::generator::ConceptSet;
use super::labels::{LabelSets, TokenLabels, token_concepts};
use super::parts::{Part, Parts};
use super::split::{DOCUMENT_TOKENS, document_digest, is_evaluate, pieces};
use super::{CorpusError, Encode, Source, TooLittleText};
use crate::base::{Digest, Digester, TokenBatch};

/// Parts encoded together; results do not depend on it, only how far reading runs ahead.
const CHUNK_PARTS: usize = 512;
/// Text encoded together, in bytes.
const CHUNK_BYTES: usize = 1 << 21;
/// Text asked for per fragment beyond its own tokens: what windows leave at the ends of documents.
const FRAGMENT_MARGIN: f64 = 1.25;
/// Bounds of the evaluate share. Below the lower one too few documents would be behind the
/// fragments of a large fit split.
const SHARE_BOUNDS: (f64, f64) = (0.2, 0.8);

/// How much text, cut how. Stages own their parameters: [`CorpusParams::check`] before use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorpusParams {
    /// Tokens of text to fit on, rounded up to whole contexts.
    pub fit_tokens: usize,
    /// Positions of a context that text is on: those of the prefix come before.
    pub ctx_tokens: usize,
    /// Fragments to evaluate on.
    pub eval_fragments: usize,
    /// Positions of a fragment.
    pub fragment_tokens: usize,
    /// Decides which document is on which side and where its windows lie.
    pub seed: u64,
    /// Leaves out fragments with a token that decodes to U+FFFD, and counts them, instead of
    /// cutting between characters.
    pub reject_replacement: bool,
    /// Token put before every document of a context; none joins documents directly.
    pub separator_id: Option<u32>,
    /// Tokens that the model gets in front of every context and fragment. They are no part of what is made here,
    /// but what they decide is: a document at a context's start needs no separator behind them, and the first
    /// token of a context may be fitted on.
    pub prefix: Vec<u32>,
}

impl CorpusParams {
    /// Positions of a fragment unless a suite says otherwise.
    pub const FRAGMENT_TOKENS: usize = 64;

    /// Refuses sizes that no corpus can serve.
    pub fn check(&self) -> Result<(), CorpusError> {
        let refuse = |field, got, expected| Err(CorpusError::Params { field, got, expected });
        if self.fit_tokens == 0 {
            return refuse("fit_tokens", 0, "at least 1");
        }
        if self.ctx_tokens < 2 {
            return refuse("ctx_tokens", self.ctx_tokens, "at least 2, for position 0 is left out");
        }
        if self.eval_fragments == 0 {
            return refuse("eval_fragments", 0, "at least 1");
        }
        if !(2..=DOCUMENT_TOKENS).contains(&self.fragment_tokens) {
            return refuse("fragment_tokens", self.fragment_tokens, "2 to 4096");
        }
        Ok(())
    }

    /// Fit contexts.
    pub fn n_contexts(&self) -> usize {
        self.fit_tokens.div_ceil(self.ctx_tokens)
    }

    /// Share of documents on the evaluate side: what the fragments need of all that is needed,
    /// with a quarter more for what windows leave over, within 0.2 to 0.8.
    pub fn evaluate_share(&self) -> f64 {
        let evaluate = FRAGMENT_MARGIN * self.eval_fragments as f64 * self.fragment_tokens as f64;
        let fit = self.n_contexts() as f64 * self.ctx_tokens as f64;
        (evaluate / (evaluate + fit)).clamp(SHARE_BOUNDS.0, SHARE_BOUNDS.1)
    }

    /// Documents after which an endless source is given up on.
    fn patience(&self) -> usize {
        self.n_contexts() * self.ctx_tokens + self.eval_fragments * self.fragment_tokens
    }
}

/// What was read and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CorpusCounts {
    /// Documents as the source has them.
    pub source_documents: usize,
    /// Documents after long ones were cut; the parts below count these.
    pub documents: usize,
    /// Documents of which tokens are in the contexts.
    pub fit_documents: usize,
    /// Documents of which windows could be fragments.
    pub eval_documents: usize,
    /// Evaluate documents shorter than a fragment.
    pub short_documents: usize,
    /// Evaluate documents left out because an equal one was there.
    pub duplicates: usize,
    /// Windows left out because a token decodes to U+FFFD.
    pub rejected: usize,
    /// Tokens read, over both splits.
    pub tokens_read: usize,
    /// Special tokens of the tokenizer that the text itself holds, by id: they are data like any other token.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub special_tokens: BTreeMap<u32, usize>,
    /// Share of documents on the evaluate side.
    pub evaluate_share: f64,
}

/// Tokens of both splits.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSets {
    /// Contexts `[contexts, ctx_tokens]`.
    pub fit: TokenBatch,
    /// Fragments `[fragments, fragment_tokens]`: the first of every document in the order they
    /// were read, then the second, and so on.
    pub evaluate: TokenBatch,
    /// Document of each fragment: equal numbers are windows of one document.
    pub fragment_documents: Vec<u32>,
    /// Tokens that the model gets in front of every context and fragment.
    pub prefix: Vec<u32>,
    /// Places in `fit` of the separators between documents, ascending.
    pub separators: Vec<usize>,
    /// Digest of all of the above.
    pub digest: Digest,
    /// The concepts of every token, where the source is labelled.
    pub labels: Option<TokenLabels>,
    /// What was read.
    pub counts: CorpusCounts,
}

impl TokenSets {
    /// Whether the token at a place of `fit` may be fitted on. Without a prefix the model's position 0 may not.
    /// With one that position is the prefix's, and separators, which are BOS tokens as well, may not.
    pub fn is_fitted(&self, place: usize) -> bool {
        if self.prefix.is_empty() {
            !place.is_multiple_of(self.fit.cols())
        } else {
            self.separators.binary_search(&place).is_err()
        }
    }
}

/// Reads `source` until both splits have what `params` ask for.
///
/// The same source, encoder and parameters give the same tokens for any number of threads. `on` hears of tokens
/// to fit on that are there and that are wanted.
///
/// # Errors
/// Whatever is wrong with a file, with its path and place; [`CorpusError::TooLittleText`] with
/// the counts where the text ends first.
pub fn prepare(
    source: &Source<'_>,
    encoder: &dyn Encode,
    params: &CorpusParams,
    on: &dyn Fn(usize, usize),
) -> Result<TokenSets, CorpusError> {
    params.check()?;
    let mut splitter = Splitter::new(params, encoder);
    let mut parts = source.parts();
    loop {
        let (chunk, failure) = next_chunk(&mut parts);
        let done = chunk.is_empty() && failure.is_none();
        let encoded: Vec<Result<Encoded, String>> =
            chunk.par_iter().map(|part| encode(part, encoder)).collect();
        for (part, encoded) in chunk.iter().zip(encoded) {
            splitter.counts.source_documents += usize::from(part.starts_document);
            let document = splitter.counts.source_documents as u64;
            let Encoded { ids, concepts } =
                encoded.map_err(|why| CorpusError::Encode { name: source.to_string(), document, why })?;
            match (&part.spans, concepts) {
                (None, _) => splitter.add(&ids, None),
                (Some(_), Some(concepts)) => splitter.add(&ids, Some(&concepts)),
                (Some(_), None) => {
                    return Err(CorpusError::NotByteForByte { name: source.to_string(), document });
                }
            }
            if splitter.is_done() {
                on(splitter.fit_needed, splitter.fit_needed);
                return splitter.finish(source);
            }
        }
        on(splitter.fit.len(), splitter.fit_needed);
        if let Some(error) = failure {
            return Err(error);
        }
        let given_up = source.is_endless() && splitter.counts.source_documents > params.patience();
        if done || given_up {
            return splitter.finish(source);
        }
    }
}

/// A part's tokens, and their concepts where it is labelled and they can be told.
struct Encoded {
    ids: Vec<u32>,
    concepts: Option<Vec<ConceptSet>>,
}

fn encode(part: &Part, encoder: &dyn Encode) -> Result<Encoded, String> {
    let ids = encoder.encode(&part.text)?;
    let concepts = part.spans.as_ref().and_then(|spans| token_concepts(&part.text, spans, &ids, encoder));
    Ok(Encoded { ids, concepts })
}

/// The next parts to encode together, and what stopped reading, if anything did.
fn next_chunk(parts: &mut Parts<'_>) -> (Vec<Part>, Option<CorpusError>) {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while chunk.len() < CHUNK_PARTS && bytes < CHUNK_BYTES {
        match parts.next() {
            Some(Ok(part)) => {
                bytes += part.text.len();
                chunk.push(part);
            }
            Some(Err(error)) => return (chunk, Some(error)),
            None => break,
        }
    }
    (chunk, None)
}

/// Both splits while they fill.
struct Splitter<'a> {
    params: &'a CorpusParams,
    encoder: &'a dyn Encode,
    share: f64,
    fit_needed: usize,
    fit: Vec<u32>,
    /// Sets of concepts of the fit tokens, where they are labelled.
    fit_labels: Vec<u32>,
    separators: Vec<usize>,
    sets: LabelSets,
    pool: FragmentPool,
    counts: CorpusCounts,
}

impl<'a> Splitter<'a> {
    fn new(params: &'a CorpusParams, encoder: &'a dyn Encode) -> Self {
        let pool = FragmentPool::new(
            params.fragment_tokens,
            params.eval_fragments,
            params.reject_replacement,
            params.seed,
        );
        Self {
            params,
            encoder,
            share: params.evaluate_share(),
            fit_needed: params.n_contexts() * params.ctx_tokens,
            fit: Vec::new(),
            fit_labels: Vec::new(),
            separators: Vec::new(),
            sets: LabelSets::new(),
            pool,
            counts: CorpusCounts::default(),
        }
    }

    fn is_done(&self) -> bool {
        self.fit.len() == self.fit_needed && self.pool.is_sufficient()
    }

    fn add(&mut self, ids: &[u32], concepts: Option<&[ConceptSet]>) {
        let labels: Option<Vec<u32>> =
            concepts.map(|concepts| concepts.iter().map(|set| self.sets.place(*set)).collect());
        let mut start = 0;
        for piece in pieces(ids, self.encoder) {
            if self.is_done() {
                return;
            }
            let labels = labels.as_ref().map(|labels| &labels[start..start + piece.len()]);
            start += piece.len();
            self.counts.documents += 1;
            self.counts.tokens_read += piece.len();
            for &id in piece.iter().filter(|&&id| self.encoder.is_special(id)) {
                *self.counts.special_tokens.entry(id).or_default() += 1;
            }
            let digest = document_digest(piece, self.params.seed);
            if is_evaluate(&digest, self.share) {
                self.pool.add(piece, labels, digest, self.encoder);
            } else {
                self.add_fit(piece, labels);
            }
        }
    }

    fn add_fit(&mut self, piece: &[u32], labels: Option<&[u32]>) {
        let room = self.fit_needed - self.fit.len();
        // The prefix begins a context as the separator would.
        let begun = !self.params.prefix.is_empty() && self.fit.len().is_multiple_of(self.params.ctx_tokens);
        let separator = self.params.separator_id.filter(|_| !begun);
        if separator.is_some() && room > 0 {
            self.separators.push(self.fit.len());
        }
        self.fit.extend(separator.iter().chain(piece).take(room));
        if let Some(labels) = labels {
            let separator = separator.map(|_| LabelSets::NONE);
            self.fit_labels.extend(separator.iter().chain(labels).take(room));
        }
        self.counts.fit_documents += usize::from(room > 0);
    }

    fn finish(mut self, source: &Source<'_>) -> Result<TokenSets, CorpusError> {
        if self.counts.tokens_read == 0 {
            return Err(CorpusError::Empty { name: source.to_string() });
        }
        if !self.is_done() {
            return Err(self.too_little(source));
        }
        self.counts.eval_documents = self.pool.n_documents();
        self.counts.short_documents = self.pool.short;
        self.counts.duplicates = self.pool.duplicates;
        self.counts.rejected = self.pool.rejected;
        self.counts.evaluate_share = self.share;
        let Fragments { ids, labels, documents } = self.pool.choose();
        let empty = || CorpusError::Empty { name: source.to_string() };
        let fit = TokenBatch::new(self.fit, self.params.ctx_tokens).ok_or_else(empty)?;
        let evaluate = TokenBatch::new(ids, self.params.fragment_tokens).ok_or_else(empty)?;
        let prefix = self.params.prefix.clone();
        let digest = digest(&fit, &evaluate, &documents, &prefix);
        // A labelled source labels all tokens, any other none.
        let labels = (!labels.is_empty()).then(|| TokenLabels {
            sets: self.sets.finish(),
            fit: self.fit_labels,
            evaluate: labels,
        });
        Ok(TokenSets {
            fit,
            evaluate,
            fragment_documents: documents,
            prefix,
            separators: self.separators,
            digest,
            labels,
            counts: self.counts,
        })
    }

    fn too_little(&self, source: &Source<'_>) -> CorpusError {
        CorpusError::TooLittleText(Box::new(TooLittleText {
            name: source.to_string(),
            fragment_tokens: self.params.fragment_tokens,
            fragments_found: self.pool.n_windows,
            fragments_needed: self.params.eval_fragments,
            eval_documents: self.pool.n_documents(),
            fit_found: self.fit.len(),
            fit_needed: self.fit_needed,
            documents: self.counts.documents,
            tokens_read: self.counts.tokens_read,
            short_documents: self.pool.short,
            duplicates: self.pool.duplicates,
            rejected: self.pool.rejected,
        }))
    }
}

fn digest(fit: &TokenBatch, evaluate: &TokenBatch, documents: &[u32], prefix: &[u32]) -> Digest {
    let mut digester = Digester::new("tokens");
    let parts = [(fit.ids(), fit.cols()), (evaluate.ids(), evaluate.cols()), (documents, 1)];
    let prefix = (!prefix.is_empty()).then_some((prefix, 1));
    for (ids, cols) in parts.into_iter().chain(prefix) {
        digester.text(&format!("{} by {cols}", ids.len()));
        for id in ids {
            digester.stream(&id.to_le_bytes());
        }
    }
    digester.finish()
}
