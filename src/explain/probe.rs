//! Probes: activations of features on texts that an explainer composes.

use crate::features::Evidence;

/// Asks for a feature's activation on the last token of a text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Index of the feature in the list of evidence.
    pub feature: usize,
    /// The text, run alone; never empty. The callback adds a lead token if the model needs one.
    pub tokens: Vec<u32>,
}

/// Returns one activation per probe, in order. The callback avoids running equal texts twice.
pub type Activate<'a> = dyn Fn(&[Probe]) -> Result<Vec<f32>, ActivateError> + Sync + 'a;

/// Subject model or dictionary failed on a probe.
#[derive(Debug, thiserror::Error)]
#[error("find the activations of new texts")]
pub struct ActivateError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why no feature can be explained. A failure of one feature is its `Attempt`.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ExplainError {
    /// The probes failed.
    #[error(transparent)]
    Activate(#[from] ActivateError),
    /// A kind that needs a language model got none.
    #[error("no language model is connected")]
    NoModel,
    /// A kind that needs labelled concepts got none.
    #[error("the corpus is not labelled with concepts")]
    NoLabels,
    /// Wrong number of activations.
    #[error("{got} activations came back for {expected} texts")]
    AnswerCount { expected: usize, got: usize },
    /// An activation is NaN or infinite.
    #[error(
        "the activation of feature {feature} on a text of {length} tokens is {value}; expected a finite number"
    )]
    NotFinite { feature: usize, length: usize, value: f32 },
    /// Codes have the wrong number of rows, or too few columns.
    #[error(
        "codes have shape [{rows}, {cols}], expected {expected} rows, one per token, and at least {at_least} columns"
    )]
    CodeShape { rows: usize, cols: usize, expected: usize, at_least: usize },
    /// Wrong number of tables.
    #[error(
        "{tables} tables of type means were given for {features} features; expected one each, in the order of the evidence"
    )]
    TableCount { features: usize, tables: usize },
}

/// Runs probes and checks the activations. Without probes `activate` is not called.
pub(super) fn ask(
    probes: &[Probe],
    evidence: &[Evidence],
    activate: &Activate<'_>,
) -> Result<Vec<f32>, ExplainError> {
    if probes.is_empty() {
        return Ok(Vec::new());
    }
    let answers = activate(probes)?;
    if answers.len() != probes.len() {
        return Err(ExplainError::AnswerCount { expected: probes.len(), got: answers.len() });
    }
    match probes.iter().zip(&answers).find(|(_, value)| !value.is_finite()) {
        Some((probe, &value)) => Err(ExplainError::NotFinite {
            feature: evidence[probe.feature].feature(),
            length: probe.tokens.len(),
            value,
        }),
        None => Ok(answers),
    }
}
