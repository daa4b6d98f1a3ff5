//! Command-line arguments and environment variables. No other file reads the environment.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::{DeviceName, Program};
use crate::export::Form;
use crate::llm::Secret;
use crate::remote::Settings;
use crate::report::{Ink, Look, RenderOptions};
use crate::run::Part;

pub use super::init::InitArgs;
pub use super::list::What;
pub use super::model_args::{EncodeArgs, HarvestArgs, SteerArgs, TraceArgs};
pub use super::scale::ScaleArgs;
pub use super::submit::SubmitArgs;

/// Which decomposition of a language model's activations can a person understand?
#[derive(Debug, Parser)]
#[command(
    name = "autointerp",
    bin_name = "autointerp",
    version,
    about,
    max_term_width = 100,
    disable_help_subcommand = true
)]
#[command(
    after_help = "Exit codes: 0 done · 1 a bug · 2 bad arguments or suite · 3 too many features failed · \
4 budget reached · 5 LLM endpoint failed · 6 an input is missing, or the network was needed and is off · \
7 `regress` found something worse · 8 input data is invalid · 9 cannot write · 130 interrupted"
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub common: Common,
}

/// Flags of every verb.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Print the result as JSON on stdout, and nothing else.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print only results and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// How to show progress on stderr.
    #[arg(long, global = true, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
    /// Number of threads. Results do not depend on it. Default: all cores.
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Do not use the network. An error names what would be fetched.
    #[arg(long, global = true)]
    pub offline: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// Bars on a terminal, else lines.
    Auto,
    /// A line every few seconds: progress, speed, time left.
    Plain,
    /// One JSON object per line.
    Json,
    /// No progress.
    None,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run every stage of a suite. Finished stages are reused. Prints the table of results and next commands.
    Run(RunArgs),
    /// Show what `run` would do and take, without running it. Times each stage on a little text.
    Plan(PlanVerbArgs),
    /// Run a suite in parts on a cluster: a Slurm array job or a Kubernetes Job, and a job that writes the summary.
    Submit(SubmitArgs),
    /// Check a suite file and list all problems.
    Check(SuiteArgs),
    /// Write a commented suite for a model, a text and dictionaries trained elsewhere.
    Init(InitArgs),
    /// List what a suite can name: methods, scorers, explainers, simulators, formats, families, hook points of a model.
    #[command(disable_help_subcommand = true)]
    List {
        #[command(subcommand)]
        what: What,
    },
    /// Draw tables, charts and pages again from a run folder.
    Report {
        /// A run folder, `results/NAME`.
        run: PathBuf,
        /// Draw only these charts, without tables and pages. `all` draws everything.
        #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = RenderOptions::ALL)]
        #[arg(value_parser = PossibleValuesParser::new(chart_names()))]
        charts: Vec<String>,
        /// Check that every file holds what the run wrote, and draw nothing. Exit code 8 if one does not.
        #[arg(long, conflicts_with = "charts")]
        verify: bool,
        /// Print how to cite the run as a BibTeX entry, and draw nothing.
        #[arg(long, conflicts_with_all = ["charts", "verify"])]
        cite: bool,
    },
    /// Compare two runs cell by cell: differences, intervals and verdicts.
    Compare {
        /// The first run folder.
        run_a: PathBuf,
        /// The second run folder. Differences are second minus first.
        run_b: PathBuf,
        /// Show every scorer and the controls, not only the two main scores.
        #[arg(long)]
        all: bool,
    },
    /// Accept runs of one suite with different seeds, so that `regress` can test later runs against them.
    Accept {
        /// Run folders, at least five.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// The file to write, `results/accepted/NAME.json`.
        #[arg(long, value_name = "FILE")]
        into: PathBuf,
    },
    /// Test a run against accepted runs (nightly gate). Exit code 7 if something is worse.
    Regress(RegressArgs),
    /// List features, or show the evidence of one feature.
    Inspect(InspectArgs),
    /// Continue a prompt with a feature changed, beside unsteered text and a random direction of the same size.
    Steer(SteerArgs),
    /// Find which earlier features, ablated one at a time, change a feature's activation, and their causes in turn.
    Trace(TraceArgs),
    /// Write activations of a model at hook points to a safetensors file.
    Harvest(HarvestArgs),
    /// Write codes and reconstructions of a dictionary of any known format to a safetensors file. Needs no suite.
    Encode(EncodeArgs),
    /// Write the dictionaries or results of a run in a form that another program reads.
    Export(ExportArgs),
    /// Show the content and size of the cache, or remove entries with `--clean`.
    Cache {
        /// Remove entries: `all`, a kind (`hub`, `activations`, `answers`, `remote`), or an age such as `30d`.
        #[arg(long, value_name = "WHAT")]
        clean: Option<String>,
        /// Check that every entry holds what was stored. Exit code 8 if one does not.
        #[arg(long, conflicts_with = "clean")]
        verify: bool,
    },
    /// Show what this machine has: threads, instruction set, memory, disk, cache, keys, models. With MODEL, also
    /// describe that model and its prefix tokens.
    Doctor {
        /// Model folder, GGUF file, hub id, or `embedded`.
        model: Option<String>,
    },
    /// Print completions for a shell: `autointerp completions bash`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of the program or of one verb: `autointerp man run | man -l -`.
    Man {
        /// A verb. Without it, the page of the program.
        verb: Option<String>,
    },
    /// Time one computation on given data; used by `tests/bench`. The first line of stdin describes the work as a
    /// JSON object. Every further line is one turn and gets one line as its answer.
    #[command(hide = true)]
    Bench {
        /// Device for training and harvesting.
        #[arg(long, value_name = "WHERE", default_value_t)]
        device: DeviceName,
    },
    /// Train the embedded subject model again from the project's own generator.
    #[cfg(feature = "train-embedded")]
    #[command(hide = true)]
    TrainEmbedded {
        /// Folder for config.json, model.safetensors, tokenizer.json and report.json.
        #[arg(long)]
        out: PathBuf,
        /// Training steps. Default: the number of the recipe.
        #[arg(long)]
        steps: Option<usize>,
    },
}

/// Values of `--charts`.
fn chart_names() -> impl Iterator<Item = &'static str> {
    std::iter::once(RenderOptions::ALL).chain(RenderOptions::chart_names())
}

/// Values of `--to`.
fn forms() -> impl Iterator<Item = PossibleValue> {
    Form::all().map(|form| PossibleValue::new(form.name).help(form.words))
}

/// A suite and its overrides.
#[derive(Debug, Clone, Args)]
pub struct SuiteArgs {
    /// The suite file.
    pub suite: PathBuf,
    /// Override one field of the suite, for example `corpus.fit_tokens=100000`.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Override the suite's seed.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Score at most this many features per cell.
    #[arg(long, value_name = "N")]
    pub limit_features: Option<usize>,
}

/// A suite, and where it runs.
#[derive(Debug, Clone, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub suite: SuiteArgs,
    /// Run folder, or an address in object storage: `s3://BUCKET/PREFIX`, `gs://…`, `az://…`. Default: `results/NAME`.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Device of the subject model and of training: `cpu`, `cuda`, or `cuda:N` for the N-th GPU.
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub device: DeviceName,
}

/// A suite, where it runs, and machines that are not here.
#[derive(Debug, Clone, Args)]
pub struct PlanVerbArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    #[command(flatten)]
    pub scale: ScaleArgs,
}

#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Compute every stage again, ignoring stored results.
    #[arg(long)]
    pub fresh: bool,
    /// Same as `plan`.
    #[arg(long)]
    pub dry_run: bool,
    /// Do only part K of N, beside the other parts, on this machine or on others that share the run folder. The parts
    /// divide the rows by planned cost; each harvests, trains and asks only what no other part has, and they take over
    /// the rows of a part that died. Give each the same command except K, with the same `--budget-usd`, which holds for all
    /// of them together. When all have ended, the same command without `--part` writes the results.
    #[arg(long, value_name = "K/N", conflicts_with_all = ["fresh", "dry_run"])]
    pub part: Option<Part>,
    /// Stop before language models cost more than this many dollars.
    #[arg(long, value_name = "X")]
    pub budget_usd: Option<f64>,
}

#[derive(Debug, Clone, Args)]
pub struct RegressArgs {
    /// The run folder.
    pub run: PathBuf,
    /// The file that `accept` wrote.
    #[arg(long, value_name = "FILE")]
    pub against: PathBuf,
    /// Also show what cannot fail the gate: the other scores and every cell.
    #[arg(long)]
    pub all: bool,
    /// Append the result as Markdown to this file, for example the summary of a CI job.
    #[arg(long, value_name = "FILE")]
    pub summary: Option<PathBuf>,
    /// Write the result as JUnit XML to this file.
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A run folder, `results/NAME`.
    pub run: PathBuf,
    /// `HOOK/METHOD/FEATURE`, for example `blocks.2.hook_resid_post/topk/17`. Whole parts of it, such as `topk` or
    /// `topk/17`, list all matches; `*` stands for any characters: `topk*`, `blocks.2.*/ica*`.
    pub feature: Option<String>,
    /// Sort by this score, highest first. Features without it come last.
    #[arg(long, value_name = "SCORER")]
    pub sort: Option<String>,
    /// Sort lowest first, by `--sort` or by the suite's primary score.
    #[arg(long)]
    pub worst: bool,
    /// List at most this many features.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// List the lines of this explainer, or of `all`. Default: the first explainer of the suite.
    #[arg(long, value_name = "NAME")]
    pub explainer: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub struct ExportArgs {
    /// A run folder, `results/NAME`.
    pub run: PathBuf,
    /// The form.
    #[arg(long, value_name = "FORM", value_parser = PossibleValuesParser::new(forms()))]
    pub to: String,
    /// Folder to write. An earlier export there is replaced. Default: `RUN/exports/FORM`.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Export only this method. May be given several times.
    #[arg(long, value_name = "METHOD")]
    pub method: Vec<String>,
    /// Export only this hook point. `*` and `{0,2}` work as in a suite. May be given several times.
    #[arg(long, value_name = "HOOK")]
    pub hook: Vec<String>,
}

/// Settings from the environment. They choose places, processes and appearance, never results.
#[derive(Debug, Clone)]
pub struct Env {
    /// Cache folder: `AUTOINTERP_CACHE`, else the default of the platform.
    pub cache: PathBuf,
    /// `HF_ENDPOINT`.
    pub hub_endpoint: Option<String>,
    /// `HF_TOKEN`, or the token file under `HF_HOME`.
    pub hub_token: Option<String>,
    /// The folder `hub` in `HF_HOME`, if it exists.
    pub hub_shared: Option<PathBuf>,
    /// Width and colours of stdout.
    pub look: Look,
    /// The same for lists, which are never cut where stdout is not a terminal: other programs read them.
    pub lists: Look,
    /// `OPENAI_BASE_URL`.
    pub openai_base_url: Option<String>,
    /// How to start this program again; none if that is unknown.
    pub program: Option<Program>,
    /// Settings of object storage: variables that begin with `AWS_`, `GOOGLE_` or `AZURE_`.
    pub object_storage: Settings,
}

/// Width of output that is not a terminal, in columns.
const DEFAULT_WIDTH: usize = 100;

/// A width that no line reaches. It leaves room to multiply.
const NOT_CUT: usize = usize::MAX / 1024;

/// A smaller width counts as wrong and is replaced by the default.
const MIN_WIDTH: usize = 20;

/// The API key in an environment variable.
pub fn key(variable: &str) -> Option<Secret> {
    Secret::new(&std::env::var(variable).ok()?)
}

impl Env {
    /// Reads the environment once. `program` starts this program again.
    pub fn read(program: Option<Program>) -> Self {
        // A path need not be UTF-8.
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = path("HOME").or_else(|| path("USERPROFILE"));
        let in_home = |folder: &str| home.as_ref().map(|home| home.join(folder));
        let platform = || {
            if cfg!(target_os = "macos") {
                in_home("Library/Caches")
            } else if cfg!(windows) {
                path("LOCALAPPDATA")
            } else {
                path("XDG_CACHE_HOME").or_else(|| in_home(".cache"))
            }
        };
        let cache = path("AUTOINTERP_CACHE")
            .unwrap_or_else(|| platform().unwrap_or_else(std::env::temp_dir).join("autointerp"));
        let hf_home = path("HF_HOME").or_else(|| in_home(".cache/huggingface"));
        let token_file = || {
            let text = std::fs::read_to_string(hf_home.as_ref()?.join("token")).ok()?;
            Some(text.trim().to_string()).filter(|token| !token.is_empty())
        };
        let hub_shared = hf_home.as_ref().map(|home| home.join("hub")).filter(|folder| folder.is_dir());
        Self {
            cache,
            hub_shared,
            hub_endpoint: var("HF_ENDPOINT"),
            hub_token: var("HF_TOKEN").or_else(token_file),
            look: stdout_look(),
            lists: Look { width: columns().unwrap_or(NOT_CUT), ..stdout_look() },
            openai_base_url: var("OPENAI_BASE_URL"),
            program,
            object_storage: Settings::new(
                std::env::vars_os()
                    .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
            ),
        }
    }
}

/// The value of an environment variable. Empty counts as not set.
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Width of stdout: `COLUMNS`, else the terminal's.
fn columns() -> Option<usize> {
    let measured = || terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| width.0.into());
    let width = var("COLUMNS").and_then(|columns| columns.parse().ok()).or_else(measured);
    width.filter(|width| *width >= MIN_WIDTH)
}

/// Width and colours of stdout.
pub fn stdout_look() -> Look {
    Look { width: columns().unwrap_or(DEFAULT_WIDTH), ink: ink(&var, std::io::stdout().is_terminal()) }
}

/// Colours by the usual conventions. `NO_COLOR` disables them, `CLICOLOR_FORCE` enables them without a terminal,
/// `COLORTERM` and `TERM` give their number.
fn ink(var: &dyn Fn(&str) -> Option<String>, is_terminal: bool) -> Ink {
    let forced = var("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    let term = var("TERM").unwrap_or_default();
    if var("NO_COLOR").is_some() || !(is_terminal || forced) || term == "dumb" {
        return Ink::None;
    }
    let depth = var("COLORTERM");
    let says_true = matches!(depth.as_deref(), Some("truecolor" | "24bit"));
    if says_true || term.ends_with("-direct") || var("WT_SESSION").is_some() {
        Ink::True
    } else if depth.is_some() || term.contains("256color") || forced {
        Ink::Palette
    } else {
        Ink::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_conventions() {
        let ink = |set: &[(&str, &str)], is_terminal| {
            let var =
                |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string());
            ink(&var, is_terminal)
        };
        let xterm = ("TERM", "xterm-256color");
        assert_eq!(ink(&[xterm], true), Ink::Palette);
        assert_eq!(ink(&[xterm], false), Ink::None);
        assert_eq!(ink(&[xterm, ("CLICOLOR_FORCE", "1")], false), Ink::Palette);
        assert_eq!(ink(&[xterm, ("CLICOLOR_FORCE", "0")], false), Ink::None);
        assert_eq!(ink(&[xterm, ("COLORTERM", "truecolor")], true), Ink::True);
        assert_eq!(ink(&[("TERM", "xterm-direct")], true), Ink::True);
        assert_eq!(ink(&[("WT_SESSION", "some id")], true), Ink::True);
        assert_eq!(ink(&[xterm, ("COLORTERM", "24bit"), ("NO_COLOR", "1")], true), Ink::None);
        assert_eq!(ink(&[("TERM", "dumb"), ("COLORTERM", "truecolor")], true), Ink::None);
        assert_eq!(ink(&[("TERM", "linux")], true), Ink::None);
        assert_eq!(ink(&[], true), Ink::None);
    }
}
