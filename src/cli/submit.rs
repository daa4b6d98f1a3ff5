//! `submit`: writes job files that run a suite in parts on a cluster, and hands them to its scheduler.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::Serialize;

use super::args::{Common, Env, PlanArgs, key};
use super::progress::say;
use super::resume::{holds_key, shell_word};
use super::run::budget;
use super::{plan, print, print_json, setting};
use crate::base::{Program, write_atomic};
use crate::cluster::{self, Cluster, ClusterError, JobFile, Work};
use crate::llm::{ClientKind, LlmSpec, Secret};
use crate::report::Layout;
use crate::run::RunError;
use crate::suite::Suite;

/// Settings of the cluster that are read where no other file is named.
const CLUSTER: &str = "cluster.yaml";

/// The program in an image.
const IN_IMAGE: &str = "autointerp";

/// Longest text of a scheduler that a message repeats, in characters.
const SAID: usize = 1_000;

#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// The scheduler.
    #[arg(long, value_enum)]
    pub engine: Engine,
    /// Number of parts, each a job of its own.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub parts: u32,
    /// Partition, image, memory, GPUs and more; suites/README.md lists the fields. Default: `cluster.yaml`, if there is
    /// one in the current folder.
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
    /// Stop before language models cost more than this many dollars, all parts together.
    #[arg(long, value_name = "X")]
    pub budget_usd: Option<f64>,
    /// Print the job files; write and submit nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// A scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// An array job with `sbatch`, and a job behind it that writes the summary.
    Slurm,
    /// An Indexed Job with `kubectl`, and the manifest of a Job that writes the summary.
    Kubernetes,
}

/// Output of `submit --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Submitted {
    /// The scheduler.
    engine: Engine,
    /// Number of parts.
    parts: u32,
    /// The job files, parts first.
    files: Vec<Written>,
    /// What the scheduler calls the jobs: ids of Slurm, names of Kubernetes. Empty with `--dry-run`.
    jobs: Vec<String>,
    /// Commands that show the jobs, and those that are still to be run.
    next: Vec<String>,
    /// The page of results, once the summary is written.
    results: String,
}

/// A job file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Written {
    /// Its path.
    path: String,
    /// Its text.
    text: String,
}

pub fn submit(args: &SubmitArgs, common: &Common, env: &Env) -> Result<u8, RunError> {
    let suite = plan::load(&args.plan.suite)?;
    let cluster = read_cluster(args.cluster.as_deref())?;
    let out = plan::places_of_run(&suite, &args.plan, common, env).out;
    let folder = Layout::new(&out).jobs();
    let keys = key_variables(&suite);
    let files = job_files(args, common, env, &suite, &cluster, &out, &keys)?;
    refuse_keys(args, env, &keys, &files)?;
    if !common.quiet {
        missing_keys(args.engine, &cluster, &keys)
            .iter()
            .for_each(|warning| say(&format!("warning: {warning}")));
    }
    let written: Vec<Written> = files
        .into_iter()
        .map(|file| Written { path: folder.join(file.name).display().to_string(), text: file.text })
        .collect();
    let results = out.join("index.html").display().to_string();
    let mut done = Submitted {
        engine: args.engine,
        parts: args.parts,
        files: written,
        jobs: Vec::new(),
        next: Vec::new(),
        results,
    };
    if !args.dry_run {
        for file in &done.files {
            write_atomic(Path::new(&file.path), file.text.as_bytes())?;
        }
        match args.engine {
            Engine::Slurm => to_slurm(&mut done, &folder)?,
            Engine::Kubernetes => to_kubernetes(&mut done, &suite.name, &cluster, &folder)?,
        }
    }
    show(&done, args.dry_run, common)?;
    Ok(0)
}

/// The named file, the usual one if it exists, or else the defaults.
fn read_cluster(named: Option<&Path>) -> Result<Cluster, RunError> {
    let usual = Path::new(CLUSTER);
    let Some(path) = named.or(usual.exists().then_some(usual)) else { return Ok(Cluster::default()) };
    cluster::read(path)?.map_err(|problem| setting(&path.display().to_string(), problem))
}

/// Variables that hold keys of the suite's language models; none for models that need no key.
fn key_variables(suite: &Suite) -> Vec<String> {
    let needs_key = |llm: &&LlmSpec| {
        llm.client != ClientKind::Local && (llm.api_key_env.is_some() || llm.base_url.is_none())
    };
    let models = suite.pairs.iter().flat_map(|pair| pair.models());
    let mut names: Vec<String> = models.filter(needs_key).map(|llm| llm.key_variable().to_string()).collect();
    names.sort();
    names.dedup();
    names
}

fn job_files(
    args: &SubmitArgs,
    common: &Common,
    env: &Env,
    suite: &Suite,
    cluster: &Cluster,
    out: &Path,
    keys: &[String],
) -> Result<[JobFile; 2], RunError> {
    let text = |argument: &str, path: &Path| {
        path.to_str().map(str::to_string).ok_or_else(|| setting(argument, "is not UTF-8, and job files are"))
    };
    let file = &args.plan.suite.suite;
    let work = Work {
        suite: &suite.name,
        program: match (&cluster.program, args.engine) {
            (Some(program), _) => vec![program.clone()],
            (None, Engine::Slurm) => words_of(env.program.as_ref())?,
            (None, Engine::Kubernetes) => vec![IN_IMAGE.into()],
        },
        file: text("SUITE", file)?,
        out: text("--out", out)?,
        flags: flags(args, common)?,
        parts: args.parts,
    };
    let made = match args.engine {
        Engine::Slurm => {
            let absolute = |path: &Path| {
                std::path::absolute(path).map_err(|error| setting("the current folder", error.to_string()))
            };
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let jobs = absolute(&Layout::new(out).jobs())?;
            cluster::slurm_jobs(&work, cluster, &jobs, &absolute(Path::new("."))?, &keys)
        }
        Engine::Kubernetes => {
            let text = crate::base::read_to_string(file)?;
            cluster::kubernetes_jobs(&work, cluster, &text)
        }
    };
    made.map_err(|ClusterError { field, problem }| setting(&field, problem))
}

/// This program as a command line.
fn words_of(program: Option<&Program>) -> Result<Vec<String>, RunError> {
    let unknown = || setting("program", "is unknown here: give its path in `cluster.yaml`");
    let command = program.ok_or_else(unknown)?.command();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_str().map(str::to_string).ok_or_else(unknown)).collect()
}

/// Arguments that jobs are given as this command was.
fn flags(args: &SubmitArgs, common: &Common) -> Result<Vec<String>, RunError> {
    let plan = &args.plan;
    let mut flags = Vec::new();
    let mut add = |name: &str, value: String| flags.extend([name.to_string(), value]);
    plan.suite.set.iter().for_each(|change| add("--set", change.clone()));
    if let Some(seed) = plan.suite.seed {
        add("--seed", seed.to_string());
    }
    if let Some(limit) = plan.suite.limit_features {
        add("--limit-features", limit.to_string());
    }
    let device = plan.device.to_string();
    if device != "cpu" {
        add("--device", device);
    }
    if let Some(dollars) = args.budget_usd {
        budget(Some(dollars))?;
        add("--budget-usd", dollars.to_string());
    }
    if common.offline {
        flags.push("--offline".into());
    }
    Ok(flags)
}

/// Refuses a key in a job file: in `--set`, `before`, or the suite.
fn refuse_keys(args: &SubmitArgs, env: &Env, keys: &[String], files: &[JobFile]) -> Result<(), RunError> {
    const INSTEAD: &str = "and job files are no place for keys: name the environment variable that holds it, \
                           `api_key_env` in the suite";
    if args.plan.suite.set.iter().any(|change| holds_key(change)) {
        return Err(setting("--set", format!("holds what looks like a key, {INSTEAD}")));
    }
    let token = env.hub_token.as_deref().and_then(Secret::new);
    let known: Vec<Secret> = keys.iter().filter_map(|name| key(name)).chain(token).collect();
    match files.iter().find(|file| known.iter().any(|key| key.is_in(&file.text))) {
        Some(file) => Err(setting(file.name, format!("would hold a key of your environment, {INSTEAD}"))),
        None => Ok(()),
    }
}

/// Keys that jobs will lack.
fn missing_keys(engine: Engine, cluster: &Cluster, keys: &[String]) -> Vec<String> {
    let at = &cluster.kubernetes;
    let lacks = |name: &&String| match engine {
        Engine::Slurm => key(name).is_none(),
        Engine::Kubernetes => at.secrets.is_empty() && !at.keys.contains_key(*name),
    };
    let todo = match engine {
        Engine::Slurm => "is not set here, so the jobs will not have it",
        Engine::Kubernetes => {
            "comes from no secret: name one under `kubernetes.secrets` or `kubernetes.keys`"
        }
    };
    keys.iter().filter(lacks).map(|name| format!("`{name}` {todo}")).collect()
}

/// Submits the parts, and the summary behind them.
fn to_slurm(done: &mut Submitted, folder: &Path) -> Result<(), RunError> {
    let submit = |options: &[String], file: &Written, behind: Option<&str>| {
        let mut all = vec!["--parsable".to_string()];
        all.extend(options.iter().cloned());
        all.push(file.path.clone());
        let said = call("sbatch", &all, folder).map_err(|error| match (error, behind) {
            (RunError::Setting { field, problem }, Some(parts)) => RunError::Setting {
                field,
                problem: format!("{problem}; the parts are submitted as job {parts}"),
            },
            (error, _) => error,
        })?;
        // `ID`, or `ID;CLUSTER`.
        let id = said.trim().split(';').next().unwrap_or_default().to_string();
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_digit()) {
            return Err(setting("sbatch", format!("answered `{}`, expected the id of a job", said.trim())));
        }
        Ok(id)
    };
    let [of_parts, of_summary] = done.files.as_slice() else { return Ok(()) };
    let parts = submit(&[], of_parts, None)?;
    let summary = submit(&[format!("--dependency=afterany:{parts}")], of_summary, Some(&parts))?;
    let log = shell_word(folder.join("part-1.log").as_os_str());
    done.next = vec![
        format!("squeue --jobs={parts},{summary}"),
        format!("tail -f {log}"),
        format!("scancel {parts} {summary}"),
    ];
    done.jobs = vec![parts, summary];
    Ok(())
}

/// Applies the parts. The summary's manifest is applied by the user when they have ended, because Kubernetes starts no
/// Job behind another.
fn to_kubernetes(
    done: &mut Submitted,
    suite: &str,
    cluster: &Cluster,
    folder: &Path,
) -> Result<(), RunError> {
    let [of_parts, of_summary] = done.files.as_slice() else { return Ok(()) };
    let apply = |file: &Written| vec!["apply".to_string(), "-f".into(), file.path.clone()];
    let said = call("kubectl", &apply(of_parts), folder)?;
    let parts = cluster::parts_name(suite);
    let namespace =
        cluster.kubernetes.namespace.as_ref().map(|name| ["--namespace".to_string(), name.clone()]);
    let line = |arguments: Vec<String>| {
        let words = namespace.iter().flatten().cloned().chain(arguments);
        let words: Vec<String> = words.map(|word| shell_word(OsStr::new(&word))).collect();
        format!("kubectl {}", words.join(" "))
    };
    let again = line(cluster::apply_again(suite));
    if said.lines().any(|line| line.contains(&parts) && line.contains("unchanged")) {
        let problem = format!(
            "knows the Job `{parts}` already and started nothing. To run it again: {again}; then submit"
        );
        return Err(setting("kubectl", problem));
    }
    let pods = format!("--selector=job-name={parts}");
    done.next = vec![
        line(vec!["get".into(), "pods".into(), pods.clone()]),
        line(vec!["logs".into(), pods, "--follow".into(), "--prefix".into()]),
        format!("{} && {}", line(cluster::end_of_parts(suite)), line(apply(of_summary))),
    ];
    done.jobs = vec![parts];
    Ok(())
}

/// Runs a scheduler's program and returns what it says.
fn call(program: &'static str, arguments: &[String], files: &Path) -> Result<String, RunError> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|why| RunError::NoEngine { program, why, files: files.to_path_buf() })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SAID).collect();
    let problem =
        format!("refused ({}): {words}; the job files stay in `{}`", output.status, files.display());
    Err(setting(program, problem))
}

fn show(done: &Submitted, dry_run: bool, common: &Common) -> Result<(), RunError> {
    if common.json {
        return print_json(done);
    }
    if dry_run {
        let files = done.files.iter().map(|file| format!("# ---- {} ----\n{}", file.path, file.text));
        return print(&files.collect::<Vec<_>>().join("\n"));
    }
    let jobs = match (done.engine, done.jobs.as_slice()) {
        (Engine::Slurm, [parts, summary]) => {
            format!("{} parts as job {parts}, the summary as job {summary}", done.parts)
        }
        (_, jobs) => format!("{} parts as job {}", done.parts, jobs.join(", ")),
    };
    let files = done.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>().join(", ");
    let place = if done.engine == Engine::Kubernetes { " in the volume" } else { "" };
    print(&format!(
        "submitted: {jobs}\nfiles: {files}\nnext:\n  {}\nresults{place}, when the summary is written: {}",
        done.next.join("\n  "),
        done.results
    ))
}
