//! Lists the tokens excluded from fitting because the norm of their activation is an outlier. In trained models
//! these are attention sinks: a few tokens at a few positions.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::corpus::TokenSets;

/// Maximum number of entries. The total count is recorded beside the list.
const MAX_LISTED: usize = 20;

/// Outliers with the same token and position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlier {
    /// Position in the context, counted from the model's position 0.
    pub position: usize,
    pub token: u32,
    pub count: usize,
}

/// The excluded rows of a hook point by position and token, most frequent first.
pub fn outliers(set: &ActivationSet, tokens: &TokenSets) -> Vec<Outlier> {
    let (cols, ids) = (tokens.fit.cols(), tokens.fit.ids());
    let mut counts: HashMap<(usize, u32), usize> = HashMap::new();
    for (place, &id) in set.left_out().iter().filter_map(|&place| Some((place, ids.get(place)?))) {
        *counts.entry((tokens.prefix.len() + place % cols, id)).or_default() += 1;
    }
    let mut all: Vec<Outlier> =
        counts.into_iter().map(|((position, token), count)| Outlier { position, token, count }).collect();
    all.sort_unstable_by_key(|outlier| (Reverse(outlier.count), outlier.position, outlier.token));
    all.truncate(MAX_LISTED);
    all
}
