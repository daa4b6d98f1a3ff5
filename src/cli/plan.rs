//! `plan` and `check`: what a run would do, and whether a suite is valid.

use std::path::{Path, PathBuf};

use super::args::{Common, Env, PlanArgs, PlanVerbArgs, SuiteArgs, key};
use super::harvest::model_places;
use super::progress::say;
use super::scale::scale_text;
use super::{print_result, print_styled, setting};
use crate::base::{DeviceName, FileName};
use crate::report::{Column, Grid, count, labelled_list, visible};
use crate::run::{
    self, Estimate, Places, PlannedShare, PlannedShares, RunError, dollars_text, estimate, read_headers,
    requests_text, time_text,
};
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

/// Folders, endpoints and keys of a suite.
fn places(suite: &Suite, args: &SuiteArgs, common: &Common, env: &Env) -> Places {
    let models = suite.pairs.iter().flat_map(|pair| pair.models());
    let key_of = |variable: &str| Some((variable.to_string(), key(variable)?));
    Places {
        out: PathBuf::from("results").join(FileName::of(&suite.name)),
        suite_folder: args.suite.parent().unwrap_or(Path::new(".")).to_path_buf(),
        keys: models.filter_map(|llm| key_of(llm.key_variable())).collect(),
        openai_base_url: env.openai_base_url.clone(),
        program: env.program.clone(),
        ..model_places(env, DeviceName::Cpu, common)
    }
}

/// Folders, device, endpoints and keys of a suite's run.
pub fn places_of_run(suite: &Suite, args: &PlanArgs, common: &Common, env: &Env) -> Places {
    let mut places = Places { device: args.device, ..places(suite, &args.suite, common, env) };
    if let Some(out) = &args.out {
        places.out.clone_from(out);
    }
    places
}

pub fn plan_verb(args: &PlanVerbArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let PlanVerbArgs { plan: suite_args, scale } = args;
    if !scale.is_asked() {
        return plan(suite_args, scale.parts(), common, env);
    }
    let suite = load(&suite_args.suite)?;
    let found = run::scale(&suite, &places_of_run(&suite, suite_args, common, env), &scale.ask()?)?;
    print_result(common, &found, |found| scale_text(found, env.look.width))?;
    Ok(0)
}

/// Shows what a run does and takes, also in `parts` parts if a number is given.
pub fn plan(args: &PlanArgs, parts: Option<usize>, common: &Common, env: &Env) -> Result<u8, RunError> {
    let suite = load(&args.suite)?;
    let found = estimate(&suite, &places_of_run(&suite, args, common, env), parts)?;
    print_result(common, &found, |found| text(found, env.look.width))?;
    if let Some(shares) = found.shares.as_ref().filter(|_| !common.json) {
        print_styled(&shares_table(shares).draw(env.look).text)?;
    }
    Ok(0)
}

/// Reads the suite and the headers of the local files that it names.
pub fn check(args: &SuiteArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let suite = load(args)?;
    let warnings = read_headers(&suite, &places(&suite, args, common, env)).checked()?.warnings;
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

fn text(plan: &Estimate, columns: usize) -> String {
    let smallest = plan.smallest_difference.map_or("—".into(), |difference| format!("{difference:.2}"));
    let mut lines = vec![
        ("suite", plan.suite.clone()),
        ("subject", plan.subject.clone()),
        ("in front of texts", plan.bos.to_string()),
        ("hook points", format!("{}: {}", plan.hooks.len(), plan.hooks.join(", "))),
        ("rows", format!("{}: {}", plan.rows.len(), plan.rows.join(", "))),
        ("fit tokens", count(plan.fit_tokens)),
        ("evaluation tokens", count(plan.evaluate_tokens)),
        ("features", count(plan.features)),
        ("score lines", score_lines(plan)),
        ("LLM requests", requests(plan)),
    ];
    lines.extend(plan.llm.iter().map(|planned| ("", planned.to_string())));
    if plan.llm_requests > 0 {
        lines.push(("cost", cost(plan)));
    }
    let disk = format!(
        "{} in the run folder, {} for activations meanwhile",
        size(plan.run_folder_gb),
        size(plan.disk_gb)
    );
    lines.extend([
        ("disk", disk),
        ("memory", format!("about {}", size(plan.memory_gb))),
        ("time", time(plan)),
        ("", parts(plan)),
        ("can show", format!("differences of {smallest} or more between two cells (80 % power, unadjusted)")),
    ]);
    if let Some(shares) = &plan.shares {
        let (n, storage, traffic) = (shares.parts.len(), size(shares.storage_gb), size(shares.traffic_gb));
        lines.push((
            "parts",
            format!("{n}: the shared folder holds at most {storage}, and carries {traffic} of activations"),
        ));
    }
    lines.retain(|(name, text)| !(name.is_empty() && text.is_empty()));
    lines.extend(plan.notes.iter().map(|note| ("note", note.clone())));
    labelled_list(&lines, LABEL_WIDTH, columns)
}

fn score_lines(plan: &Estimate) -> String {
    let lines = count(plan.score_lines);
    match plan.score_lines_most > plan.score_lines {
        false => lines,
        true => {
            let most = count(plan.score_lines_most);
            format!("{lines}, with more for each feature that is skipped; at most {most}")
        }
    }
}

fn requests(plan: &Estimate) -> String {
    requests_text([plan.llm_requests, plan.llm_tokens_in, plan.llm_tokens_out])
}

/// The cost of all language models, and those whose prices are unknown.
fn cost(plan: &Estimate) -> String {
    let mut unknown: Vec<&str> = Vec::new();
    for planned in plan.llm.iter().filter(|planned| planned.dollars.is_none()) {
        if !unknown.contains(&planned.who.model.as_str()) {
            unknown.push(&planned.who.model);
        }
    }
    let unknown = (!unknown.is_empty()).then(|| format!("unknown for {}", unknown.join(", ")));
    let known = plan.llm.iter().any(|planned| planned.dollars.is_some());
    let known = known.then(|| format!("at most {}", dollars_text(Some(plan.usd))));
    known.into_iter().chain(unknown).collect::<Vec<_>>().join("; ")
}

/// `12 MB`, `1.3 GB`.
pub fn size(gigabytes: f64) -> String {
    let megabytes = gigabytes * 1000.0;
    match megabytes {
        ..999.5 => format!("{:.0} MB", megabytes.max(1.0)),
        ..99_950.0 => format!("{gigabytes:.1} GB"),
        _ => format!("{gigabytes:.0} GB"),
    }
}

/// A busy machine takes at least this multiple of the time of a free one to be told.
const NOTABLY_LONGER: f64 = 1.15;

fn time(plan: &Estimate) -> String {
    let Some(minutes) = plan.minutes else { return "unknown: see below".into() };
    let threads = format!("{} thread{}", plan.threads, if plan.threads == 1 { "" } else { "s" });
    let device = if plan.device == "cpu" { String::new() } else { format!(" and {}", plan.device) };
    let free = format!("about {} on {threads}{device}", time_text(minutes));
    let busy = plan.minutes_at_present_load.filter(|busy| *busy > NOTABLY_LONGER * minutes);
    match busy {
        Some(busy) => format!("{free}; about {} if the machine stays as busy as now", time_text(busy)),
        None => free,
    }
}

/// Least share of the time of a part that is shown.
const SHOWN_SHARE: f64 = 0.03;

/// The parts that take longest, as shares: `harvest 41 %, steps 20 %`.
fn parts(plan: &Estimate) -> String {
    let all: f64 = plan.parts.iter().map(|part| part.seconds).sum();
    let mut parts: Vec<_> = plan.parts.iter().filter(|part| part.seconds > SHOWN_SHARE * all).collect();
    parts.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let shown = parts.iter().map(|part| format!("{} {:.0} %", part.work.words(), 100.0 * part.seconds / all));
    shown.collect::<Vec<_>>().join(", ")
}

/// One line for each part.
fn shares_table(shares: &PlannedShares) -> Grid {
    let mut grid = Grid::new(vec![
        Column::text("part"),
        Column::text("rows"),
        Column::text("hook points").drops(0),
        Column::text("time"),
        Column::text("writes").drops(2),
        Column::text("reads").drops(1),
    ]);
    for share in &shares.parts {
        let PlannedShare { part, rows, hook_points, minutes, writes_gb, reads_gb } = share;
        let size_of = |gigabytes: f64| if gigabytes > 0.0 { size(gigabytes) } else { "nothing".into() };
        grid.row(vec![
            part.to_string(),
            count(*rows),
            count(*hook_points),
            minutes.map_or("unknown".into(), |minutes| format!("about {}", time_text(minutes))),
            size_of(*writes_gb),
            size_of(*reads_gb),
        ]);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Planned, PlannedPart, Step, Who, Work};
    use crate::subject::Prefix;

    fn estimate() -> Estimate {
        Estimate {
            suite: "s".into(),
            subject: "embedded".into(),
            bos: Prefix::default(),
            hooks: vec!["blocks.0.hook_resid_post".into()],
            rows: vec!["topk".into()],
            fit_tokens: 60_000,
            evaluate_tokens: 96_000,
            features: 12,
            score_lines: 84,
            score_lines_most: 84,
            llm_requests: 0,
            llm_tokens_in: 0,
            llm_tokens_out: 0,
            usd: -0.0,
            llm: Vec::new(),
            disk_gb: 0.07,
            run_folder_gb: 0.0234,
            memory_gb: 1.25,
            minutes: Some(1.0),
            minutes_at_present_load: Some(3.0),
            cpu_share: Some(0.33),
            threads: 2,
            device: "cpu".into(),
            parts: vec![
                PlannedPart { work: Work::Text, seconds: 1.0 },
                PlannedPart { work: Work::Harvest, seconds: 75.0 },
                PlannedPart { work: Work::Steps, seconds: 24.0 },
            ],
            smallest_difference: Some(0.289),
            notes: Vec::new(),
            shares: None,
        }
    }

    fn planned(model: &str, dollars: Option<f64>) -> Planned {
        Planned {
            who: Who { step: Step::Judge, name: "detection".into(), model: model.into() },
            requests: 1200,
            tokens_in: 2_000_000,
            tokens_out: 30_000,
            dollars,
            minutes: 1.0,
            exact_tokens: true,
            longest: 100,
            context_tokens: None,
        }
    }

    #[test]
    fn an_offline_plan_speaks_of_no_dollars() {
        let shown = text(&estimate(), 120);
        assert!(shown.contains("no language model") && !shown.contains('$'), "{shown}");
        for line in [
            "score lines         84\n",
            "disk                23 MB in the run folder, 70 MB for activations meanwhile",
            "memory              about 1.2 GB",
            "time                about 60 s on 2 threads; about 3 min if the machine stays as busy as now",
            "harvesting 75 %, training 24 %\n",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
        let free = Estimate { minutes_at_present_load: Some(1.05), threads: 1, ..estimate() };
        assert!(text(&free, 120).contains("about 60 s on 1 thread\n"));
        let unmeasured = Estimate { minutes: None, parts: Vec::new(), ..estimate() };
        assert!(text(&unmeasured, 120).contains("time                unknown: see below\n"));
        let skipped = Estimate { score_lines_most: 3584, device: "cuda:0".into(), ..estimate() };
        let shown = text(&skipped, 120);
        assert!(shown.contains("84, with more for each feature that is skipped; at most 3,584"), "{shown}");
        assert!(shown.contains("on 2 threads and cuda:0"), "{shown}");
    }

    #[test]
    fn the_cost_says_what_is_unknown() {
        let with = |llm: Vec<Planned>| {
            let usd = llm.iter().filter_map(|planned| planned.dollars).sum();
            let llm_requests = llm.iter().map(|planned| planned.requests).sum();
            let plan = Estimate { llm, usd, llm_requests, llm_tokens_in: 2_000_000, ..estimate() };
            (requests(&plan), cost(&plan))
        };
        let (requests, all_known) = with(vec![planned("a", Some(1.0)), planned("b", Some(0.5))]);
        assert_eq!(requests, "at most 2,400 (2,000,000 tokens in, 0 out)");
        assert_eq!(all_known, "at most $1.50");
        let (_, some) = with(vec![planned("a", Some(1.0)), planned("b", None), planned("b", None)]);
        assert_eq!(some, "at most $1.00; unknown for b");
        assert_eq!(with(vec![planned("b", None)]).1, "unknown for b");
        assert_eq!(with(vec![planned("a", Some(-0.0))]).1, "at most $0.00");
    }

    #[test]
    fn sizes_have_the_unit_that_suits_them() {
        let shown = [0.0000001, 0.0234, 0.9999, 1.25, 640.2].map(size);
        assert_eq!(shown, ["1 MB", "23 MB", "1.0 GB", "1.2 GB", "640 GB"]);
    }
}
