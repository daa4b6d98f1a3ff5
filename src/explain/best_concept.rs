//! For each feature, the labelled concept that explains most of its variance, with the feature's mean on and off
//! the concept.
//!
//! For a feature's activations `a` over `n` tokens and a concept that holds for `m` of them, the fit is the squared
//! point-biserial correlation:
//!
//!   r² = (Σ_on a − m·mean)² / (m (1 − m/n) Σ (a − mean)²)
//!
//! The factor Σ (a − mean)² is the same for all concepts of a feature and is left out. In a tie the first concept
//! wins. If no concept has a positive fit (for example for a dead feature), the result is undefined.
//!
//! `means` are per set of concepts. `holds(set, concept)` says whether a set contains a concept, by its index in
//! `concepts`.

use rayon::prelude::*;

use super::TypeMeans;
use crate::base::{Attempt, Missing};
use crate::features::{ConceptMeans, Explanation};

/// A labelled concept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedConcept {
    /// Stable name.
    pub name: &'static str,
    /// Description.
    pub words: &'static str,
}

/// The best concept of each feature, in the order of `means`.
pub fn best_concepts(
    means: &TypeMeans,
    concepts: &[NamedConcept],
    holds: impl Fn(u32, usize) -> bool,
) -> Vec<Attempt<Explanation>> {
    let counts: Vec<(u32, usize)> = means.counts().collect();
    let n: f64 = counts.iter().map(|(_, count)| *count as f64).sum();
    // For each concept: indices of the sets that contain it, and their number of tokens.
    let members: Vec<(Vec<usize>, f64)> = (0..concepts.len())
        .map(|concept| {
            let places: Vec<usize> =
                (0..counts.len()).filter(|&place| holds(counts[place].0, concept)).collect();
            let tokens = places.iter().map(|&place| counts[place].1 as f64).sum();
            (places, tokens)
        })
        .collect();
    let best = |sums: Vec<f64>| {
        let total: f64 = sums.iter().sum();
        let mut best: Option<(f64, usize, f64)> = None;
        for (concept, (places, on)) in members.iter().enumerate() {
            if *on == 0.0 || *on == n {
                continue;
            }
            let sum_on: f64 = places.iter().map(|&place| sums[place]).sum();
            let fit = (sum_on - on * total / n).powi(2) / (on * (1.0 - on / n));
            if fit > 0.0 && best.is_none_or(|(least, _, _)| fit > least) {
                best = Some((fit, concept, sum_on));
            }
        }
        match best {
            None => Attempt::Missing(Missing::Undefined("no_concept_fits".into())),
            Some((_, concept, sum_on)) => {
                let on = members[concept].1;
                let NamedConcept { name, words } = concepts[concept];
                Attempt::Done(Explanation::Concept(ConceptMeans {
                    concept,
                    name: name.into(),
                    words: words.into(),
                    on: sum_on / on,
                    off: (total - sum_on) / (n - on),
                }))
            }
        }
    };
    means.sums().map(best).collect()
}
