//! Arguments, printing, exit codes; one file per verb.
//!
//! In: the command line.
//! Out: text, exit codes.
//! Never: computes a number.

mod args;
mod bench;
mod cache;
mod doctor;
mod errors;
mod gate;
mod harvest;
mod inspect;
mod plan;
mod progress;
mod run;
mod schemas;
mod shell;
#[cfg(feature = "train-embedded")]
mod train_embedded;

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{CommandFactory, Parser};

use args::{Cli, Environment, Verb};
pub use errors::exit_code;
pub use schemas::schemas;

/// Set by Ctrl-C; the run looks at it between pieces of work.
static STOP: AtomicBool = AtomicBool::new(false);

/// The whole program: parses, does, prints; gives the exit code.
pub fn main() -> u8 {
    // Before anything takes memory: this process has little of it.
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
    let environment = Environment::read();
    if let Err(error) = start_threads(cli.common.threads) {
        progress::say(&format!("error: {error}"));
        return 2;
    }
    // A second Ctrl-C while the first is being honoured ends the process at once.
    let handler = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            std::process::abort();
        }
        progress::say("stopping after the work in hand (once more to stop at once)");
    });
    if handler.is_err() {
        progress::say("warning: Ctrl-C cannot be caught here; a run that is stopped resumes all the same");
    }
    let done = match &cli.verb {
        Verb::Run(args) => run::run(args, &cli.common, &environment, &STOP),
        Verb::Plan(args) => plan::plan(args, &cli.common, &environment),
        Verb::Check(args) => plan::check(args, &cli.common),
        Verb::Report { run, charts } => run::report(run, charts, &cli.common, &environment),
        Verb::Compare { run_a, run_b, all } => {
            gate::compare_runs(run_a, run_b, *all, &cli.common, &environment)
        }
        Verb::Accept { runs, into } => gate::accept_runs(runs, into, &cli.common),
        Verb::Regress { run, against, all, summary, junit } => {
            let files = gate::GateFiles { summary: summary.as_deref(), junit: junit.as_deref() };
            gate::regress_run(run, against, *all, files, &cli.common, &environment)
        }
        Verb::Inspect(args) => inspect::inspect(args, &cli.common, &environment),
        Verb::Harvest(args) => harvest::harvest(args, &cli.common, &environment),
        Verb::Cache { clean } => cache::cache(clean.as_deref(), &cli.common, &environment),
        Verb::Completions { shell } => shell::completions(*shell),
        Verb::Man { verb } => shell::man(verb.as_deref()),
        Verb::Bench { device } => bench::bench(*device),
        Verb::Doctor { model } => doctor::doctor(model.as_deref(), &cli.common, &environment),
        #[cfg(feature = "train-embedded")]
        Verb::TrainEmbedded { out, steps } => train_embedded::train(out, *steps, &cli.common),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            errors::print(&error, cli.common.json);
            exit_code(&error)
        }
    }
}

fn start_threads(threads: Option<usize>) -> Result<(), String> {
    if threads == Some(0) {
        return Err("`--threads 0`: expected at least 1".into());
    }
    let builder = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    builder.build_global().map_err(|error| format!("cannot start threads: {error}"))
}

/// Whether the program has a verb that it may send a person to.
fn has_verb(name: &str) -> bool {
    Cli::command().find_subcommand(name).is_some()
}

/// Results go to stdout; a reader that went away is no error.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

/// A JSON result on stdout.
fn print_json<T: serde::Serialize>(value: &T) {
    if let Ok(text) = serde_json::to_string_pretty(value) {
        print(&text);
    }
}
