//! Dictionaries trained elsewhere: folders in SAELens's layout (`cfg.json` and `sae_weights.safetensors`).
//!
//! Every setting must be known. One that could change an encoding and is not supported is an error.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::activations::ActivationSet;
use crate::base::{Stopwatch, read_to_string};

use super::affine::{AffineDictionary, Label};
use super::error::{ParamProblem, Problems};
use super::path::DictionaryPath;
use super::stated::Stated;
use super::tensor_file::{Architecture, NamedTensors};
use super::tensors::{RowScale, Tensors, squared_norm};
use super::{DictionaryError, DictionaryFit, FitContext, FitError, FitReport, Fitted, Kind};

/// Keys of SAELens configurations, of all versions, that are read below or change no number of an encoding.
const KNOWN_KEYS: &str = "
    metadata prepend_bos context_size exclude_special_tokens model_from_pretrained_kwargs dtype device
    model_name model_class_name hook_name hook_point hook_layer hook_point_layer hook_head_index
    hook_point_head_index hook_eval dataset_path dataset_trust_remote_code seqpos_slice neuronpedia_id
    sae_lens_version sae_lens_training_version sae_lens_train_version activation_fn_str activation_fn
    activation_fn_kwargs d_in d_sae architecture k apply_b_dec_to_input normalize_activations
    reshape_activations finetuning_scaling_factor rescale_acts_by_decoder_norm expansion_factor lr
    lr_scheduler_name lr_warm_up_steps l1_coefficient l1_warm_up_steps lp_norm train_batch_size
    train_batch_size_tokens training_tokens total_training_tokens n_batches_in_buffer store_batch_size
    store_batch_size_prompts b_dec_init_method dead_feature_window dead_feature_threshold
    feature_sampling_window use_ghost_grads seed is_dataset_tokenized use_cached_activations
    cached_activations_path from_pretrained_path log_to_wandb wandb_project wandb_id run_name
    checkpoint_path n_checkpoints noise_scale decoder_orthogonal_init decoder_heuristic_init
    init_encoder_as_decoder_transpose normalize_sae_decoder scale_sparsity_penalty_by_decoder_norm
    mse_loss_normalization adam_beta1 adam_beta2 tokens_per_buffer jumprelu_init_threshold
    jumprelu_bandwidth autocast autocast_lm compile_llm compile_sae verbose sae_set release id name
    aux_loss_coefficient decoder_init_norm
";

/// Layout of a file.
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
    /// The folder of the dictionary, or its file: a path, or `hub:OWNER/NAME/FOLDER@REVISION` with folder and revision
    /// left out where they are not needed.
    pub path: PathBuf,
    /// Its layout.
    pub format: FileFormat,
    /// Unknown settings in its configuration that change no number of an encoding.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// Factor on activations during training, for files saved with `normalize_activations: expected_average_only_in`
    /// and no `activation_scaler.json`. If absent: estimated from the fit split.
    #[serde(default)]
    pub input_scale: Option<f64>,
}

/// Checked [`FileParams`].
#[derive(Debug, Clone)]
pub struct FileFit {
    params: FileParams,
}

impl FileParams {
    /// Returns all problems at once. The file itself is read by the fit.
    pub fn check(&self) -> Result<FileFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        let path = DictionaryPath::parse(&self.path.to_string_lossy());
        problems.require(path.is_ok(), "path", || path.err().unwrap_or_default());
        problems.positive("input_scale", self.input_scale.unwrap_or(1.0));
        problems.finish(FileFit { params: self.clone() })
    }
}

impl DictionaryFit for FileFit {
    fn kind(&self) -> Kind {
        Kind::File
    }

    /// Reads the file. `set` gives the width, and the mean norm where the input scale is estimated.
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
        let label = Label::new(Kind::File, context.method, set, true);
        let dictionary = Box::new(AffineDictionary::new(label, tensors));
        let warnings = reader.stated.warnings(context.input);
        notes.extend(reader.stated.notes(context.input));
        let report = FitReport { seconds: started.seconds(), notes, warnings, ..FitReport::default() };
        Ok(Fitted { dictionary, report })
    }
}

/// `√d / mean ‖x‖`: the factor of `expected_average_only_in`.
fn scale_to_root_width(set: &ActivationSet) -> Result<f64, FitError> {
    let mut norms = 0.0;
    for block in set.blocks(4096) {
        for row in block?.iter_rows() {
            norms += squared_norm(row).sqrt();
        }
    }
    Ok((set.width() as f64).sqrt() * set.rows() as f64 / norms)
}

/// Folds a factor on inputs into the tensors. Codes stay in scaled units, as in SAELens's own folding.
fn fold_input_scale(tensors: &mut Tensors, scale: f32) {
    tensors.encoder.data_mut().iter_mut().for_each(|value| *value *= scale);
    tensors.decoder.data_mut().iter_mut().for_each(|value| *value /= scale);
    tensors.decoder_bias.iter_mut().for_each(|value| *value /= scale);
}

/// A SAELens folder whose settings are all known.
struct SaelensReader {
    folder: PathBuf,
    architecture: Architecture,
    /// 0 for all but TopK.
    k: usize,
    /// Whether TopK ranks codes times the norms of their decoder rows.
    rank_by_norm: bool,
    d_in: usize,
    features: usize,
    subtract_decoder_bias: bool,
    row_scale: RowScale,
    scaled_in_training: bool,
    scaling_factor: bool,
    stated: Stated,
}

impl SaelensReader {
    fn open(params: &FileParams) -> Result<Self, DictionaryError> {
        let path = params.path.join("cfg.json");
        let problem = |text: String| DictionaryError::unusable(&path, text);
        let config: Map<String, Value> = serde_json::from_str(&read_to_string(&path)?)
            .map_err(|error| problem(format!("not a JSON object ({error})")))?;
        let is_known = |key: &str| {
            KNOWN_KEYS.split_whitespace().any(|known| known == key)
                || params.ignore.iter().any(|ignored| ignored == key)
        };
        let unknown: Vec<&str> = config.keys().map(String::as_str).filter(|key| !is_known(key)).collect();
        if !unknown.is_empty() {
            return Err(problem(format!(
                "unknown settings {}: where they change no number, list them under `ignore`",
                unknown.join(", ")
            )));
        }
        let settings = Settings { config: &config, path: &path };
        let (row_scale, scaled_in_training) = settings.normalisation()?;
        settings.one_of("reshape_activations", &["none", "hook_z"], "none")?;
        let architecture = settings.architecture()?;
        let is_topk = architecture == Architecture::Topk;
        Ok(Self {
            folder: params.path.clone(),
            architecture,
            k: if is_topk { settings.k()? } else { 0 },
            rank_by_norm: is_topk && settings.flag("rescale_acts_by_decoder_norm", false)?,
            d_in: settings.size("d_in")?,
            features: settings.size("d_sae")?,
            subtract_decoder_bias: settings.flag("apply_b_dec_to_input", true)?,
            row_scale,
            scaled_in_training,
            scaling_factor: settings.flag("finetuning_scaling_factor", false)?,
            stated: Stated::read(&config, |key, expected| settings.wrong(key, expected))?,
        })
    }

    /// The input scale that a training checkpoint has in a file beside its weights.
    fn stored_scale(&self) -> Result<Option<f64>, DictionaryError> {
        let path = self.folder.join("activation_scaler.json");
        if !path.exists() {
            return Ok(None);
        }
        let value: Value = serde_json::from_str(&read_to_string(&path)?)
            .map_err(|error| DictionaryError::unusable(&path, format!("not JSON ({error})")))?;
        let factor = &value["scaling_factor"];
        let number = factor.as_f64().filter(|factor| factor.is_finite() && *factor > 0.0);
        if number.is_none() && !factor.is_null() {
            let problem = format!("`scaling_factor` is {factor}; expected a number above 0");
            return Err(DictionaryError::unusable(&path, problem));
        }
        Ok(number)
    }

    fn tensors(&self) -> Result<Tensors, DictionaryError> {
        let path = &self.folder.join("sae_weights.safetensors");
        let mut stored = NamedTensors::read(path)?;
        let shape = (self.features, self.d_in);
        let mut tensors = stored.take_dictionary(path, shape, self.architecture, self.k)?;
        // Old files can have a factor on codes. Only factors of 1 are supported.
        let (_, factors) = stored.take_any("scaling_factor").unwrap_or_default();
        if self.scaling_factor && factors.iter().any(|factor| *factor != 1.0) {
            return Err(DictionaryError::unusable(
                &self.folder.join("cfg.json"),
                "`finetuning_scaling_factor` is true and the factors are not 1: fold them into `W_dec` first",
            ));
        }
        if let Some(name) = stored.first_name() {
            let problem =
                format!("tensor `{name}` is not part of this architecture: its meaning is unknown here");
            return Err(DictionaryError::unusable(path, problem));
        }
        if self.rank_by_norm {
            fold_norms(&mut tensors);
        }
        let Self { subtract_decoder_bias, row_scale, .. } = *self;
        Ok(Tensors { subtract_decoder_bias, row_scale, ..tensors })
    }
}

/// Moves the norms of decoder rows into the encoder, so that plain TopK ranks codes times norms. This is exact.
fn fold_norms(tensors: &mut Tensors) {
    let Tensors { encoder, encoder_bias, decoder, .. } = tensors;
    for feature in 0..decoder.rows() {
        let norm = squared_norm(decoder.row(feature)).sqrt() as f32;
        if norm > 0.0 {
            decoder.row_mut(feature).iter_mut().for_each(|value| *value /= norm);
            encoder.row_mut(feature).iter_mut().for_each(|value| *value *= norm);
            encoder_bias[feature] *= norm;
        }
    }
}

/// Settings by name. Errors say what was expected.
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
        let size = self.config.get(key).and_then(Value::as_u64).filter(|&size| size > 0);
        size.map(|size| size as usize).ok_or_else(|| self.wrong(key, "a whole number above 0"))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, DictionaryError> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.wrong(key, "true or false")),
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
        // Files from before version 6 can have architecture `standard` with activation function `topk`.
        let function =
            if self.config.contains_key("activation_fn_str") { "activation_fn_str" } else { "activation_fn" };
        let function = self.one_of(function, &["relu", "topk"], "relu")?;
        Ok(match (name, function) {
            ("topk", _) | ("standard", "topk") => Architecture::Topk,
            ("jumprelu", _) => Architecture::Jumprelu,
            ("gated", _) => Architecture::Gated,
            _ => Architecture::Standard,
        })
    }

    fn k(&self) -> Result<usize, DictionaryError> {
        let legacy = self.config.get("activation_fn_kwargs").and_then(|kwargs| kwargs.get("k"));
        let k = self.config.get("k").or(legacy).and_then(Value::as_u64).filter(|&k| k > 0);
        let expected = "a whole number above 0 (here or in `activation_fn_kwargs`)";
        k.map(|k| k as usize).ok_or_else(|| self.wrong("k", expected))
    }

    /// Scaling of rows, and whether training multiplied all inputs by one factor.
    fn normalisation(&self) -> Result<(RowScale, bool), DictionaryError> {
        let key = "normalize_activations";
        // Early versions had a boolean here.
        if let Some(Value::Bool(scaled)) = self.config.get(key) {
            return Ok((RowScale::Plain, *scaled));
        }
        let known = ["none", "expected_average_only_in", "constant_norm_rescale", "layer_norm"];
        let name = self.one_of(key, &known, "none")?;
        // `expected_average_only_in` scales no rows at encoding.
        Ok((name.parse().unwrap_or(RowScale::Plain), name == "expected_average_only_in"))
    }
}
