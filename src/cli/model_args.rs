//! Arguments of the verbs that run a model or a dictionary outside a suite: `harvest` and `encode`.

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
