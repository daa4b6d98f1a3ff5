//! Lookup table: the mean activation of each token type.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A mean activation per token type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "Saved", into = "Saved")]
pub struct TokenTable {
    /// Ascending.
    tokens: Vec<u32>,
    means: Vec<f32>,
    unseen: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    means: Vec<(u32, f32)>,
    unseen: f64,
}

impl From<Saved> for TokenTable {
    fn from(saved: Saved) -> Self {
        Self::new(saved.means.into_iter().map(|(token, mean)| (token, f64::from(mean))), saved.unseen)
    }
}

impl From<TokenTable> for Saved {
    fn from(table: TokenTable) -> Self {
        Self { means: table.tokens.into_iter().zip(table.means).collect(), unseen: table.unseen }
    }
}

impl TokenTable {
    /// From (token, mean) pairs; the last pair of a token counts. All other tokens get `unseen`.
    pub fn new(means: impl IntoIterator<Item = (u32, f64)>, unseen: f64) -> Self {
        let sorted: BTreeMap<u32, f64> = means.into_iter().collect();
        Self {
            tokens: sorted.keys().copied().collect(),
            means: sorted.values().map(|&mean| mean as f32).collect(),
            unseen,
        }
    }

    /// Means over `tokens` by type; unseen types get the overall mean, or 0 without any token.
    pub fn of_tokens(tokens: impl IntoIterator<Item = (u32, f32)>) -> Self {
        let mut sums: BTreeMap<u32, (f64, usize)> = BTreeMap::new();
        for (token, activation) in tokens {
            let (sum, n) = sums.entry(token).or_default();
            *sum += f64::from(activation);
            *n += 1;
        }
        let (total, n) = sums.values().fold((0.0, 0), |(total, n), (sum, count)| (total + sum, n + count));
        let unseen = if n == 0 { 0.0 } else { total / n as f64 };
        Self::new(sums.into_iter().map(|(token, (sum, n))| (token, sum / n as f64)), unseen)
    }

    /// Expected activation of a token.
    pub fn mean(&self, token: u32) -> f64 {
        match self.tokens.binary_search(&token) {
            Ok(place) => f64::from(self.means[place]),
            Err(_) => self.unseen,
        }
    }

    /// (token, mean) of the types seen, ascending by token.
    pub fn means(&self) -> impl Iterator<Item = (u32, f64)> {
        self.tokens.iter().copied().zip(self.means.iter().map(|&mean| f64::from(mean)))
    }

    /// Expected activation of types not seen.
    pub fn unseen(&self) -> f64 {
        self.unseen
    }
}
