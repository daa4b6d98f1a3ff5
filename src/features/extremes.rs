//! The fragments with the largest or smallest maxima, one per document.

use std::cmp::Ordering;

/// A fragment and the feature's maximum on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub document: u32,
    pub fragment: u32,
    pub max: f32,
}

/// Which maxima are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Largest,
    Smallest,
}

/// The fragments with the most extreme maxima, one per document, most extreme first; ties by fragment.
#[derive(Debug, Clone)]
pub(super) struct Extremes {
    end: End,
    capacity: usize,
    items: Vec<Candidate>,
}

impl Extremes {
    pub fn new(end: End, capacity: usize) -> Self {
        Self { end, capacity, items: Vec::new() }
    }

    fn order(&self, a: &Candidate, b: &Candidate) -> Ordering {
        let by_max = match self.end {
            End::Largest => b.max.total_cmp(&a.max),
            End::Smallest => a.max.total_cmp(&b.max),
        };
        by_max.then(a.fragment.cmp(&b.fragment))
    }

    /// Inserts the candidate if it is among the extremes; a document keeps its most extreme fragment.
    pub fn offer(&mut self, candidate: Candidate) {
        let full = self.items.len() >= self.capacity;
        let precedes = |item: &Candidate| self.order(&candidate, item) == Ordering::Less;
        if self.capacity == 0 || full && !self.items.last().is_some_and(precedes) {
            return;
        }
        if let Some(place) = self.items.iter().position(|item| item.document == candidate.document) {
            if self.order(&candidate, &self.items[place]) != Ordering::Less {
                return;
            }
            self.items.remove(place);
        } else if full {
            self.items.pop();
        }
        let place = self.items.partition_point(|item| self.order(item, &candidate) == Ordering::Less);
        self.items.insert(place, candidate);
    }

    pub fn items(&self) -> &[Candidate] {
        &self.items
    }
}
