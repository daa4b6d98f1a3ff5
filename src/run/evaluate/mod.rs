//! One dictionary at one hook point: what its features fire on, explanations, simulations, scores.

pub mod ablation;
pub mod asked;
pub mod best_of;
pub mod evidence;
pub mod explain;
pub mod fit_means;
pub mod judged;
pub mod kept_codes;
pub mod models;
pub mod oracle;
pub mod outcomes;
pub mod probes;
pub mod profile;
pub mod records;
pub mod score;
pub mod survey;

use crate::base::Stream;
use crate::corpus::TokenLabels;
use crate::dictionary::{Dictionary, Quality};
use crate::features::{Evidence, FeatureRecord, FeatureSummary, Held, Walk, split, walk};
use crate::run::context::SubjectPass;
use crate::run::inputs::harvest::HookActivations;
use crate::run::parallel::Tell;
use crate::run::{Event, RunError};
use crate::suite::{Controls, Pair};

pub use outcomes::{Outcome, Walked};
use probes::Probes;

/// What came of one dictionary.
pub struct Evaluated {
    /// Every feature walked, under every explainer.
    pub outcomes: Vec<Outcome>,
    /// How good the dictionary is.
    pub quality: Quality,
    /// The features that were explained, in the order walked.
    pub explained: Vec<usize>,
}

/// What one dictionary is evaluated on.
pub struct Evaluation<'a> {
    /// The subject, and the run.
    pub pass: &'a SubjectPass<'a>,
    /// Name of the row.
    pub row: &'a str,
    /// Name of the method in tables; several trainings have one.
    pub method: &'a str,
    /// Which of several trainings this is.
    pub training: Option<u32>,
    /// The dictionary.
    pub dictionary: &'a dyn Dictionary,
    /// Activations of the hook point.
    pub activations: &'a HookActivations,
    /// Concepts of the tokens of both splits, where features are explained by them as a control.
    pub labels: Option<&'a TokenLabels>,
    /// Activations of short texts, for neuron-to-graph.
    pub probes: &'a Probes<'a>,
    /// Who hears of progress.
    pub tell: &'a Tell<'a>,
}

/// The held fragments of every feature.
pub struct AllHeld {
    /// All of them, for simulators that cost nothing.
    full: Vec<Held>,
    /// The protocol's alone, for language models; empty where none simulates.
    few: Vec<Held>,
}

impl AllHeld {
    /// Those that a pair's simulator is given.
    pub fn of(&self, pair: &Pair) -> &[Held] {
        if pair.simulator.model().is_some() { &self.few } else { &self.full }
    }
}

impl Evaluation<'_> {
    /// The pairs of the suite, then the control that explains by labelled concepts.
    pub fn pairs(&self) -> Vec<Pair> {
        let oracle = self.labels.and_then(|_| Pair::oracle());
        self.pass.run.suite.pairs.iter().cloned().chain(oracle).collect()
    }

    /// Name of the control that a pair's lines belong to, if any.
    pub fn control_of(&self, pair: &Pair) -> Option<&'static str> {
        if pair.explainer.name() == Controls::ORACLE { Some(Controls::ORACLE) } else { self.pass.control }
    }

    /// The features to explain.
    pub fn walk(&self, summaries: &[FeatureSummary]) -> Walk {
        let suite = self.pass.run.suite;
        let mut order = Stream::named(suite.seed, &["walk", &self.place()]);
        walk(summaries, suite.per_cell, &suite.protocol, &mut order)
    }

    /// What explainers get of each record, and what scorers get.
    pub fn split(&self, records: &[FeatureRecord]) -> Result<(Vec<Evidence>, AllHeld), RunError> {
        let suite = self.pass.run.suite;
        let split: Vec<(Evidence, Held)> =
            records.iter().map(|record| split(record, &suite.protocol)).collect::<Result<_, _>>()?;
        let (evidence, full): (Vec<Evidence>, Vec<Held>) = split.into_iter().unzip();
        let asks = suite.pairs.iter().any(|pair| pair.simulator.model().is_some());
        let few = full.iter().filter(|_| asks).map(Held::protocol_only).collect();
        Ok((evidence, AllHeld { full, few }))
    }

    /// Says how far one of this row's stages is.
    pub fn tell(&self, what: &str, done: usize, total: usize, unit: &'static str) {
        let stage = format!("{what} {}/{}{}", self.dictionary.info().hook, self.row, self.pass.label());
        (self.tell)(Event::work(stage, done, total, unit));
    }

    /// Names this row's seed streams.
    fn place(&self) -> String {
        let control = self.pass.control.unwrap_or("real");
        format!("{}/{}/{control}", self.dictionary.info().hook, self.row)
    }
}
