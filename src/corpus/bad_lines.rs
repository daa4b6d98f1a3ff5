//! Lines of JSON that give no document: left out, counted, and told.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::json::Flaw;

/// Lines that a message names.
const NAMED: usize = 3;

/// A line that gives no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadLine {
    path: PathBuf,
    /// `line 3`, or `element 5` of an array.
    place: String,
    flaw: Flaw,
}

impl BadLine {
    pub(super) fn new(path: &Path, place: String, flaw: Flaw) -> Self {
        Self { path: path.to_path_buf(), place, flaw }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}: {}", self.path.display(), self.place, self.flaw.why)
    }
}

/// The lines that were left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct BadLines {
    /// How many.
    pub n: usize,
    /// How many of each kind.
    pub kinds: BTreeMap<String, usize>,
    /// The first three, with file, line and what is wrong.
    pub first: Vec<String>,
}

impl BadLines {
    pub(super) fn add(&mut self, bad: &BadLine) {
        self.n += 1;
        *self.kinds.entry(bad.flaw.kind.to_string()).or_default() += 1;
        if self.first.len() < NAMED {
            self.first.push(bad.to_string());
        }
    }

    /// Whether no line was left out.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }
}

impl fmt::Display for BadLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = self.kinds.iter().map(|(kind, n)| format!("{n} × {kind}")).collect();
        let (lines, first) =
            if self.n == 1 { ("line gives", "") } else { ("lines give", ", the first ones") };
        write!(f, "{} {lines} no document ({}){first}: {}", self.n, kinds.join(", "), self.first.join("; "))
    }
}
