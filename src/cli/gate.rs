//! `compare`, `accept` and `regress`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Environment};
use super::{print, print_json};
use crate::base::{read_to_string, write_atomic};
use crate::gate::{
    AcceptedRuns, GateError, RunFolder, accept, compare, comparison_text, gate_markdown, gate_text,
    junit_xml, regress,
};
use crate::run::RunError;

/// Exit code of a run that is worse than the accepted ones.
const WORSE: u8 = 7;

/// Files that `regress` writes beside what it prints.
#[derive(Debug, Clone, Copy)]
pub struct GateFiles<'a> {
    /// Markdown, appended.
    pub summary: Option<&'a Path>,
    /// JUnit XML.
    pub junit: Option<&'a Path>,
}

/// What `accept --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    /// The file written.
    pub file: String,
    /// The suite's name.
    pub suite: String,
    /// How many runs were accepted.
    pub runs: usize,
    /// Their seeds.
    pub seeds: Vec<u64>,
}

/// Compares two run folders.
pub fn compare_runs(
    a: &Path,
    b: &Path,
    all: bool,
    common: &Common,
    environment: &Environment,
) -> Result<u8, RunError> {
    let (a, b) = rayon::join(|| RunFolder::read(a), || RunFolder::read(b));
    let comparison = compare(&a?, &b?)?;
    if common.json {
        print_json(&comparison);
    } else {
        print(&comparison_text(&comparison, all, environment.look));
    }
    Ok(0)
}

/// Writes what later runs are held against.
pub fn accept_runs(runs: &[PathBuf], into: &Path, common: &Common) -> Result<u8, RunError> {
    let folders: Vec<RunFolder> =
        runs.iter().map(|run| RunFolder::read(run)).collect::<Result<_, GateError>>()?;
    let accepted = accept(&folders)?;
    accepted.write(into)?;
    let seeds: Vec<u64> = accepted.runs.iter().map(|run| run.seed).collect();
    if common.json {
        let (file, suite, runs) = (into.display().to_string(), accepted.suite.clone(), accepted.runs.len());
        print_json(&Accepted { file, suite, runs, seeds });
        return Ok(0);
    }
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    print(&format!(
        "{} runs of suite {} accepted, seeds {}",
        accepted.runs.len(),
        accepted.suite,
        seeds.join(", ")
    ));
    print(&format!("{}", into.display()));
    print(&format!("next: autointerp regress RUN --against {}", into.display()));
    Ok(0)
}

/// The nightly gate.
pub fn regress_run(
    run: &Path,
    against: &Path,
    all: bool,
    files: GateFiles<'_>,
    common: &Common,
    environment: &Environment,
) -> Result<u8, RunError> {
    let accepted = AcceptedRuns::read(against)?;
    let report = regress(&RunFolder::read(run)?, &accepted, &against.display().to_string())?;
    if let Some(path) = files.summary {
        let before = if path.exists() { read_to_string(path)? } else { String::new() };
        write_atomic(path, format!("{before}{}", gate_markdown(&report)).as_bytes())?;
    }
    if let Some(path) = files.junit {
        write_atomic(path, junit_xml(&report).as_bytes())?;
    }
    if common.json {
        print_json(&report);
    } else {
        print(&gate_text(&report, all, environment.look));
    }
    Ok(if report.passed { 0 } else { WORSE })
}
