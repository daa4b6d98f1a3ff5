//! What is kept of one feature during the streaming pass.

use super::extremes::{Candidate, End, Extremes};
use super::priority::{Priorities, Purpose, Reservoir};
use super::protocol::Protocol;

/// One bit per document.
#[derive(Debug, Clone)]
pub(super) struct DocumentFlags {
    words: Vec<u64>,
    count: usize,
}

impl DocumentFlags {
    fn new(n_documents: usize) -> Self {
        Self { words: vec![0; n_documents.div_ceil(64)], count: 0 }
    }

    pub fn has(&self, document: u32) -> bool {
        self.words[document as usize / 64] >> (document % 64) & 1 == 1
    }

    /// Sets the flag. Returns whether it was set before.
    fn set(&mut self, document: u32) -> bool {
        let had = self.has(document);
        if !had {
            self.words[document as usize / 64] |= 1 << (document % 64);
            self.count += 1;
        }
        had
    }

    /// Number of flagged documents.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// State of one feature during the pass, bounded by list lengths and two bits per document.
#[derive(Debug, Clone)]
pub(super) struct Census {
    pub priorities: Priorities,
    pub firing_tokens: u64,
    pub firing_fragments: usize,
    pub max: f32,
    /// Documents with a firing fragment.
    pub fired: DocumentFlags,
    /// Documents with a non-firing fragment.
    pub silent: DocumentFlags,
    pub top: Extremes,
    pub firing_sample: Reservoir,
    pub silent_sample: Reservoir,
    /// Firing fragments with the lowest maxima, until enough silent documents are known.
    pub lowest: Option<Extremes>,
    silent_documents_enough: usize,
}

impl Census {
    pub fn new(key: u64, n_documents: usize, protocol: &Protocol) -> Self {
        let Protocol { n_top, n_random, n_more_random, n_non_firing, .. } = *protocol;
        // A list skips documents of the other lists, so each keeps that many spare ones.
        let firing = n_random + n_more_random + n_top + n_non_firing;
        let silent = n_non_firing + n_top + n_random;
        Self {
            priorities: Priorities::new(key),
            firing_tokens: 0,
            firing_fragments: 0,
            max: f32::NEG_INFINITY,
            fired: DocumentFlags::new(n_documents),
            silent: DocumentFlags::new(n_documents),
            top: Extremes::new(End::Largest, n_top),
            firing_sample: Reservoir::new(Purpose::FiringDocument, firing),
            silent_sample: Reservoir::new(Purpose::SilentDocument, silent),
            lowest: Some(Extremes::new(End::Smallest, silent)),
            silent_documents_enough: silent,
        }
    }

    /// Adds the feature's maximum on one fragment.
    pub fn add(&mut self, candidate: Candidate, fires: bool, firing_tokens: u32) {
        let Candidate { document, fragment, max } = candidate;
        self.firing_tokens += u64::from(firing_tokens);
        self.max = self.max.max(max);
        if !fires {
            let seen = self.silent.set(document);
            self.silent_sample.offer(self.priorities, document, fragment, max, seen);
            if self.silent.count() >= self.silent_documents_enough {
                self.lowest = None;
            }
            return;
        }
        self.firing_fragments += 1;
        let seen = self.fired.set(document);
        self.top.offer(candidate);
        self.firing_sample.offer(self.priorities, document, fragment, max, seen);
        if let Some(lowest) = &mut self.lowest {
            lowest.offer(candidate);
        }
    }
}
