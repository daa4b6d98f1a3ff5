//! `run` and `report`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::args::{Common, Environment, RunArgs, SuiteArgs, key};
use super::plan;
use super::progress::{Progress, say};
use super::{print, print_json};
use crate::hub::DEFAULT_ENDPOINT;
use crate::llm::{Budget, Usage};
use crate::report;
use crate::report::{RenderOptions, Summary};
use crate::run::{self, Event, Finished, Places, RunError, Stop, comparison};
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
    show(&finished, common, environment);
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

/// What a language model was asked, in a line.
fn usage_line(model: &str, usage: &Usage) -> String {
    let cost = usage.dollars.map_or("prices not given".to_string(), |dollars| format!("${dollars:.4}"));
    format!(
        "{model}: {} requests, {} more answered from the cache, {} tokens in, {} out, {cost}",
        usage.requests, usage.cached, usage.tokens_in, usage.tokens_out
    )
}

fn show(finished: &Finished, common: &Common, environment: &Environment) {
    if common.json {
        print_json(&serde_json::json!({
            "folder": finished.folder.display().to_string(),
            "run": finished.summary.run,
            "warnings": finished.warnings,
            "llm_usage": finished.llm.usage,
            "llm_steps": finished.llm.steps,
            "failed": {"walked": finished.failed.0, "failed": finished.failed.1},
            "files": finished.report_files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        }));
        return;
    }
    print(&table(&finished.summary, environment));
    for (model, usage) in &finished.llm.usage {
        print(&usage_line(model, usage));
    }
    for line in comparison(&finished.llm.steps) {
        print(&line);
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
    print(&format!("{}", finished.folder.join("index.html").display()));
}

fn table(summary: &Summary, environment: &Environment) -> String {
    use std::io::IsTerminal;
    report::terminal_table(summary, environment.color && std::io::stdout().is_terminal())
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
    let files = report::render(folder, &options)?;
    let file_names: Vec<String> =
        files.iter().filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    let everything = options == RenderOptions::default();
    for chart in charts.iter().filter(|_| !everything) {
        if !file_names.iter().any(|name| name.starts_with(&format!("{chart}."))) {
            say(&format!("warning: no `{chart}`: the run has nothing to draw it from"));
        }
    }
    if common.json {
        print_json(&files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>());
        return Ok(0);
    }
    if everything {
        let summary = Summary::read(&folder.join("summary.json"))?;
        print(&table(&summary, environment));
    }
    for file in &files {
        print(&file.display().to_string());
    }
    Ok(0)
}
