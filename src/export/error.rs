//! Errors of an export.

use std::path::PathBuf;

use crate::base::FileError;
use crate::dictionary::DictionaryError;
use crate::report::ReportError;

/// Why a run could not be exported.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages name the fields")]
pub enum ExportError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of the run folder is not what a run writes.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// A dictionary could not be read or written.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// The output folder is not free.
    #[error("`{}` {problem}: choose another folder with --out", path.display())]
    Taken { path: PathBuf, problem: String },
    /// A filter selects nothing.
    #[error("{flag}: the run has no dictionary of `{name}`; it has {known}")]
    Unknown { flag: &'static str, name: String, known: String },
    /// No dictionary can be expressed in the form.
    #[error("nothing can be exported to {form}: {reasons}")]
    Nothing { form: &'static str, reasons: String },
    /// The user requested a stop.
    #[error("stopped on request; nothing was exported")]
    Stopped,
}
