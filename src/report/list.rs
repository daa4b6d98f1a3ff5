//! Lists in order of first appearance: groups by key, and numbers of repeated items.

use std::collections::HashMap;
use std::hash::Hash;

use serde::{Serialize, Serializer};

use super::escape::visible;

/// Values grouped by key, keys in order of first appearance.
pub fn grouped<K: PartialEq, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut groups: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in pairs {
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, values)) => values.push(value),
            None => groups.push((key, vec![value])),
        }
    }
    groups
}

/// Numbers items from 0 in order of first appearance, so that a page stores a repeated item once.
#[derive(Default)]
pub struct Numbering<T> {
    numbers: HashMap<T, usize>,
    /// The items, by number.
    pub items: Vec<T>,
}

impl<T: Clone + Eq + Hash> Numbering<T> {
    pub fn number(&mut self, item: T) -> usize {
        *self.numbers.entry(item).or_insert_with_key(|item| {
            self.items.push(item.clone());
            self.items.len() - 1
        })
    }
}

/// Serialises texts by number, with every character visible.
impl<T: AsRef<str>> Serialize for Numbering<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.items.iter().map(|text| visible(text.as_ref())))
    }
}
