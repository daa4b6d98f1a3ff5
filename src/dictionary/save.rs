//! Writes folders of dictionaries in our own format.

use std::path::Path;

use serde_json::{Value, json};

use crate::base::{Content, Digest, create_dir_all, write_atomic};

use super::tensor_file::{Architecture, write_tensors};
use super::tensors::Tensors;
use super::{DictionaryError, DictionaryInfo};

/// Files of a folder.
pub const FILES: [&str; 2] = ["dictionary.safetensors", "config.json"];
/// Field of `config.json` with the digest of the others. `digest` is that of the tensors and what is applied with them.
pub(super) const SETTINGS_DIGEST: &str = "blake3";
/// `format` in `config.json`.
pub(super) const FORMAT: &str = "autointerp-dictionary";
/// Format version of dictionaries whose reconstruction is of the input, and needs no skip connection.
pub(super) const VERSION: u32 = 1;
/// Format version of transcoders, and of dictionaries of which only some features are stored. A program that knows only
/// the first version would misread them.
pub(super) const LATER_VERSION: u32 = 2;

/// The settings that both formats have, by SAELens's names.
pub(super) fn shared_settings(info: &DictionaryInfo, tensors: &Tensors) -> Value {
    let row_scale: &str = tensors.row_scale.into();
    let mut config = json!({
        "architecture": Architecture::of(&tensors.activation).name(),
        "d_in": info.d_in,
        "d_sae": info.n_features,
        "dtype": "float32",
        "apply_b_dec_to_input": tensors.subtract_decoder_bias,
        "normalize_activations": row_scale,
    });
    if let Some(k) = tensors.activation.k() {
        config["k"] = json!(k);
    }
    config
}

/// BLAKE3 digest of all settings but itself, as JSON in the order of names.
pub(super) fn digest_of_settings(config: &Value) -> Digest {
    Content::of(config.to_string().as_bytes()).blake3
}

pub(super) fn write_json(value: &Value, path: &Path) -> Result<(), DictionaryError> {
    Ok(write_atomic(path, format!("{value:#}\n").as_bytes())?)
}

/// Writes `dictionary.safetensors` and `config.json`.
///
/// `kept`: the features that the tensors hold, where they are not all.
pub(super) fn save(
    info: &DictionaryInfo,
    tensors: &Tensors,
    kept: Option<&[usize]>,
    folder: &Path,
) -> Result<(), DictionaryError> {
    create_dir_all(folder)?;
    write_tensors(tensors, &folder.join("dictionary.safetensors"))?;
    let mut config = shared_settings(info, tensors);
    config["format"] = json!(FORMAT);
    let is_transcoder = tensors.skip.is_some() || info.d_out != info.d_in || info.output.is_some();
    config["version"] = json!(if is_transcoder || kept.is_some() { LATER_VERSION } else { VERSION });
    if let Some(kept) = kept {
        config["kept"] = json!(kept);
    }
    if is_transcoder {
        config["d_out"] = json!(info.d_out);
        config["hook_name_out"] = json!(info.output);
    }
    config["method"] = json!(info.method);
    config["kind"] = json!(info.kind.name());
    config["is_reconstruction"] = json!(info.is_reconstruction);
    config["hook_name"] = json!(info.hook);
    config["fitted_on"] = json!(info.fitted_on);
    config["digest"] = json!(info.digest);
    config[SETTINGS_DIGEST] = json!(digest_of_settings(&config));
    write_json(&config, &folder.join("config.json"))
}
