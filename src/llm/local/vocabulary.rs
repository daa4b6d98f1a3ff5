use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::shape::{Progress, Shape};
use crate::nn::Tokenizer;

/// Allowed tokens of so many places in answers are remembered.
const MAX_REMEMBERED: usize = 4096;

/// The tokens of a model by the bytes that they stand for.
pub(super) struct Vocabulary {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    next: BTreeMap<u8, usize>,
    tokens: Vec<u32>,
}

impl Vocabulary {
    /// Every token below `size` that stands for text.
    pub fn new(tokenizer: &Tokenizer, size: usize) -> Self {
        let mut nodes = vec![Node::default()];
        for id in 0..size.min(tokenizer.vocab_size()) as u32 {
            let bytes = tokenizer.bytes_of(id);
            if bytes.is_empty() || tokenizer.is_special(id) {
                continue;
            }
            let mut at = 0;
            for &byte in bytes {
                let fresh = nodes.len();
                at = *nodes[at].next.entry(byte).or_insert(fresh);
                if at == fresh {
                    nodes.push(Node::default());
                }
            }
            nodes[at].tokens.push(id);
        }
        Self { nodes }
    }

    /// The token that spells most of the beginning of `bytes`, and how many it spells.
    pub fn longest(&self, bytes: &[u8]) -> Option<(u32, usize)> {
        let (mut at, mut best) = (0, None);
        for (nth, byte) in bytes.iter().enumerate() {
            let Some(&next) = self.nodes[at].next.get(byte) else { break };
            at = next;
            if let Some(&token) = self.nodes[at].tokens.first() {
                best = Some((token, nth + 1));
            }
        }
        best
    }

    /// The tokens that may come next in an answer, in order.
    fn allowed(&self, shape: &Shape, progress: &Progress) -> Vec<u32> {
        let mut allowed = Vec::new();
        let mut open = vec![(0, progress.clone())];
        while let Some((node, progress)) = open.pop() {
            let node = &self.nodes[node];
            allowed.extend(&node.tokens);
            for (&byte, &next) in &node.next {
                if let Some(progress) = shape.step(&progress, byte) {
                    open.push((next, progress));
                }
            }
        }
        allowed.sort_unstable();
        allowed
    }
}

/// Tokens allowed at places in answers of one shape, as they were found.
#[derive(Default)]
pub(super) struct Allowed(HashMap<Progress, Arc<Vec<u32>>>);

impl Allowed {
    /// The tokens that may come next in an answer, in order.
    pub fn at(&mut self, vocabulary: &Vocabulary, shape: &Shape, progress: &Progress) -> Arc<Vec<u32>> {
        if let Some(known) = self.0.get(progress) {
            return known.clone();
        }
        if self.0.len() >= MAX_REMEMBERED {
            self.0.clear();
        }
        let allowed = Arc::new(vocabulary.allowed(shape, progress));
        self.0.insert(progress.clone(), allowed.clone());
        allowed
    }
}
