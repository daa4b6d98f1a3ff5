use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::activations::ActivationSet;
use crate::base::{Matrix, Stopwatch, read_to_string};

use super::affine::{Activation, AffineDictionary, Label, RowScale, Tensors};
use super::error::{ParamProblem, Problems};
use super::save::{NamedTensors, matrix};
use super::stated::Stated;
use super::{DictionaryError, DictionaryFit, FitContext, FitError, FitReport, Fitted, Kind};

/// Keys of SAELens configurations, of all its versions, that change no number of an encoding:
/// where a dictionary comes from, and how it was trained.
const HARMLESS: &[&str] = &[
    // Read by `Stated`, inside it as well.
    "metadata",
    "prepend_bos",
    "context_size",
    "exclude_special_tokens",
    "model_from_pretrained_kwargs",
    "dtype",
    "device",
    "model_name",
    "model_class_name",
    "hook_name",
    "hook_point",
    "hook_layer",
    "hook_point_layer",
    "hook_head_index",
    "hook_point_head_index",
    "hook_eval",
    "dataset_path",
    "dataset_trust_remote_code",
    "seqpos_slice",
    "neuronpedia_id",
    "sae_lens_version",
    "sae_lens_training_version",
    "sae_lens_train_version",
    "activation_fn_str",
    "activation_fn",
    "activation_fn_kwargs",
    "d_in",
    "d_sae",
    "architecture",
    "k",
    "apply_b_dec_to_input",
    "normalize_activations",
    "reshape_activations",
    "finetuning_scaling_factor",
    "rescale_acts_by_decoder_norm",
    "expansion_factor",
    "lr",
    "lr_scheduler_name",
    "lr_warm_up_steps",
    "l1_coefficient",
    "l1_warm_up_steps",
    "lp_norm",
    "train_batch_size",
    "train_batch_size_tokens",
    "training_tokens",
    "total_training_tokens",
    "n_batches_in_buffer",
    "store_batch_size",
    "store_batch_size_prompts",
    "b_dec_init_method",
    "dead_feature_window",
    "dead_feature_threshold",
    "feature_sampling_window",
    "use_ghost_grads",
    "seed",
    "is_dataset_tokenized",
    "use_cached_activations",
    "cached_activations_path",
    "from_pretrained_path",
    "log_to_wandb",
    "wandb_project",
    "wandb_id",
    "run_name",
    "checkpoint_path",
    "n_checkpoints",
    "noise_scale",
    "decoder_orthogonal_init",
    "decoder_heuristic_init",
    "init_encoder_as_decoder_transpose",
    "normalize_sae_decoder",
    "scale_sparsity_penalty_by_decoder_norm",
    "mse_loss_normalization",
    "adam_beta1",
    "adam_beta2",
    "tokens_per_buffer",
    "jumprelu_init_threshold",
    "jumprelu_bandwidth",
    "autocast",
    "autocast_lm",
    "compile_llm",
    "compile_sae",
    "verbose",
    "sae_set",
    "release",
    "id",
    "name",
    "aux_loss_coefficient",
    "decoder_init_norm",
];

/// Whose layout a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// A folder with `cfg.json` and `sae_weights.safetensors`.
    Saelens,
}

/// A dictionary trained elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileParams {
    /// The folder that holds it.
    pub path: PathBuf,
    /// Its layout.
    pub format: FileFormat,
    /// Settings in its configuration that are not known here and change no number.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Scale that training put on activations, for files saved with
    /// `normalize_activations: expected_average_only_in` and no `activation_scaler.json`; estimated
    /// from the fit split where it is not given.
    #[serde(default)]
    pub input_scale: Option<f64>,
}

/// Checked [`FileParams`].
#[derive(Debug, Clone)]
pub struct FileFit {
    params: FileParams,
}

impl FileParams {
    /// All problems at once. The file itself is read by the fit.
    pub fn check(&self) -> Result<FileFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        problems.require(!self.path.as_os_str().is_empty(), "path", || {
            "is empty; expected the folder that holds the dictionary".to_string()
        });
        if let Some(scale) = self.input_scale {
            problems.positive("input_scale", scale);
        }
        problems.finish(FileFit { params: self.clone() })
    }
}

impl DictionaryFit for FileFit {
    fn kind(&self) -> Kind {
        Kind::File
    }

    /// Reads the file; `set` says for which activations, and gives their mean norm where the file
    /// needs it.
    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        let started = Stopwatch::start();
        let reader = SaelensReader::open(&self.params)?;
        if reader.d_in != set.width() {
            return Err(FitError::DoesNotFit {
                method: context.method.to_string(),
                field: "path",
                got: format!("a dictionary of width {}", reader.d_in),
                expected: format!("activations at `{}` have width {}", set.hook(), set.width()),
            });
        }
        let mut notes = vec!["trained elsewhere".to_string()];
        let mut tensors = reader.tensors()?;
        if reader.scaled_in_training {
            let scale = match reader.stored_scale()?.or(self.params.input_scale) {
                Some(scale) => scale,
                None => {
                    let scale = scale_to_root_width(set)?;
                    notes.push(format!("input scale {scale:.4} estimated from the fit split"));
                    scale
                }
            };
            fold_input_scale(&mut tensors, scale as f32);
        }
        let label = Label {
            method: context.method.to_string(),
            kind: Kind::File,
            hook: set.hook(),
            fitted_on: set.digest(),
            is_reconstruction: true,
        };
        let dictionary = Box::new(AffineDictionary::new(label, tensors));
        let warnings = reader.stated.warnings(context.input);
        notes.extend(reader.stated.notes(context.input));
        let report = FitReport { notes, warnings, ..FitReport::immediate(started) };
        Ok(Fitted { dictionary, report })
    }
}

/// `√d / mean ‖x‖`: what `expected_average_only_in` multiplies activations by while training.
fn scale_to_root_width(set: &ActivationSet) -> Result<f64, FitError> {
    let mut norms = 0.0;
    for block in set.blocks(4096) {
        for row in block?.iter_rows() {
            norms += row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
        }
    }
    Ok((set.width() as f64).sqrt() * set.rows() as f64 / norms)
}

/// Codes stay in the scaled units, as SAELens's own folding has it.
fn fold_input_scale(tensors: &mut Tensors, scale: f32) {
    tensors.encoder.data_mut().iter_mut().for_each(|value| *value *= scale);
    tensors.decoder.data_mut().iter_mut().for_each(|value| *value /= scale);
    tensors.decoder_bias.iter_mut().for_each(|value| *value /= scale);
}

/// A SAELens folder whose settings were understood, all of them.
struct SaelensReader {
    folder: PathBuf,
    config_path: PathBuf,
    weights_path: PathBuf,
    architecture: Architecture,
    d_in: usize,
    features: usize,
    subtract_decoder_bias: bool,
    row_scale: RowScale,
    scaled_in_training: bool,
    scaling_factor: bool,
    stated: Stated,
}

#[derive(Debug, Clone, Copy)]
enum Architecture {
    Standard,
    Topk { k: usize, by_norm: bool },
    Jumprelu,
    Gated,
}

impl SaelensReader {
    fn open(params: &FileParams) -> Result<Self, DictionaryError> {
        let folder = params.path.clone();
        let config_path = folder.join("cfg.json");
        let text = read_to_string(&config_path)?;
        let problem = |text: String| DictionaryError::unusable(&config_path, text);
        let config: Map<String, Value> =
            serde_json::from_str(&text).map_err(|error| problem(format!("not a JSON object ({error})")))?;
        let unknown: Vec<&str> = config
            .keys()
            .map(String::as_str)
            .filter(|key| !HARMLESS.contains(key) && !params.ignore.iter().any(|ignored| ignored == key))
            .collect();
        if !unknown.is_empty() {
            return Err(problem(format!(
                "unknown settings {}: where they change no number, list them under `ignore`",
                unknown.join(", ")
            )));
        }
        let config = Settings { config: &config, path: &config_path };
        let (row_scale, scaled_in_training) = config.normalisation()?;
        config.one_of("reshape_activations", &["none", "hook_z"], "none")?;
        Ok(Self {
            architecture: config.architecture()?,
            d_in: config.size("d_in")?,
            features: config.size("d_sae")?,
            subtract_decoder_bias: config.flag("apply_b_dec_to_input", true)?,
            scaling_factor: config.flag("finetuning_scaling_factor", false)?,
            stated: Stated::read(config.config, |key, expected| config.wrong(key, expected))?,
            row_scale,
            scaled_in_training,
            weights_path: folder.join("sae_weights.safetensors"),
            folder,
            config_path: config_path.clone(),
        })
    }

    /// The factor that a training checkpoint keeps beside its weights.
    fn stored_scale(&self) -> Result<Option<f64>, DictionaryError> {
        let path = self.folder.join("activation_scaler.json");
        if !path.exists() {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(&read_to_string(&path)?)
            .map_err(|error| DictionaryError::unusable(&path, format!("not JSON ({error})")))?;
        match &value["scaling_factor"] {
            Value::Null => Ok(None),
            factor => match factor.as_f64().filter(|factor| factor.is_finite() && *factor > 0.0) {
                Some(factor) => Ok(Some(factor)),
                None => Err(DictionaryError::unusable(
                    &path,
                    format!("`scaling_factor` is {factor}; expected a number above 0"),
                )),
            },
        }
    }

    fn tensors(&self) -> Result<Tensors, DictionaryError> {
        let (d, features, path) = (self.d_in, self.features, self.weights_path.as_path());
        let mut stored = NamedTensors::read(path)?;
        let mut encoder = matrix(features, d, &stored.take(path, "W_enc", &[d, features])?, true);
        let mut decoder = matrix(features, d, &stored.take(path, "W_dec", &[features, d])?, false);
        let decoder_bias = stored.take(path, "b_dec", &[d])?;
        let mut vector = |name: &str| stored.take(path, name, &[features]);
        let mut encoder_bias = match self.architecture {
            Architecture::Gated => vec![0.0; features],
            _ => vector("b_enc")?,
        };
        let activation = match self.architecture {
            Architecture::Standard => Activation::Relu,
            Architecture::Topk { k, .. } => Activation::TopK(k),
            Architecture::Jumprelu => Activation::JumpRelu(vector("threshold")?),
            Architecture::Gated => Activation::Gated {
                gate: vector("b_gate")?,
                magnitude: vector("b_mag")?,
                log_gain: vector("r_mag")?,
            },
        };
        self.check_scaling_factor(&mut stored)?;
        if let Some(name) = stored.names().next() {
            let problem =
                format!("tensor `{name}` is not part of this architecture: its meaning is unknown here");
            return Err(DictionaryError::unusable(path, problem));
        }
        if let Architecture::Topk { by_norm: true, .. } = self.architecture {
            fold_norms(&mut encoder, &mut encoder_bias, &mut decoder);
        }
        Ok(Tensors {
            encoder,
            encoder_bias,
            decoder,
            decoder_bias,
            subtract_decoder_bias: self.subtract_decoder_bias,
            activation,
            row_scale: self.row_scale,
        })
    }

    /// Old files carry a factor on codes; it is without effect where all are 1.
    fn check_scaling_factor(&self, stored: &mut NamedTensors) -> Result<(), DictionaryError> {
        let Some((_, factors)) = stored.take_any("scaling_factor") else { return Ok(()) };
        if self.scaling_factor && factors.iter().any(|factor| *factor != 1.0) {
            return Err(DictionaryError::unusable(
                &self.config_path,
                "`finetuning_scaling_factor` is true and the factors are not 1: fold them into `W_dec` first",
            ));
        }
        Ok(())
    }
}

/// Ranks by norm-scaled codes: exact once the norms are in the encoder.
fn fold_norms(encoder: &mut Matrix, bias: &mut [f32], decoder: &mut Matrix) {
    for feature in 0..decoder.rows() {
        let norm =
            decoder.row(feature).iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt() as f32;
        if norm > 0.0 {
            decoder.row_mut(feature).iter_mut().for_each(|value| *value /= norm);
            encoder.row_mut(feature).iter_mut().for_each(|value| *value *= norm);
            bias[feature] *= norm;
        }
    }
}

/// Settings read by name, with messages that say what was expected.
struct Settings<'a> {
    config: &'a Map<String, Value>,
    path: &'a Path,
}

impl Settings<'_> {
    fn wrong(&self, key: &str, expected: &str) -> DictionaryError {
        let got = self.config.get(key).map_or_else(|| "missing".to_string(), |value| format!("{value}"));
        DictionaryError::unusable(self.path, format!("`{key}` is {got}; expected {expected}"))
    }

    fn size(&self, key: &str) -> Result<usize, DictionaryError> {
        match self.config.get(key).and_then(Value::as_u64) {
            Some(size) if size > 0 => Ok(size as usize),
            _ => Err(self.wrong(key, "a whole number above 0")),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, DictionaryError> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn one_of<'k>(&self, key: &str, known: &[&'k str], default: &'k str) -> Result<&'k str, DictionaryError> {
        let got = match self.config.get(key) {
            None | Some(Value::Null) => return Ok(default),
            Some(value) => value.as_str(),
        };
        let found = known.iter().find(|name| Some(**name) == got);
        found.copied().ok_or_else(|| self.wrong(key, &format!("one of {}", known.join(", "))))
    }

    fn architecture(&self) -> Result<Architecture, DictionaryError> {
        let known = ["standard", "topk", "jumprelu", "gated"];
        let name = self.one_of("architecture", &known, "standard")?;
        // Files from before version 6 can say `standard` and mean TopK by their activation function.
        let function =
            if self.config.contains_key("activation_fn_str") { "activation_fn_str" } else { "activation_fn" };
        let function = self.one_of(function, &["relu", "topk"], "relu")?;
        Ok(match (name, function) {
            ("topk", _) | ("standard", "topk") => {
                let by_norm = self.flag("rescale_acts_by_decoder_norm", false)?;
                Architecture::Topk { k: self.k()?, by_norm }
            }
            ("jumprelu", _) => Architecture::Jumprelu,
            ("gated", _) => Architecture::Gated,
            _ => Architecture::Standard,
        })
    }

    fn k(&self) -> Result<usize, DictionaryError> {
        let legacy = self.config.get("activation_fn_kwargs").and_then(|kwargs| kwargs.get("k"));
        match self.config.get("k").or(legacy).and_then(Value::as_u64) {
            Some(k) if k > 0 => Ok(k as usize),
            _ => Err(self.wrong("k", "a whole number above 0 (here or in `activation_fn_kwargs`)")),
        }
    }

    /// Scaling of rows, and whether training put one factor on all of them.
    fn normalisation(&self) -> Result<(RowScale, bool), DictionaryError> {
        let key = "normalize_activations";
        // Early files had a flag here.
        match self.config.get(key) {
            Some(Value::Bool(false)) => return Ok((RowScale::Plain, false)),
            Some(Value::Bool(true)) => return Ok((RowScale::Plain, true)),
            _ => {}
        }
        let known = ["none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"];
        Ok(match self.one_of(key, &known, "none")? {
            "constant_norm_rescale" => (RowScale::ConstantNorm, false),
            "layer_norm" => (RowScale::LayerNorm, false),
            "expected_average_only_in" => (RowScale::Plain, true),
            _ => (RowScale::Plain, false),
        })
    }
}
