//! Writes folders of dictionaries in SAELens's format; `file` reads them.

use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Map, Value, json};

use crate::base::{HookPoint, Site, create_dir_all, write_atomic};

use super::affine::AffineDictionary;
use super::save::{shared_settings, write_json};
use super::tensor_file::{le_bytes, write_tensors};
use super::tensors::Activation;
use super::{Dictionary, DictionaryError};

/// Version of SAELens whose `cfg.json` this is. Without it, SAELens reads the file as one of its older formats and drops
/// `metadata`.
const SAELENS_FORMAT: &str = "6.0.0";

/// Added to a share before its logarithm, as SAELens does.
const SPARSITY_FLOOR: f64 = 1e-10;

/// Why SAELens cannot hold a dictionary; none if it can.
pub fn saelens_problem(dictionary: &AffineDictionary) -> Option<String> {
    let (info, tensors) = (dictionary.info(), dictionary.tensors());
    let problem = match &tensors.activation {
        _ if dictionary.kept().is_some() => "was read for its chosen features alone",
        _ if tensors.skip.is_some() || info.output.is_some() || info.d_out != info.d_in => {
            "is a transcoder, which is not written for SAELens"
        }
        Activation::Signed => "has signed codes, which SAELens does not support",
        Activation::TanhRelu | Activation::RankedTopK { .. } | Activation::GroupMax(_) => {
            "has an activation function that SAELens does not have"
        }
        _ => return None,
    };
    Some(format!("`{}` {problem}", info.method))
}

/// Writes a folder that SAELens reads: `cfg.json` and `sae_weights.safetensors`. SAELens has no signed dictionaries.
pub fn export_saelens(dictionary: &AffineDictionary, folder: &Path) -> Result<(), DictionaryError> {
    export_saelens_with(dictionary, Map::new(), folder)
}

/// As [`export_saelens`], with further fields of SAELens's `metadata`.
pub fn export_saelens_with(
    dictionary: &AffineDictionary,
    metadata: Map<String, Value>,
    folder: &Path,
) -> Result<(), DictionaryError> {
    let (info, tensors) = (dictionary.info(), dictionary.tensors());
    let path = folder.join("cfg.json");
    if let Some(problem) = saelens_problem(dictionary) {
        return Err(DictionaryError::unusable(&path, problem));
    }
    create_dir_all(folder)?;
    write_tensors(tensors, &folder.join("sae_weights.safetensors"))?;
    let mut config = shared_settings(info, tensors);
    config["device"] = json!("cpu");
    // SAELens gets the heads of `hook_z` apart and concatenates them.
    let heads_apart = matches!(info.hook, HookPoint::Block { site: Site::AttnZ, .. });
    config["reshape_activations"] = json!(if heads_apart { "hook_z" } else { "none" });
    config["metadata"] = Value::Object(metadata);
    config["metadata"]["hook_name"] = json!(info.hook);
    config["metadata"]["sae_lens_version"] = json!(SAELENS_FORMAT);
    // SAELens fills in its own version where this is absent.
    config["metadata"]["sae_lens_training_version"] = Value::Null;
    if matches!(tensors.activation, Activation::TopK(_) | Activation::AbsTopK(_)) {
        config["rescale_acts_by_decoder_norm"] = json!(false);
    }
    write_json(&config, &path)
}

/// Writes SAELens's `sparsity.safetensors`: `sparsity` `[F]`, log10(density + 1e-10). `density`: the share of tokens on
/// which each feature fires.
pub fn write_sparsity(density: &[f64], path: &Path) -> Result<(), DictionaryError> {
    let logs: Vec<f32> = density.iter().map(|share| (share + SPARSITY_FLOOR).log10() as f32).collect();
    let problem = |error| DictionaryError::unusable(path, format!("cannot be written ({error})"));
    let bytes = le_bytes(&logs);
    let view = TensorView::new(Dtype::F32, vec![logs.len()], &bytes).map_err(problem)?;
    let file = safetensors::serialize([("sparsity", view)], None).map_err(problem)?;
    Ok(write_atomic(path, &file)?)
}
