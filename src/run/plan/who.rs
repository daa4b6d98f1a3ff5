//! Names of roles: step, explainer or simulator or judge, and model.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Purpose of a request to a language model.
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
    /// Name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Explain => "explain",
            Self::Choose => "choose",
            Self::Simulate => "simulate",
            Self::Judge => "judge",
        }
    }
}

/// A role, as plans and results name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Who {
    /// Purpose of its requests.
    pub step: Step,
    /// Its name in tables.
    pub name: String,
    /// Name of the model at the endpoint.
    pub model: String,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} by {}", self.step.name(), self.name, self.model)
    }
}
