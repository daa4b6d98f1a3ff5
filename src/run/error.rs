//! Errors of a run.

use crate::activations::{ActivationError, HarvestError};
use crate::base::{FileError, HookPoint};
use crate::causal::CausalError;
use crate::corpus::CorpusError;
use crate::dictionary::{DictionaryError, FitError};
use crate::export::ExportError;
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
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum RunError {
    /// The suite file is invalid.
    #[error(transparent)]
    Suite(#[from] SuiteError),
    /// A setting is valid by itself but not for this model.
    #[error("`{field}` {problem}")]
    Setting { field: String, problem: String },
    /// Several files that the suite names cannot be used, each with its field.
    #[error("{}", several(.0))]
    Several(Vec<(String, RunError)>),
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
    /// A dictionary trained elsewhere is not where the suite says.
    #[error(
        "there is no dictionary `{}`, neither here nor beside the suite: expected a folder or a file; write one on the \
         hub as `hub:OWNER/NAME/FOLDER`", path.display()
    )]
    NoDictionary { path: std::path::PathBuf },
    /// A dictionary could not be fitted.
    #[error("`{method}` at `{hook}` could not be fitted: {source}")]
    Fit {
        method: String,
        hook: String,
        #[source]
        source: FitError,
    },
    /// A dictionary could not be read, written or applied.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// Runs could not be compared.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// A run could not be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// An experiment with edits of activations failed.
    #[error(transparent)]
    Causal(#[from] CausalError),
    /// Fragments or records are unusable.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// An input file has the wrong content.
    #[error("`{}` {why}", path.display())]
    Input { path: std::path::PathBuf, why: String },
    /// A chosen feature does not exist.
    #[error(
        "`{method}` at `{hook}` has no feature {id}: it has {n_features}, counted from 0. Change `ids` under `features`"
    )]
    NoFeature { method: String, hook: String, id: usize, n_features: usize },
    /// Features could not be explained.
    #[error("features of `{method}` at `{hook}` could not be explained: {why}")]
    Explain { method: String, hook: String, why: String },
    /// A language model failed in a way that stops the run.
    #[error("{error}; answers so far are kept{goes_on}", error = .0, goes_on = goes_on(.0))]
    Chat(#[from] ChatError),
    /// All first answers of a role failed for the same reason.
    #[error(transparent)]
    AllFailed(Box<AllFailed>),
    /// The report could not be rendered.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The result could not be printed.
    #[error("cannot write the result to standard output: {0}")]
    Output(std::io::Error),
    /// Dictionaries fitted on different activations cannot be compared.
    #[error(
        "`{method}` at `{hook}` was fitted on other activations ({found}) than the rest ({expected}): remove it, or refit it here"
    )]
    MixedActivations { method: String, hook: String, found: String, expected: String },
    /// Activations exceed the disk limit of the suite or the free space.
    #[error(
        "activations at `{hook}` need {needed_gb:.1} GB, but {limit}: lower `corpus.fit_tokens` or raise `limits.disk_gb`"
    )]
    Disk { hook: String, needed_gb: f64, limit: String },
    /// Activations of a finished run are on no disk.
    #[error("`{}` keeps no activations of `{hook}`: {why}", folder.display())]
    NotKept { folder: std::path::PathBuf, hook: HookPoint, why: String },
    /// The program of a cluster cannot be started.
    #[error(
        "cannot start `{program}` ({why}); the job files are written: submit those in `{}` where the cluster is",
        files.display()
    )]
    NoEngine { program: &'static str, why: std::io::Error, files: std::path::PathBuf },
    /// The user requested a stop.
    #[error("stopped on request; finished stages are kept, and the same command continues from here")]
    Stopped,
}

impl RunError {
    /// Whether the same command continues from here, once the cause is gone.
    pub fn can_continue(&self) -> bool {
        match self {
            Self::Stopped | Self::AllFailed(_) => true,
            Self::Hub(error) => matches!(error, HubError::Network { .. } | HubError::Damaged { .. }),
            Self::Chat(error) => !goes_on(error).is_empty(),
            _ => false,
        }
    }
}

fn several(problems: &[(String, RunError)]) -> String {
    let line = |(field, problem): &(String, RunError)| {
        let text = problem.to_string();
        // Some messages begin with their field.
        if text.starts_with(&format!("`{field}`")) {
            format!("\n  {text}")
        } else {
            format!("\n  `{field}`: {text}")
        }
    };
    let lines = problems.iter().map(line);
    format!("the suite has {} problems{}", problems.len(), lines.collect::<String>())
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

/// End of the message. Repeating the command cannot help if the endpoint lacks a feature or the model is unusable.
fn goes_on(error: &ChatError) -> &'static str {
    match error {
        ChatError::Unsupported { .. } | ChatError::LocalModel { .. } => "",
        _ => ", and the same command continues from there",
    }
}
