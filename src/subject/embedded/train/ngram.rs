//! N-gram models with interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998), for comparison.
//!
//!   p(w | c) = (max(n(c w) − D(n), 0) + Σ_k D(k) N_k(c) · p(w | c')) / Σ_w n(c w),   k = 1, 2, 3+
//!
//! c' is c without its first token, N_k(c) the number of tokens seen k times after c. Lower orders count distinct
//! contexts instead of occurrences. p of the empty order is 1/vocabulary.

use std::collections::HashMap;

/// Bits of an id in a packed key.
const ID_BITS: u32 = 20;

/// Discounts for counts of one, two, and three or more.
type Discounts = [f64; 3];

/// Counts of the tokens after one context.
#[derive(Debug, Default, Clone, Copy)]
struct Context {
    total: f64,
    /// Numbers of distinct tokens seen once, twice and more often.
    kinds: [f64; 3],
}

/// Counts of the n-grams of one order.
#[derive(Debug)]
struct Level {
    /// Packed n-grams with their counts, sorted.
    counts: Vec<(u64, u32)>,
    contexts: HashMap<u64, Context>,
    discounts: Discounts,
}

fn class(count: u32) -> usize {
    (count.clamp(1, 3) - 1) as usize
}

/// Distinct keys with their counts, sorted.
fn counted(mut keys: Vec<u64>) -> Vec<(u64, u32)> {
    keys.sort_unstable();
    keys.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u32)).collect()
}

impl Level {
    fn new(counts: Vec<(u64, u32)>) -> Self {
        let mut contexts: HashMap<u64, Context> = HashMap::new();
        let mut of = [0.0f64; 4];
        for &(key, count) in &counts {
            let context = contexts.entry(key >> ID_BITS).or_default();
            context.total += f64::from(count);
            context.kinds[class(count)] += 1.0;
            if count <= 4 {
                of[count as usize - 1] += 1.0;
            }
        }
        let base = of[0] / (of[0] + 2.0 * of[1]).max(1.0);
        let discount = |c: usize| {
            let raw = c as f64 - (c + 1) as f64 * base * of[c] / of[c - 1].max(1.0);
            raw.clamp(0.1, c as f64)
        };
        Self { counts, contexts, discounts: [discount(1), discount(2), discount(3)] }
    }

    fn count(&self, key: u64) -> u32 {
        self.counts.binary_search_by_key(&key, |entry| entry.0).map_or(0, |at| self.counts[at].1)
    }

    /// The probability by this order, interpolated with that of the lower order.
    fn probability(&self, key: u64, lower: f64) -> f64 {
        let Some(context) = self.contexts.get(&(key >> ID_BITS)) else { return lower };
        let count = self.count(key);
        let kept = if count > 0 { f64::from(count) - self.discounts[class(count)] } else { 0.0 };
        let held_back: f64 =
            self.discounts.iter().zip(context.kinds).map(|(discount, kinds)| discount * kinds).sum();
        (kept + held_back * lower) / context.total
    }
}

/// An n-gram model of token ids.
#[derive(Debug)]
pub struct Ngram {
    /// From 1-grams up.
    levels: Vec<Level>,
    vocabulary: usize,
}

fn pack(ids: &[u32]) -> u64 {
    ids.iter().fold(0, |key, &id| (key << ID_BITS) | u64::from(id))
}

impl Ngram {
    /// Counts n-grams of `ids` up to `order` (1 to 3); ids are below `vocabulary`.
    pub fn new(ids: &[u32], order: usize, vocabulary: usize) -> Self {
        let order = order.clamp(1, 3);
        let mut counts = counted(ids.windows(order).map(pack).collect());
        let mut levels = Vec::new();
        for n in (1..=order).rev() {
            let mask = (1u64 << (ID_BITS * (n as u32 - 1))) - 1;
            // Each distinct n-gram counts once for the order below.
            let lower = counted(counts.iter().map(|(key, _)| key & mask).collect());
            levels.push(Level::new(std::mem::replace(&mut counts, lower)));
        }
        levels.reverse();
        Self { levels, vocabulary }
    }

    /// Probability of the last of `ids` given those before it.
    pub fn probability(&self, ids: &[u32]) -> f64 {
        let mut probability = 1.0 / self.vocabulary as f64;
        for (level, n) in self.levels.iter().zip(1..) {
            if ids.len() < n {
                break;
            }
            probability = level.probability(pack(&ids[ids.len() - n..]), probability);
        }
        probability
    }

    /// Mean loss in nats per id of `ids` after the first.
    pub fn loss(&self, ids: &[u32]) -> f64 {
        let n = self.levels.len();
        let total: f64 =
            (1..ids.len()).map(|at| -self.probability(&ids[(at + 1).saturating_sub(n)..=at]).ln()).sum();
        total / (ids.len().max(2) - 1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn probabilities_sum_to_one() {
        let mut stream = Stream::new(1, "ids");
        let ids: Vec<u32> = (0..500).map(|_| stream.below(7) as u32 * stream.below(2) as u32).collect();
        for order in 1..=3 {
            let model = Ngram::new(&ids, order, 9);
            for context in [[0, 0], [3, 5], [8, 8], [0, 6]] {
                let total: f64 = (0..9).map(|id| model.probability(&[context[0], context[1], id])).sum();
                assert!((total - 1.0).abs() < 1e-9, "order {order} after {context:?}: {total}");
            }
        }
    }

    #[test]
    fn longer_contexts_learn_a_second_order_pattern() {
        let mut stream = Stream::new(2, "ids");
        let mut ids = vec![0u32, 1];
        for at in 2..4_000 {
            let next =
                if stream.chance(0.9) { (ids[at - 1] + ids[at - 2]) % 5 } else { stream.below(5) as u32 };
            ids.push(next);
        }
        let loss = |order| Ngram::new(&ids[..3_000], order, 5).loss(&ids[3_000..]);
        assert!(loss(3) < 0.8 && loss(2) > 1.0 && loss(1) > 1.2, "{} {} {}", loss(1), loss(2), loss(3));
    }
}
