//! Job files that run a suite in parts on a cluster: a Slurm array, or an Indexed Job of Kubernetes, each with a job
//! that writes the summary. The cluster schedules them.
//!
//! In: a suite's command line, `cluster.yaml`.
//! Out: the text of job files.
//! Never: starts a process, writes a file or a key.

mod kubernetes;
mod settings;
mod slurm;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::Path;

pub use kubernetes::{apply_again, end_of_parts, jobs as kubernetes_jobs, parts_name, summary_name};
pub use settings::{Cluster, Kubernetes, SecretKey, Slurm, parse, read, reference};
pub use slurm::jobs as slurm_jobs;

use crate::base::{is_invisible, shell_word};

/// A suite to run in parts.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// Name of the suite: letters, digits, `-`, `_` and `.`.
    pub suite: &'a str,
    /// The program, with arguments that always come first.
    pub program: Vec<String>,
    /// The suite file, as jobs see it.
    pub file: String,
    /// The run folder, as jobs see it.
    pub out: String,
    /// Further arguments of `run`.
    pub flags: Vec<String>,
    /// Number of parts.
    pub parts: u32,
}

/// The text of a job file.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// Its name in the folder of job files.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// Why a job file cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct ClusterError {
    /// The field of `cluster.yaml`, or the argument.
    pub field: String,
    /// What is wrong with it, what was expected.
    pub problem: String,
}

impl ClusterError {
    fn new(field: &str, problem: impl Into<String>) -> Self {
        Self { field: field.into(), problem: problem.into() }
    }
}

/// Words of a command line, quoted for a POSIX shell. Line breaks and characters that do not print are refused: editors
/// and terminals would show another command than the one that runs.
fn command(words: &[String]) -> Result<String, ClusterError> {
    let quoted: Result<Vec<String>, ClusterError> =
        words.iter().map(|word| printable("submit", word).map(|word| shell_word(OsStr::new(word)))).collect();
    Ok(quoted?.join(" "))
}

/// The text, if all of it can be seen.
fn printable<'a>(field: &str, text: &'a str) -> Result<&'a str, ClusterError> {
    match text.chars().find(|c| is_invisible(*c)) {
        None => Ok(text),
        Some(c) => Err(ClusterError::new(
            field,
            format!(
                "holds the character U+{:04X} in `{}`, which no job file can show",
                u32::from(c),
                text.escape_debug()
            ),
        )),
    }
}

/// A path as text.
fn path_text<'a>(field: &str, path: &'a Path) -> Result<&'a str, ClusterError> {
    let text = path.to_str().ok_or_else(|| {
        ClusterError::new(field, format!("is `{}`, which is not UTF-8: rename it", path.display()))
    })?;
    printable(field, text)
}

/// The shell lines of a job: its folder, environment variables, the lines of `before`, and the program in place of the
/// shell. `part` is the number of the part, as the shell finds it; none for the job that writes the summary.
fn lines(
    work: &Work<'_>,
    cluster: &Cluster,
    here: Option<&Path>,
    part: Option<&str>,
) -> Result<String, ClusterError> {
    let mut words = work.program.clone();
    words.extend(["run".into(), work.file.clone(), "--out".into(), work.out.clone()]);
    words.extend(work.flags.iter().cloned());
    words.extend(["--threads".into(), cluster.cpus.to_string(), "--progress".into(), "plain".into()]);
    let mut out = String::from("set -e\n");
    if let Some(here) = here {
        let here = path_text("the current folder", here)?.to_string();
        out.push_str(&format!("cd {}\n", command(&[here])?));
    }
    for (name, value) in &cluster.environment {
        out.push_str(&format!("export {name}={}\n", command(std::slice::from_ref(value))?));
    }
    for line in &cluster.before {
        out.push_str(&format!("{}\n", line.trim_end()));
    }
    let part = part.map(|number| format!(" --part \"{number}/{}\"", work.parts));
    out.push_str(&format!("exec {}{}\n", command(&words)?, part.unwrap_or_default()));
    Ok(out)
}
