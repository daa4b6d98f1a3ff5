//! Errors as a person reads them, and the exit code of each.

use schemars::JsonSchema;
use serde::Serialize;

use super::progress::say;
use crate::activations::ActivationError;
use crate::base::FileError;
use crate::dictionary::{DictionaryError, FitError};
use crate::gate::GateError;
use crate::llm::ChatError;
use crate::nn::NnError;
use crate::report::ReportError;
use crate::run::RunError;
use crate::subject::SubjectError;

/// What every verb gives with `--json` when it fails.
#[derive(Serialize, JsonSchema)]
pub struct Failure {
    /// What could not be done.
    error: String,
    /// Why, from the nearest cause to the last.
    causes: Vec<String>,
    /// What may help.
    hints: Vec<String>,
    /// The exit code.
    exit_code: u8,
}

/// Prints `error:`, its causes and hints; secrets never get into an error, so none is shown.
pub fn print(error: &RunError, json: bool) {
    if json {
        super::print_json(&Failure {
            error: sentence(error),
            causes: causes(error),
            hints: hints(error),
            exit_code: exit_code(error),
        });
        return;
    }
    say(&format!("error: {}", sentence(error)));
    for cause in causes(error) {
        say(&format!("caused by: {cause}"));
    }
    for hint in hints(error) {
        say(&format!("hint: {hint}"));
    }
}

/// Errors of files, models and reports say what was tried; a person reads that it could not be done.
fn sentence(error: &RunError) -> String {
    let tried = match error {
        RunError::Report(ReportError::NoSummary { .. }) => false,
        RunError::File(_) | RunError::Subject(_) | RunError::Report(_) => true,
        RunError::Suite(error) => matches!(error, crate::suite::SuiteError::File(_)),
        RunError::Gate(error) => !matches!(
            error,
            GateError::Unfinished { .. }
                | GateError::NotComparable { .. }
                | GateError::TooFewRuns { .. }
                | GateError::SameSeed { .. }
                | GateError::NotReseeded { .. }
        ),
        RunError::Corpus(error) => matches!(error, crate::corpus::CorpusError::File { .. }),
        RunError::Activation(error) => matches!(error, ActivationError::File(_)),
        RunError::Dictionary(error) => matches!(error, DictionaryError::File(_)),
        _ => false,
    };
    if tried { format!("cannot {error}") } else { error.to_string() }
}

/// The chain below an error, without what its own message repeats already.
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
    let hint = match error {
        RunError::Suite(_) => {
            "suites/README.md lists every field; `autointerp check SUITE` reads a suite without running it"
        }
        RunError::Hub(_) => "a model folder on disk needs no network: give its path as `subject.model`",
        RunError::AllFailed(failed) => return failed.hints.clone(),
        RunError::Chat(error) => return error.advice().into_iter().collect(),
        RunError::Stopped => return vec![],
        _ if exit_code(error) == 9 => {
            "everything finished so far is kept; free some space or choose another folder with --out, then run again"
        }
        _ => return vec![],
    };
    vec![hint.to_string()]
}

/// The documented exit code of an error.
pub fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Suite(crate::suite::SuiteError::File(_)) => 6,
        RunError::Suite(_) | RunError::Setting { .. } => 2,
        RunError::Stopped => 130,
        RunError::Disk { .. } => 9,
        RunError::Chat(ChatError::Budget { .. }) => 4,
        RunError::Chat(ChatError::Offline { .. }) => 6,
        RunError::Chat(ChatError::Unsupported { .. }) => 2,
        RunError::Chat(ChatError::LocalModel { missing, .. }) => {
            if *missing {
                6
            } else {
                8
            }
        }
        RunError::Chat(_) | RunError::AllFailed(_) => 5,
        RunError::File(error) => file_code(error),
        RunError::Corpus(error) if error.is_params() => 2,
        RunError::Corpus(error) if error.is_write() => 9,
        RunError::Corpus(error) if error.is_missing() => 6,
        RunError::Hub(error) if error.is_write() => 9,
        RunError::Hub(error) if error.is_missing() => 6,
        RunError::Activation(error) => activation_code(error),
        RunError::Subject(error) => subject_code(error),
        RunError::Dictionary(error) => dictionary_code(error),
        RunError::Fit { source, .. } => fit_code(source),
        RunError::Report(error) => report_code(error),
        RunError::Gate(error) => gate_code(error),
        RunError::Corpus(_)
        | RunError::Hub(_)
        | RunError::MixedActivations { .. }
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
        | SubjectError::NoTokenizer { .. }
        | SubjectError::Nn(NnError::NoWeights { .. } | NnError::MissingParts { .. }) => 6,
        SubjectError::Nn(NnError::File(error)) => file_code(error),
        SubjectError::NoBos { .. }
        | SubjectError::Nn(
            NnError::NoSuchLayer { .. }
            | NnError::NoResidMid { .. }
            | NnError::NoNeurons { .. }
            | NnError::UnsupportedFamily { .. }
            | NnError::NoDevice { .. },
        ) => 2,
        _ => 8,
    }
}

fn activation_code(error: &ActivationError) -> u8 {
    match error {
        ActivationError::File(error) => file_code(error),
        _ => 8,
    }
}

fn dictionary_code(error: &DictionaryError) -> u8 {
    match error {
        DictionaryError::File(error) => file_code(error),
        _ => 8,
    }
}

fn fit_code(error: &FitError) -> u8 {
    match error {
        FitError::Activations(error) => activation_code(error),
        FitError::Dictionary(error) => dictionary_code(error),
        FitError::DoesNotFit { .. } | FitError::Device { .. } => 2,
        _ => 8,
    }
}

fn report_code(error: &ReportError) -> u8 {
    match error {
        ReportError::File(error) => file_code(error),
        ReportError::NoSummary { .. } => 6,
        ReportError::Json { .. } | ReportError::Schema { .. } => 8,
        _ => 1,
    }
}

fn gate_code(error: &GateError) -> u8 {
    match error {
        GateError::File(error) => file_code(error),
        GateError::Report(error) => report_code(error),
        GateError::Unfinished { .. } => 6,
        GateError::NotComparable { .. }
        | GateError::TooFewRuns { .. }
        | GateError::SameSeed { .. }
        | GateError::NotReseeded { .. } => 2,
        GateError::Json { .. } | GateError::Schema { .. } | GateError::Statistics { .. } => 8,
        GateError::Unwritable(_) => 1,
    }
}
