//! What can be typed, and the environment. Nothing else reads environment variables.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::DeviceName;
use crate::llm::Secret;
use crate::report::{Ink, Look, RenderOptions};
use crate::subject::{Bos, Processing};

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
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Flags that mean the same everywhere.
    #[command(flatten)]
    pub common: Common,
}

/// Flags that mean the same everywhere.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Machine-readable result on stdout, nothing else there.
    #[arg(long, global = true)]
    pub json: bool,
    /// Say nothing but results and errors.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// How progress is shown on stderr.
    #[arg(long, global = true, value_enum, default_value_t = ProgressKind::Auto)]
    pub progress: ProgressKind,
    /// Threads to compute with; the result does not depend on it. Default: all cores.
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<usize>,
    /// Any attempt to use the network is an error that names what was wanted.
    #[arg(long, global = true)]
    pub offline: bool,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressKind {
    /// Bars on a terminal, lines elsewhere.
    Auto,
    /// A line every few seconds: how far, how fast, how long still.
    Plain,
    /// One JSON object a line.
    Json,
    /// Nothing.
    None,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run every stage of a suite, resuming what is already done; ends with the table and where to look next.
    Run(RunArgs),
    /// Say what `run` would do, without doing it.
    Plan(SuiteArgs),
    /// Read and check a suite file; every problem at once.
    Check(SuiteArgs),
    /// Draw tables, charts and pages again from a run folder alone.
    Report {
        /// A run folder, `results/NAME`.
        run: PathBuf,
        /// Draw these charts alone, without tables and pages; `all`: everything.
        #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = RenderOptions::ALL)]
        #[arg(value_parser = PossibleValuesParser::new(chart_names()))]
        charts: Vec<String>,
    },
    /// Compare two runs cell by cell: differences with intervals and verdicts.
    Compare {
        /// The first run folder.
        run_a: PathBuf,
        /// The second; differences are second minus first.
        run_b: PathBuf,
        /// Every scorer and the controls, not the two main scores alone.
        #[arg(long)]
        all: bool,
    },
    /// Accept runs of one suite with different seeds: what `regress` holds later runs against.
    Accept {
        /// Run folders, at least five.
        #[arg(required = true)]
        runs: Vec<PathBuf>,
        /// The file to write, `results/accepted/NAME.json`.
        #[arg(long, value_name = "FILE")]
        into: PathBuf,
    },
    /// The nightly gate: exit code 0 when nothing is worse, 7 when something is.
    Regress {
        /// The run folder.
        run: PathBuf,
        /// What `accept` wrote.
        #[arg(long, value_name = "FILE")]
        against: PathBuf,
        /// Also show what does not fail the gate: the other scores and every cell.
        #[arg(long)]
        all: bool,
        /// Append the result as Markdown to this file, a CI job's summary say.
        #[arg(long, value_name = "FILE")]
        summary: Option<PathBuf>,
        /// Write the result as JUnit XML.
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Show a feature's evidence in the terminal, or list the features.
    Inspect(InspectArgs),
    /// Write activations of a model at hook points to a safetensors file.
    Harvest(HarvestArgs),
    /// What the cache holds and how large it is; `--clean` removes by kind or age.
    Cache {
        /// Remove entries: `all`, a kind (`hub`, `activations`), or an age such as `30d`.
        #[arg(long, value_name = "WHAT")]
        clean: Option<String>,
    },
    /// Threads, instruction set, memory, disk, cache, keys and models of this machine; with MODEL, what that model is
    /// and what its tokenizer puts in front of texts.
    Doctor {
        /// Model folder, GGUF file, hub id, or `embedded`.
        model: Option<String>,
    },
    /// Print completions for a shell: `autointerp completions bash`.
    #[command(hide = true)]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, of the program or of one verb: `autointerp man run | man -l -`.
    #[command(hide = true)]
    Man {
        /// A verb; without one, the program's own page.
        verb: Option<String>,
    },
    /// Time one path on data that is handed in: what `tests/bench` drives. A JSON object on the first line of
    /// stdin says which, every further line is one turn, and each is answered by one line.
    #[command(hide = true)]
    Bench {
        /// Where to train and harvest.
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
        /// Steps of training; the recipe's own number by default.
        #[arg(long)]
        steps: Option<usize>,
    },
}

/// What `--charts` takes.
fn processing(name: &str) -> Result<Processing, String> {
    let named = Processing::NAMED.into_iter().find(|(known, _)| *known == name);
    let known = Processing::NAMED.map(|(known, _)| format!("`{known}`")).join(", ");
    named.map(|(_, processing)| processing).ok_or_else(|| format!("expected one of {known}"))
}

fn chart_names() -> impl Iterator<Item = &'static str> {
    std::iter::once(RenderOptions::ALL).chain(RenderOptions::chart_names())
}

/// A suite and its overrides.
#[derive(Debug, Clone, Args)]
pub struct SuiteArgs {
    /// The suite file.
    pub suite: PathBuf,
    /// Override one field of the suite, `corpus.fit_tokens=100000`; checked like the file.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// The suite's seed.
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Score at most this many features per cell.
    #[arg(long, value_name = "N")]
    pub limit_features: Option<usize>,
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The suite and its overrides.
    #[command(flatten)]
    pub suite: SuiteArgs,
    /// Run folder; default `results/NAME`.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Ignore stored stages.
    #[arg(long)]
    pub fresh: bool,
    /// Where the subject model runs and autoencoders are trained: `cpu`, `cuda`, or `cuda:N` for the N-th GPU.
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub device: DeviceName,
    /// Same as `plan`.
    #[arg(long)]
    pub dry_run: bool,
    /// Stop before spending more than this many dollars on language models.
    #[arg(long, value_name = "X")]
    pub budget_usd: Option<f64>,
}

/// `inspect`.
#[derive(Debug, Clone, Args)]
pub struct InspectArgs {
    /// A run folder, `results/NAME`.
    pub run: PathBuf,
    /// `HOOK/METHOD/FEATURE`, for example `blocks.2.hook_resid_post/topk/17`; a part of it lists what matches.
    pub feature: Option<String>,
    /// List highest first by this score; features without it come last.
    #[arg(long, value_name = "SCORER")]
    pub sort: Option<String>,
    /// List lowest first: by the suite's primary score, or by `--sort`.
    #[arg(long)]
    pub worst: bool,
    /// List at most this many.
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// `harvest`.
#[derive(Debug, Clone, Args)]
pub struct HarvestArgs {
    /// Model folder, hub id, or `embedded`.
    #[arg(long)]
    pub model: String,
    /// Commit, tag or branch of a hub id.
    #[arg(long)]
    pub revision: Option<String>,
    /// What TransformerLens does to the weights first: `center_writing_weights`, `fold_ln`; may be given twice.
    #[arg(long, value_name = "NAME", value_parser = processing)]
    pub processing: Vec<Processing>,
    /// Round both factors of products inside the model's blocks to bf16 where the processor has such products.
    #[arg(long)]
    pub half_products: bool,
    /// JSON list of equally long lists of token ids; needs no tokenizer.
    #[arg(long, value_name = "FILE", conflicts_with = "text", required_unless_present = "text")]
    pub token_ids: Option<PathBuf>,
    /// UTF-8 text, cut into whole contexts of the model (one shorter sequence if there is less).
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Tokens in front of every sequence of `--text`: `auto` what the model's tokenizer puts there, `always` its BOS,
    /// `never` nothing.
    #[arg(long, value_name = "auto|always|never", default_value_t)]
    pub bos: Bos,
    /// Hook points, separated by commas; `*` and `{0,2}` as in a suite.
    #[arg(long, value_name = "H1,H2,…")]
    pub hooks: String,
    /// The safetensors file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Where the model runs: `cpu`, `cuda`, or `cuda:N` for the N-th GPU.
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub device: DeviceName,
    /// Also write the logits at every position.
    #[arg(long)]
    pub logits: bool,
}

/// What the environment says. It chooses where, never what.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Cache folder: `AUTOINTERP_CACHE`, else the platform's.
    pub cache: PathBuf,
    /// `HF_ENDPOINT`.
    pub hub_endpoint: Option<String>,
    /// `HF_TOKEN`, or the token file under `HF_HOME`.
    pub hub_token: Option<String>,
    /// The folder `hub` below `HF_HOME`, or below its default.
    pub hub_shared: Option<PathBuf>,
    /// What stdout can show.
    pub look: Look,
    /// `OPENAI_BASE_URL`.
    pub openai_base_url: Option<String>,
}

/// Columns where nothing says how wide the output is.
const USUAL_WIDTH: usize = 100;

/// Fewer columns than this are taken for a mistake.
const LEAST_WIDTH: usize = 20;

/// The key that a variable holds, for the language model of a suite that names it.
pub fn key(variable: &str) -> Option<Secret> {
    Secret::new(&std::env::var(variable).ok()?)
}

impl Environment {
    /// Reads the environment once.
    pub fn read() -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = var("HOME").or_else(|| var("USERPROFILE")).map(PathBuf::from);
        let platform = || {
            if cfg!(target_os = "macos") {
                home.clone().map(|home| home.join("Library/Caches"))
            } else if cfg!(windows) {
                var("LOCALAPPDATA").map(PathBuf::from)
            } else {
                var("XDG_CACHE_HOME")
                    .map(PathBuf::from)
                    .or_else(|| home.clone().map(|home| home.join(".cache")))
            }
        };
        let cache = var("AUTOINTERP_CACHE")
            .map(PathBuf::from)
            .unwrap_or_else(|| platform().unwrap_or_else(std::env::temp_dir).join("autointerp"));
        let hf_home =
            var("HF_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".cache/huggingface")));
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
            look: look(&var),
            openai_base_url: var("OPENAI_BASE_URL"),
        }
    }
}

/// What stdout can show: `COLUMNS` before the terminal's own width.
fn look(var: &dyn Fn(&str) -> Option<String>) -> Look {
    let out = std::io::stdout();
    let measured = || terminal_size::terminal_size_of(&out).map(|(width, _)| usize::from(width.0));
    let width = var("COLUMNS").and_then(|columns| columns.parse().ok()).or_else(measured);
    Look {
        width: width.filter(|width| *width >= LEAST_WIDTH).unwrap_or(USUAL_WIDTH),
        ink: ink(var, out.is_terminal()),
    }
}

/// Colours, by the conventions that terminals and programs share: `NO_COLOR` forbids them, only a terminal gets
/// them unless `CLICOLOR_FORCE` is set, `COLORTERM` and `TERM` say how many there are.
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
