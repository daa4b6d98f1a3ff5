//! `run` for programs that call this library, such as the Python module: the request is a value, and so is a failure.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::ValueEnum;

use super::args::{Common, Env, PlanArgs, ProgressKind, RunArgs, SuiteArgs};
use super::errors::Failure;
use super::progress::{Progress, say};
use super::{MOST_THREADS, bug, check_threads, plan, run, setting, start_threads};
use crate::base::Program;
use crate::run::{Event, RunError, Stop};

/// Where the text of a suite comes from.
#[derive(Debug, Clone)]
pub enum SuiteSource {
    /// A suite file.
    File(PathBuf),
    /// The YAML itself. Relative paths in it are relative to the working folder.
    Text(String),
}

/// What the command `run` takes as arguments and flags.
#[derive(Debug, Clone)]
pub struct RunRequest {
    /// The suite.
    pub suite: SuiteSource,
    /// `PATH=VALUE`, as after `--set`.
    pub set: Vec<String>,
    /// As `--seed`.
    pub seed: Option<u64>,
    /// As `--limit-features`.
    pub limit_features: Option<usize>,
    /// As `--out`.
    pub out: Option<PathBuf>,
    /// As `--fresh`.
    pub fresh: bool,
    /// As `--device`: `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// As `--budget-usd`.
    pub budget_usd: Option<f64>,
    /// As `--offline`.
    pub offline: bool,
    /// As `--threads`, before the first computation of the process; later only the same number.
    pub threads: Option<usize>,
}

/// Who is told of a run's progress.
pub enum Told<'a> {
    /// stderr, in a form of `--progress`: `auto`, `plain`, `json` or `none`.
    Stderr(&'a str),
    /// A function, called on the thread that runs the suite.
    Events(&'a dyn Fn(&Event)),
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The run folder.
    pub folder: PathBuf,
    /// Features walked.
    pub walked: usize,
    /// How many of them failed.
    pub failed: usize,
    /// Whether that is more than the suite allows: exit code 3 of the command.
    pub too_many_failed: bool,
}

/// Runs a suite as the command `run` does, without its closing screen. `program` starts this program again.
pub fn run_suite(
    request: RunRequest,
    program: Option<Program>,
    told: Told<'_>,
    stop: Stop,
) -> Result<Ended, Failure> {
    match catch_unwind(AssertUnwindSafe(|| run_request(request, program, told, stop))) {
        Ok(ended) => ended.map_err(|error| Failure::from(&error)),
        Err(_) => Err(Failure::new(bug::told().unwrap_or("bug: a panic").to_string(), bug::BUG)),
    }
}

fn run_request(
    request: RunRequest,
    program: Option<Program>,
    told: Told<'_>,
    stop: Stop,
) -> Result<Ended, RunError> {
    use_threads(request.threads)?;
    let (file, text) = match request.suite {
        SuiteSource::File(path) => (path, None),
        SuiteSource::Text(text) => (PathBuf::from("suite"), Some(text)),
    };
    let args = RunArgs {
        plan: PlanArgs {
            suite: SuiteArgs {
                suite: file,
                set: request.set,
                seed: request.seed,
                limit_features: request.limit_features,
            },
            out: request.out,
            device: request.device.parse().map_err(|error: String| setting("--device", error))?,
        },
        fresh: request.fresh,
        dry_run: false,
        part: None,
        budget_usd: request.budget_usd,
    };
    let progress = match told {
        Told::Stderr(form) => ProgressKind::from_str(form, false)
            .map_err(|_| setting("--progress", format!("is `{form}`, expected auto, plain, json or none")))?,
        Told::Events(_) => ProgressKind::None,
    };
    let common = Common { json: false, quiet: false, progress, threads: None, offline: request.offline };
    let suite = match text {
        Some(text) => plan::load_text(&text, &args.plan.suite)?,
        None => plan::load(&args.plan.suite)?,
    };
    let shown = Progress::new(progress, common.quiet);
    let tell = |event: &Event| match &told {
        Told::Stderr(_) => shown.show(event),
        Told::Events(tell) => tell(event),
    };
    let finished = run::run_to_end(&suite, &args, &common, &Env::read(program), &tell, stop);
    shown.finish();
    let finished = finished?;
    Ok(Ended {
        walked: finished.failed.0,
        failed: finished.failed.1,
        too_many_failed: run::has_too_many_failed(&suite, &finished),
        folder: finished.folder,
    })
}

/// Threads are started once in a process.
fn use_threads(threads: Option<usize>) -> Result<(), RunError> {
    let Some(wanted) = threads else { return Ok(()) };
    check_threads(threads)
        .map_err(|_| setting("--threads", format!("is {wanted}, expected 1 to {MOST_THREADS}")))?;
    let started = start_threads(threads);
    let running = rayon::current_num_threads();
    if started.is_ok() || running == wanted {
        return Ok(());
    }
    let problem = format!(
        "is {wanted}, but this process computes with {running} threads since its first run: ask for the number in the \
         first run (results do not depend on it)"
    );
    Err(setting("--threads", problem))
}

/// Says on stderr that a run stops soon.
pub fn say_stopping() {
    say("stopping after the current piece of work");
}

/// The folder of what can be downloaded or computed again.
pub fn cache_folder() -> PathBuf {
    Env::read(None).cache
}
