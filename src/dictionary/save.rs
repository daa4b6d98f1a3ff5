//! Folders of dictionaries: our own format, read and written, and SAELens's, written.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use strum::VariantNames;

use crate::base::{Digest, HookPoint, create_dir_all, read_to_string, write_atomic};

use super::affine::{Activation, AffineDictionary, Label, RowScale, Tensors};
use super::tensor_file::{Architecture, NamedTensors, write_tensors};
use super::{Dictionary, DictionaryError, DictionaryInfo, Kind};

/// `format` in `config.json`.
const FORMAT: &str = "autointerp-dictionary";
/// Format version, increased when an older program would misread a file.
const VERSION: u32 = 1;

/// What is read from `config.json` beside `dictionary.safetensors`.
#[derive(Debug, Deserialize)]
struct Config {
    method: String,
    kind: String,
    architecture: String,
    d_in: usize,
    d_sae: usize,
    apply_b_dec_to_input: bool,
    normalize_activations: String,
    k: Option<usize>,
    is_reconstruction: bool,
    hook_name: HookPoint,
    fitted_on: Digest,
    digest: Digest,
}

/// The settings that both formats have, by SAELens's names.
fn shared_settings(dictionary: &AffineDictionary) -> Value {
    let (info, tensors) = (dictionary.info(), dictionary.tensors());
    let row_scale: &str = tensors.row_scale.into();
    let mut config = json!({
        "architecture": Architecture::of(&tensors.activation).name(),
        "d_in": info.d_in,
        "d_sae": info.n_features,
        "dtype": "float32",
        "apply_b_dec_to_input": tensors.subtract_decoder_bias,
        "normalize_activations": row_scale,
    });
    if let Activation::TopK(k) = &tensors.activation {
        config["k"] = json!(k);
    }
    config
}

fn write_json(value: &Value, path: &Path) -> Result<(), DictionaryError> {
    Ok(write_atomic(path, format!("{value:#}\n").as_bytes())?)
}

/// Writes `dictionary.safetensors` and `config.json`.
pub(super) fn save_affine(dictionary: &AffineDictionary, folder: &Path) -> Result<(), DictionaryError> {
    let info = dictionary.info();
    create_dir_all(folder)?;
    write_tensors(dictionary.tensors(), &folder.join("dictionary.safetensors"))?;
    let mut config = shared_settings(dictionary);
    config["format"] = json!(FORMAT);
    config["version"] = json!(VERSION);
    config["method"] = json!(info.method);
    config["kind"] = json!(info.kind.name());
    config["is_reconstruction"] = json!(info.is_reconstruction);
    config["hook_name"] = json!(info.hook);
    config["fitted_on"] = json!(info.fitted_on);
    config["digest"] = json!(info.digest);
    write_json(&config, &folder.join("config.json"))
}

/// Reads a folder that [`Dictionary::save`] wrote, and verifies its digest.
pub fn load(folder: &Path) -> Result<Box<dyn Dictionary>, DictionaryError> {
    let path = folder.join("config.json");
    let problem = |text: String| DictionaryError::unusable(&path, text);
    let config = read_config(&path)?;
    let unknown = |field: &str, value: &str, known: &[&str]| {
        problem(format!("`{field}` is `{value}`; expected one of {}", known.join(", ")))
    };
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    let kind = Kind::named(&config.kind).ok_or_else(|| unknown("kind", &config.kind, &names))?;
    let architecture: Architecture = config
        .architecture
        .parse()
        .map_err(|_| unknown("architecture", &config.architecture, Architecture::VARIANTS))?;
    let scale = &config.normalize_activations;
    let row_scale: RowScale =
        scale.parse().map_err(|_| unknown("normalize_activations", scale, RowScale::VARIANTS))?;
    let k = match config.k {
        None if architecture == Architecture::Topk => return Err(problem("`k` is missing".to_string())),
        k => k.unwrap_or(0),
    };
    let tensors_path = folder.join("dictionary.safetensors");
    let shape = (config.d_sae, config.d_in);
    let tensors =
        NamedTensors::read(&tensors_path)?.take_dictionary(&tensors_path, shape, architecture, k)?;
    let tensors = Tensors { subtract_decoder_bias: config.apply_b_dec_to_input, row_scale, ..tensors };
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
        return Err(problem(format!(
            "`digest` is {}, but the tensors have {digest}: the files do not belong together",
            config.digest
        )));
    }
    Ok(Box::new(dictionary))
}

fn read_config(path: &Path) -> Result<Config, DictionaryError> {
    let problem = |text: String| DictionaryError::unusable(path, text);
    let value: Value = serde_json::from_str(&read_to_string(path)?)
        .map_err(|error| problem(format!("not JSON ({error})")))?;
    let (format, version) = (&value["format"], &value["version"]);
    if format.as_str() != Some(FORMAT) {
        return Err(problem(format!(
            "`format` is {format}; expected \"{FORMAT}\": read dictionaries of other programs with `kind: file`"
        )));
    }
    if version.as_u64() != Some(u64::from(VERSION)) {
        return Err(problem(format!(
            "`version` is {version}; this program reads {VERSION}: use the version that wrote it, or fit again"
        )));
    }
    serde_json::from_value(value).map_err(|error| problem(format!("not a dictionary's config ({error})")))
}

/// Writes a folder that SAELens reads: `cfg.json` and `sae_weights.safetensors`. SAELens has no signed dictionaries.
pub fn export_saelens(dictionary: &AffineDictionary, folder: &Path) -> Result<(), DictionaryError> {
    let (info, tensors) = (dictionary.info(), dictionary.tensors());
    let path = folder.join("cfg.json");
    if tensors.activation == Activation::Signed {
        let problem = format!("`{}` has signed codes, which SAELens does not support", info.method);
        return Err(DictionaryError::unusable(&path, problem));
    }
    create_dir_all(folder)?;
    write_tensors(tensors, &folder.join("sae_weights.safetensors"))?;
    let mut config = shared_settings(dictionary);
    config["device"] = json!("cpu");
    config["reshape_activations"] = json!("none");
    config["metadata"] = json!({"hook_name": info.hook.to_string()});
    if matches!(tensors.activation, Activation::TopK(_)) {
        config["rescale_acts_by_decoder_norm"] = json!(false);
    }
    write_json(&config, &path)
}
