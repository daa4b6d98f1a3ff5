//! Limits of a run.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits on failures, disk space and bad lines of the corpus.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Limits {
    /// Share of walked features that may fail. A run with more exits with code 3.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub failed_allowed: f64,
    /// Disk space for harvested activations, in GB. As much again for the local files of a run folder in object storage.
    #[schemars(range(min = 0.001, max = 1e6))]
    pub disk_gb: f64,
    /// Lines of a JSON corpus that may give no document: no JSON, no text in the field, half a character. They are left
    /// out, counted and told. 0 allows none.
    #[serde(skip_serializing_if = "is_usual_bad_lines")]
    #[schemars(range(min = 0, max = 1_000_000_000), extend("x-default" = "`100`"))]
    pub bad_lines: usize,
}

/// Default of `limits.bad_lines`.
const BAD_LINES: usize = 100;

fn is_usual_bad_lines(n: &usize) -> bool {
    *n == BAD_LINES
}

impl Default for Limits {
    fn default() -> Self {
        Self { failed_allowed: 0.05, disk_gb: 20.0, bad_lines: BAD_LINES }
    }
}
