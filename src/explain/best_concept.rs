use rayon::prelude::*;

use super::TypeMeans;
use crate::base::{Attempt, Missing};
use crate::features::{ConceptMeans, Explanation};

/// A concept as explanations name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedConcept {
    /// The stable name.
    pub name: &'static str,
    /// What it means.
    pub words: &'static str,
}

/// For each feature the concept that fits it best, with the feature's mean where it holds and where not.
///
/// `means` are over tokens' sets of concepts instead of token types: one type a set, `holds` says whether
/// a set has a concept, by its place in `concepts`. Best is the largest squared point-biserial
/// correlation of the concept's indicator with the activation, which is the share of the activation's
/// variance that the two means explain: of a feature's activations `a` over `n` tokens, of which the
/// concept holds for `m`, it is `(Σ_on a − m·mean)² / (m (1 − m/n) Σ (a − mean)²)`. The last factor is
/// the same for all concepts of a feature and left out; of equals the first in `concepts` is taken.
///
/// A feature that no concept tells anything about, such as one that never fires, is undefined.
pub fn best_concepts(
    means: &TypeMeans,
    concepts: &[NamedConcept],
    holds: impl Fn(u32, usize) -> bool,
) -> Vec<Attempt<Explanation>> {
    let counts: Vec<(u32, usize)> = means.counts().collect();
    let n: f64 = counts.iter().map(|(_, count)| *count as f64).sum();
    // Places of the sets that have each concept, and how many tokens those are.
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
