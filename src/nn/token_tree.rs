use std::collections::BTreeMap;

use super::error::Result;

/// A prefix tree of token sequences: a common prefix is stored, and later computed, once.
///
/// Each node is a token; its sequence is the path from the first token to it.
#[derive(Debug, Clone, Default)]
pub struct TokenTree {
    /// Token of each node, parents before children.
    pub(super) ids: Vec<u32>,
    /// Position of each node in its sequences.
    pub(super) positions: Vec<u32>,
    /// By length: the nodes of the sequences that are no prefix of another, path after path. They cover all nodes.
    pub(super) paths: BTreeMap<usize, Vec<u32>>,
    /// Last node of each sequence, in input order.
    pub(super) ends: Vec<u32>,
}

impl TokenTree {
    /// Trees of sorted sequences, in order, each with at most `most_nodes` nodes unless a single sequence has more.
    /// Prefixes are shared between neighbours, so `sorted` should be in lexicographic order.
    ///
    /// Fails on an empty sequence.
    pub fn of_sorted(sorted: &[&[u32]], most_nodes: usize) -> Result<Vec<Self>> {
        let mut trees: Vec<Self> = Vec::new();
        let mut tree = Self::default();
        let mut path: Vec<u32> = Vec::new();
        let mut before: &[u32] = &[];
        for &sequence in sorted {
            if sequence.is_empty() {
                return Err(candle_core::Error::msg("a sequence without tokens").into());
            }
            let mut shared = before.iter().zip(sequence).take_while(|(a, b)| a == b).count();
            let is_full = !tree.ids.is_empty() && tree.ids.len() + sequence.len() - shared > most_nodes;
            if shared < before.len() || is_full {
                tree.add_path(&path);
            }
            if is_full {
                trees.push(std::mem::take(&mut tree));
                shared = 0;
            }
            path.truncate(shared);
            for (position, &id) in sequence.iter().enumerate().skip(shared) {
                path.push(tree.ids.len() as u32);
                tree.ids.push(id);
                tree.positions.push(position as u32);
            }
            tree.ends.extend(path.last());
            before = sequence;
        }
        if !path.is_empty() {
            tree.add_path(&path);
            trees.push(tree);
        }
        Ok(trees)
    }

    fn add_path(&mut self, path: &[u32]) {
        self.paths.entry(path.len()).or_default().extend_from_slice(path);
    }

    /// Index of each node's first occurrence in the concatenation of all paths.
    pub(super) fn places(&self) -> Vec<u32> {
        let mut places = vec![u32::MAX; self.ids.len()];
        for (place, &node) in (0..).zip(self.paths.values().flatten()) {
            let first = &mut places[node as usize];
            *first = place.min(*first);
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_sequence_is_a_path_and_every_node_is_on_one(
            mut sequences in prop::collection::vec(prop::collection::vec(0u32..3, 1..6), 1..30),
            most in 1usize..40,
        ) {
            sequences.sort();
            sequences.dedup();
            let sorted: Vec<&[u32]> = sequences.iter().map(Vec::as_slice).collect();
            let trees = TokenTree::of_sorted(&sorted, most).expect("trees");
            let mut spelled = Vec::new();
            for tree in &trees {
                let longest = tree.paths.keys().copied().max().expect("a path");
                prop_assert!(tree.ids.len() <= most.max(longest));
                let places = tree.places();
                let all: Vec<u32> = tree.paths.values().flatten().copied().collect();
                for (node, &place) in (0..).zip(&places) {
                    prop_assert_eq!(all[place as usize], node);
                }
                for &end in &tree.ends {
                    let path = tree.paths.iter().find_map(|(&length, nodes)| {
                        let paths = nodes.chunks(length);
                        paths.filter_map(|path| path.iter().position(|&n| n == end).map(|at| &path[..=at])).next()
                    });
                    let path = path.expect("a path holds it");
                    let positions: Vec<u32> = path.iter().map(|&n| tree.positions[n as usize]).collect();
                    prop_assert_eq!(positions, (0..path.len() as u32).collect::<Vec<_>>());
                    spelled.push(path.iter().map(|&n| tree.ids[n as usize]).collect::<Vec<u32>>());
                }
            }
            prop_assert_eq!(spelled, sequences);
        }
    }

    #[test]
    fn shared_beginnings_are_held_once() {
        let trees = TokenTree::of_sorted(&[&[7], &[7, 1, 2], &[7, 1, 3], &[7, 2]], 100).expect("trees");
        assert_eq!(trees.len(), 1);
        assert_eq!(trees[0].ids, [7, 1, 2, 3, 2]);
        assert_eq!(trees[0].positions, [0, 1, 2, 2, 1]);
        assert_eq!(trees[0].ends, [0, 2, 3, 4]);
        assert!(TokenTree::of_sorted(&[&[]], 100).is_err());
    }
}
