use crate::activations::{ActivationError, HarvestError};
use crate::base::FileError;
use crate::corpus::CorpusError;
use crate::dictionary::{DictionaryError, FitError};
use crate::features::FeatureError;
use crate::gate::GateError;
use crate::hub::HubError;
use crate::llm::ChatError;
use crate::report::ReportError;
use crate::run::AllFailed;
use crate::subject::SubjectError;
use crate::suite::SuiteError;

/// Why a run, a plan or a harvest ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The suite cannot be run.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// A setting fits the suite's form but not the model.
    #[error("`{field}` {problem}")]
    Setting {
        /// Field of the suite or flag.
        field: String,
        /// What is wrong, what was expected, what to do.
        problem: String,
    },
    /// The subject model cannot be loaded or run.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The corpus cannot be used.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// A hub id could not be fetched.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Activations are unusable.
    #[error(transparent)]
    Activation(#[from] ActivationError),
    /// A dictionary could not be fitted.
    #[error("`{method}` at `{hook}` could not be fitted: {source}")]
    Fit {
        /// The method's name.
        method: String,
        /// Where.
        hook: String,
        /// What went wrong.
        #[source]
        source: FitError,
    },
    /// A dictionary could not be read, written or applied.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// Runs could not be compared.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// Fragments or records are unusable.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// An input file that holds something else than it should.
    #[error("`{}` {why}", path.display())]
    Input {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong and what was expected.
        why: String,
    },
    /// Features could not be explained.
    #[error("features of `{method}` at `{hook}` could not be explained: {why}")]
    Explain {
        /// The row's name.
        method: String,
        /// Where.
        hook: String,
        /// What went wrong.
        why: String,
    },
    /// A language model gave no answer and will not give one now.
    #[error("{error}; what was answered is kept{goes_on}", error = .0, goes_on = goes_on(.0))]
    Chat(#[from] ChatError),
    /// A language model was asked in vain.
    #[error(transparent)]
    AllFailed(Box<AllFailed>),
    /// The results could not be drawn.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Dictionaries that were fitted on different activations cannot be compared.
    #[error(
        "`{method}` at `{hook}` was fitted on other activations ({found}) than the rest ({expected}): remove it, or refit it here"
    )]
    MixedActivations {
        /// The method's name.
        method: String,
        /// Where.
        hook: String,
        /// Digest it carries.
        found: String,
        /// Digest of the rest.
        expected: String,
    },
    /// Activations would not fit on the disk that the suite allows, or that is left.
    #[error(
        "activations at `{hook}` need {needed_gb:.1} GB, but {limit}: lower `corpus.fit_tokens` or raise `limits.disk_gb`"
    )]
    Disk {
        /// Where.
        hook: String,
        /// What they need.
        needed_gb: f64,
        /// What there is.
        limit: String,
    },
    /// The person asked to stop.
    #[error("stopped on request; what was finished is kept, and the same command goes on from here")]
    Stopped,
}

impl From<HarvestError> for RunError {
    fn from(error: HarvestError) -> Self {
        match error {
            HarvestError::Subject(error) => Self::Subject(error),
            HarvestError::Activation(error) => Self::Activation(error),
            HarvestError::File(error) => error.into(),
            HarvestError::Stopped => Self::Stopped,
        }
    }
}

/// What more of the same command may do; what an endpoint cannot do, or a model that cannot be used, stays so.
fn goes_on(error: &ChatError) -> &'static str {
    match error {
        ChatError::Unsupported { .. } | ChatError::LocalModel { .. } => "",
        _ => ", and the same command goes on from there",
    }
}
