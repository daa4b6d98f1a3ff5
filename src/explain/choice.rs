//! Several explanations of a feature, and the one that is kept.

use serde::Serialize;

use super::language_model::best_of;
use crate::base::Attempt;
use crate::features::{Calibration, Explanation};

/// One of several explanations of a feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The explanation, or why there is none.
    pub explanation: Attempt<Explanation>,
    /// Correlation of its simulation with the truth over the calibration fragments. A constant simulation counts
    /// as 0.
    pub calibration_score: Option<f64>,
    /// Why there is no score, or that the simulation is constant.
    pub calibration_reason: Option<String>,
}

/// The explanations of a feature, and which of them is kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// All of them, in the order asked.
    pub candidates: Vec<Candidate>,
    /// The one that is kept; none where there is no explanation at all.
    pub chosen: Option<usize>,
    /// Numbers of the fragments that they were compared on. None of these is shown or scored.
    pub calibrated_on: Vec<usize>,
}

impl Choice {
    /// Keeps the candidate of the highest calibration score.
    pub fn of(candidates: Vec<Candidate>, calibration: &Calibration) -> Self {
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
