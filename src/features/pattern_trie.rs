//! Token patterns that predict the activation of a token (Foote et al. 2023; Gao et al. 2024).
//!
//! A pattern is a sequence of tokens and wildcards that ends in the predicted token. The longest matching
//! pattern decides; among equally long ones, the one that is literal closest to its end. Patterns are stored
//! in a trie that is read backwards.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::TokenTable;

/// Consecutive tokens; the feature fires on the last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// In reading order; none matches any token. The last is never a wildcard.
    pub tokens: Vec<Option<u32>>,
    /// Expected activation where the pattern matches.
    pub value: f64,
    /// Number of examples behind it.
    pub examples: usize,
}

/// Patterns, and the prediction for tokens that no pattern matches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved")]
pub struct PatternTrie {
    patterns: Vec<Pattern>,
    unmatched: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff: Option<TokenTable>,
    /// The first node is the root.
    #[serde(skip)]
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    patterns: Vec<Pattern>,
    unmatched: f64,
    backoff: Option<TokenTable>,
}

#[derive(Debug, Clone, Default, PartialEq)]
struct Node {
    /// (token, child), ascending by token.
    literal: Vec<(u32, usize)>,
    any: Option<usize>,
    value: Option<f64>,
}

impl TryFrom<Saved> for PatternTrie {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, String> {
        if saved.patterns.iter().any(|pattern| pattern.tokens.last().copied().flatten().is_none()) {
            return Err("a pattern must end in a token".into());
        }
        Ok(Self::new(saved.patterns, saved.unmatched, saved.backoff))
    }
}

impl PatternTrie {
    /// Equal patterns are averaged, weighted by their numbers of examples. Patterns that end in a wildcard
    /// are dropped. Unmatched tokens get `backoff`'s mean of their type, or `unmatched` without a `backoff`.
    pub fn new(
        patterns: impl IntoIterator<Item = Pattern>,
        unmatched: f64,
        backoff: Option<TokenTable>,
    ) -> Self {
        let mut merged: BTreeMap<Vec<Option<u32>>, (f64, usize)> = BTreeMap::new();
        for pattern in patterns {
            if pattern.tokens.last().copied().flatten().is_some() {
                let (sum, n) = merged.entry(pattern.tokens).or_default();
                *sum += pattern.value * pattern.examples.max(1) as f64;
                *n += pattern.examples.max(1);
            }
        }
        let patterns = merged
            .into_iter()
            .map(|(tokens, (sum, examples))| Pattern { tokens, value: sum / examples as f64, examples })
            .collect();
        let mut trie = Self { patterns, unmatched, backoff, nodes: vec![Node::default()] };
        for index in 0..trie.patterns.len() {
            trie.insert(index);
        }
        trie
    }

    fn insert(&mut self, index: usize) {
        let mut node = 0;
        for depth in (0..self.patterns[index].tokens.len()).rev() {
            let next = self.nodes.len();
            let token = self.patterns[index].tokens[depth];
            let known = match token {
                None => *self.nodes[node].any.get_or_insert(next),
                Some(token) => {
                    let children = &mut self.nodes[node].literal;
                    match children.binary_search_by_key(&token, |child| child.0) {
                        Ok(place) => children[place].1,
                        Err(place) => {
                            children.insert(place, (token, next));
                            next
                        }
                    }
                }
            };
            if known == next {
                self.nodes.push(Node::default());
            }
            node = known;
        }
        self.nodes[node].value = Some(self.patterns[index].value);
    }

    /// The same patterns with another prediction for unmatched tokens.
    pub fn with_unmatched(self, unmatched: f64, backoff: Option<TokenTable>) -> Self {
        Self { unmatched, backoff, ..self }
    }

    /// All distinct patterns, in a fixed order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Expected activation of unmatched tokens without a `backoff`.
    pub fn unmatched(&self) -> f64 {
        self.unmatched
    }

    /// Means of token types for unmatched tokens.
    pub fn backoff(&self) -> Option<&TokenTable> {
        self.backoff.as_ref()
    }

    /// Value of the longest pattern that ends in the last token of `text`.
    pub fn longest_match(&self, text: &[u32]) -> Option<f64> {
        let mut best = None;
        self.search(0, text, 0, &mut best);
        best.map(|(_, value)| value)
    }

    /// Visits literal children before wildcards, so that the first match of each length is the preferred one.
    fn search(&self, node: usize, text: &[u32], depth: usize, best: &mut Option<(usize, f64)>) {
        let node = &self.nodes[node];
        if let Some(value) = node.value
            && best.is_none_or(|(length, _)| depth > length)
        {
            *best = Some((depth, value));
        }
        let Some((&token, before)) = text.split_last() else { return };
        if let Ok(place) = node.literal.binary_search_by_key(&token, |child| child.0) {
            self.search(node.literal[place].1, before, depth + 1, best);
        }
        if let Some(any) = node.any {
            self.search(any, before, depth + 1, best);
        }
    }

    /// Expected activation of each token.
    pub fn predict(&self, tokens: &[u32]) -> Vec<f64> {
        (0..tokens.len())
            .map(|position| {
                self.longest_match(&tokens[..=position]).unwrap_or_else(|| match &self.backoff {
                    Some(table) => table.mean(tokens[position]),
                    None => self.unmatched,
                })
            })
            .collect()
    }
}
