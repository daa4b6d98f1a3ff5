//! Evaluation fragments and their documents.

use std::collections::HashMap;

use crate::base::TokenBatch;

use super::FeatureError;

/// Evaluation fragments and the document that each comes from.
#[derive(Debug, Clone, Copy)]
pub struct FragmentSet<'a> {
    tokens: &'a TokenBatch,
    documents: &'a [usize],
}

impl<'a> FragmentSet<'a> {
    /// `tokens` is `[fragments, positions]`; `documents` gives each fragment's document number, in any order.
    pub fn new(tokens: &'a TokenBatch, documents: &'a [usize]) -> Result<Self, FeatureError> {
        if tokens.rows() == 0 || documents.len() != tokens.rows() {
            return Err(FeatureError::Documents { fragments: tokens.rows(), documents: documents.len() });
        }
        Ok(Self { tokens, documents })
    }

    /// Number of fragments.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Always false: an empty set cannot be made.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Tokens of each fragment.
    pub fn positions(&self) -> usize {
        self.tokens.cols()
    }

    /// Token ids of one fragment.
    pub fn tokens(&self, fragment: usize) -> &'a [u32] {
        self.tokens.row(fragment)
    }

    /// The document a fragment comes from.
    pub fn document(&self, fragment: usize) -> usize {
        self.documents[fragment]
    }

    /// Document numbers per fragment, renumbered 0, 1, … in order of appearance, and their count.
    pub(super) fn dense_documents(&self) -> (Vec<u32>, usize) {
        let mut numbers = HashMap::new();
        let dense = self
            .documents
            .iter()
            .map(|document| {
                let next = numbers.len() as u32;
                *numbers.entry(*document).or_insert(next)
            })
            .collect();
        (dense, numbers.len())
    }
}
