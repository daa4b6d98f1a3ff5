//! Error messages with causes and hints, and the exit code of each error.

use schemars::JsonSchema;
use serde::Serialize;

use super::progress::say;
use crate::activations::ActivationError;
use crate::base::{FileError, short_message};
use crate::causal::CausalError;
use crate::corpus::CorpusError;
use crate::dictionary::{DictionaryError, FitError};
use crate::export::ExportError;
use crate::gate::GateError;
use crate::llm::ChatError;
use crate::nn::NnError;
use crate::remote::Address;
use crate::report::ReportError;
use crate::run::RunError;
use crate::subject::SubjectError;
#[cfg(feature = "train-embedded")]
use crate::subject::embedded::train::EmbeddedError;
use crate::suite::SuiteError;

/// Exit code of a run whose budget is used up.
const OVER_BUDGET: u8 = 4;

/// Output of every failed verb with `--json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Failure {
    /// What failed.
    pub error: String,
    /// Causes, from the nearest to the deepest.
    pub causes: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
    /// The exit code.
    pub exit_code: u8,
    /// For a stopped run: the command that continues it, quoted for a POSIX shell, with `***` in place of keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

impl Failure {
    /// A failure without causes and hints.
    pub fn new(error: String, exit_code: u8) -> Self {
        Self { error, causes: Vec::new(), hints: Vec::new(), exit_code, resume: None }
    }

    /// The same failure with the command that continues the run.
    pub fn resumed_by(self, resume: Option<&str>) -> Self {
        Self { resume: resume.map(str::to_string), ..self }
    }
}

impl From<&RunError> for Failure {
    /// What is printed of an error. Errors never contain secrets.
    fn from(error: &RunError) -> Self {
        let short = |text: String| short_message(&text).into_owned();
        Self {
            causes: causes(error).into_iter().map(short).collect(),
            hints: hints(error).into_iter().map(short).collect(),
            ..Self::new(short(sentence(error)), exit_code(error))
        }
    }
}

/// Prints the error with its causes and hints, and returns the exit code. `resume` continues the run.
pub fn print(error: &RunError, json: bool, resume: Option<&str>) -> u8 {
    let failure = Failure::from(error).resumed_by(resume.filter(|_| is_resumed(error)));
    // Where a result could not be printed, a failure cannot either.
    print_failure(&failure, json && !matches!(error, RunError::Output(_)))
}

/// Whether the same command continues the run: after a stop, after failures of an endpoint, and with room to write.
fn is_resumed(error: &RunError) -> bool {
    let is_unwritten = exit_code(error) == 9 && !matches!(error, RunError::Disk { .. } | RunError::Output(_));
    error.can_continue() || is_unwritten
}

/// Prints a failure and returns its exit code, or that of a full stdout.
pub fn print_failure(failure: &Failure, json: bool) -> u8 {
    if json {
        let Err(error) = super::print_json(failure) else { return failure.exit_code };
        say(&format!("error: {error}; the result was this failure: {}", failure.error));
        return exit_code(&error);
    }
    say(&format!("error: {}", failure.error));
    failure.causes.iter().for_each(|cause| say(&format!("caused by: {cause}")));
    failure.hints.iter().for_each(|hint| say(&format!("hint: {hint}")));
    if let Some(line) = &failure.resume {
        let first = if failure.exit_code == OVER_BUDGET { " after raising `--budget-usd`" } else { "" };
        say(&format!("to resume{first}: {line}"));
    }
    failure.exit_code
}

/// The message as a sentence. Some errors name only what was tried ("read `x`"); they get "cannot" in front.
fn sentence(error: &RunError) -> String {
    let tried = match error {
        RunError::Report(ReportError::NoSummary { .. }) => false,
        RunError::File(_) | RunError::Subject(_) | RunError::Report(_) => true,
        RunError::Causal(error) => !matches!(error, CausalError::Dictionary(_)),
        RunError::Suite(error) => matches!(error, SuiteError::File(_)),
        RunError::Gate(error) => !matches!(
            error,
            GateError::Unfinished { .. }
                | GateError::NotComparable { .. }
                | GateError::TooFewRuns { .. }
                | GateError::SameSeed { .. }
        ),
        RunError::Corpus(error) => matches!(error, CorpusError::File { .. }),
        RunError::Activation(error) => matches!(error, ActivationError::File(_)),
        RunError::Dictionary(error) => matches!(error, DictionaryError::File(_)),
        RunError::Export(error) => match error {
            ExportError::Report(error) => !matches!(error, ReportError::NoSummary { .. }),
            ExportError::Dictionary(error) => matches!(error, DictionaryError::File(_)),
            ExportError::File(_) => true,
            _ => false,
        },
        _ => false,
    };
    if tried { format!("cannot {error}") } else { error.to_string() }
}

/// The causes of an error, without those that a message above already contains.
fn causes(error: &RunError) -> Vec<String> {
    let mut chain = Vec::new();
    let mut shown = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        let text = cause.to_string();
        if !shown.contains(&text) {
            chain.push(text.clone());
        }
        shown.push_str(&text);
        next = cause.source();
    }
    chain
}

fn hints(error: &RunError) -> Vec<String> {
    const CHECK: &str =
        "suites/README.md lists every field; `autointerp check SUITE` reads a suite without running it";
    const FOLDER: &str = "files on this disk need no network: give the folder's path in place of the hub id";
    const HARVEST: &str = "`autointerp harvest` writes activations to a file; a suite with `subject: {activations: FILE}` runs on it";
    const SPACE: &str = "everything finished so far is kept; free some space or choose another folder with --out, then run again";
    const LIMIT: &str = "the system limits the size of files here (`ulimit -f`): everything finished so far is kept; raise the limit, \
        then run again";
    const SERVICE: &str = "the service and its credentials come from the environment: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID \
        and so on; results/README.md lists them";
    const SENT: &str = "every stage that was sent is kept there, and every finished one in the cache: the same command goes on from \
        there";
    match error {
        RunError::Suite(_) => vec![CHECK.into()],
        RunError::Hub(_) => vec![FOLDER.into()],
        RunError::AllFailed(failed) => failed.hints.clone(),
        RunError::NotKept { .. } => vec![HARVEST.into()],
        RunError::Chat(error) => error.advice().into_iter().collect(),
        RunError::Output(_) => Vec::new(),
        RunError::File(error) | RunError::Report(ReportError::File(error)) if is_remote(error) => {
            vec![if error.is_write() { SENT } else { SERVICE }.into()]
        }
        _ if exit_code(error) == 9 => vec![if is_too_large(error) { LIMIT } else { SPACE }.into()],
        _ => Vec::new(),
    }
}

/// Whether the failed operation was one on object storage.
fn is_remote(error: &FileError) -> bool {
    Address::parse(&error.path).is_some()
}

/// Whether a write failed because of a limit on the size of files.
fn is_too_large(error: &RunError) -> bool {
    let causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    let mut systems = causes.filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    systems.any(|cause| cause.kind() == std::io::ErrorKind::FileTooLarge)
}

/// The exit code of an error, as documented in the help.
pub fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Suite(SuiteError::File(_)) => 6,
        RunError::Suite(_) | RunError::Setting { .. } | RunError::NoFeature { .. } => 2,
        // One code for all: the common one, else that of a bad suite.
        RunError::Several(problems) => {
            let codes: Vec<u8> = problems.iter().map(|(_, problem)| exit_code(problem)).collect();
            if codes.windows(2).all(|pair| pair[0] == pair[1]) {
                codes.first().copied().unwrap_or(2)
            } else {
                2
            }
        }
        RunError::Stopped => 130,
        RunError::Disk { .. } | RunError::Output(_) => 9,
        RunError::NoDictionary { .. } | RunError::NotKept { .. } | RunError::NoEngine { .. } => 6,
        RunError::Chat(ChatError::Budget { .. }) => OVER_BUDGET,
        RunError::Chat(ChatError::Offline { .. } | ChatError::LocalModel { missing: true, .. }) => 6,
        RunError::Chat(ChatError::LocalModel { .. }) => 8,
        RunError::Chat(ChatError::Unsupported { .. }) => 2,
        RunError::Chat(_) | RunError::AllFailed(_) => 5,
        RunError::File(error) => file_code(error),
        RunError::Corpus(error) if error.is_params() => 2,
        RunError::Corpus(error) if error.is_write() => 9,
        RunError::Corpus(error) if error.is_missing() => 6,
        RunError::Hub(error) if error.is_write() => 9,
        RunError::Hub(error) if error.is_missing() => 6,
        RunError::Activation(ActivationError::File(error)) => file_code(error),
        RunError::Dictionary(DictionaryError::File(error)) => file_code(error),
        RunError::Subject(error) | RunError::Causal(CausalError::Subject(error)) => subject_code(error),
        RunError::Fit { source, .. } => fit_code(source),
        RunError::Report(error) => report_code(error),
        RunError::Export(error) => export_code(error),
        RunError::Gate(error) => gate_code(error),
        RunError::Corpus(_)
        | RunError::Hub(_)
        | RunError::Activation(_)
        | RunError::Dictionary(_)
        | RunError::MixedActivations { .. }
        | RunError::Causal(_)
        | RunError::Feature(_)
        | RunError::Explain { .. }
        | RunError::Input { .. } => 8,
    }
}

fn file_code(error: &FileError) -> u8 {
    if error.is_write() { 9 } else { 6 }
}

fn subject_code(error: &SubjectError) -> u8 {
    match error {
        SubjectError::NoFolder { .. }
        | SubjectError::NoModel { .. }
        | SubjectError::NoTokenizer { .. }
        | SubjectError::NoTokenizerNamed { .. }
        | SubjectError::Nn(NnError::NoWeights { .. } | NnError::MissingParts { .. }) => 6,
        SubjectError::Nn(NnError::File(error)) => file_code(error),
        #[cfg(feature = "train-embedded")]
        SubjectError::Embedded(EmbeddedError::File(error)) => file_code(error),
        SubjectError::NoBos { .. }
        | SubjectError::HookNotStored { .. }
        | SubjectError::StoredBos { .. }
        | SubjectError::WithoutModel { .. }
        | SubjectError::Nn(
            NnError::NoSuchLayer { .. }
            | NnError::NoSuchHook { .. }
            | NnError::UnsupportedFamily { .. }
            | NnError::NoDevice { .. },
        ) => 2,
        _ => 8,
    }
}

fn fit_code(error: &FitError) -> u8 {
    match error {
        FitError::Activations(ActivationError::File(error))
        | FitError::Dictionary(DictionaryError::File(error)) => file_code(error),
        FitError::DoesNotFit { .. } | FitError::Device { .. } => 2,
        _ => 8,
    }
}

fn report_code(error: &ReportError) -> u8 {
    match error {
        ReportError::File(error) => file_code(error),
        ReportError::NoFeature { .. } => 2,
        ReportError::NoSummary { .. } | ReportError::NoDigests(_) => 6,
        ReportError::Json { .. } | ReportError::Schema { .. } | ReportError::Damaged { .. } => 8,
        _ => 1,
    }
}

fn export_code(error: &ExportError) -> u8 {
    match error {
        ExportError::File(error) | ExportError::Dictionary(DictionaryError::File(error)) => file_code(error),
        ExportError::Report(error) => report_code(error),
        ExportError::Dictionary(_) => 8,
        ExportError::Taken { .. } | ExportError::Unknown { .. } | ExportError::Nothing { .. } => 2,
        ExportError::Stopped => 130,
    }
}

fn gate_code(error: &GateError) -> u8 {
    match error {
        GateError::File(error) => file_code(error),
        GateError::Report(error) => report_code(error),
        GateError::Unfinished { .. } => 6,
        GateError::NotComparable { .. } | GateError::TooFewRuns { .. } | GateError::SameSeed { .. } => 2,
        GateError::Json { .. } | GateError::Schema { .. } | GateError::Statistics { .. } => 8,
        GateError::Unwritable(_) => 1,
    }
}
