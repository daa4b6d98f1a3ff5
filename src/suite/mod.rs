//! Reads and checks suite files. Problems carry line and column.
//!
//! In: YAML.
//! Out: a checked [`Suite`].
//! Never: reads the environment or runs anything.

mod baselines;
mod checked;
mod controls;
mod features;
mod limits;
mod names;
pub mod node;
mod range;
mod read;
pub mod reference;
mod rules;
mod schema;
mod settings;
mod spec;
mod task;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::path::Path;

pub use baselines::{baseline_of, resolve};
pub use checked::{
    Controls, ExplainerSpec, Grading, JudgeSpec, MethodSpec, ModelExplainer, ModelSimulator, Pair,
    SimulatorSpec, Suite,
};
pub use features::{Examples, FeatureChoice, QualityPass};
pub use limits::Limits;
pub use read::Problem;
pub use settings::{parse_settings, read_settings};
pub use spec::{CorpusSpec, Statistics, SubjectSpec};
pub use task::TaskSpec;

use crate::base::{FileError, open};
use node::{Node, shortened};
use read::MOST_PROBLEMS;

/// Largest suite file, in bytes. Files named by `use` are smaller.
const MOST_BYTES: u64 = 4 << 20;

/// Why a suite cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SuiteError {
    /// The file is unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not UTF-8 or not valid YAML.
    #[error("`{path}` is not a valid suite file: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// The parser's message with its line and column.
        message: String,
    },
    /// The file is YAML but not a valid suite. All problems are listed.
    #[error("`{path}` has {}", counted(problems))]
    Problems {
        /// The file.
        path: String,
        /// Sorted by line.
        problems: Vec<Problem>,
    },
}

fn counted(problems: &[Problem]) -> String {
    let mut text = match problems.len() {
        1 => "1 problem".to_string(),
        n if n > MOST_PROBLEMS => format!("more than {MOST_PROBLEMS} problems, among them"),
        n => format!("{n} problems"),
    };
    for found in problems.iter().take(MOST_PROBLEMS) {
        let place = if found.at.line == 0 {
            "(set)".into()
        } else {
            format!("{}:{}", found.at.line, found.at.column)
        };
        text.push_str(&format!("\n  {place}: `{}` {}", found.path, found.message));
    }
    text
}

/// Reads and checks a suite file, with `--set PATH=VALUE` overrides applied before the check.
///
/// ```
/// use std::path::Path;
///
/// let smoke = |set: &str| autointerp::suite::load(Path::new("suites/smoke.yaml"), &[set.into()]);
/// assert_eq!(smoke("features.per_cell=5")?.per_cell, 5);
/// let error = smoke("features.per_cel=5").expect_err("no such field").to_string();
/// assert!(error.contains("`per_cell`"), "{error}");
/// # Ok::<(), autointerp::suite::SuiteError>(())
/// ```
pub fn load(path: &Path, overrides: &[String]) -> Result<Suite, SuiteError> {
    let invalid = |message| SuiteError::Syntax { path: path.display().to_string(), message };
    parse(&read_text(path, MOST_BYTES)?.map_err(invalid)?, path, overrides)
}

/// As [`load`], from a text. `path` is shown in messages, names a suite without `name:`, and its folder is where files
/// named by `use:` lie.
pub fn parse(text: &str, path: &Path, overrides: &[String]) -> Result<Suite, SuiteError> {
    let shown = path.display().to_string();
    let syntax = |message: String| SuiteError::Syntax { path: shown.clone(), message };
    let mut root = Node::parse(text).map_err(syntax)?;
    for item in overrides {
        let (field, value) = item
            .split_once('=')
            .ok_or_else(|| syntax(format!("`--set {}` has no `=`: write PATH=VALUE", shortened(item))))?;
        let failed = |error| syntax(format!("`--set {}`: {error}", shortened(item)));
        let value = Node::parse(value).map_err(failed)?;
        let value = Node { at: node::Position::default(), ..value };
        root.set(field, value).map_err(failed)?;
    }
    let default_name = path.file_stem().map_or("suite".into(), |stem| stem.to_string_lossy().into_owned());
    let folder = path.parent().unwrap_or(Path::new("."));
    rules::check(&root, &default_name, folder)
        .map_err(|problems| SuiteError::Problems { path: shown, problems })
}

/// Reads a regular file of at most `most` bytes. The inner error is about its content.
fn read_text(path: &Path, most: u64) -> Result<Result<String, String>, FileError> {
    let failed = |source| FileError { action: "read", path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    open(path)?.take(most + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > most {
        return Ok(Err(format!("it is larger than {} kB", most >> 10)));
    }
    Ok(String::from_utf8(bytes)
        .map_err(|error| format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())))
}
