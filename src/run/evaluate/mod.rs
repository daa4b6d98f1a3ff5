//! Evaluates one dictionary at one hook point: records, explanations, simulations, scores.

pub mod ablation;
pub mod best_of;
pub mod code_cache;
pub mod effects;
pub mod evidence;
mod examples;
pub mod explain;
pub mod fit_means;
pub mod intervention;
pub mod judged;
pub mod models;
pub mod oracle;
pub mod outcomes;
pub mod probes;
pub mod profile;
pub mod questions;
pub mod records;
pub mod score;
pub mod survey;
pub mod written;

use crate::base::{ListedFile, Stream};
use crate::corpus::TokenLabels;
use crate::dictionary::{Dictionary, Quality};
use crate::features::{
    Evidence, FeatureError, FeatureRecord, FeatureSummary, Held, Walk, WalkOrder, split, walk, walk_chosen,
};
use crate::run::inputs::harvest::HookActivations;
use crate::run::{Event, RunError, SubjectPass, Tell};
use crate::suite::{Controls, MethodSpec, Pair};

pub use outcomes::{Outcome, Walked};
use probes::Probes;

/// Results of one dictionary.
pub struct Evaluated {
    /// One outcome per walked feature and explainer.
    pub outcomes: Vec<Outcome>,
    /// None if the suite does not have it measured.
    pub quality: Option<Quality>,
    /// Explained features, in walk order.
    pub explained: Vec<usize>,
    /// The files of evidence.
    pub files: Vec<ListedFile>,
}

/// A dictionary with everything its evaluation needs.
pub struct Evaluation<'a> {
    pub pass: &'a SubjectPass<'a>,
    pub row: &'a str,
    /// The method that the row belongs to.
    pub spec: &'a MethodSpec,
    /// Name of the method in tables, shared by several trainings.
    pub method: &'a str,
    /// Index among several trainings.
    pub training: Option<u32>,
    pub dictionary: &'a dyn Dictionary,
    pub activations: &'a HookActivations,
    /// Concepts of the tokens of both splits, for the `oracle` control.
    pub labels: Option<&'a TokenLabels>,
    /// Runs the subject on short texts, for neuron-to-graph.
    pub probes: &'a Probes<'a>,
    /// Progress callback.
    pub tell: &'a Tell<'a>,
}

/// Held-out fragments of every feature.
pub struct AllHeld {
    /// All fragments, for offline simulators.
    full: Vec<Held>,
    /// Only the protocol's fragments, for language models; empty if none simulates.
    few: Vec<Held>,
}

impl AllHeld {
    /// Those of every explained feature, in walk order.
    pub fn all(&self) -> &[Held] {
        &self.full
    }

    /// The fragments for a pair's simulator.
    pub fn of(&self, pair: &Pair) -> &[Held] {
        if pair.simulator.model().is_some() { &self.few } else { &self.full }
    }
}

impl Evaluation<'_> {
    /// The suite's pairs, then the `oracle` control.
    pub fn pairs(&self) -> Vec<Pair> {
        let oracle = self.labels.and_then(|_| Pair::oracle());
        self.pass.run.suite.pairs.iter().cloned().chain(oracle).collect()
    }

    /// Name of the control for a pair's score lines.
    pub fn control_of(&self, pair: &Pair) -> Option<&'static str> {
        if pair.explainer.name() == Controls::ORACLE { Some(Controls::ORACLE) } else { self.pass.control }
    }

    /// Walks the chosen features, or else a sample of the dictionary's.
    pub fn walk(&self, summaries: &[FeatureSummary]) -> Walk {
        let suite = self.pass.run.suite;
        if let Some(ids) = self.spec.ids() {
            return walk_chosen(summaries, ids, &suite.protocol);
        }
        let mut order = Stream::named(suite.seed, &["walk", &self.place()]);
        walk(summaries, suite.n_features(self.spec), &suite.protocol, &mut order)
    }

    /// The features to walk, ascending, if they are known before anything is encoded.
    fn known_features(&self) -> Option<Vec<usize>> {
        let n_features = self.dictionary.info().n_features;
        match (self.spec.ids(), self.pass.run.suite.protocol.walk) {
            (Some(ids), _) => {
                let mut ids = ids.to_vec();
                ids.sort_unstable();
                Some(ids)
            }
            (None, WalkOrder::First(n)) => Some((0..n.min(n_features)).collect()),
            (None, WalkOrder::Permutation) => None,
        }
    }

    /// Splits each record into evidence for explainers and held-out fragments for scorers.
    pub fn split(&self, records: &[FeatureRecord]) -> Result<(Vec<Evidence>, AllHeld), RunError> {
        let suite = self.pass.run.suite;
        let split = |record: &FeatureRecord| -> Result<(Evidence, Held), FeatureError> {
            let (evidence, held) = split(record, &suite.protocol)?;
            let Some(grading) = suite.grading() else { return Ok((evidence, held)) };
            let parts = ["graded", &self.place(), &record.feature.to_string()];
            let (sizes, mut stream) =
                ((grading.intervals, grading.per_interval), Stream::named(suite.seed, &parts));
            let held = held.with_graded(record, &evidence, sizes, &mut stream);
            Ok((evidence, held))
        };
        let split: Vec<(Evidence, Held)> = records.iter().map(split).collect::<Result<_, _>>()?;
        let (evidence, full): (Vec<Evidence>, Vec<Held>) = split.into_iter().unzip();
        let asks = suite.pairs.iter().any(|pair| pair.simulator.model().is_some());
        let few = full.iter().filter(|_| asks).map(Held::protocol_only).collect();
        Ok((evidence, AllHeld { full, few }))
    }

    /// Reports the progress of one of this row's stages.
    pub fn tell(&self, what: &str, done: usize, total: usize, unit: &'static str) {
        (self.tell)(Event::work(format!("{what} {}", self.told_place()), done, total, unit));
    }

    /// The dictionary in progress messages.
    fn told_place(&self) -> String {
        format!("{}/{}{}", self.dictionary.info().hook, self.row, self.pass.label())
    }

    /// Name of this row's seed streams.
    fn place(&self) -> String {
        let control = self.pass.control.unwrap_or("real");
        format!("{}/{}/{control}", self.dictionary.info().hook, self.row)
    }
}
