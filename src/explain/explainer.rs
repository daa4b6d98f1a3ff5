use crate::base::Attempt;
use crate::features::{Evidence, Explanation};

/// A question to the subject model: what does this feature do on the last of these tokens?
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Probe {
    /// Which feature: its place in the list of evidence.
    pub feature: usize,
    /// The text, run on its own; never empty. What a model needs before it (one lead token, where
    /// position 0 is special) is added by whoever answers.
    pub tokens: Vec<u32>,
}

/// Answers probes, one activation each, in their order. Equal texts of different features and of
/// different probes are the answerer's to run once.
pub type Activate<'a> = dyn Fn(&[Probe]) -> Result<Vec<f32>, ActivateError> + Sync + 'a;

/// The subject model or the dictionary failed on a probe.
#[derive(Debug, thiserror::Error)]
#[error("find the activations of new texts")]
pub struct ActivateError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Why no feature can be explained; what fails for one feature alone is an `Attempt`.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The probes found no answer.
    #[error(transparent)]
    Activate(#[from] ActivateError),
    /// A kind that asks a language model was given none.
    #[error("no language model is connected")]
    NoModel,
    /// A kind that reads concepts was given none.
    #[error("the corpus is not labelled with concepts")]
    NoLabels,
    /// Answers don't pair with probes.
    #[error("{got} activations came back for {expected} texts")]
    AnswerCount {
        /// Probes asked.
        expected: usize,
        /// Answers given.
        got: usize,
    },
    /// A NaN or an infinity came back.
    #[error(
        "the activation of feature {feature} on a text of {length} tokens is {value}; expected a finite number"
    )]
    NotFinite {
        /// The feature's number in its dictionary.
        feature: usize,
        /// Tokens of the text.
        length: usize,
        /// What came back.
        value: f32,
    },
    /// Codes don't pair with tokens or lack a feature.
    #[error(
        "codes have shape [{rows}, {cols}], expected {expected} rows, one per token, and at least {at_least} columns"
    )]
    CodeShape {
        /// Rows given.
        rows: usize,
        /// Columns given.
        cols: usize,
        /// Tokens given.
        expected: usize,
        /// Columns that the features asked for need.
        at_least: usize,
    },
    /// Tables don't pair with features.
    #[error(
        "{tables} tables of type means were given for {features} features; expected one each, in the order of the evidence"
    )]
    TableCount {
        /// Features to explain.
        features: usize,
        /// Tables given.
        tables: usize,
    },
}

/// A way to explain features.
pub trait Explainer: Send + Sync {
    /// The kind, as suites and results spell it.
    fn name(&self) -> &'static str;

    /// One attempt per feature, in the order of `evidence`. Features advance together, so that each
    /// call of `activate` is large; they may come from several dictionaries at one hook point.
    fn explain(
        &self,
        evidence: &[Evidence],
        activate: &Activate<'_>,
    ) -> Result<Vec<Attempt<Explanation>>, ExplainError>;
}

/// Asks and checks the answers; no call where nothing is asked.
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
