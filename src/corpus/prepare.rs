//! Fills both splits from a source.

use rayon::prelude::*;

use super::fragments::{FragmentPool, Fragments};
use super::generator::ConceptSet;
use super::labels::{LabelSets, TokenLabels, token_concepts};
use super::parts::{Part, Parts};
use super::split::{document_digest, is_evaluate, pieces};
use super::{CorpusCounts, CorpusError, CorpusParams, Encode, Source, TooLittleText};
use crate::base::{Digest, Digester, TokenBatch};

/// Parts encoded in one parallel pass. Results do not depend on it.
const CHUNK_PARTS: usize = 512;
/// Text encoded in one parallel pass, in bytes.
const CHUNK_BYTES: usize = 1 << 21;
/// Tokens of both splits.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSets {
    /// Contexts `[n_contexts, ctx_tokens]`.
    pub fit: TokenBatch,
    /// Fragments `[n_fragments, fragment_tokens]`: the first of every document, then the second, and so on.
    pub evaluate: TokenBatch,
    /// Document of each fragment. Equal numbers are windows of one document.
    pub fragment_documents: Vec<u32>,
    /// Tokens that the model gets in front of every context and fragment.
    pub prefix: Vec<u32>,
    /// Indices into `fit` of the separators between documents, ascending.
    pub separators: Vec<usize>,
    /// Digest of all of the above.
    pub digest: Digest,
    /// The concepts of every token, if the source is labelled.
    pub labels: Option<TokenLabels>,
    /// Counts of what was read.
    pub counts: CorpusCounts,
}

impl TokenSets {
    /// Whether the token at index `place` of `fit` may be fitted on. Without a prefix, position 0 of a context may
    /// not. With a prefix, separators may not: they are BOS tokens.
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
/// The same source, encoder and parameters give the same tokens for any number of threads. `on(found, needed)`
/// reports the number of fit tokens.
///
/// # Errors
/// A file that is missing or invalid; [`CorpusError::TooLittleText`] if the text ends first.
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
            let name = || source.to_string();
            let (ids, concepts) =
                encoded.map_err(|why| CorpusError::Encode { name: name(), document, why })?;
            if part.spans.is_some() && concepts.is_none() {
                return Err(CorpusError::NotByteForByte { name: name(), document });
            }
            splitter.add(&ids, concepts.as_deref());
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

/// A part's token ids, and their concepts if it is labelled and its tokens give the text back byte for byte.
type Encoded = (Vec<u32>, Option<Vec<ConceptSet>>);

fn encode(part: &Part, encoder: &dyn Encode) -> Result<Encoded, String> {
    let ids = encoder.encode(&part.text)?;
    let concepts = part.spans.as_ref().and_then(|spans| token_concepts(&part.text, spans, &ids, encoder));
    Ok((ids, concepts))
}

/// The next parts to encode together, and the error that stopped reading, if any.
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

/// Both splits while they are filled.
struct Splitter<'a> {
    params: &'a CorpusParams,
    encoder: &'a dyn Encode,
    fit_needed: usize,
    fit: Vec<u32>,
    /// Label of each fit token; empty if the source is not labelled.
    fit_labels: Vec<u32>,
    separators: Vec<usize>,
    sets: LabelSets,
    pool: FragmentPool<'a>,
    counts: CorpusCounts,
}

impl<'a> Splitter<'a> {
    fn new(params: &'a CorpusParams, encoder: &'a dyn Encode) -> Self {
        Self {
            params,
            encoder,
            fit_needed: params.n_contexts() * params.ctx_tokens,
            fit: Vec::new(),
            fit_labels: Vec::new(),
            separators: Vec::new(),
            sets: LabelSets::new(),
            pool: FragmentPool::new(params),
            counts: CorpusCounts { evaluate_share: params.evaluate_share(), ..CorpusCounts::default() },
        }
    }

    fn is_done(&self) -> bool {
        self.fit.len() == self.fit_needed && self.pool.is_sufficient()
    }

    fn add(&mut self, ids: &[u32], concepts: Option<&[ConceptSet]>) {
        let labels: Option<Vec<u32>> =
            concepts.map(|concepts| concepts.iter().map(|set| self.sets.index(*set)).collect());
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
            if is_evaluate(&digest, self.counts.evaluate_share) {
                self.pool.add(piece, labels, digest, self.encoder, &mut self.counts);
            } else {
                self.add_fit(piece, labels);
            }
        }
    }

    fn add_fit(&mut self, piece: &[u32], labels: Option<&[u32]>) {
        let room = self.fit_needed - self.fit.len();
        // After a prefix, a document at a context's start needs no separator.
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

    fn finish(self, source: &Source<'_>) -> Result<TokenSets, CorpusError> {
        if self.counts.tokens_read == 0 {
            return Err(CorpusError::Empty { name: source.to_string() });
        }
        if !self.is_done() {
            return Err(self.too_little(source));
        }
        let Fragments { ids, labels, documents } = self.pool.choose();
        let empty = || CorpusError::Empty { name: source.to_string() };
        let fit = TokenBatch::new(self.fit, self.params.ctx_tokens).ok_or_else(empty)?;
        let evaluate = TokenBatch::new(ids, self.params.fragment_tokens).ok_or_else(empty)?;
        let prefix = self.params.prefix.clone();
        let digest = digest(&fit, &evaluate, &documents, &prefix);
        // A source labels all of its tokens or none.
        let labels = (!labels.is_empty()).then_some(TokenLabels {
            sets: self.sets.sets,
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
            fit_found: self.fit.len(),
            fit_needed: self.fit_needed,
            counts: self.counts.clone(),
        }))
    }
}

/// Digest of the tokens of both splits.
pub(super) fn digest(fit: &TokenBatch, evaluate: &TokenBatch, documents: &[u32], prefix: &[u32]) -> Digest {
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
