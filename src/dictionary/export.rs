//! Writes folders of dictionaries in SAELens's format; `file` reads them.

use std::path::Path;

use serde_json::json;

use crate::base::create_dir_all;

use super::affine::AffineDictionary;
use super::save::{shared_settings, write_json};
use super::tensor_file::write_tensors;
use super::tensors::Activation;
use super::{Dictionary, DictionaryError};

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
    let mut config = shared_settings(info, tensors);
    config["device"] = json!("cpu");
    config["reshape_activations"] = json!("none");
    config["metadata"] = json!({"hook_name": info.hook.to_string()});
    if matches!(tensors.activation, Activation::TopK(_)) {
        config["rescale_acts_by_decoder_norm"] = json!(false);
    }
    write_json(&config, &path)
}
