/// Draws without replacement that don't depend on the order in which candidates arrive: each gets a
/// pseudo-random 64-bit priority from the feature's key, and the smallest priorities win. Any fixed
/// number of winners is then a uniform sample of the candidates, whatever the blocks or threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Priorities {
    key: u64,
}

/// What a priority decides; each purpose has its own order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Which documents the feature fires in are drawn.
    FiringDocument = 1,
    /// Which documents the feature is silent in are drawn.
    SilentDocument = 2,
    /// Which of a document's fragments stands for it.
    Fragment = 3,
}

impl Priorities {
    /// The key comes from a named seed stream, one per feature.
    pub fn new(key: u64) -> Self {
        Self { key }
    }

    pub fn of(self, purpose: Purpose, item: u32) -> u64 {
        scramble(scramble(self.key ^ ((purpose as u64) << 56)).wrapping_add(u64::from(item)))
    }
}

/// A bijection of 64-bit numbers in which every output bit depends on every input bit: two rounds of
/// xor-shift and multiplication by odd constants (finaliser of splitmix64).
fn scramble(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A document drawn by its priority, and the fragment that stands for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drawn {
    pub priority: u64,
    pub document: u32,
    pub fragment: u32,
    /// The feature's maximum on that fragment.
    pub max: f32,
    /// Fragments of the document that could have stood for it.
    pub choices: u32,
}

/// Where `document` stands.
fn place_of(document: u32, documents: &[u32]) -> Option<usize> {
    /// Compared without a branch between them.
    const TOGETHER: usize = 32;
    let strip = documents
        .chunks(TOGETHER)
        .position(|strip| strip.iter().fold(false, |found, &other| found | (other == document)))?;
    let within = documents[strip * TOGETHER..].iter().position(|&other| other == document)?;
    Some(strip * TOGETHER + within)
}

/// The `capacity` documents of the smallest priorities, each with a uniformly chosen fragment.
///
/// A document that is among the smallest at the end was among them at each of its fragments, as the
/// limit only falls; so its count of choices is complete.
#[derive(Debug, Clone)]
pub(super) struct Reservoir {
    purpose: Purpose,
    capacity: usize,
    /// Larger priorities can no longer be among the smallest.
    limit: u64,
    items: Vec<Drawn>,
    /// The document of each item, side by side so that they are searched many at once.
    documents: Vec<u32>,
}

impl Reservoir {
    pub fn new(purpose: Purpose, capacity: usize) -> Self {
        Self { purpose, capacity, limit: u64::MAX, items: Vec::new(), documents: Vec::new() }
    }

    /// Offers a fragment; `seen` says whether its document was offered before.
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

    /// The documents kept, smallest priority first.
    pub fn into_sorted(mut self) -> Vec<Drawn> {
        self.items.sort_unstable_by_key(|item| (item.priority, item.document));
        self.items.truncate(self.capacity);
        self.items
    }
}
