//! Neuron-to-graph: token patterns found by running the subject model (Foote et al. 2023; Gao et al. 2024).
//!
//! There are four changes to Gao et al.: patterns are not anchored to the start of a text, equal patterns are
//! averaged, the longest match is found with backtracking, and unmatched tokens have a value of their own.
//!
//! 1. *Seed*: the token with the largest positive activation in each top and random explain fragment. Fragments
//!    without a positive activation give no seed. A feature without seeds fails with `no_seed`.
//! 2. *Suffix*: the shortest text ending in the seed whose activation, run alone, is at least `keep` times the
//!    seed's. This activation is the pattern's value. If no suffix of up to `max_suffix` tokens suffices, the longest
//!    is used with the seed's own activation.
//! 3. *Saliency*: a token becomes a wildcard if replacing it by `pad` loses less than `literal_loss` of the
//!    suffix's activation. The seed is always literal. If the suffix does not fire when run alone, all of its tokens
//!    are literal, because no loss can be measured.
//! 4. *Unmatched tokens* get the mean activation of unmatched tokens over all explain fragments, non-firing ones
//!    included. If every token is matched, they get the mean of all tokens. With `backoff` they get the mean of their
//!    type.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::base::{Attempt, Missing};
use crate::features::{Evidence, Explanation, Pattern, PatternTrie, TokenTable};

use super::probe::{Activate, ExplainError, Probe, ask};

/// Constants of neuron-to-graph.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NeuronToGraphParams {
    /// Longest suffix tried, in tokens, the seed included.
    pub max_suffix: usize,
    /// Share of the seed's activation that a sufficient suffix must keep.
    pub keep: f64,
    /// Share of the suffix's activation that must be lost when a token is replaced, for the token to be literal.
    pub literal_loss: f64,
}

impl Default for NeuronToGraphParams {
    fn default() -> Self {
        Self { max_suffix: 16, keep: 0.5, literal_loss: 0.5 }
    }
}

/// Settings of neuron-to-graph.
#[derive(Debug, Clone, PartialEq)]
pub struct NeuronToGraph {
    /// Constants.
    pub params: NeuronToGraphParams,
    /// Filler token: the tokenizer's padding token or a rare whitespace token.
    pub pad: u32,
    /// Whether unmatched tokens get the mean of their type (`neuron_to_graph_backoff`).
    pub backoff: bool,
}

/// Strongest token of one fragment, with its suffix.
struct Seed<'a> {
    slot: usize,
    /// Tokens of the fragment up to and including the seed.
    context: &'a [u32],
    activation: f64,
    /// Length of the suffix and its activation when run alone.
    suffix: Option<(usize, f64)>,
    /// Whether the suffix keeps enough of the activation.
    suffices: bool,
}

impl Seed<'_> {
    fn suffix(&self) -> &[u32] {
        let length = self.suffix.map_or(1, |(length, _)| length);
        &self.context[self.context.len() - length..]
    }

    fn alone(&self) -> f64 {
        self.suffix.map_or(0.0, |(_, alone)| alone)
    }
}

/// The first strongest token of each firing fragment, if its activation is positive.
fn seeds_of(slot: usize, evidence: &Evidence) -> impl Iterator<Item = Seed<'_>> {
    evidence.firing_records().filter_map(move |record| {
        let mut strongest: Option<(usize, f32)> = None;
        for (position, &activation) in record.activations.iter().enumerate().skip(evidence.first_scored()) {
            if activation > strongest.map_or(0.0, |(_, most)| most) {
                strongest = Some((position, activation));
            }
        }
        strongest.map(|(position, activation)| Seed {
            slot,
            context: &record.tokens[..=position],
            activation: f64::from(activation),
            suffix: None,
            suffices: false,
        })
    })
}

fn pattern(seed: &Seed<'_>, literal: &[bool]) -> Pattern {
    let tokens =
        seed.suffix().iter().zip(literal).map(|(&token, &literal)| literal.then_some(token)).collect();
    let value = if seed.suffices { seed.alone() } else { seed.activation };
    Pattern { tokens, value, examples: 1 }
}

impl NeuronToGraph {
    /// Patterns of each feature, one per seed. They do not depend on `backoff`.
    pub fn patterns(
        &self,
        evidence: &[Evidence],
        activate: &Activate<'_>,
    ) -> Result<Vec<Vec<Pattern>>, ExplainError> {
        let mut seeds: Vec<Seed<'_>> =
            evidence.iter().enumerate().flat_map(|(slot, evidence)| seeds_of(slot, evidence)).collect();
        self.find_suffixes(&mut seeds, evidence, activate)?;
        let literal = self.literal_tokens(&seeds, evidence, activate)?;
        let mut patterns: Vec<Vec<Pattern>> = evidence.iter().map(|_| Vec::new()).collect();
        for (seed, literal) in seeds.iter().zip(&literal) {
            patterns[seed.slot].push(pattern(seed, literal));
        }
        Ok(patterns)
    }

    /// Explanations from the patterns of each feature.
    pub fn complete(&self, evidence: &[Evidence], patterns: &[Vec<Pattern>]) -> Vec<Attempt<Explanation>> {
        let explanation = |(evidence, patterns): (&Evidence, &Vec<Pattern>)| {
            if patterns.is_empty() {
                return Attempt::Missing(Missing::Failed("no_seed".into()));
            }
            Attempt::Done(Explanation::Patterns(self.with_unmatched(patterns.clone(), evidence)))
        };
        evidence.par_iter().zip(patterns).map(explanation).collect()
    }

    /// Finds the suffixes of all seeds, one length at a time.
    fn find_suffixes(
        &self,
        seeds: &mut [Seed<'_>],
        evidence: &[Evidence],
        activate: &Activate<'_>,
    ) -> Result<(), ExplainError> {
        for length in 1..=self.params.max_suffix.max(1) {
            let open: Vec<usize> = (0..seeds.len())
                .filter(|&index| !seeds[index].suffices && seeds[index].context.len() >= length)
                .collect();
            let probes: Vec<Probe> = open
                .iter()
                .map(|&index| {
                    let Seed { slot, context, .. } = seeds[index];
                    Probe { feature: slot, tokens: context[context.len() - length..].to_vec() }
                })
                .collect();
            let answers = ask(&probes, evidence, activate)?;
            for (&index, answer) in open.iter().zip(answers) {
                let seed = &mut seeds[index];
                seed.suffix = Some((length, f64::from(answer)));
                seed.suffices = f64::from(answer) >= self.params.keep * seed.activation;
            }
        }
        Ok(())
    }

    /// For each seed: which tokens of its suffix are literal. All probes go into one call.
    fn literal_tokens(
        &self,
        seeds: &[Seed<'_>],
        evidence: &[Evidence],
        activate: &Activate<'_>,
    ) -> Result<Vec<Vec<bool>>, ExplainError> {
        let mut literal: Vec<Vec<bool>> = seeds.iter().map(|seed| vec![true; seed.suffix().len()]).collect();
        let mut probes = Vec::new();
        let mut places = Vec::new();
        for (index, seed) in seeds.iter().enumerate().filter(|(_, seed)| seed.alone() > 0.0) {
            for replaced in 0..seed.suffix().len() - 1 {
                let mut tokens = seed.suffix().to_vec();
                tokens[replaced] = self.pad;
                probes.push(Probe { feature: seed.slot, tokens });
                places.push((index, replaced));
            }
        }
        let answers = ask(&probes, evidence, activate)?;
        for ((index, replaced), answer) in places.into_iter().zip(answers) {
            let loss = 1.0 - f64::from(answer) / seeds[index].alone();
            literal[index][replaced] = loss >= self.params.literal_loss;
        }
        Ok(literal)
    }

    fn with_unmatched(&self, patterns: Vec<Pattern>, evidence: &Evidence) -> PatternTrie {
        let trie = PatternTrie::new(patterns, 0.0, None);
        if self.backoff {
            let table = TokenTable::of_tokens(evidence.scored_tokens());
            return trie.with_unmatched(table.unseen(), Some(table));
        }
        let unmatched = unmatched_mean(&trie, evidence);
        trie.with_unmatched(unmatched, None)
    }
}

fn unmatched_mean(trie: &PatternTrie, evidence: &Evidence) -> f64 {
    let (mut sum, mut n) = (0.0, 0usize);
    for record in evidence.records() {
        for (position, &activation) in record.activations.iter().enumerate().skip(evidence.first_scored()) {
            if trie.longest_match(&record.tokens[..=position]).is_none() {
                sum += f64::from(activation);
                n += 1;
            }
        }
    }
    if n > 0 { sum / n as f64 } else { TokenTable::of_tokens(evidence.scored_tokens()).unseen() }
}
