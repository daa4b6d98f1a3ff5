use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::base::{Digest, HookPoint, Matrix, create_dir_all, read, read_to_string, write_atomic};

use super::affine::{Activation, AffineDictionary, Label, RowScale, Tensors};
use super::{Dictionary, DictionaryError, DictionaryInfo, Kind};

/// What `config.json` says it is.
const FORMAT: &str = "autointerp-dictionary";
/// Raised whenever an older reader would misread a file.
const VERSION: u32 = 1;

/// `config.json` beside `dictionary.safetensors`. Its field names for what SAELens knows too are
/// SAELens's, as are the names and shapes of the tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Config {
    format: String,
    version: u32,
    method: String,
    kind: String,
    architecture: String,
    d_in: usize,
    d_sae: usize,
    dtype: String,
    apply_b_dec_to_input: bool,
    normalize_activations: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<usize>,
    is_reconstruction: bool,
    hook_name: HookPoint,
    fitted_on: Digest,
    digest: Digest,
}

/// Tensors of a safetensors file in f32, whatever they were stored in.
#[derive(Debug, Default)]
pub(super) struct NamedTensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl NamedTensors {
    /// Reads a file; NaN and infinite values are refused.
    pub fn read(path: &Path) -> Result<Self, DictionaryError> {
        let bytes = read(path)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|error| {
            DictionaryError::unusable(
                path,
                format!("not a whole safetensors file ({error}); copy or download it again"),
            )
        })?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            let values = to_f32(&view).ok_or_else(|| {
                let problem = format!(
                    "tensor `{name}` is stored as {:?}; expected F32, F16, BF16 or F64",
                    view.dtype()
                );
                DictionaryError::unusable(path, problem)
            })?;
            if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                let problem = format!(
                    "tensor `{name}` holds a NaN or infinite value at entry {at}: the file is broken"
                );
                return Err(DictionaryError::unusable(path, problem));
            }
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        Ok(Self(tensors))
    }

    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Takes a tensor out; its shape must be the one expected.
    pub fn take(&mut self, path: &Path, name: &str, shape: &[usize]) -> Result<Vec<f32>, DictionaryError> {
        let names = self.names().collect::<Vec<_>>().join(", ");
        let Some((found, values)) = self.0.remove(name) else {
            let problem = format!("tensor `{name}` is missing; the file holds: {names}");
            return Err(DictionaryError::unusable(path, problem));
        };
        if found != shape {
            let problem = format!("tensor `{name}` has shape {found:?}; expected {shape:?}");
            return Err(DictionaryError::unusable(path, problem));
        }
        Ok(values)
    }

    /// Takes a tensor out whatever its shape, where it is there.
    pub fn take_any(&mut self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        self.0.remove(name)
    }
}

fn to_f32(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    Some(match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => {
            data.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        Dtype::F64 => data
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        _ => return None,
    })
}

struct Stored<'a> {
    shape: Vec<usize>,
    values: Cow<'a, [f32]>,
}

impl safetensors::View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// The tensors under SAELens's names: `W_enc [d, F]`, `W_dec [F, d]`, biases, and what the
/// architecture adds.
fn named(tensors: &Tensors) -> Vec<(String, Stored<'_>)> {
    let matrix = |rows: &Matrix| Stored {
        shape: vec![rows.rows(), rows.cols()],
        values: Cow::Owned(rows.data().to_vec()),
    };
    let vector = |values: &[f32]| Stored { shape: vec![values.len()], values: Cow::Owned(values.to_vec()) };
    let mut out = vec![
        ("W_dec".to_string(), matrix(&tensors.decoder)),
        ("W_enc".to_string(), matrix(&tensors.encoder.transposed())),
        ("b_dec".to_string(), vector(&tensors.decoder_bias)),
    ];
    match &tensors.activation {
        Activation::Gated { gate, magnitude, log_gain } => {
            out.push(("b_gate".to_string(), vector(gate)));
            out.push(("b_mag".to_string(), vector(magnitude)));
            out.push(("r_mag".to_string(), vector(log_gain)));
        }
        other => {
            out.push(("b_enc".to_string(), vector(&tensors.encoder_bias)));
            if let Activation::JumpRelu(thresholds) = other {
                out.push(("threshold".to_string(), vector(thresholds)));
            }
        }
    }
    out
}

fn architecture(activation: &Activation) -> &'static str {
    match activation {
        Activation::Signed => "linear",
        Activation::Relu => "standard",
        Activation::TopK(_) => "topk",
        Activation::JumpRelu(_) => "jumprelu",
        Activation::Gated { .. } => "gated",
    }
}

fn row_scale_name(scale: RowScale) -> &'static str {
    match scale {
        RowScale::Plain => "none",
        RowScale::ConstantNorm => "constant_norm_rescale",
        RowScale::LayerNorm => "layer_norm",
    }
}

fn write_tensors(tensors: &Tensors, path: &Path) -> Result<(), DictionaryError> {
    let bytes = safetensors::serialize(named(tensors), None)
        .map_err(|error| DictionaryError::unusable(path, format!("cannot be written ({error})")))?;
    Ok(write_atomic(path, &bytes)?)
}

fn write_json(value: &Value, path: &Path) -> Result<(), DictionaryError> {
    let text = format!("{value:#}\n");
    Ok(write_atomic(path, text.as_bytes())?)
}

/// Writes `dictionary.safetensors` and `config.json`.
pub(super) fn save_affine(dictionary: &AffineDictionary, folder: &Path) -> Result<(), DictionaryError> {
    let (info, tensors) = (dictionary.info(), dictionary.tensors());
    create_dir_all(folder)?;
    write_tensors(tensors, &folder.join("dictionary.safetensors"))?;
    let config = Config {
        format: FORMAT.to_string(),
        version: VERSION,
        method: info.method.clone(),
        kind: info.kind.name().to_string(),
        architecture: architecture(&tensors.activation).to_string(),
        d_in: info.d_in,
        d_sae: info.n_features,
        dtype: "float32".to_string(),
        apply_b_dec_to_input: tensors.subtract_decoder_bias,
        normalize_activations: row_scale_name(tensors.row_scale).to_string(),
        k: k_of(&tensors.activation),
        is_reconstruction: info.is_reconstruction,
        hook_name: info.hook,
        fitted_on: info.fitted_on,
        digest: info.digest,
    };
    let path = folder.join("config.json");
    let value = serde_json::to_value(&config)
        .map_err(|error| DictionaryError::unusable(&path, format!("cannot be written ({error})")))?;
    write_json(&value, &path)
}

fn k_of(activation: &Activation) -> Option<usize> {
    match activation {
        Activation::TopK(k) => Some(*k),
        _ => None,
    }
}

/// Reads what [`Dictionary::save`] wrote; the digest of what was read must be the one noted.
pub fn load(folder: &Path) -> Result<Box<dyn Dictionary>, DictionaryError> {
    let path = folder.join("config.json");
    let text = read_to_string(&path)?;
    let value: Value = serde_json::from_str(&text)
        .map_err(|error| DictionaryError::unusable(&path, format!("not JSON ({error})")))?;
    let (format, version) = (value["format"].as_str(), value["version"].as_u64());
    if format != Some(FORMAT) {
        let problem = format!(
            "`format` is {}; expected \"{FORMAT}\": read dictionaries of other programs with `kind: file`",
            value["format"]
        );
        return Err(DictionaryError::unusable(&path, problem));
    }
    if version != Some(u64::from(VERSION)) {
        let problem = format!(
            "`version` is {}; this program reads {VERSION}: use the version that wrote it, or fit again",
            value["version"]
        );
        return Err(DictionaryError::unusable(&path, problem));
    }
    let config: Config = serde_json::from_value(value)
        .map_err(|error| DictionaryError::unusable(&path, format!("not a dictionary's config ({error})")))?;
    let kind = Kind::named(&config.kind).ok_or_else(|| {
        let known = Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ");
        DictionaryError::unusable(&path, format!("`kind` is `{}`; expected one of {known}", config.kind))
    })?;
    let tensors = read_tensors(&config, &path, &folder.join("dictionary.safetensors"))?;
    let label = Label {
        method: config.method,
        kind,
        hook: config.hook_name,
        fitted_on: config.fitted_on,
        is_reconstruction: config.is_reconstruction,
    };
    let dictionary = AffineDictionary::new(label, tensors);
    let DictionaryInfo { digest, .. } = dictionary.info();
    if *digest != config.digest {
        let problem = format!(
            "`digest` is {}, but the tensors have {digest}: the files do not belong together",
            config.digest
        );
        return Err(DictionaryError::unusable(&path, problem));
    }
    Ok(Box::new(dictionary))
}

fn read_tensors(config: &Config, config_path: &Path, path: &Path) -> Result<Tensors, DictionaryError> {
    let (d, features) = (config.d_in, config.d_sae);
    let mut stored = NamedTensors::read(path)?;
    let encoder = matrix(features, d, &stored.take(path, "W_enc", &[d, features])?, true);
    let decoder = matrix(features, d, &stored.take(path, "W_dec", &[features, d])?, false);
    let decoder_bias = stored.take(path, "b_dec", &[d])?;
    let mut vector = |name: &str| stored.take(path, name, &[features]);
    let unknown = |field: &str, value: &str, known: &str| {
        DictionaryError::unusable(config_path, format!("`{field}` is `{value}`; expected one of {known}"))
    };
    let mut encoder_bias = vec![0.0; features];
    if config.architecture != "gated" {
        encoder_bias = vector("b_enc")?;
    }
    let activation = match config.architecture.as_str() {
        "linear" => Activation::Signed,
        "standard" => Activation::Relu,
        "topk" => Activation::TopK(
            config.k.ok_or_else(|| DictionaryError::unusable(config_path, "`k` is missing"))?,
        ),
        "jumprelu" => Activation::JumpRelu(vector("threshold")?),
        "gated" => Activation::Gated {
            gate: vector("b_gate")?,
            magnitude: vector("b_mag")?,
            log_gain: vector("r_mag")?,
        },
        other => return Err(unknown("architecture", other, "linear, standard, topk, jumprelu, gated")),
    };
    let row_scale = [RowScale::Plain, RowScale::ConstantNorm, RowScale::LayerNorm]
        .into_iter()
        .find(|scale| row_scale_name(*scale) == config.normalize_activations)
        .ok_or_else(|| {
            let known = "none, constant_norm_rescale, layer_norm";
            unknown("normalize_activations", &config.normalize_activations, known)
        })?;
    Ok(Tensors {
        encoder,
        encoder_bias,
        decoder,
        decoder_bias,
        subtract_decoder_bias: config.apply_b_dec_to_input,
        activation,
        row_scale,
    })
}

/// `[rows, cols]` from numbers stored that way, or as the transpose.
pub(super) fn matrix(rows: usize, cols: usize, values: &[f32], transposed: bool) -> Matrix {
    Matrix::from_fn(
        rows,
        cols,
        |row, col| {
            if transposed { values[col * rows + row] } else { values[row * cols + col] }
        },
    )
}

/// Writes a folder that SAELens reads: `cfg.json` and `sae_weights.safetensors`. Signed
/// dictionaries have no counterpart there.
pub fn export_saelens(dictionary: &AffineDictionary, folder: &Path) -> Result<(), DictionaryError> {
    let (info, tensors) = (dictionary.info(), dictionary.tensors());
    let path = folder.join("cfg.json");
    if tensors.activation == Activation::Signed {
        let problem = format!("`{}` has signed codes, which SAELens does not know", info.method);
        return Err(DictionaryError::unusable(&path, problem));
    }
    create_dir_all(folder)?;
    write_tensors(tensors, &folder.join("sae_weights.safetensors"))?;
    let mut config = json!({
        "architecture": architecture(&tensors.activation),
        "d_in": info.d_in,
        "d_sae": info.n_features,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": tensors.subtract_decoder_bias,
        "normalize_activations": row_scale_name(tensors.row_scale),
        "reshape_activations": "none",
        "metadata": {"hook_name": info.hook.to_string()},
    });
    if let Some(k) = k_of(&tensors.activation) {
        config["k"] = json!(k);
        config["rescale_acts_by_decoder_norm"] = json!(false);
    }
    write_json(&config, &path)
}
