//! Reads folders of dictionaries in our own format.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use strum::VariantNames;

use crate::base::{Digest, HookPoint, read_regular_text};

use super::affine::{AffineDictionary, Label};
use super::save::{FORMAT, LATER_VERSION, SETTINGS_DIGEST, VERSION, digest_of_settings};
use super::tensor_file::{Architecture, read_tensors};
use super::tensors::{RowScale, Tensors};
use super::{Dictionary, DictionaryError, DictionaryInfo, Kind};

/// What is read from `config.json` beside `dictionary.safetensors`.
#[derive(Debug, Deserialize)]
struct Config {
    method: String,
    kind: String,
    architecture: String,
    d_in: usize,
    d_sae: usize,
    d_out: Option<usize>,
    kept: Option<Vec<usize>>,
    apply_b_dec_to_input: bool,
    normalize_activations: String,
    k: Option<usize>,
    is_reconstruction: bool,
    hook_name: HookPoint,
    hook_name_out: Option<HookPoint>,
    fitted_on: Digest,
    digest: Digest,
}

/// Reads a folder that [`Dictionary::save`] wrote, and verifies its digests.
pub fn load(folder: &Path) -> Result<Box<dyn Dictionary>, DictionaryError> {
    let path = folder.join("config.json");
    let problem = |text: String| DictionaryError::unusable(&path, text);
    let (config, is_as_written) = read_config(&path)?;
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
        None if architecture.has_k() => return Err(problem("`k` is missing".to_string())),
        k => k.unwrap_or(0),
    };
    let tensors_path = folder.join("dictionary.safetensors");
    let stored = config.kept.as_ref().map_or(config.d_sae, Vec::len);
    let shape = [stored, config.d_in, config.d_out.unwrap_or(config.d_in)];
    let tensors = read_tensors(&tensors_path, shape, architecture, k)?;
    let tensors = Tensors { subtract_decoder_bias: config.apply_b_dec_to_input, row_scale, ..tensors };
    let label = Label {
        method: config.method,
        kind,
        hook: config.hook_name,
        fitted_on: config.fitted_on,
        is_reconstruction: config.is_reconstruction,
        output: config.hook_name_out,
    };
    let dictionary = match config.kept {
        Some(kept) => AffineDictionary::of_some(label, tensors, kept, config.d_sae),
        None => AffineDictionary::new(label, tensors),
    };
    let DictionaryInfo { digest, .. } = dictionary.info();
    if *digest != config.digest {
        return Err(problem(format!(
            "`digest` is {}, but the tensors have {digest}: the files do not belong together",
            config.digest
        )));
    }
    if !is_as_written {
        return Err(problem(format!(
            "the settings are not those that were written (`{SETTINGS_DIGEST}` differs): fit again, or remove \
             `{SETTINGS_DIGEST}` if a change is meant"
        )));
    }
    Ok(Box::new(dictionary))
}

/// The settings, and whether they are those that were written. Folders of earlier versions do not tell.
fn read_config(path: &Path) -> Result<(Config, bool), DictionaryError> {
    let problem = |text: String| DictionaryError::unusable(path, text);
    let mut value: Value = serde_json::from_str(&read_regular_text(path)?)
        .map_err(|error| problem(format!("not JSON ({error})")))?;
    let (format, version) = (&value["format"], &value["version"]);
    if format.as_str() != Some(FORMAT) {
        return Err(problem(format!(
            "`format` is {format}; expected \"{FORMAT}\": read dictionaries of other programs with `kind: file`"
        )));
    }
    let known = [VERSION, LATER_VERSION].map(u64::from);
    if !version.as_u64().is_some_and(|version| known.contains(&version)) {
        return Err(problem(format!(
            "`version` is {version}; this program reads {VERSION} and {LATER_VERSION}: use the version that wrote it, or fit again"
        )));
    }
    let stated = value.as_object_mut().and_then(|config| config.remove(SETTINGS_DIGEST));
    let is_as_written = stated.is_none_or(|stated| stated == json!(digest_of_settings(&value)));
    let config = serde_json::from_value(value)
        .map_err(|error| problem(format!("not a dictionary's config ({error})")))?;
    Ok((config, is_as_written))
}
