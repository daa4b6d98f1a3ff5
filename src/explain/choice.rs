//! Best-of-n: candidate explanations of a feature and the choice among them.

use serde::Serialize;

use super::language_model::best_of;
use crate::base::Attempt;
use crate::features::{Calibration, Explanation};

/// A candidate explanation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Candidate {
    /// The explanation, or the reason why there is none.
    pub explanation: Attempt<Explanation>,
    /// Correlation of its simulation with the truth over the calibration fragments. A constant simulation counts as
    /// 0.
    pub calibration_score: Option<f64>,
    /// Reason of a missing score, or `constant_prediction`.
    pub calibration_reason: Option<String>,
}

/// The candidates and the choice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Choice {
    /// The candidates in the order asked.
    pub candidates: Vec<Candidate>,
    /// Index of the chosen candidate; none if every explanation is missing.
    pub chosen: Option<usize>,
    /// Calibration fragments. None of them is shown to the explainer or scored.
    pub calibrated_on: Vec<usize>,
}

impl Choice {
    /// Chooses the candidate with the highest calibration score.
    pub fn of(candidates: Vec<Candidate>, calibration: &Calibration) -> Self {
        let explanations: Vec<_> = candidates.iter().map(|one| one.explanation.clone()).collect();
        let scores: Vec<_> = candidates.iter().map(|one| one.calibration_score).collect();
        let chosen = best_of(&explanations, &scores);
        let calibrated_on = calibration.fragments().iter().map(|fragment| fragment.fragment).collect();
        Self { candidates, chosen, calibrated_on }
    }

    /// The chosen explanation, or the reason why the first is missing.
    pub fn explanation(&self) -> Attempt<Explanation> {
        self.candidates[self.chosen.unwrap_or(0)].explanation.clone()
    }
}
