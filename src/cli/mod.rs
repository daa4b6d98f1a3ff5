//! The command line: arguments, printing, exit codes. One file per verb.
//!
//! In: the command line.
//! Out: text, exit codes.
//! Never: computes a number.

mod args;
mod bench;
mod cache;
mod doctor;
mod encode;
mod errors;
mod export;
mod gate;
mod harvest;
mod inspect;
mod model_args;
mod plan;
mod progress;
mod run;
mod schemas;
mod shell;
#[cfg(feature = "train-embedded")]
mod train_embedded;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;

use crate::run::RunError;
use args::{Cli, Common, Env, Verb};
pub use errors::exit_code;
pub use schemas::schemas;

/// Set by Ctrl-C. Runs check it between pieces of work.
static STOP: AtomicBool = AtomicBool::new(false);

/// Runs the program and returns the exit code.
pub fn main() -> u8 {
    // Comes first: the process that tries a chat template runs under a small memory limit.
    #[cfg(feature = "local-llm")]
    if std::env::args_os().nth(1).is_some_and(|argument| argument == crate::llm::TRY_TEMPLATE) {
        return crate::llm::try_template(std::io::stdin().lock());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let shown = error.print();
            return if error.use_stderr() || shown.is_err() { 2 } else { 0 };
        }
    };
    let env = Env::read();
    if let Err(error) = start_threads(cli.common.threads) {
        progress::say(&format!("error: {error}"));
        return 2;
    }
    // A second Ctrl-C ends the process at once.
    let handler = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::abort();
        }
        progress::say("stopping after the current piece of work (press Ctrl-C again to stop at once)");
    });
    if handler.is_err() {
        progress::say("warning: Ctrl-C cannot be caught here; a stopped run can still be resumed");
    }
    run_verb(&cli.verb, &cli.common, &env).unwrap_or_else(|error| {
        errors::print(&error, cli.common.json);
        exit_code(&error)
    })
}

fn run_verb(verb: &Verb, common: &Common, env: &Env) -> Result<u8, RunError> {
    match verb {
        Verb::Run(args) => run::run(args, common, env, &STOP),
        Verb::Plan(args) => plan::plan(args, common, env),
        Verb::Check(args) => plan::check(args, common, env),
        Verb::Report { run, charts } => run::report(run, charts, common, env),
        Verb::Compare { run_a, run_b, all } => gate::compare_runs(run_a, run_b, *all, common, env),
        Verb::Accept { runs, into } => gate::accept_runs(runs, into, common),
        Verb::Regress(args) => gate::regress_run(args, common, env),
        Verb::Inspect(args) => inspect::inspect(args, common, env),
        Verb::Export(args) => export::export_run(args, common, &STOP),
        Verb::Harvest(args) => harvest::harvest(args, common, env),
        Verb::Encode(args) => encode::encode(args, common, env),
        Verb::Cache { clean } => cache::cache(clean.as_deref(), common, env),
        Verb::Completions { shell } => shell::completions(*shell),
        Verb::Man { verb } => shell::man(verb.as_deref()),
        Verb::Bench { device } => bench::bench(*device),
        Verb::Doctor { model } => doctor::doctor(model.as_deref(), common, env),
        #[cfg(feature = "train-embedded")]
        Verb::TrainEmbedded { out, steps } => train_embedded::train(out, *steps, common),
    }
}

/// More threads than any machine has processors only take memory.
const MOST_THREADS: usize = 4_096;

fn start_threads(threads: Option<usize>) -> Result<(), String> {
    if let Some(n) = threads.filter(|n| !(1..=MOST_THREADS).contains(n)) {
        return Err(format!("`--threads {n}`: expected at least 1 and at most {MOST_THREADS}"));
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    builder.build_global().map_err(|error| format!("cannot start threads: {error}"))
}

/// Prints a result on stdout. A closed stdout is not an error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// Prints a result, as JSON with `--json` and as text otherwise.
fn print_result<T: serde::Serialize>(common: &Common, result: &T, text: impl FnOnce(&T) -> String) {
    match common.json {
        true => print_json(result),
        false => print(&text(result)),
    }
}

/// An error in a flag or an argument.
fn setting(field: &str, problem: impl Into<String>) -> RunError {
    RunError::Setting { field: field.into(), problem: problem.into() }
}

/// An error in the content of an input file.
fn invalid_input(path: &Path, why: impl Into<String>) -> RunError {
    RunError::Input { path: path.to_path_buf(), why: why.into() }
}

/// Prints a result as JSON on stdout.
fn print_json<T: serde::Serialize>(value: &T) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        print(&text);
    }
}
