//! Both splits of sequences whose activations are stored.
//!
//! A sequence belongs to the split of its document: by the hash of the document's first sequence, or of the sequence
//! itself where documents are not known. Sequences of the fit split are contexts as they are. Fragments are windows of
//! the evaluate sequences, within a document: no window holds a separator. Windows of equal ids are taken once, because
//! their activations may differ and ids alone say where a window is.

use std::collections::{HashMap, HashSet};

use super::fragments::{FragmentPool, Fragments};
use super::prepare::digest;
use super::split::{document_digest, is_evaluate};
use super::{CorpusCounts, CorpusError, CorpusParams, Encode, TokenSets, TooLittleText};
use crate::base::TokenBatch;

/// Sequences of token ids, each with the prefix of [`CorpusParams::prefix`] and [`CorpusParams::ctx_tokens`] more.
pub struct StoredSequences<'a, E> {
    /// Name for messages.
    pub name: String,
    /// Number of sequences.
    pub count: usize,
    /// Ids of a sequence.
    pub ids: &'a dyn Fn(usize) -> Result<Vec<u32>, E>,
    /// Document of each sequence, if known.
    pub documents: Option<&'a [u32]>,
}

/// Tokens of both splits, and where they are: sequence and position of the first token of each context and fragment.
pub struct StoredTokens {
    /// The tokens.
    pub tokens: TokenSets,
    /// Of each context of the fit split.
    pub fit: Vec<(usize, usize)>,
    /// Of each fragment.
    pub evaluate: Vec<(usize, usize)>,
}

/// Fills both splits from stored sequences, in order, until there is what `params` ask for.
///
/// # Errors
/// What `ids` returns; [`CorpusError::TooLittleText`] if there are too few sequences.
pub fn prepare_stored<E: From<CorpusError>>(
    sequences: &StoredSequences<'_, E>,
    encoder: &dyn Encode,
    params: &CorpusParams,
) -> Result<StoredTokens, E> {
    params.check()?;
    let mut filling = Filling::new(params, encoder);
    for sequence in 0..sequences.count {
        if filling.is_done() {
            break;
        }
        let ids = (sequences.ids)(sequence)?;
        let document = sequences.documents.map_or(sequence as u32, |documents| documents[sequence]);
        filling.add(sequence, document, &ids[params.prefix.len().min(ids.len())..]);
    }
    Ok(filling.finish(&sequences.name)?)
}

struct Filling<'a> {
    params: &'a CorpusParams,
    encoder: &'a dyn Encode,
    fit: Vec<u32>,
    /// Sequence and document of each context.
    fit_sequences: Vec<(usize, u32)>,
    separators: Vec<usize>,
    pool: FragmentPool<'a>,
    /// Sequence and document of each text in the pool.
    pooled: Vec<(usize, u32)>,
    /// Whether a document is in the evaluate split.
    evaluated: HashMap<u32, bool>,
    counts: CorpusCounts,
}

impl<'a> Filling<'a> {
    fn new(params: &'a CorpusParams, encoder: &'a dyn Encode) -> Self {
        Self {
            params,
            encoder,
            fit: Vec::new(),
            fit_sequences: Vec::new(),
            separators: Vec::new(),
            pool: FragmentPool::of_distinct_windows(params),
            pooled: Vec::new(),
            evaluated: HashMap::new(),
            counts: CorpusCounts { evaluate_share: params.evaluate_share(), ..CorpusCounts::default() },
        }
    }

    fn is_done(&self) -> bool {
        self.fit_sequences.len() == self.params.n_contexts() && self.pool.is_sufficient()
    }

    fn add(&mut self, sequence: usize, document: u32, text: &[u32]) {
        let share = self.counts.evaluate_share;
        let digest = document_digest(text, self.params.seed);
        let evaluate = *self.evaluated.entry(document).or_insert_with(|| is_evaluate(&digest, share));
        self.counts.tokens_read += text.len();
        let (encoder, separator) = (self.encoder, self.params.separator_id);
        for &id in text.iter().filter(|&&id| encoder.is_special(id) && separator != Some(id)) {
            *self.counts.special_tokens.entry(id).or_default() += 1;
        }
        if evaluate {
            self.add_evaluate(sequence, document, text);
        } else if self.fit_sequences.len() < self.params.n_contexts() {
            let first = self.fit.len();
            let separating = (0..text.len()).filter(|&place| separator == Some(text[place]));
            self.separators.extend(separating.map(|place| first + place));
            self.fit.extend_from_slice(text);
            self.fit_sequences.push((sequence, document));
        }
    }

    /// Adds the parts of a text between separators.
    fn add_evaluate(&mut self, sequence: usize, document: u32, text: &[u32]) {
        let start = self.params.prefix.len() as u32;
        let positions: Vec<u32> = (start..start + text.len() as u32).collect();
        let mut from = 0;
        for part in text.split(|&id| self.params.separator_id == Some(id)) {
            let places = &positions[from..from + part.len()];
            from += part.len() + 1;
            let digest = document_digest(part, self.params.seed);
            let before = self.pool.n_documents();
            if !part.is_empty() {
                self.pool.add(part, Some(places), digest, self.encoder, &mut self.counts);
            }
            self.pooled.extend((before..self.pool.n_documents()).map(|_| (sequence, document)));
        }
    }

    fn finish(mut self, name: &str) -> Result<StoredTokens, CorpusError> {
        let documents_of = |places: &[(usize, u32)]| {
            places.iter().map(|(_, document)| *document).collect::<HashSet<u32>>().len()
        };
        self.counts.source_documents = self.evaluated.len();
        self.counts.documents = self.evaluated.len();
        self.counts.fit_documents = documents_of(&self.fit_sequences);
        self.counts.eval_documents = documents_of(&self.pooled);
        if self.counts.tokens_read == 0 {
            return Err(CorpusError::Empty { name: name.to_string(), causes: String::new() });
        }
        if !self.is_done() {
            return Err(CorpusError::TooLittleText(Box::new(TooLittleText {
                name: name.to_string(),
                fragment_tokens: self.params.fragment_tokens,
                fragments_found: self.pool.n_windows,
                fragments_needed: self.params.eval_fragments,
                fit_found: self.fit.len(),
                fit_needed: self.params.n_contexts() * self.params.ctx_tokens,
                counts: self.counts,
                gave_up: None,
            })));
        }
        // The pool's labels are positions in the sequence.
        let Fragments { ids, labels, documents } = self.pool.choose();
        let starts = labels.iter().step_by(self.params.fragment_tokens);
        let places = documents.iter().zip(starts);
        let evaluate: Vec<(usize, usize)> =
            places.map(|(&nth, &start)| (self.pooled[nth as usize].0, start as usize)).collect();
        let documents: Vec<u32> = documents.iter().map(|&nth| self.pooled[nth as usize].1).collect();
        let empty = || CorpusError::Empty { name: name.to_string(), causes: String::new() };
        let fit_batch = TokenBatch::new(self.fit, self.params.ctx_tokens).ok_or_else(empty)?;
        let fragments = TokenBatch::new(ids, self.params.fragment_tokens).ok_or_else(empty)?;
        let prefix = self.params.prefix.clone();
        let digest = digest(&fit_batch, &fragments, &documents, &prefix);
        let start = prefix.len();
        let tokens = TokenSets {
            fit: fit_batch,
            evaluate: fragments,
            fragment_documents: documents,
            prefix,
            separators: self.separators,
            digest,
            labels: None,
            counts: self.counts,
        };
        let fit = self.fit_sequences.into_iter().map(|(sequence, _)| (sequence, start)).collect();
        Ok(StoredTokens { tokens, fit, evaluate })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Numbers;

    impl Encode for Numbers {
        fn encode(&self, _: &str) -> Result<Vec<u32>, String> {
            Ok(Vec::new())
        }

        fn starts_character(&self, _: u32) -> bool {
            true
        }

        fn push_bytes(&self, _: u32, _: &mut Vec<u8>) {}

        fn replacement_token(&self, _: u32) -> bool {
            false
        }
    }

    /// BOS, then 12 tokens; some sequences hold a separator, which is BOS too.
    fn sequence(nth: usize) -> Vec<u32> {
        let token = |position: usize| match (position, nth % 4) {
            (0, _) | (7, 0) => 1,
            _ => 2 + (nth * 31 + position * 7 + nth * position) as u32 % 500,
        };
        (0..13).map(token).collect()
    }

    fn params() -> CorpusParams {
        CorpusParams {
            fit_tokens: 120,
            ctx_tokens: 12,
            eval_fragments: 10,
            fragment_tokens: 4,
            seed: 3,
            bad_lines: 0,
            reject_replacement: false,
            separator_id: Some(1),
            prefix: vec![1],
        }
    }

    fn prepared(count: usize, documents: Option<&[u32]>) -> Result<StoredTokens, CorpusError> {
        let ids = |nth: usize| Ok(sequence(nth));
        let sequences = StoredSequences { name: "`x`".into(), count, ids: &ids, documents };
        prepare_stored(&sequences, &Numbers, &params())
    }

    #[test]
    fn every_text_is_where_it_is_said_to_be() {
        let found = prepared(60, None).expect("enough");
        let tokens = &found.tokens;
        assert_eq!((tokens.fit.rows(), tokens.evaluate.rows()), (10, 10));
        for (batch, places) in [(&tokens.fit, &found.fit), (&tokens.evaluate, &found.evaluate)] {
            assert_eq!(batch.rows(), places.len());
            for (row, &(nth, start)) in places.iter().enumerate() {
                assert!(start >= 1, "no BOS");
                assert_eq!(batch.row(row), &sequence(nth)[start..start + batch.cols()]);
            }
        }
        assert!(!tokens.evaluate.ids().contains(&1), "no fragment holds a separator");
        assert_eq!(tokens.separators.len(), tokens.fit.ids().iter().filter(|&&id| id == 1).count());
        assert!(
            !tokens.separators.is_empty() && tokens.separators.iter().all(|&place| !tokens.is_fitted(place))
        );
        let fitted: HashSet<usize> = found.fit.iter().map(|place| place.0).collect();
        assert!(found.evaluate.iter().all(|place| !fitted.contains(&place.0)), "splits are apart");
        let windows: HashSet<&[u32]> = (0..10).map(|row| tokens.evaluate.row(row)).collect();
        assert_eq!(windows.len(), 10);
    }

    #[test]
    fn sequences_of_a_document_stay_together() {
        let documents: Vec<u32> = (0..200).map(|nth| nth / 5).collect();
        let found = prepared(200, Some(&documents)).expect("enough");
        let of = |places: &[(usize, usize)]| {
            places.iter().map(|place| documents[place.0]).collect::<HashSet<u32>>()
        };
        assert!(of(&found.fit).is_disjoint(&of(&found.evaluate)));
        for (place, &document) in found.evaluate.iter().zip(&found.tokens.fragment_documents) {
            assert_eq!(documents[place.0], document);
        }
    }

    #[test]
    fn too_few_sequences_are_counted() {
        let Err(CorpusError::TooLittleText(too_little)) = prepared(8, None) else { panic!("8 are enough?") };
        assert_eq!((too_little.fit_needed, too_little.fragments_needed), (120, 10));
        assert_eq!(too_little.counts.documents, 8);
    }
}
