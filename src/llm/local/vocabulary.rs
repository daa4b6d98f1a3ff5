//! Trie of a vocabulary's tokens, to find the tokens that a grammar allows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::grammar::{Grammar, State};
use crate::nn::Tokenizer;

/// Maximum number of states of one grammar whose allowed tokens are cached.
const MAX_CACHED: usize = 4096;

/// The tokens of a model as a trie over their bytes.
pub(super) struct Vocabulary {
    nodes: Vec<Node>,
}

#[derive(Default)]
struct Node {
    next: BTreeMap<u8, usize>,
    tokens: Vec<u32>,
}

impl Vocabulary {
    /// All tokens below `size` that stand for text.
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

    /// The token that spells the longest beginning of `bytes`, and the length of that beginning.
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

    /// The tokens that may follow a state, by ascending id.
    fn allowed(&self, grammar: &Grammar, state: &State) -> Vec<u32> {
        let mut allowed = Vec::new();
        let mut open = vec![(0, state.clone())];
        while let Some((node, state)) = open.pop() {
            let node = &self.nodes[node];
            allowed.extend(&node.tokens);
            let next = node.next.iter();
            open.extend(next.filter_map(|(&byte, &next)| Some((next, grammar.step(&state, byte)?))));
        }
        allowed.sort_unstable();
        allowed
    }
}

/// Cache of the allowed tokens by state, for one grammar.
#[derive(Default)]
pub(super) struct AllowedTokens(HashMap<State, Arc<Vec<u32>>>);

impl AllowedTokens {
    /// The tokens that may follow a state, by ascending id.
    pub fn at(&mut self, vocabulary: &Vocabulary, grammar: &Grammar, state: &State) -> Arc<Vec<u32>> {
        if let Some(known) = self.0.get(state) {
            return known.clone();
        }
        if self.0.len() >= MAX_CACHED {
            self.0.clear();
        }
        let allowed = Arc::new(vocabulary.allowed(grammar, state));
        self.0.insert(state.clone(), allowed.clone());
        allowed
    }
}
