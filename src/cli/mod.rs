//! The command line: arguments, printing, exit codes. One file per verb.
//!
//! In: the command line.
//! Out: text, exit codes.
//! Never: computes a number.

mod args;
mod arguments;
mod bench;
mod bug;
mod cache;
mod doctor;
mod encode;
mod errors;
mod export;
mod gate;
mod harvest;
mod init;
mod inspect;
mod library;
mod list;
mod model_args;
mod output;
mod part;
mod plan;
mod progress;
mod remote;
mod resume;
mod run;
mod scale;
mod schemas;
mod shell;
mod signals;
mod steer;
mod steered_text;
mod submit;
mod trace;
#[cfg(feature = "train-embedded")]
mod train_embedded;
mod verify;

use std::cell::Cell;
use std::ffi::OsString;
#[cfg(feature = "local-llm")]
use std::io::Write;
use std::path::Path;

use crate::base::Program;
use crate::run::RunError;
use args::{Common, Env, RunArgs, Verb};
pub use bug::report_panics;
pub use errors::{Failure, exit_code};
pub use library::{Ended, RunRequest, SuiteSource, Told, cache_folder, run_suite, say_stopping};
use output::{print, print_json, print_own, print_result, print_styled};
pub use schemas::schemas;
use signals::{Ending, STOP};

/// Runs the program as this process was started, and returns the exit code.
pub fn main() -> u8 {
    main_with(std::env::args_os().collect(), Program::of_this_process())
}

/// Runs the program with arguments, its name first, and returns the exit code. `program` starts it again.
pub fn main_with(arguments: Vec<OsString>, program: Option<Program>) -> u8 {
    report_panics();
    // Comes before all else: the process that tries a chat template runs under a small memory limit.
    #[cfg(feature = "local-llm")]
    if arguments.get(1).is_some_and(|argument| argument == crate::llm::TRY_TEMPLATE) {
        let mut output = std::io::stdout().lock();
        let code = crate::llm::try_template(std::io::stdin().lock(), &mut output);
        // In a Python process nothing else flushes it.
        return if output.flush().is_ok() { code } else { bug::BUG };
    }
    signals::fail_large_writes();
    let json = Cell::new(false);
    bug::exit_code_of(&json, || answer(&arguments, program, &json))
}

fn answer(arguments: &[OsString], program: Option<Program>, json: &Cell<bool>) -> u8 {
    let cli = match arguments::parse(arguments) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    json.set(cli.common.json);
    let env = Env::read(program);
    if let Err(error) = start_threads(cli.common.threads) {
        progress::say(&format!("error: {error}"));
        return 2;
    }
    let resume = match &cli.verb {
        Verb::Run(args) => resume::resume_line(args, arguments, &env),
        _ => None,
    };
    let ending =
        Ending { checks_stop: checks_stop(&cli.verb), json: cli.common.json, resume: resume.clone() };
    if signals::listen(ending).is_err() {
        progress::say("warning: Ctrl-C cannot be caught here; a stopped run can still be resumed");
    }
    run_verb(&cli.verb, &cli.common, &env)
        .unwrap_or_else(|error| errors::print(&error, cli.common.json, resume.as_deref()))
}

/// Whether the verb checks [`STOP`] between pieces of work.
fn checks_stop(verb: &Verb) -> bool {
    match verb {
        Verb::Run(_) | Verb::Export(_) => true,
        #[cfg(feature = "train-embedded")]
        Verb::TrainEmbedded { .. } => true,
        _ => false,
    }
}

fn run_verb(verb: &Verb, common: &Common, env: &Env) -> Result<u8, RunError> {
    remote::check_cache(env)?;
    match verb {
        Verb::Run(args @ RunArgs { part: Some(nth), .. }) => part::run_part(*nth, args, common, env, &STOP),
        Verb::Run(args) => run::run(args, common, env, &STOP),
        Verb::Plan(args) => plan::plan_verb(args, common, env),
        Verb::Submit(args) => submit::submit(args, common, env),
        Verb::Check(args) => plan::check(args, common, env),
        Verb::Init(args) => init::init(args, common, env),
        Verb::List { what } => list::list(what, common, env),
        Verb::Report { run, verify: true, .. } => verify::verify_run(run, common, env),
        Verb::Report { run, cite: true, .. } => run::cite(run, common, env),
        Verb::Report { run, charts, .. } => run::report(run, charts, common, env),
        Verb::Compare { run_a, run_b, all } => gate::compare_runs(run_a, run_b, *all, common, env),
        Verb::Accept { runs, into } => gate::accept_runs(runs, into, common, env),
        Verb::Regress(args) => gate::regress_run(args, common, env),
        Verb::Inspect(args) => inspect::inspect(args, common, env),
        Verb::Steer(args) => steer::steer(args, common, env),
        Verb::Trace(args) => trace::trace(args, common, env),
        Verb::Export(args) => export::export_run(args, common, env, &STOP),
        Verb::Harvest(args) => harvest::harvest(args, common, env),
        Verb::Encode(args) => encode::encode(args, common, env),
        Verb::Cache { verify: true, .. } => verify::verify_cache(common, env),
        Verb::Cache { clean, .. } => cache::cache(clean.as_deref(), common, env),
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

fn check_threads(threads: Option<usize>) -> Result<(), String> {
    match threads.filter(|n| !(1..=MOST_THREADS).contains(n)) {
        Some(n) => Err(format!("`--threads {n}`: expected at least 1 and at most {MOST_THREADS}")),
        None => Ok(()),
    }
}

fn start_threads(threads: Option<usize>) -> Result<(), String> {
    check_threads(threads)?;
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    builder.build_global().map_err(|error| format!("cannot start threads: {error}"))
}

/// An error in a flag or an argument.
fn setting(field: &str, problem: impl Into<String>) -> RunError {
    RunError::Setting { field: field.into(), problem: problem.into() }
}

/// An error in the content of an input file.
fn invalid_input(path: &Path, why: impl Into<String>) -> RunError {
    RunError::Input { path: path.to_path_buf(), why: why.into() }
}
