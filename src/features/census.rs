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

    /// Sets the flag; true where it was set already.
    fn set(&mut self, document: u32) -> bool {
        let had = self.has(document);
        if !had {
            self.words[document as usize / 64] |= 1 << (document % 64);
            self.count += 1;
        }
        had
    }

    /// Documents flagged.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// List lengths that bound what is remembered of a feature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacities {
    /// Top list.
    pub top: usize,
    /// Random list that is split.
    pub random: usize,
    /// Random and more random lists together.
    pub sample: usize,
    /// Non-firing list.
    pub non_firing: usize,
}

impl Capacities {
    pub fn of(protocol: &Protocol) -> Self {
        Self {
            top: protocol.n_top,
            random: protocol.n_random,
            sample: protocol.n_random + protocol.n_more_random,
            non_firing: protocol.n_non_firing,
        }
    }
}

/// What is remembered of one feature while fragments stream by; its size is bounded by the list
/// lengths and one bit or two per document.
#[derive(Debug, Clone)]
pub(super) struct Census {
    pub priorities: Priorities,
    pub firing_tokens: u64,
    pub firing_fragments: usize,
    pub max: f32,
    pub fired: DocumentFlags,
    pub silent: DocumentFlags,
    pub top: Extremes,
    pub firing_sample: Reservoir,
    pub silent_sample: Reservoir,
    /// Firing fragments of the lowest maxima, until enough silent documents are known.
    pub lowest: Option<Extremes>,
    silent_documents_enough: usize,
}

impl Census {
    pub fn new(key: u64, n_documents: usize, capacities: Capacities) -> Self {
        let Capacities { top, random, sample, non_firing } = capacities;
        // Documents of the other lists are passed over when one list is drawn, so each list keeps spare ones.
        let spare = top + non_firing;
        let silent = non_firing + top + random;
        Self {
            priorities: Priorities::new(key),
            firing_tokens: 0,
            firing_fragments: 0,
            max: f32::NEG_INFINITY,
            fired: DocumentFlags::new(n_documents),
            silent: DocumentFlags::new(n_documents),
            top: Extremes::new(End::Largest, top),
            firing_sample: Reservoir::new(Purpose::FiringDocument, sample + spare),
            silent_sample: Reservoir::new(Purpose::SilentDocument, silent),
            lowest: Some(Extremes::new(End::Smallest, silent)),
            silent_documents_enough: silent,
        }
    }

    /// Takes note of the feature's maximum on one fragment.
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
