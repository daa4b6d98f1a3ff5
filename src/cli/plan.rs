//! `plan` and `check`: what a run would do, and whether a suite is valid.

use std::path::{Path, PathBuf};

use super::args::{Common, Env, SuiteArgs, key};
use super::harvest::model_places;
use super::progress::say;
use super::{print_result, setting};
use crate::base::{DeviceName, FileName};
use crate::report::{count, labelled_list, visible};
use crate::run::{Estimate, Places, RunError, estimate, read_headers, time_text};
use crate::suite::{self, Suite, SuiteError};

/// Width of the left column, in characters.
const LABEL_WIDTH: usize = 20;

/// Reads a suite with its overrides and flags.
pub fn load(args: &SuiteArgs) -> Result<Suite, RunError> {
    load_with(args, |overrides| suite::load(&args.suite, overrides))
}

/// As [`load`], from a text in place of a file.
pub fn load_text(text: &str, args: &SuiteArgs) -> Result<Suite, RunError> {
    load_with(args, |overrides| suite::parse(text, &args.suite, overrides))
}

fn load_with(
    args: &SuiteArgs,
    read: impl FnOnce(&[String]) -> Result<Suite, SuiteError>,
) -> Result<Suite, RunError> {
    let mut overrides = args.set.clone();
    if let Some(seed) = args.seed {
        overrides.push(format!("seed={seed}"));
    }
    let mut suite = read(&overrides)?;
    if let Some(limit) = args.limit_features {
        if limit < 2 {
            let problem = format!("is {limit}, expected at least 2: an interval needs two features");
            return Err(setting("--limit-features", problem));
        }
        suite.limit_features(limit);
    }
    Ok(suite)
}

/// Folders, endpoints and keys of a suite's run.
pub fn places(suite: &Suite, args: &SuiteArgs, out: Option<&Path>, common: &Common, env: &Env) -> Places {
    let models = suite.pairs.iter().flat_map(|pair| pair.models());
    let key_of = |variable: &str| Some((variable.to_string(), key(variable)?));
    Places {
        out: out.map_or_else(|| PathBuf::from("results").join(FileName::of(&suite.name)), Path::to_path_buf),
        suite_folder: args.suite.parent().unwrap_or(Path::new(".")).to_path_buf(),
        keys: models.filter_map(|llm| key_of(llm.key_variable())).collect(),
        openai_base_url: env.openai_base_url.clone(),
        program: env.program.clone(),
        ..model_places(env, DeviceName::Cpu, common)
    }
}

pub fn plan(args: &SuiteArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let suite = load(args)?;
    let found = estimate(&suite, &places(&suite, args, None, common, env))?;
    print_result(common, &found, |found| text(found, env.look.width))?;
    Ok(0)
}

/// Reads the suite and the headers of the local files that it names.
pub fn check(args: &SuiteArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let suite = load(args)?;
    let warnings = read_headers(&suite, &places(&suite, args, None, common, env)).checked()?.warnings;
    if !common.quiet {
        warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    }
    print_result(common, &suite, |suite| {
        let rows: usize = suite.methods.iter().map(|method| method.row_names().len()).sum();
        let (hooks, explainers) = (suite.hooks.len(), suite.pairs.len());
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let parts = [many(hooks, "hook point pattern"), many(rows, "row"), many(explainers, "explainer")];
        format!("{}: valid; {}", visible(&suite.name), parts.join(", "))
    })?;
    Ok(0)
}

pub fn text(plan: &Estimate, columns: usize) -> String {
    let smallest = plan.smallest_difference.map_or("—".into(), |difference| format!("{difference:.2}"));
    let features = format!(
        "{} ({} score lines with explainers and controls)",
        count(plan.features),
        count(plan.score_lines)
    );
    let requests =
        format!("{} ({} tokens in, {} out)", plan.llm_requests, plan.llm_tokens_in, plan.llm_tokens_out);
    let mut lines = vec![
        ("suite", plan.suite.clone()),
        ("subject", plan.subject.clone()),
        ("in front of texts", plan.bos.to_string()),
        ("hook points", format!("{}: {}", plan.hooks.len(), plan.hooks.join(", "))),
        ("rows", format!("{}: {}", plan.rows.len(), plan.rows.join(", "))),
        ("fit tokens", count(plan.fit_tokens)),
        ("evaluation tokens", count(plan.evaluate_tokens)),
        ("features", features),
        ("LLM requests", requests),
    ];
    lines.extend(plan.llm.iter().map(|planned| ("", planned.to_string())));
    lines.extend([
        ("cost", format!("${:.2}", plan.usd)),
        ("disk", format!("{:.2} GB of activations at once", plan.disk_gb)),
        ("memory", format!("about {:.1} GB", plan.memory_gb)),
        ("time", format!("about {}", time_text(plan.minutes))),
        ("can show", format!("differences of {smallest} or more between two cells (80 % power, unadjusted)")),
    ]);
    lines.extend(plan.notes.iter().map(|note| ("note", note.clone())));
    labelled_list(&lines, LABEL_WIDTH, columns)
}
