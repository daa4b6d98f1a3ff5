//! Which tokens were left out of fitting because the norm of their activations is beyond all others: attention
//! sinks, which in trained models are a few tokens at a few positions.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::corpus::TokenSets;

/// Kinds of outliers that are listed; the number of all is told beside them.
const LISTED: usize = 20;

/// Rows with one token at one position whose norm was beyond all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outlier {
    /// Position in the context, counted from the model's position 0.
    pub position: usize,
    /// The token's id.
    pub token: u32,
    /// How many there were.
    pub count: usize,
}

/// What was left out of a hook point's fitting rows, by position and token, the most frequent first.
pub fn outliers(set: &ActivationSet, tokens: &TokenSets) -> Vec<Outlier> {
    let (cols, ids) = (tokens.fit.cols(), tokens.fit.ids());
    let mut counts: HashMap<(usize, u32), usize> = HashMap::new();
    for (place, &id) in set.left_out().iter().filter_map(|&place| Some((place, ids.get(place)?))) {
        *counts.entry((tokens.prefix.len() + place % cols, id)).or_default() += 1;
    }
    let mut all: Vec<Outlier> =
        counts.into_iter().map(|((position, token), count)| Outlier { position, token, count }).collect();
    all.sort_unstable_by_key(|outlier| (Reverse(outlier.count), outlier.position, outlier.token));
    all.truncate(LISTED);
    all
}
