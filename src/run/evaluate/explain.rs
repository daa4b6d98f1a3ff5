//! Explains, simulates and judges the features of one row.

use std::cell::OnceCell;

use rayon::prelude::*;

use crate::base::{Attempt, Stream};
use crate::explain::catalog::{AskModel, Concepts, Explained, Inputs};
use crate::explain::{ActivateError, ExplainError, Probe};
use crate::features::{Evidence, Explanation, Held, HeldFragment};
use crate::run::RunError;
use crate::run::evaluate::best_of::ModelRow;
use crate::run::evaluate::fit_means::FitMeans;
use crate::run::evaluate::judged::Judged;
use crate::run::evaluate::questions::{Questions, ToSimulate};
use crate::run::evaluate::score::simulated;
use crate::run::evaluate::{Evaluation, oracle};
use crate::score::Judging;
use crate::simulate::{Offline, Simulation};
use crate::suite::{Pair, SimulatorSpec};

/// Probes per batch.
const PROBE_ROWS: usize = 4096;

/// Judgements of every feature by kind of judging.
pub type AllJudged = Vec<(Judging, Vec<Attempt<Judged>>)>;

impl Evaluation<'_> {
    /// Calls `work` with the inputs of explainers.
    pub fn with_inputs<T>(
        &self,
        evidence: &[Evidence],
        means: &FitMeans,
        work: impl FnOnce(&Inputs<'_>) -> T,
    ) -> T {
        let named = oracle::named_concepts();
        let holds =
            |set: u32, concept: usize| self.labels.is_some_and(|labels| oracle::holds(labels, set, concept));
        work(&Inputs {
            evidence,
            activate: &|probes: &[Probe]| self.activations_at(evidence, probes),
            pad: self.pass.run.fillers.pad,
            type_means: means.types.as_ref(),
            concepts: means.labels.as_ref().map(|means| Concepts { means, named: &named, holds: &holds }),
            patterns: &OnceCell::new(),
        })
    }

    /// Explains each feature.
    pub fn explain(&self, pair: &Pair, inputs: &Inputs<'_>) -> Result<Explained, RunError> {
        let asker = pair.explainer.model().map(|spec| ModelRow {
            evaluation: self,
            spec,
            simulator: pair.simulator.model(),
        });
        let model = asker.as_ref().map(|asker| asker as &dyn AskModel);
        pair.explainer.kind().explain(inputs, model).map_err(|error| match error {
            ExplainError::Activate(ActivateError(source)) => match source.downcast::<RunError>() {
                Ok(error) => *error,
                Err(other) => self.cannot_explain(&other.to_string()),
            },
            other => self.cannot_explain(&other.to_string()),
        })
    }

    /// Simulates every held-out fragment from the feature's explanation; none if no score needs simulations.
    pub fn simulate(
        &self,
        pair: &Pair,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
    ) -> Result<Option<Vec<Attempt<Vec<Simulation>>>>, RunError> {
        if pair.simulator == SimulatorSpec::Nobody || simulated(&self.pass.run.suite.scorers).next().is_none()
        {
            return Ok(None);
        }
        let Some(spec) = pair.simulator.model() else { return Ok(Some(self.read(held, explanations))) };
        let asked = self.questions()?;
        let simulating = asked.models.simulating(spec)?;
        let wanted: Vec<ToSimulate<'_>> = held
            .iter()
            .zip(explanations)
            .map(|(held, explanation)| ToSimulate { explanation, fragments: held.fragments() })
            .collect();
        Ok(Some(asked.simulate(simulating, &simulating.role, &wanted)?))
    }

    /// Simulates without a language model.
    fn read(&self, held: &[Held], explanations: &[Attempt<Explanation>]) -> Vec<Attempt<Vec<Simulation>>> {
        let of_fragment = |explanation: &Explanation, fragment: &HeldFragment| match explanation {
            Explanation::Concept(_) => self.simulate_concept(explanation, fragment),
            _ => Offline.simulate(explanation, &fragment.tokens),
        };
        let simulate = |(held, explanation): (&Held, &Attempt<Explanation>)| match explanation {
            Attempt::Done(explanation) => {
                Attempt::all(held.fragments().iter().map(|fragment| of_fragment(explanation, fragment)))
            }
            Attempt::Missing(missing) => Attempt::Missing(missing.clone()),
        };
        held.par_iter().zip(explanations).map(simulate).collect()
    }

    /// Has a language model judge whole fragments, given each feature's explanation.
    pub fn judge(
        &self,
        pair: &Pair,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
    ) -> Result<AllJudged, RunError> {
        let Some(spec) = &pair.judge else { return Ok(Vec::new()) };
        let asked = self.questions()?;
        let judge = |judging: Judging| {
            let stream = |feature: usize| {
                let parts = ["judge", &self.place(), judging.name(), &feature.to_string()];
                Stream::named(self.pass.run.suite.seed, &parts)
            };
            let by = asked.models.judged_by(spec, judging)?;
            Ok((judging, asked.judge(by, held, explanations, stream)?))
        };
        self.pass.run.suite.judgings().into_iter().map(judge).collect()
    }

    pub(super) fn questions(&self) -> Result<Questions<'_>, RunError> {
        let models = self
            .pass
            .run
            .models
            .as_ref()
            .ok_or_else(|| self.cannot_explain("no language model is connected"))?;
        let place = self.told_place();
        Ok(Questions { models, place, run: self.pass.run, tell: self.tell })
    }

    /// Error that stops the explanation of all features.
    pub(super) fn cannot_explain(&self, why: &str) -> RunError {
        RunError::Explain {
            method: self.row.into(),
            hook: self.dictionary.info().hook.to_string(),
            why: why.into(),
        }
    }

    /// Activation of the probe's feature at its last token, for each probe.
    fn activations_at(&self, evidence: &[Evidence], probes: &[Probe]) -> Result<Vec<f32>, ActivateError> {
        let failed = |error: RunError| ActivateError(Box::new(error));
        self.pass.run.stop.check().map_err(failed)?;
        let mut found = Vec::with_capacity(probes.len());
        for chunk in probes.chunks(PROBE_ROWS) {
            let sequences: Vec<&[u32]> = chunk.iter().map(|probe| probe.tokens.as_slice()).collect();
            let rows = self.probes.last_activations(&sequences).map_err(|error| failed(error.into()))?;
            let mut slots: Vec<usize> = chunk.iter().map(|probe| probe.feature).collect();
            slots.sort_unstable();
            slots.dedup();
            let features: Vec<usize> = slots.iter().map(|&slot| evidence[slot].feature()).collect();
            let codes = self.dictionary.encode_features(&rows, &features);
            let codes = codes.map_err(|error| failed(error.into()))?;
            let column = |slot| slots.partition_point(|&other| other < slot);
            found.extend(chunk.iter().enumerate().map(|(row, probe)| codes.at(row, column(probe.feature))));
        }
        Ok(found)
    }
}
