//! What an export wrote and what it left out.

use serde::Serialize;

/// What was exported.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Exported {
    /// Name of the form.
    pub form: &'static str,
    /// The folder written.
    pub out: String,
    /// The dictionaries in it.
    pub exported: Vec<ExportedDictionary>,
    /// The dictionaries that are not, with reasons.
    pub skipped: Vec<SkippedDictionary>,
    /// Number of files.
    pub files: usize,
}

/// One dictionary in the export.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ExportedDictionary {
    /// Hook point.
    pub hook: String,
    /// Method, with `.seedN` for the N-th of several trainings.
    pub dictionary: String,
    /// Its folder or file, relative to `out`.
    pub path: String,
    /// Number of features with evidence in the export; null where the form has none.
    pub features: Option<usize>,
}

/// One dictionary that is not in the export.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct SkippedDictionary {
    /// Hook point.
    pub hook: String,
    /// Method, with `.seedN` for the N-th of several trainings.
    pub dictionary: String,
    /// The control whose dictionary it is, if any.
    pub control: Option<String>,
    /// Why.
    pub reason: String,
}
