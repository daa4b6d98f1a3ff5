//! The evidence behind the scores, as JSON lines: fragments, explanations, simulations.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::RunError;
use crate::base::{AtomicFile, Attempt, FileError};
use crate::features::{Evidence, Explanation, FeatureRecord, Held};
use crate::simulate::Simulation;
use crate::suite::Pair;

/// Decimals of a stored prediction: enough to redraw it, few enough to read.
const PREDICTION_DIGITS: f64 = 1e4;

/// The three files of one row; they appear together when they are committed.
pub struct EvidenceFiles {
    records: JsonLines,
    explanations: JsonLines,
    simulations: JsonLines,
}

#[derive(Serialize)]
struct ExplanationLine<'a> {
    feature: usize,
    explainer: &'a str,
    text: Option<String>,
    explanation: &'a Attempt<Explanation>,
}

#[derive(Serialize)]
struct SimulationLine<'a> {
    feature: usize,
    explainer: &'a str,
    simulator: &'a str,
    fragment: usize,
    strata: Vec<&'static str>,
    predicted: Vec<f64>,
}

impl EvidenceFiles {
    /// Files of one row below a run folder: `records/HOOK/ROW.jsonl` and so on.
    pub fn create(folder: &Path, hook: &str, row: &str) -> Result<Self, RunError> {
        let open = |kind: &str| JsonLines::create(&folder.join(kind).join(hook).join(format!("{row}.jsonl")));
        Ok(Self {
            records: open("records")?,
            explanations: open("explanations")?,
            simulations: open("simulations")?,
        })
    }

    /// What each explained feature fires on.
    pub fn records(&mut self, records: &[FeatureRecord]) -> Result<(), RunError> {
        records.iter().try_for_each(|record| self.records.line(record))
    }

    /// What each feature was explained as.
    pub fn explanations(
        &mut self,
        pair: &Pair,
        evidence: &[Evidence],
        explanations: &[Attempt<Explanation>],
        token: &dyn Fn(u32) -> String,
    ) -> Result<(), RunError> {
        for (evidence, explanation) in evidence.iter().zip(explanations) {
            let text = explanation.done().map(|explanation| explanation.text(token));
            let line = ExplanationLine {
                feature: evidence.feature(),
                explainer: pair.explainer.name(),
                text,
                explanation,
            };
            self.explanations.line(&line)?;
        }
        Ok(())
    }

    /// What was predicted for the fragments of the protocol; those that only `beyond_token` adds
    /// follow from the explanation and are not repeated here.
    pub fn simulations(
        &mut self,
        pair: &Pair,
        held: &[Held],
        simulations: &[Attempt<Vec<Simulation>>],
    ) -> Result<(), RunError> {
        for (held, simulations) in held.iter().zip(simulations) {
            let Attempt::Done(simulations) = simulations else { continue };
            let lists = [("top", held.top()), ("random", held.random()), ("non_firing", held.non_firing())];
            for (place, (fragment, simulation)) in held.fragments().iter().zip(simulations).enumerate() {
                let of_list = |(name, picks): &(&'static str, &[crate::features::Pick])| {
                    picks.iter().any(|pick| pick.fragment == place).then_some(*name)
                };
                let strata: Vec<&str> = lists.iter().filter_map(of_list).collect();
                if strata.is_empty() {
                    continue;
                }
                let predicted = simulation
                    .expected
                    .iter()
                    .map(|value| (value * PREDICTION_DIGITS).round() / PREDICTION_DIGITS);
                self.simulations.line(&SimulationLine {
                    feature: held.feature(),
                    explainer: pair.explainer.name(),
                    simulator: pair.simulator.name(),
                    fragment: fragment.fragment,
                    strata,
                    predicted: predicted.collect(),
                })?;
            }
        }
        Ok(())
    }

    /// Makes all three visible.
    pub fn commit(self) -> Result<(), RunError> {
        self.records.file.commit()?;
        self.explanations.file.commit()?;
        self.simulations.file.commit()?;
        Ok(())
    }
}

struct JsonLines {
    file: AtomicFile,
    path: PathBuf,
}

impl JsonLines {
    fn create(path: &Path) -> Result<Self, RunError> {
        Ok(Self { file: AtomicFile::create(path)?, path: path.to_path_buf() })
    }

    fn line<T: Serialize>(&mut self, value: &T) -> Result<(), RunError> {
        let mut bytes = serde_json::to_vec(value).map_err(|error| FileError {
            action: "write",
            path: self.path.clone(),
            source: error.into(),
        })?;
        bytes.push(b'\n');
        Ok(self.file.write(&bytes)?)
    }
}
