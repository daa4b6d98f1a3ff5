//! Best-of-n: several explanations per feature, of which the one that simulates best is kept.

use crate::base::Attempt;
use crate::explain::catalog::{AskModel, Explained};
use crate::explain::{ActivateError, Candidate, Choice, ExplainError};
use crate::features::{Calibration, Evidence, Explanation};
use crate::run::RunError;
use crate::run::evaluate::Evaluation;
use crate::run::evaluate::models::ConnectedSimulator;
use crate::run::evaluate::questions::{Questions, ToSimulate};
use crate::run::evaluate::score::scored_fragment;
use crate::score::{ScoreOutcome, Scorer, Stratum, TopAndRandom};
use crate::simulate::Simulation;
use crate::suite::{ModelExplainer, ModelSimulator};

/// Explains the features of one row with a language model.
pub struct ModelRow<'a> {
    /// The row.
    pub evaluation: &'a Evaluation<'a>,
    pub spec: &'a ModelExplainer,
    /// The simulator that compares several explanations.
    pub simulator: Option<&'a ModelSimulator>,
}

impl ModelRow<'_> {
    fn ask(&self, evidence: &[Evidence]) -> Result<Explained, RunError> {
        let asked = self.evaluation.questions()?;
        let Some(simulator) = self.simulator.filter(|_| self.spec.best_of > 1) else {
            return Ok(Explained { explanations: asked.explain(self.spec, evidence, 1)?, choices: None });
        };
        let choices = asked.explain_best(self.spec, simulator, evidence)?;
        Ok(Explained {
            explanations: choices.iter().map(Choice::explanation).collect(),
            choices: Some(choices),
        })
    }
}

impl AskModel for ModelRow<'_> {
    fn explain(&self, evidence: &[Evidence]) -> Result<Explained, ExplainError> {
        self.ask(evidence).map_err(|error| ActivateError(Box::new(error)).into())
    }
}

impl Questions<'_> {
    /// Asks for `best_of` explanations of each feature from one part of its evidence. Chooses among them by
    /// simulating the other part.
    pub fn explain_best(
        &self,
        spec: &ModelExplainer,
        simulator: &ModelSimulator,
        evidence: &[Evidence],
    ) -> Result<Vec<Choice>, RunError> {
        let (shown, compared): (Vec<Evidence>, Vec<Calibration>) =
            evidence.iter().map(Evidence::divide).unzip();
        let explanations = self.explain(spec, &shown, spec.best_of)?;
        let simulating: &ConnectedSimulator = self.models.simulating(simulator)?;
        let of_each = || explanations.chunks(spec.best_of).zip(&compared);
        let wanted: Vec<ToSimulate<'_>> = of_each()
            .flat_map(|(explanations, calibration)| {
                let wanted = |explanation| ToSimulate { explanation, fragments: calibration.fragments() };
                explanations.iter().map(wanted)
            })
            .collect();
        let mut simulated = self.simulate(simulating, &simulating.choosing, &wanted)?.into_iter();
        let choice = |(explanations, calibration): (&[Attempt<Explanation>], &Calibration)| {
            let simulated = simulated.by_ref().take(explanations.len());
            let candidates = explanations.iter().zip(simulated).map(|(explanation, simulation)| {
                let (calibration_score, calibration_reason) = compare(calibration, &simulation);
                Candidate { explanation: explanation.clone(), calibration_score, calibration_reason }
            });
            Choice::of(candidates.collect(), calibration)
        };
        Ok(of_each().map(choice).collect())
    }
}

/// Calibration score of a candidate, and the reason if it is missing or constant.
fn compare(calibration: &Calibration, simulated: &Attempt<Vec<Simulation>>) -> (Option<f64>, Option<String>) {
    let simulations = match simulated {
        Attempt::Done(simulations) => simulations,
        Attempt::Missing(missing) => return (None, Some(missing.reason().to_string())),
    };
    let from = calibration.first_scored();
    let fragments = calibration
        .fragments()
        .iter()
        .zip(simulations)
        .map(|(fragment, simulation)| scored_fragment(Stratum::Top, fragment, simulation, from, 1.0));
    let outcome = match fragments.collect::<Result<Vec<_>, _>>() {
        Ok(fragments) => TopAndRandom.score(&fragments),
        Err(error) => return (None, Some(error.to_string())),
    };
    let reason = outcome.reason().map(str::to_string);
    match outcome {
        ScoreOutcome::ConstantPrediction => (Some(0.0), reason),
        other => (other.value(), reason),
    }
}
