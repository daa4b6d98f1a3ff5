//! Fragments of the evaluate split.

use std::collections::HashSet;

use super::split::document_digest;
use super::{CorpusCounts, CorpusParams, Encode};
use crate::base::{Digest, Stream};

/// Windows of the evaluate documents, collected until there are enough.
pub(super) struct FragmentPool<'a> {
    params: &'a CorpusParams,
    documents: Vec<Windows>,
    seen: HashSet<Digest>,
    /// Digests of the windows so far, if equal windows are taken once.
    windows: Option<HashSet<Digest>>,
    pub(super) n_windows: usize,
}

/// Non-overlapping windows of one document, in a seeded order.
struct Windows {
    ids: Vec<u32>,
    /// One label per id; empty if the source is not labelled.
    labels: Vec<u32>,
    order: Vec<usize>,
}

/// The chosen fragments.
#[derive(Default)]
pub(super) struct Fragments {
    /// `[n, fragment_tokens]`
    pub(super) ids: Vec<u32>,
    /// `[n, fragment_tokens]`; empty if the source is not labelled.
    pub(super) labels: Vec<u32>,
    /// `[n]`
    pub(super) documents: Vec<u32>,
}

impl<'a> FragmentPool<'a> {
    pub(super) fn new(params: &'a CorpusParams) -> Self {
        Self { params, documents: Vec::new(), seen: HashSet::new(), windows: None, n_windows: 0 }
    }

    /// A pool that takes windows of equal ids once, whatever documents they are in.
    pub(super) fn of_distinct_windows(params: &'a CorpusParams) -> Self {
        Self { windows: Some(HashSet::new()), ..Self::new(params) }
    }

    /// Documents with windows so far.
    pub(super) fn n_documents(&self) -> usize {
        self.documents.len()
    }

    /// Whether there are enough windows, possibly several of one document.
    pub(super) fn is_sufficient(&self) -> bool {
        self.n_windows >= self.params.eval_fragments
    }

    /// Adds a document's windows, unless the pool has an equal document or one document per fragment already.
    pub(super) fn add(
        &mut self,
        ids: &[u32],
        labels: Option<&[u32]>,
        digest: Digest,
        encoder: &dyn Encode,
        counts: &mut CorpusCounts,
    ) {
        let length = self.params.fragment_tokens;
        if self.documents.len() >= self.params.eval_fragments {
            return;
        }
        if ids.len() < length {
            counts.short_documents += 1;
            return;
        }
        if !self.seen.insert(digest) {
            counts.duplicates += 1;
            return;
        }
        let mut stream = Stream::named(self.params.seed, &["fragments", &digest.hex()]);
        let first = stream.below(ids.len() % length + 1);
        let mut starts = if self.params.reject_replacement {
            let (rejected, starts) = decodable_windows(ids, first, length, encoder);
            counts.rejected += rejected;
            starts
        } else {
            character_windows(ids, first, length, encoder)
        };
        if let Some(windows) = &mut self.windows {
            starts.retain(|&start| windows.insert(document_digest(&ids[start..start + length], 0)));
        }
        if starts.is_empty() {
            return;
        }
        self.n_windows += starts.len();
        let order = stream.permutation(starts.len());
        let windows = |of: &[u32]| -> Vec<u32> {
            starts.iter().flat_map(|&start| &of[start..start + length]).copied().collect()
        };
        let labels = labels.map(windows).unwrap_or_default();
        self.documents.push(Windows { ids: windows(ids), labels, order });
        counts.eval_documents = self.documents.len();
    }

    /// Chooses fragments in rounds of at most one per document. The last round is a seeded sample of documents.
    pub(super) fn choose(self) -> Fragments {
        let CorpusParams { seed, eval_fragments, fragment_tokens, .. } = *self.params;
        let mut stream = Stream::new(seed, "fragments/last round");
        let mut chosen = Fragments::default();
        for round in 0.. {
            let left = eval_fragments - chosen.documents.len();
            let mut able: Vec<usize> =
                (0..self.documents.len()).filter(|&at| self.documents[at].order.len() > round).collect();
            if left == 0 || able.is_empty() {
                break;
            }
            if able.len() > left {
                stream.shuffle(&mut able);
                able.truncate(left);
                able.sort_unstable();
            }
            for at in able {
                let Windows { ids, labels, order } = &self.documents[at];
                let from = order[round] * fragment_tokens;
                chosen.ids.extend_from_slice(&ids[from..from + fragment_tokens]);
                if !labels.is_empty() {
                    chosen.labels.extend_from_slice(&labels[from..from + fragment_tokens]);
                }
                chosen.documents.push(at as u32);
            }
        }
        chosen
    }
}

/// Starts of windows from `first` on, each moved on until it begins and ends between characters.
fn character_windows(ids: &[u32], first: usize, length: usize, encoder: &dyn Encode) -> Vec<usize> {
    let between = |at: usize| at == 0 || at == ids.len() || encoder.starts_character(ids[at]);
    let mut start = first;
    let mut starts = Vec::with_capacity(ids.len() / length);
    while start + length <= ids.len() {
        if between(start) && between(start + length) {
            starts.push(start);
            start += length;
        } else {
            start += 1;
        }
    }
    starts
}

/// Number of windows with a token that decodes to U+FFFD, and starts of the others, from `first` on. A window cut
/// inside a character has such a token.
fn decodable_windows(ids: &[u32], first: usize, length: usize, encoder: &dyn Encode) -> (usize, Vec<usize>) {
    let windows = (first..=ids.len() - length).step_by(length);
    let (rejected, starts): (Vec<usize>, Vec<usize>) = windows
        .partition(|&start| ids[start..start + length].iter().any(|&id| encoder.replacement_token(id)));
    (rejected.len(), starts)
}
