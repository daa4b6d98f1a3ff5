//! Exports a run folder, dictionary by dictionary.

use std::path::{Path, PathBuf};

use super::catalog::Form;
use super::error::ExportError;
use super::evidence::{Scores, token_texts};
use super::exported::{Exported, ExportedDictionary, SkippedDictionary};
use super::folder::Output;
use super::job::{Job, Outcome};
use super::run_folder::{Entry, RunFolder, Wanted};
use crate::base::distinct;
use crate::report::Layout;

/// Where an export goes by default: `RUN/exports/FORM`.
pub fn default_folder(run: &Path, form: Form) -> PathBuf {
    Layout::new(run).export(form.name)
}

/// Exports a run folder to `out`, which appears when complete. A folder that an export wrote is replaced; any other
/// folder with files in it is an error. `stopped` tells of a stop request.
pub fn export(
    run: &Path,
    form: Form,
    wanted: &Wanted,
    out: &Path,
    stopped: &dyn Fn() -> bool,
) -> Result<Exported, ExportError> {
    let run = RunFolder::read(run)?;
    let entries = run.select(wanted)?;
    let scores = if form.needs_evidence { Scores::read(&run.layout)? } else { Scores::none() };
    let tokens = if form.needs_evidence { token_texts(&run.layout)? } else { None };
    let mut job = Job { run: &run, scores, tokens, out: Output::create(out)?, stopped };
    let mut result = Exported {
        form: form.name,
        out: out.display().to_string(),
        exported: Vec::new(),
        skipped: Vec::new(),
        files: 0,
    };
    for entry in entries {
        job.check_stop()?;
        let outcome = match entry.problem() {
            Some(problem) => Outcome::Skipped(problem),
            None => (form.write)(&mut job, entry)?,
        };
        add(&mut result, entry, outcome);
    }
    if result.exported.is_empty() {
        return Err(ExportError::Nothing { form: form.name, reasons: reasons(&result.skipped) });
    }
    (form.finish)(&mut job)?;
    result.files = job.out.commit(&run, &result)?;
    Ok(result)
}

/// Records what became of one dictionary.
fn add(result: &mut Exported, entry: &Entry, outcome: Outcome) {
    let (hook, dictionary) = (entry.place.hook.clone(), entry.place.dictionary.clone());
    match outcome {
        Outcome::Written { path, features } => {
            result.exported.push(ExportedDictionary { hook, dictionary, path, features });
        }
        Outcome::Skipped(reason) => {
            let control = entry.place.control.clone();
            result.skipped.push(SkippedDictionary { hook, dictionary, control, reason });
        }
    }
}

/// Each reason once.
fn reasons(skipped: &[SkippedDictionary]) -> String {
    let distinct = distinct(skipped.iter().map(|skipped| skipped.reason.as_str()));
    match distinct.as_slice() {
        [] => "the run has no dictionary".to_string(),
        reasons => reasons.join("; "),
    }
}
