//! Several explanations of each feature, and the one of them that is kept.

use serde::Serialize;

use super::RunError;
use super::asked::{Asked, Wanted};
use super::models::Simulating;
use super::scoring::scored_fragment;
use crate::base::Attempt;
use crate::explain::language_model::best_of;
use crate::features::{Calibration, Evidence, Explanation};
use crate::score::{ScoreOutcome, Scorer, Stratum, TopAndRandom};
use crate::simulate::Simulation;
use crate::suite::{ModelExplainer, ModelSimulator};

/// One of several explanations of a feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// What was said, or why nothing.
    pub explanation: Attempt<Explanation>,
    /// Correlation of its simulation and the truth over the calibration fragments; a constant
    /// simulation counts as 0.
    pub calibration_score: Option<f64>,
    /// Why there is no score, or that the simulation is constant.
    pub calibration_reason: Option<String>,
}

/// The explanations of a feature and which of them is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// All of them, in the order asked.
    pub candidates: Vec<Candidate>,
    /// The one that is kept; none where there is no explanation at all.
    pub chosen: Option<usize>,
    /// Numbers of the fragments that they were compared on, none of which is shown or scored.
    pub calibrated_on: Vec<usize>,
}

impl Choice {
    fn of(candidates: Vec<Candidate>, calibration: &Calibration) -> Self {
        let explanations: Vec<_> = candidates.iter().map(|one| one.explanation.clone()).collect();
        let scores: Vec<_> = candidates.iter().map(|one| one.calibration_score).collect();
        let chosen = best_of(&explanations, &scores);
        let calibrated_on = calibration.fragments().iter().map(|fragment| fragment.fragment).collect();
        Self { candidates, chosen, calibrated_on }
    }

    /// The explanation that is kept, or why the first one is missing.
    pub fn explanation(&self) -> Attempt<Explanation> {
        self.candidates[self.chosen.unwrap_or(0)].explanation.clone()
    }
}

impl Asked<'_> {
    /// Asks for `best_of` explanations of each feature, made of one part of its evidence, and chooses by
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
        let simulating: &Simulating = self.models.simulating(simulator)?;
        let of_each = || explanations.chunks(spec.best_of).zip(&compared);
        let wanted: Vec<Wanted<'_>> = of_each()
            .flat_map(|(explanations, calibration)| {
                let wanted = |explanation| Wanted { explanation, fragments: calibration.fragments() };
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

/// The score of a candidate, and what there is to say about it.
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
