//! `run` and `report`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, RunArgs};
use super::progress::{Progress, say};
use super::remote::{RunHere, attach};
use super::resume::shell_word;
use super::{inspect, plan, print, print_json, print_result, print_styled, setting};
use crate::llm::{Budget, Usage};
use crate::report::{
    self, Citation, Closing, Column, Findings, Grid, Layout, Part, RenderOptions, Summary, next_feature,
};
use crate::run::{self, Beside, Event, Finished, Places, RunError, Stop, dollars_text};
use crate::suite::Suite;

/// Exit code of a run that finished with more failed features than the suite allows.
const TOO_MANY_FAILED: u8 = 3;

pub fn run(args: &RunArgs, common: &Common, env: &Env, stop: &'static AtomicBool) -> Result<u8, RunError> {
    if args.dry_run {
        return plan::plan(&args.plan, None, common, env);
    }
    let suite = plan::load(&args.plan.suite)?;
    let progress = Progress::new(common.progress, common.quiet);
    let finished = run_to_end(&suite, args, common, env, &|event| progress.show(event), Stop(stop));
    progress.finish();
    let finished = finished?;
    show(&finished, common, env)?;
    Ok(if has_too_many_failed(&suite, &finished) { TOO_MANY_FAILED } else { 0 })
}

/// Runs a suite and tells its progress. A language model that answered nothing is an error.
pub fn run_to_end(
    suite: &Suite,
    args: &RunArgs,
    common: &Common,
    env: &Env,
    tell: &dyn Fn(&Event),
    stop: Stop,
) -> Result<Finished, RunError> {
    let places = places(suite, args, common, env)?;
    if !common.quiet {
        tell(&Event::Note(format!("suite {} → {}", suite.name, places.name())));
    }
    let mut finished = run::run(suite, &places, args.fresh, &|event| tell(&event), stop)?;
    if let Some(mut unanswered) = finished.llm.unanswered.take() {
        unanswered.hints.push(format!("results without it: {}", finished.place()));
        return Err(RunError::AllFailed(Box::new(unanswered)));
    }
    Ok(finished)
}

/// Folders, device, endpoints, keys and budget of a run.
pub fn places(suite: &Suite, args: &RunArgs, common: &Common, env: &Env) -> Result<Places, RunError> {
    let mut places = plan::places_of_run(suite, &args.plan, common, env);
    places.budget = budget(args.budget_usd)?;
    attach(&mut places, suite.limits.disk_gb, env)?;
    Ok(places)
}

/// Whether more features failed than the suite allows.
pub fn has_too_many_failed(suite: &Suite, finished: &Finished) -> bool {
    let (walked, failed) = finished.failed;
    failed as f64 > suite.limits.failed_allowed * walked as f64
}

/// The budget of `--budget-usd`.
pub fn budget(dollars: Option<f64>) -> Result<Option<Budget>, RunError> {
    match dollars {
        Some(dollars) if !(dollars.is_finite() && dollars >= 0.0) => {
            Err(setting("--budget-usd", format!("is {dollars}, expected dollars, 0 or more")))
        }
        dollars => Ok(dollars.map(Budget::new)),
    }
}

/// Output of `run --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran<'a> {
    /// The run folder, or its address in object storage.
    folder: String,
    /// Digest of the resolved suite and its inputs, as in `summary.json`.
    run: &'a str,
    /// What the reader of the results must know.
    warnings: &'a [String],
    /// Requests, tokens and dollars by language model.
    llm_usage: &'a BTreeMap<String, Usage>,
    /// The same by explainer, simulator and scorer, with the planned numbers.
    llm_steps: &'a [Beside],
    /// Counts of failed features.
    failed: Failed,
    /// Files written by the report.
    files: Vec<String>,
    /// What the run shows and what it leaves open.
    verdict: &'a Findings,
    /// Content of the closing screen.
    closing: &'a Closing,
}

/// Counts of lines in `scores.jsonl`, without controls.
#[derive(Debug, Serialize, JsonSchema)]
struct Failed {
    /// All lines.
    walked: usize,
    /// Lines that failed as a whole or under one of the scores.
    failed: usize,
}

/// Output of `report --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Drawn {
    /// The run folder, or its address in object storage.
    folder: String,
    /// Files written.
    files: Vec<String>,
    /// What the run shows and what it leaves open.
    verdict: Findings,
    /// How to cite the run.
    citation: Citation,
}

fn paths(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|path| path.display().to_string()).collect()
}

fn show(finished: &Finished, common: &Common, env: &Env) -> Result<(), RunError> {
    let closing = closing(finished)?;
    let verdict = &Findings::new(&finished.summary);
    if common.json {
        return print_json(&Ran {
            folder: finished.place(),
            run: &finished.summary.run,
            warnings: &finished.warnings,
            llm_usage: &finished.llm.usage,
            llm_steps: &finished.llm.steps,
            failed: Failed { walked: finished.failed.0, failed: finished.failed.1 },
            files: paths(&finished.report_files),
            verdict,
            closing: &closing,
        });
    }
    let look = env.look;
    print_styled(&report::terminal_verdict(verdict, look))?;
    print_styled(&report::terminal_table(&finished.summary, look))?;
    if !finished.llm.steps.is_empty() {
        print_styled(&usage_table(&finished.llm.steps).draw(look).text)?;
    }
    for (model, usage) in &finished.llm.usage {
        print(&report::wrap(&usage_line(model, usage), look.width).join("\n"))?;
    }
    if !common.quiet {
        const SHOWN: usize = 8;
        finished.warnings.iter().take(SHOWN).for_each(|warning| say(&format!("warning: {warning}")));
        if let Some(more) = finished.warnings.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            say(&format!("… and {more} more warnings in manifest.json and on the page"));
        }
    }
    print_styled(&format!("\n{}", closing.screen(look)))
}

/// The closing screen of a run, with commands to continue.
fn closing(finished: &Finished) -> Result<Closing, RunError> {
    let page = finished.folder.join("index.html").display().to_string();
    let lines = inspect::score_lines(&finished.folder)?;
    let mut closing = Closing::new(&finished.summary, &lines, &finished.warnings, page);
    let word = |text: &str| shell_word(OsStr::new(text));
    let run = word(&finished.place());
    let feature = next_feature(&closing, &lines).map(|feature| word(&feature));
    let scorer = closing.extremes.last().map(|extremes| word(&extremes.scorer));
    let commands = [
        feature.map(|feature| format!("autointerp inspect {run} {feature}")),
        scorer.map(|scorer| format!("autointerp inspect {run} --sort {scorer} --limit 20")),
        Some(format!("autointerp report {run}")),
        Some(format!("autointerp compare {run} OTHER_RUN")),
    ];
    closing.next = commands.into_iter().flatten().collect();
    Ok(closing)
}

/// Requests, tokens and cost of a language model, in one line.
pub fn usage_line(model: &str, usage: &Usage) -> String {
    let cost = dollars_text(usage.dollars);
    let estimated = match usage.estimated {
        0 => String::new(),
        n => format!(" (estimated for {n} answers without a token count)"),
    };
    format!(
        "{model}: {} requests, {} more answered from the cache, {} tokens in, {} out{estimated}, {cost}",
        usage.requests, usage.cached, usage.tokens_in, usage.tokens_out
    )
}

/// Table of planned and used requests, tokens, cost and time.
fn usage_table(steps: &[Beside]) -> Grid {
    let mut grid = Grid::new(vec![
        Column::text("taken of planned"),
        Column::text("requests"),
        Column::text("cached").drops(2),
        Column::text("tokens in").drops(1),
        Column::text("tokens out").drops(0),
        Column::text("cost"),
        Column::text("time").drops(3),
    ]);
    steps.iter().for_each(|step| grid.row(step.cells().to_vec()));
    grid
}

/// Draws the report of a run folder again, or some of its charts.
pub fn report(run: &Path, charts: &[String], common: &Common, env: &Env) -> Result<u8, RunError> {
    let here = RunHere::open(run, Part::Evidence, common, env)?;
    let folder = here.folder();
    // clap has checked the names.
    let options = RenderOptions::only(charts.iter().map(String::as_str)).unwrap_or_default();
    report::check_data(folder)?;
    let drawn = report::render(folder, &options)?;
    report::update_digests(folder, &drawn)?;
    here.push(&drawn)?;
    let file_names: Vec<String> =
        drawn.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let files = paths(&drawn);
    let citation = Citation::read(folder)?;
    let everything = options == RenderOptions::default();
    for chart in charts.iter().filter(|_| !everything) {
        if !file_names.iter().any(|name| name.starts_with(&format!("{chart}."))) {
            say(&format!("warning: no `{chart}`: the run has no data for it"));
        }
    }
    let summary = Summary::read(&Layout::new(folder).summary())?;
    let verdict = Findings::new(&summary);
    if common.json {
        print_json(&Drawn { folder: run.display().to_string(), files, verdict, citation })?;
        return Ok(0);
    }
    if everything {
        print_styled(&report::terminal_verdict(&verdict, env.look))?;
        print_styled(&report::terminal_table(&summary, env.look))?;
    }
    for file in files {
        print(&file)?;
    }
    if everything && !common.quiet {
        print(&format!("cite as: {}", citation.text))?;
    }
    Ok(0)
}

/// Prints how to cite a run.
pub fn cite(run: &Path, common: &Common, env: &Env) -> Result<u8, RunError> {
    let run = RunHere::open(run, Part::Results, common, env)?;
    print_result(common, &Citation::read(run.folder())?, |citation| citation.bibtex.clone())?;
    Ok(0)
}
