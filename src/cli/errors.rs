//! Errors as a person reads them, and the exit code of each.

use super::progress::say;
use crate::run::RunError;

/// Prints `error:`, its causes and hints; secrets never get into an error, so none is shown.
pub fn print(error: &RunError, json: bool) {
    if json {
        let value = serde_json::json!({
            "error": error.to_string(),
            "causes": causes(error),
            "hints": hints(error),
            "exit_code": exit_code(error),
        });
        super::print_json(&value);
        return;
    }
    say(&format!("error: {error}"));
    for cause in causes(error) {
        say(&format!("caused by: {cause}"));
    }
    for hint in hints(error) {
        say(&format!("hint: {hint}"));
    }
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

fn hints(error: &RunError) -> Vec<&'static str> {
    match error {
        RunError::Suite(_) => vec!["suites/README.md lists every field; `autointerp check SUITE` reads a suite without running it"],
        RunError::Hub(_) => vec!["a model folder on disk needs no network: give its path as `subject.model`"],
        RunError::Stopped => vec![],
        _ if exit_code(error) == 9 => vec!["everything finished so far is kept; free some space or choose another folder with --out, then run again"],
        _ => vec![],
    }
}

/// The documented exit code of an error.
pub fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Suite(crate::suite::SuiteError::File(_)) => 6,
        RunError::Suite(_) | RunError::Setting { .. } => 2,
        RunError::Stopped => 130,
        RunError::Disk { .. } => 9,
        RunError::File(error) if error.is_write() || error.action == "create" => 9,
        RunError::File(_) => 6,
        RunError::Corpus(error) if error.is_params() => 2,
        RunError::Corpus(error) if error.is_write() => 9,
        RunError::Corpus(error) if error.is_missing() => 6,
        RunError::Hub(error) if error.is_write() => 9,
        RunError::Hub(error) if error.is_missing() => 6,
        RunError::Activation(crate::activations::ActivationError::File(error)) if error.is_write() => 9,
        RunError::Corpus(_) | RunError::Hub(_) | RunError::Activation(_) | RunError::MixedActivations { .. } => 8,
        RunError::Subject(error) => error.exit_code(),
        RunError::Dictionary(error) => dictionary_code(error),
        RunError::Fit { source, .. } => fit_code(source),
        RunError::Report(error) => report_code(error),
        RunError::Feature(_) => 8,
    }
}
