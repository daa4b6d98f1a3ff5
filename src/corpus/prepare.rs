//! Fills both splits from a source.

use rayon::prelude::*;

use super::fragments::{FragmentPool, Fragments};
use super::generator::ConceptSet;
use super::labels::{LabelSets, TokenLabels, token_concepts};
use super::part::{Item, Part};
use super::parts::Parts;
use super::plain::Facts;
use super::split::{document_digest, is_evaluate, pieces};
use super::{CorpusCounts, CorpusError, CorpusParams, Encode, Source, TooLittleText};
use crate::base::{Digest, Digester, TokenBatch};

/// Parts encoded in one parallel pass. Results do not depend on it.
const CHUNK_PARTS: usize = 512;
/// Text encoded in one parallel pass, in bytes.
const CHUNK_BYTES: usize = 1 << 21;
/// Most text in a row, of one document and of all, that adds nothing to either split, in bytes.
const USELESS_BYTES: (usize, usize) = (1 << 23, 1 << 28);

/// Progress of [`prepare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Tokens of the fit split.
    Tokens {
        /// Found so far.
        found: usize,
        /// Asked for.
        needed: usize,
    },
    /// Bytes read in a row without a document.
    Idle(u64),
}

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
/// The same source, encoder and parameters give the same tokens for any number of threads.
///
/// # Errors
/// A file that is missing or invalid; [`CorpusError::TooLittleText`] if the text ends first, or goes on without adding
/// anything.
pub fn prepare(
    source: &Source<'_>,
    encoder: &dyn Encode,
    params: &CorpusParams,
    on: &dyn Fn(Progress),
) -> Result<TokenSets, CorpusError> {
    params.check()?;
    let mut splitter = Splitter::new(params, encoder);
    let mut parts = source.parts();
    loop {
        let (chunk, failure) = next_chunk(&mut parts);
        let done = chunk.is_empty() && failure.is_none();
        let encoded: Vec<Option<Result<Encoded, String>>> =
            chunk.par_iter().map(|item| encode(item, encoder)).collect();
        for (item, encoded) in chunk.iter().zip(encoded) {
            splitter.take(item, encoded, source)?;
            if splitter.is_done() {
                on(Progress::Tokens { found: splitter.fit_needed, needed: splitter.fit_needed });
                return splitter.finish(source, parts.facts(), None);
            }
        }
        match chunk.last() {
            Some(&Item::Idle(bytes)) => on(Progress::Idle(bytes)),
            _ => on(Progress::Tokens { found: splitter.fit.len(), needed: splitter.fit_needed }),
        }
        if let Some(error) = failure {
            return Err(error);
        }
        let gave_up = splitter.useless(source);
        if done || gave_up.is_some() {
            return splitter.finish(source, parts.facts(), gave_up);
        }
    }
}

/// A part's token ids, and their concepts if it is labelled and its tokens give the text back byte for byte.
type Encoded = (Vec<u32>, Option<Vec<ConceptSet>>);

fn encode(item: &Item, encoder: &dyn Encode) -> Option<Result<Encoded, String>> {
    let Item::Part(part) = item else { return None };
    Some(encoder.encode(&part.text).map(|ids| {
        let concepts = part.spans.as_ref().and_then(|spans| token_concepts(&part.text, spans, &ids, encoder));
        (ids, concepts)
    }))
}

/// The next items to take together, and the error that stopped reading, if any.
fn next_chunk(parts: &mut Parts<'_>) -> (Vec<Item>, Option<CorpusError>) {
    let mut chunk = Vec::new();
    let mut bytes = 0;
    while chunk.len() < CHUNK_PARTS && bytes < CHUNK_BYTES {
        match parts.next() {
            Some(Ok(item)) => {
                let is_idle = matches!(item, Item::Idle(_));
                bytes += if let Item::Part(part) = &item { part.text.len() } else { 0 };
                chunk.push(item);
                if is_idle {
                    break;
                }
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
    /// Bytes since anything was added, of the document and in all.
    useless: (usize, usize),
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
            useless: (0, 0),
        }
    }

    /// Takes the next item of the source.
    fn take(
        &mut self,
        item: &Item,
        encoded: Option<Result<Encoded, String>>,
        source: &Source<'_>,
    ) -> Result<(), CorpusError> {
        match item {
            Item::Empty => self.counts.empty_texts += 1,
            Item::Bad(bad) => self.counts.bad_lines.add(bad),
            Item::Idle(_) | Item::Part(_) => {}
        }
        let allowed = self.params.bad_lines;
        if self.counts.bad_lines.n > allowed {
            let found = Box::new(self.counts.bad_lines.clone());
            return Err(CorpusError::BadLines { allowed, found });
        }
        let (Item::Part(part), Some(encoded)) = (item, encoded) else { return Ok(()) };
        self.counts.source_documents += usize::from(part.starts_document);
        let document = self.counts.source_documents as u64;
        let name = || source.to_string();
        let (ids, concepts) = encoded.map_err(|why| CorpusError::Encode { name: name(), document, why })?;
        if part.spans.is_some() && concepts.is_none() {
            return Err(CorpusError::NotByteForByte { name: name(), document });
        }
        let before = (self.fit.len(), self.pool.n_windows);
        self.add(&ids, concepts.as_deref());
        self.count_use(part, before != (self.fit.len(), self.pool.n_windows));
        Ok(())
    }

    fn count_use(&mut self, part: &Part, is_used: bool) {
        let (of_document, of_all) = &mut self.useless;
        if is_used || part.starts_document {
            *of_document = 0;
        }
        if is_used {
            *of_all = 0;
        } else {
            *of_document += part.text.len();
            *of_all += part.text.len();
        }
    }

    /// Why the source is given up, if it goes on and on without adding anything.
    fn useless(&self, source: &Source<'_>) -> Option<String> {
        if source.is_endless() {
            let is_over = self.counts.source_documents > self.params.patience();
            return is_over.then(|| "the generator goes on like this".into());
        }
        let (most_of_document, most_of_all) = USELESS_BYTES;
        let nothing = "added nothing, because it repeats earlier text or is left out; more is not read";
        if self.useless.0 > most_of_document {
            let document = self.counts.source_documents;
            return Some(format!(
                "then {} MiB in a row of document {document} {nothing}",
                most_of_document >> 20
            ));
        }
        (self.useless.1 > most_of_all).then(|| format!("then {} MiB in a row {nothing}", most_of_all >> 20))
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

    fn finish(
        mut self,
        source: &Source<'_>,
        found: Facts,
        gave_up: Option<String>,
    ) -> Result<TokenSets, CorpusError> {
        self.counts.undivided = source.undivided(found);
        if self.counts.tokens_read == 0 {
            // A corpus without text is told to be that, whatever its separators.
            self.counts.undivided = None;
            return Err(CorpusError::Empty { name: source.to_string(), causes: self.counts.causes() });
        }
        if !self.is_done() {
            return Err(self.too_little(source, gave_up));
        }
        let Fragments { ids, labels, documents } = self.pool.choose();
        let empty = || CorpusError::Empty { name: source.to_string(), causes: String::new() };
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

    fn too_little(&self, source: &Source<'_>, gave_up: Option<String>) -> CorpusError {
        CorpusError::TooLittleText(Box::new(TooLittleText {
            name: source.to_string(),
            fragment_tokens: self.params.fragment_tokens,
            fragments_found: self.pool.n_windows,
            fragments_needed: self.params.eval_fragments,
            fit_found: self.fit.len(),
            fit_needed: self.fit_needed,
            counts: self.counts.clone(),
            gave_up,
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
