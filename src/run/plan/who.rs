//! Who asks a language model, and for what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a language model is asked for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Explanations.
    Explain,
    /// Simulations that choose among several explanations of a feature.
    Choose,
    /// Simulations that are scored.
    Simulate,
    /// Judgements of fragments.
    Judge,
}

impl Step {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Explain => "explain",
            Self::Choose => "choose",
            Self::Simulate => "simulate",
            Self::Judge => "judge",
        }
    }
}

/// An explainer, simulator or scorer, as plans and results call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Who {
    /// What it does.
    pub step: Step,
    /// Its name in tables.
    pub name: String,
    /// The model, as the endpoint calls it.
    pub model: String,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} by {}", self.step.name(), self.name, self.model)
    }
}
