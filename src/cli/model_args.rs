//! Arguments of the verbs that run a model or a dictionary outside a suite: `harvest`, `encode`, `steer` and `trace`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use strum::VariantNames;

use crate::base::DeviceName;
use crate::dictionary::{FileFormat, FileParams, ThresholdUnits};
use crate::subject::{Bos, Processing};

fn processing(name: &str) -> Result<Processing, String> {
    let named = Processing::NAMED.into_iter().find(|(known, _)| *known == name);
    let known = Processing::NAMED.map(|(known, _)| format!("`{known}`")).join(", ");
    named.map(|(_, processing)| processing).ok_or_else(|| format!("expected one of {known}"))
}

fn threshold_units(name: &str) -> Result<ThresholdUnits, String> {
    serde_json::from_value(name.into()).map_err(|_| "expected `scaled` or `stored`".into())
}

/// How far a code is moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Strength {
    /// A multiple of the feature's maximum activation: `10x`.
    TimesMax(f64),
    /// A code: `12.5`.
    Code(f64),
}

fn number(text: &str) -> Result<f64, String> {
    let finite = text.parse().ok().filter(|value: &f64| (*value as f32).is_finite());
    finite.ok_or_else(|| "expected a number".into())
}

fn strength(text: &str) -> Result<Strength, String> {
    let parsed = match text.strip_suffix('x') {
        Some(times) => number(times).map(Strength::TimesMax),
        None => number(text).map(Strength::Code),
    };
    parsed.map_err(|_| {
        "expected a code such as `12.5`, or a multiple of the maximum activation such as `10x`".into()
    })
}

fn temperature(text: &str) -> Result<f64, String> {
    number(text).ok().filter(|value| *value >= 0.0).ok_or_else(|| "expected a number of at least 0".into())
}

#[derive(Debug, Clone, Args)]
pub struct SteerArgs {
    /// A run folder, `results/NAME`.
    pub run: PathBuf,
    /// `HOOK/METHOD/FEATURE`, for example `blocks.2.hook_resid_post/topk/17`.
    pub feature: String,
    /// The text to continue.
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// Set the feature's code to a value (`12.5`) or to a multiple of its maximum activation (`10x`), at every position
    /// of prompt and written text. Default: `10x`.
    #[arg(long, value_name = "V|Mx", value_parser = strength, allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["add", "scale"])]
    pub clamp: Option<Strength>,
    /// Add this to the feature's code at every position: a value, or a multiple of its maximum activation.
    #[arg(long, value_name = "V|Mx", value_parser = strength, allow_hyphen_values = true, conflicts_with = "scale")]
    pub add: Option<Strength>,
    /// Multiply the feature's code by this at every position; 0 removes it.
    #[arg(long, value_name = "F", value_parser = number, allow_hyphen_values = true)]
    pub scale: Option<f64>,
    /// Tokens to write of each text.
    #[arg(long, value_name = "N", default_value_t = 60)]
    pub tokens: usize,
    /// Samples, with the seeds N, N + 1 and so on. Default: 3; 1 at temperature 0.
    #[arg(long, value_name = "N")]
    pub samples: Option<usize>,
    /// Temperature of the draws; 0 takes the likeliest token.
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = temperature)]
    #[arg(allow_negative_numbers = true)]
    pub temperature: f64,
    /// First seed of the draws of tokens and of random directions.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Where the run's model lies now: a folder, a GGUF file or a hub id. Default: the place that the suite gave.
    #[arg(long)]
    pub model: Option<String>,
    /// Device of the model: `cpu`, `cuda`, or `cuda:N` for the N-th GPU.
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub device: DeviceName,
}

#[derive(Debug, Clone, Args)]
pub struct HarvestArgs {
    /// Model folder, hub id, or `embedded`.
    #[arg(long)]
    pub model: String,
    /// Commit, tag or branch of a hub id.
    #[arg(long)]
    pub revision: Option<String>,
    /// Process the weights as TransformerLens does: `center_writing_weights`, `fold_ln`. May be given twice.
    #[arg(long, value_name = "NAME", value_parser = processing)]
    pub processing: Vec<Processing>,
    /// Compute matrix products inside the model's blocks in bf16 if the processor supports it.
    #[arg(long)]
    pub half_products: bool,
    /// JSON list of equally long lists of token ids. Needs no tokenizer.
    #[arg(long, value_name = "FILE", conflicts_with = "text", required_unless_present = "text")]
    pub token_ids: Option<PathBuf>,
    /// UTF-8 text, cut into whole contexts of the model. A shorter text gives one shorter sequence.
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Tokens in front of every sequence of `--text`. `auto`: the tokenizer's own prefix; `always`: BOS; `never`:
    /// none.
    #[arg(long, value_name = "auto|always|never", default_value_t)]
    pub bos: Bos,
    /// Hook points, separated by commas. `*` and `{0,2}` work as in a suite.
    #[arg(long, value_name = "H1,H2,…")]
    pub hooks: String,
    /// The safetensors file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Device of the model: `cpu`, `cuda`, or `cuda:N` for the N-th GPU.
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub device: DeviceName,
    /// Also write the logits at every position.
    #[arg(long)]
    pub logits: bool,
}

#[derive(Debug, Clone, Args)]
pub struct EncodeArgs {
    /// The dictionary: a folder, a file, or `hub:OWNER/NAME/FOLDER@REVISION`.
    #[arg(long, value_name = "PATH")]
    pub dictionary: PathBuf,
    /// Program that wrote it. Default: recognised by its files.
    #[arg(long, value_name = "FORMAT", value_parser = PossibleValuesParser::new(FileFormat::VARIANTS))]
    pub format: Option<String>,
    /// Unknown settings or tensors to leave out, separated by commas.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Factor on activations during training, for files that scaled them and do not hold the factor.
    #[arg(long, value_name = "X")]
    pub input_scale: Option<f64>,
    /// Number of codes that are kept, for files that do not hold it.
    #[arg(long, value_name = "N")]
    pub k: Option<usize>,
    /// Units of the thresholds of Llama Scope: `scaled` by the factor on inputs, or as `stored`.
    #[arg(long, value_name = "scaled|stored", value_parser = threshold_units)]
    pub threshold: Option<ThresholdUnits>,
    /// Which dictionary, where one file holds several: its hook point.
    #[arg(long, value_name = "HOOK")]
    pub part: Option<String>,
    /// Activations: a file of tensors with one `[rows, width]`. More dimensions in front are flattened.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["model", "text"], required_unless_present = "model")]
    pub input: Option<PathBuf>,
    /// Name of the tensor in `--input`.
    #[arg(long, value_name = "NAME", default_value = "x")]
    pub tensor: String,
    /// Model folder, hub id, or `embedded`, whose activations are encoded.
    #[arg(long, requires = "text")]
    pub model: Option<String>,
    /// Commit, tag or branch of a hub id.
    #[arg(long)]
    pub revision: Option<String>,
    /// Process the weights as TransformerLens does: `center_writing_weights`, `fold_ln`. May be given twice.
    #[arg(long, value_name = "NAME", value_parser = processing)]
    pub processing: Vec<Processing>,
    /// UTF-8 text for `--model`, cut into whole contexts.
    #[arg(long, value_name = "FILE", requires = "model")]
    pub text: Option<PathBuf>,
    /// Tokens in front of every sequence of `--text`.
    #[arg(long, value_name = "auto|always|never", default_value_t)]
    pub bos: Bos,
    /// Hook point of the activations. Default: the one that the dictionary names.
    #[arg(long, value_name = "HOOK")]
    pub hook: Option<String>,
    /// Write `indices` [2, entries] and `values` of non-zero codes instead of all codes.
    #[arg(long)]
    pub sparse: bool,
    /// The safetensors file to write.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Device of the model: `cpu`, `cuda`, or `cuda:N` for the N-th GPU.
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub device: DeviceName,
}

impl EncodeArgs {
    /// The dictionary as a suite would describe it.
    pub fn dictionary(&self) -> FileParams {
        FileParams {
            format: self.format.as_deref().and_then(|name| name.parse().ok()),
            ignore: self.ignore.clone(),
            input_scale: self.input_scale,
            k: self.k,
            threshold: self.threshold,
            part: self.part.clone(),
            ..FileParams::at(self.dictionary.clone())
        }
    }
}

#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// A run folder, `results/NAME`, with dictionaries at several hook points.
    pub run: PathBuf,
    /// `HOOK/METHOD/FEATURE`, for example `blocks.2.hook_resid_post/topk/17`.
    pub feature: String,
    /// Steps back: causes, their causes, and so on, each at the nearest earlier hook point.
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub depth: usize,
    /// Keep this many causes of each feature: those with the largest effects.
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub top: usize,
    /// Measure on this many fragments of each feature, with at least half of its largest activation where there are
    /// enough.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub fragments: usize,
    /// Ablate this many earlier features of each feature: those with the largest attributions by the gradient.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_exact: usize,
    /// Search causes among this dictionary's features. May be given several times. Default: the feature's own method.
    #[arg(long, value_name = "METHOD")]
    pub method: Vec<String>,
    /// Folder for trace.json, trace.dot, trace.svg and index.html. Default: `RUN/traces/HOOK--METHOD--FEATURE`.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Where the run's model lies now: a folder, a GGUF file or a hub id. Default: the place that the suite gave.
    #[arg(long)]
    pub model: Option<String>,
    /// Device of the model: `cpu`, `cuda`, or `cuda:N` for the N-th GPU.
    #[arg(long, value_name = "WHERE", default_value_t)]
    pub device: DeviceName,
}
