//! Random draws that do not depend on the order in which candidates arrive.
//!
//! Each candidate gets a pseudo-random 64-bit priority from the feature's key, and the k smallest priorities
//! win. The winners are a uniform sample without replacement, for any blocks and any number of threads.

/// Pseudo-random priorities of one feature.
#[derive(Debug, Clone, Copy)]
pub(super) struct Priorities {
    key: u64,
}

/// What a priority decides; each purpose has its own order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    FiringDocument = 1,
    SilentDocument = 2,
    /// The choice of one fragment of a document.
    Fragment = 3,
}

impl Priorities {
    /// `key` comes from a named seed stream, one per feature.
    pub fn new(key: u64) -> Self {
        Self { key }
    }

    pub fn of(self, purpose: Purpose, item: u32) -> u64 {
        scramble(scramble(self.key ^ ((purpose as u64) << 56)).wrapping_add(u64::from(item)))
    }
}

/// Finaliser of splitmix64 (Steele et al. 2014), a bijection: every output bit depends on every input bit.
fn scramble(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A drawn document and the fragment chosen from it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drawn {
    pub priority: u64,
    pub document: u32,
    pub fragment: u32,
    /// The feature's maximum on that fragment.
    pub max: f32,
    /// Fragments of the document that could have been chosen.
    pub choices: u32,
}

/// Index of `document` in `documents`.
fn place_of(document: u32, documents: &[u32]) -> Option<usize> {
    /// Documents compared without a branch between them.
    const STRIP: usize = 32;
    let strip = documents
        .chunks(STRIP)
        .position(|strip| strip.iter().fold(false, |found, &other| found | (other == document)))?;
    let within = documents[strip * STRIP..].iter().position(|&other| other == document)?;
    Some(strip * STRIP + within)
}

/// The `capacity` documents with the smallest priorities, each with a uniformly chosen fragment.
///
/// The limit only falls, so a document kept at the end was kept at each of its fragments, and its `choices`
/// are complete.
#[derive(Debug, Clone)]
pub(super) struct Reservoir {
    purpose: Purpose,
    capacity: usize,
    /// Larger priorities cannot be among the smallest any more.
    limit: u64,
    items: Vec<Drawn>,
    /// The document of each item, contiguous so that many are compared at once.
    documents: Vec<u32>,
}

impl Reservoir {
    pub fn new(purpose: Purpose, capacity: usize) -> Self {
        Self { purpose, capacity, limit: u64::MAX, items: Vec::new(), documents: Vec::new() }
    }

    /// Offers a fragment; `seen` tells whether its document was offered before.
    pub fn offer(&mut self, priorities: Priorities, document: u32, fragment: u32, max: f32, seen: bool) {
        let priority = priorities.of(self.purpose, document);
        if priority > self.limit || self.capacity == 0 {
            return;
        }
        if seen && let Some(place) = place_of(document, &self.documents) {
            let item = &mut self.items[place];
            item.choices += 1;
            let rank = |fragment| priorities.of(Purpose::Fragment, fragment);
            if rank(fragment) < rank(item.fragment) {
                item.fragment = fragment;
                item.max = max;
            }
            return;
        }
        self.items.push(Drawn { priority, document, fragment, max, choices: 1 });
        self.documents.push(document);
        if self.items.len() > self.capacity + self.capacity / 2 {
            self.items.select_nth_unstable_by_key(self.capacity - 1, |item| item.priority);
            self.items.truncate(self.capacity);
            self.limit = self.items.iter().map(|item| item.priority).max().unwrap_or(u64::MAX);
            self.documents.clear();
            self.documents.extend(self.items.iter().map(|item| item.document));
        }
    }

    /// The kept documents, smallest priority first.
    pub fn sorted(&self) -> Vec<Drawn> {
        let mut items = self.items.clone();
        items.sort_unstable_by_key(|item| (item.priority, item.document));
        items.truncate(self.capacity);
        items
    }
}
