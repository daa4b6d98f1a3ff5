//! `run` and `report`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Environment, RunArgs, SuiteArgs, key};
use super::progress::{Progress, say};
use super::{has_verb, inspect, plan, print, print_json};
use crate::base::DeviceName;
use crate::hub::DEFAULT_ENDPOINT;
use crate::llm::{Budget, Usage};
use crate::report::{self, Closing, Column, Grid, RenderOptions, Summary, next_feature};
use crate::run::{self, Beside, Event, Finished, Places, RunError, Stop};
use crate::suite::Suite;

/// Exit code of a run that finished with more failed features than the suite allows.
const TOO_MANY_FAILED: u8 = 3;

/// Where a suite's run reads and writes.
pub fn places(
    suite: &Suite,
    args: &SuiteArgs,
    out: Option<&Path>,
    common: &Common,
    environment: &Environment,
) -> Places {
    let folder = args.suite.parent().unwrap_or(Path::new("."));
    Places {
        cache: environment.cache.clone(),
        out: out.map_or_else(|| PathBuf::from("results").join(&suite.name), Path::to_path_buf),
        suite_folder: folder.to_path_buf(),
        device: DeviceName::Cpu,
        hub_endpoint: environment.hub_endpoint.clone().unwrap_or_else(|| DEFAULT_ENDPOINT.into()),
        hub_token: environment.hub_token.clone(),
        hub_shared: environment.hub_shared.clone(),
        keys: suite
            .pairs
            .iter()
            .flat_map(|pair| pair.models())
            .filter_map(|llm| Some((llm.key_variable().to_string(), key(llm.key_variable())?)))
            .collect(),
        openai_base_url: environment.openai_base_url.clone(),
        budget: None,
        offline: common.offline,
        program: std::env::current_exe().ok(),
    }
}

/// Runs a suite to its table.
pub fn run(
    args: &RunArgs,
    common: &Common,
    environment: &Environment,
    stop: &'static AtomicBool,
) -> Result<u8, RunError> {
    if args.dry_run {
        return plan::plan(&args.suite, common, environment);
    }
    let suite = plan::load(&args.suite)?;
    let mut places = places(&suite, &args.suite, args.out.as_deref(), common, environment);
    places.device = args.device;
    places.budget = budget(args.budget_usd)?;
    let progress = Progress::new(common.progress, common.quiet);
    if !common.quiet {
        progress.show(&Event::Note(format!("suite {} → {}", suite.name, places.out.display())));
    }
    let finished = run::run(&suite, &places, args.fresh, &|event| progress.show(&event), Stop(stop));
    progress.finish();
    let finished = finished.inspect_err(|error| {
        if matches!(error, RunError::Stopped) && !common.quiet {
            say(&format!("to go on: autointerp run {}", args.suite.suite.display()));
        }
    })?;
    if let Some(mut unanswered) = finished.llm.unanswered {
        unanswered.hints.push(format!("what there is without it: {}", finished.folder.display()));
        return Err(RunError::AllFailed(Box::new(unanswered)));
    }
    show(&finished, common, environment)?;
    let (walked, failed) = finished.failed;
    let allowed = suite.limits.failed_allowed * walked as f64;
    Ok(if failed as f64 > allowed { TOO_MANY_FAILED } else { 0 })
}

fn budget(dollars: Option<f64>) -> Result<Option<Budget>, RunError> {
    match dollars {
        Some(dollars) if !(dollars.is_finite() && dollars >= 0.0) => Err(RunError::Setting {
            field: "--budget-usd".into(),
            problem: format!("is {dollars}, expected dollars, 0 or more"),
        }),
        dollars => Ok(dollars.map(Budget::new)),
    }
}

/// What `run --json` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ran<'a> {
    /// The run folder.
    folder: String,
    /// Digest of the resolved suite and of its inputs, as in `summary.json`.
    run: &'a str,
    /// What the reader of the results must know.
    warnings: &'a [String],
    /// Requests, tokens and dollars by language model.
    llm_usage: &'a BTreeMap<String, Usage>,
    /// The same by explainer, simulator and scorer, beside what was planned.
    llm_steps: &'a [Beside],
    /// Features that failed.
    failed: Failed,
    /// Files that the report wrote.
    files: Vec<String>,
    /// What the closing screen says.
    closing: &'a Closing,
}

/// Lines of `scores.jsonl` without a control.
#[derive(Debug, Serialize, JsonSchema)]
struct Failed {
    /// Lines in all.
    walked: usize,
    /// Lines that failed, as a whole or under one of the scores.
    failed: usize,
}

/// What `report --json` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Drawn {
    /// The run folder.
    folder: String,
    /// Files written.
    files: Vec<String>,
}

fn paths(files: &[PathBuf]) -> Vec<String> {
    files.iter().map(|path| path.display().to_string()).collect()
}

fn show(finished: &Finished, common: &Common, environment: &Environment) -> Result<(), RunError> {
    let closing = closing(finished)?;
    if common.json {
        print_json(&Ran {
            folder: finished.folder.display().to_string(),
            run: &finished.summary.run,
            warnings: &finished.warnings,
            llm_usage: &finished.llm.usage,
            llm_steps: &finished.llm.steps,
            failed: Failed { walked: finished.failed.0, failed: finished.failed.1 },
            files: paths(&finished.report_files),
            closing: &closing,
        });
        return Ok(());
    }
    let look = environment.look;
    print(&report::terminal_table(&finished.summary, look));
    if !finished.llm.steps.is_empty() {
        print(&taken(&finished.llm.steps).draw(look).text);
    }
    for (model, usage) in &finished.llm.usage {
        report::wrap(&usage_line(model, usage), look.width).iter().for_each(|line| print(line));
    }
    if !common.quiet {
        const SHOWN: usize = 8;
        for warning in finished.warnings.iter().take(SHOWN) {
            say(&format!("warning: {warning}"));
        }
        if finished.warnings.len() > SHOWN {
            say(&format!(
                "… and {} more warnings in manifest.json and on the page",
                finished.warnings.len() - SHOWN
            ));
        }
    }
    print(&format!("\n{}", closing.screen(look)));
    Ok(())
}

/// What the run ends with, and commands that go on from there.
fn closing(finished: &Finished) -> Result<Closing, RunError> {
    let folder = finished.folder.display().to_string();
    let page = finished.folder.join("index.html").display().to_string();
    let lines = inspect::score_lines(&finished.folder)?;
    let mut closing = Closing::new(&finished.summary, &lines, &finished.warnings, page);
    let run = word(&folder);
    let mut next = Vec::new();
    if let Some(feature) = next_feature(&closing, &lines) {
        next.push(format!("autointerp inspect {run} {}", word(&feature)));
    }
    if let Some(extremes) = closing.extremes.last() {
        next.push(format!("autointerp inspect {run} --sort {} --limit 20", word(&extremes.scorer)));
    }
    next.push(format!("autointerp report {run}"));
    if has_verb("compare") {
        next.push(format!("autointerp compare {run} OTHER_RUN"));
    }
    closing.next = next;
    Ok(closing)
}

/// A word of a command line, quoted where a shell would take it for several or for something else.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/\\._-:+@".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_string(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// What a language model was asked, in a line.
fn usage_line(model: &str, usage: &Usage) -> String {
    let cost = usage.dollars.map_or("prices not given".to_string(), |dollars| format!("${dollars:.4}"));
    let estimated = match usage.estimated {
        0 => String::new(),
        n => format!(" ({n} answers came without a count: estimated)"),
    };
    format!(
        "{model}: {} requests, {} more answered from the cache, {} tokens in, {} out{estimated}, {cost}",
        usage.requests, usage.cached, usage.tokens_in, usage.tokens_out
    )
}

/// What language models took of what was planned; a narrow terminal loses the tokens first.
fn taken(steps: &[Beside]) -> Grid {
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

/// Draws a run folder again, or some of its charts.
pub fn report(
    folder: &Path,
    charts: &[String],
    common: &Common,
    environment: &Environment,
) -> Result<u8, RunError> {
    // The arguments were read against the names that there are.
    let options = RenderOptions::only(charts.iter().map(String::as_str)).unwrap_or_default();
    let drawn = report::render(folder, &options)?;
    let file_names: Vec<String> =
        drawn.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let files = paths(&drawn);
    let everything = options == RenderOptions::default();
    for chart in charts.iter().filter(|_| !everything) {
        if !file_names.iter().any(|name| name.starts_with(&format!("{chart}."))) {
            say(&format!("warning: no `{chart}`: the run has nothing to draw it from"));
        }
    }
    if common.json {
        print_json(&Drawn { folder: folder.display().to_string(), files });
        return Ok(0);
    }
    if everything {
        let summary = Summary::read(&folder.join("summary.json"))?;
        print(&report::terminal_table(&summary, environment.look));
    }
    files.iter().for_each(|file| print(file));
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_copied_into_a_shell() {
        assert_eq!(word("results/residual"), "results/residual");
        assert_eq!(word("my run"), "'my run'");
        assert_eq!(word("it's"), "'it'\\''s'");
        assert_eq!(word("$(reboot)"), "'$(reboot)'");
        assert_eq!(word(""), "''");
    }
}
