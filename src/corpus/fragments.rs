use std::collections::HashSet;

use super::Encode;
use crate::base::{Digest, Stream};

/// Windows of the evaluate documents, kept until there are enough of them.
pub(super) struct FragmentPool {
    fragment_tokens: usize,
    reject_replacement: bool,
    seed: u64,
    wanted: usize,
    documents: Vec<Windows>,
    seen: HashSet<Digest>,
    pub(super) n_windows: usize,
    pub(super) rejected: usize,
    pub(super) duplicates: usize,
    pub(super) short: usize,
}

/// Non-overlapping windows of one document, in a seeded order.
struct Windows {
    ids: Vec<u32>,
    /// As many as there are ids, or none.
    labels: Vec<u32>,
    order: Vec<usize>,
}

/// The chosen fragments, `[n, fragment_tokens]`, with their tokens' labels, if there are any, and the
/// document of each.
pub(super) struct Fragments {
    pub(super) ids: Vec<u32>,
    pub(super) labels: Vec<u32>,
    pub(super) documents: Vec<u32>,
}

impl FragmentPool {
    pub(super) fn new(fragment_tokens: usize, wanted: usize, reject_replacement: bool, seed: u64) -> Self {
        Self {
            fragment_tokens,
            reject_replacement,
            seed,
            wanted,
            documents: Vec::new(),
            seen: HashSet::new(),
            n_windows: 0,
            rejected: 0,
            duplicates: 0,
            short: 0,
        }
    }

    /// Enough windows, though perhaps several of a document.
    pub(super) fn is_sufficient(&self) -> bool {
        self.n_windows >= self.wanted
    }

    /// Documents that gave a window.
    pub(super) fn n_documents(&self) -> usize {
        self.documents.len()
    }

    /// Takes a document's windows, unless an equal document is there already or there is one
    /// document for every fragment.
    pub(super) fn add(&mut self, ids: &[u32], labels: Option<&[u32]>, digest: Digest, encoder: &dyn Encode) {
        if self.documents.len() >= self.wanted {
            return;
        }
        if ids.len() < self.fragment_tokens {
            self.short += 1;
            return;
        }
        if !self.seen.insert(digest) {
            self.duplicates += 1;
            return;
        }
        let mut stream = Stream::named(self.seed, &["fragments", &digest.hex()]);
        let starts = if self.reject_replacement {
            self.whole_windows(ids, &mut stream, encoder)
        } else {
            self.character_windows(ids, &mut stream, encoder)
        };
        if starts.is_empty() {
            return;
        }
        self.n_windows += starts.len();
        let order = stream.permutation(starts.len());
        let windows = |of: &[u32]| -> Vec<u32> {
            starts.iter().flat_map(|&start| &of[start..start + self.fragment_tokens]).copied().collect()
        };
        let labels = labels.map(windows).unwrap_or_default();
        self.documents.push(Windows { ids: windows(ids), labels, order });
    }

    fn offset(&self, len: usize, stream: &mut Stream) -> usize {
        stream.below(len % self.fragment_tokens + 1)
    }

    /// Starts of windows that begin and end between characters: laid end to end from a seeded
    /// offset, moved on a token where a cut would fall inside a character.
    fn character_windows(&self, ids: &[u32], stream: &mut Stream, encoder: &dyn Encode) -> Vec<usize> {
        let between = |at: usize| at == 0 || at == ids.len() || encoder.starts_character(ids[at]);
        let mut start = self.offset(ids.len(), stream);
        let mut starts = Vec::with_capacity(ids.len() / self.fragment_tokens);
        while start + self.fragment_tokens <= ids.len() {
            if between(start) && between(start + self.fragment_tokens) {
                starts.push(start);
                start += self.fragment_tokens;
            } else {
                start += 1;
            }
        }
        starts
    }

    /// Starts of windows laid end to end from a seeded offset, without those that hold a token
    /// which decodes to U+FFFD: a window cut inside a character is one of them.
    fn whole_windows(&mut self, ids: &[u32], stream: &mut Stream, encoder: &dyn Encode) -> Vec<usize> {
        let first = self.offset(ids.len(), stream);
        let last = ids.len() - self.fragment_tokens;
        let mut starts = Vec::with_capacity(ids.len() / self.fragment_tokens);
        for start in (first..=last).step_by(self.fragment_tokens) {
            let window = &ids[start..start + self.fragment_tokens];
            if window.iter().any(|&id| encoder.replacement_token(id)) {
                self.rejected += 1;
            } else {
                starts.push(start);
            }
        }
        starts
    }

    /// The fragments: one of every document, then a second of those that have one, and so on; the
    /// documents of the round that completes the number are a seeded sample.
    pub(super) fn choose(self) -> Fragments {
        let mut stream = Stream::new(self.seed, "fragments/last round");
        let mut chosen = Fragments { ids: Vec::new(), labels: Vec::new(), documents: Vec::new() };
        for round in 0.. {
            let left = self.wanted - chosen.documents.len();
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
                let from = order[round] * self.fragment_tokens;
                chosen.ids.extend_from_slice(&ids[from..from + self.fragment_tokens]);
                if !labels.is_empty() {
                    chosen.labels.extend_from_slice(&labels[from..from + self.fragment_tokens]);
                }
                chosen.documents.push(at as u32);
            }
        }
        chosen
    }
}
