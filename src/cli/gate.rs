//! `compare`, `accept` and `regress`.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, RegressArgs};
use super::print_result;
use super::remote::RunHere;
use crate::base::{read_to_string, write_atomic};
use crate::gate::{
    AcceptedRuns, RunFolder, accept, compare, comparison_text, gate_markdown, gate_text, junit_xml, regress,
};
use crate::report::{Part, visible};
use crate::run::RunError;

/// Exit code of a run that is worse than the accepted ones.
const WORSE: u8 = 7;

/// Output of `accept --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    /// The file written.
    pub file: String,
    /// The suite's name.
    pub suite: String,
    /// Number of accepted runs.
    pub runs: usize,
    /// Their seeds.
    pub seeds: Vec<u64>,
}

/// Reads a run of this disk or of object storage.
fn read_run(run: &Path, common: &Common, env: &Env) -> Result<RunFolder, RunError> {
    let here = RunHere::open(run, Part::Results, common, env)?;
    let mut read = RunFolder::read(here.folder())?;
    read.folder = run.to_path_buf();
    Ok(read)
}

pub fn compare_runs(a: &Path, b: &Path, all: bool, common: &Common, env: &Env) -> Result<u8, RunError> {
    let read = |run: &Path| read_run(run, common, env);
    let (a, b) = rayon::join(|| read(a), || read(b));
    let comparison = compare(&a?, &b?)?;
    print_result(common, &comparison, |comparison| comparison_text(comparison, all, env.lists))?;
    Ok(0)
}

pub fn accept_runs(runs: &[PathBuf], into: &Path, common: &Common, env: &Env) -> Result<u8, RunError> {
    let folders: Vec<RunFolder> =
        runs.iter().map(|run| read_run(run, common, env)).collect::<Result<_, RunError>>()?;
    let accepted = accept(&folders)?;
    accepted.write(into)?;
    let seeds: Vec<u64> = accepted.runs.iter().map(|run| run.seed).collect();
    let result =
        Accepted { file: into.display().to_string(), suite: accepted.suite, runs: seeds.len(), seeds };
    print_result(common, &result, |Accepted { file, suite, runs, seeds }| {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        let (seeds, suite, file) = (seeds.join(", "), visible(suite), visible(file));
        format!(
            "{runs} runs of suite {suite} accepted, seeds {seeds}\n{file}\nnext: autointerp regress RUN --against {file}"
        )
    })?;
    Ok(0)
}

pub fn regress_run(args: &RegressArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let accepted = AcceptedRuns::read(&args.against)?;
    let report = regress(&read_run(&args.run, common, env)?, &accepted, &args.against.display().to_string())?;
    if let Some(path) = &args.summary {
        let before = if path.exists() { read_to_string(path)? } else { String::new() };
        write_atomic(path, format!("{before}{}", gate_markdown(&report)).as_bytes())?;
    }
    if let Some(path) = &args.junit {
        write_atomic(path, junit_xml(&report).as_bytes())?;
    }
    print_result(common, &report, |report| gate_text(report, args.all, env.lists))?;
    Ok(if report.passed { 0 } else { WORSE })
}
