//! Llama Scope for R1-distilled models: `config.json` and `sae_weights.safetensors` with `encoder.weight`.
//!
//! ```text
//! p = s x Eᵀ + b_E                              encoder.weight E [F, d]
//! z = ReLU(p) where p > exp(log_jumprelu_threshold)     [F]
//! x̂ = (z Dᵀ + b_D) / t                          decoder.weight D [d, F]
//! ```
//!
//! s and t are `√d / dataset_average_activation_norm`, a tensor (`.in`, `.out`, or by hook point) where the file holds
//! it; SAELens keeps s in its own list of releases. Its loader leaves `sparsity_include_decoder_norm` out and takes
//! thresholds as stored. `expansion_factor` does not tell the number of features. Source: SAELens 6.54,
//! `pretrained_sae_loaders.py`.

use super::blueprint::{Blueprint, Threshold};
use super::openmoss::{self, Hooks};
use super::{Ask, DictionaryError, FileFormat, Folder, Row, ThresholdUnits, llama_scope, llamascopium};

const CONFIG: &str = "config.json";
const NORM: &str = "dataset_average_activation_norm";

pub(super) const ROW: Row = Row {
    format: FileFormat::LlamaScopeR1,
    words: "Llama Scope for R1-distilled models, and older Language-Model-SAEs",
    recognised_by: "`config.json` with `sae_type` or `hook_point_in`, and a tensor `encoder.weight`",
    recognises: |folder| {
        let is_ours = |name| {
            folder.settings(name).is_ok_and(|config| config.has("sae_type") || config.has("hook_point_in"))
        };
        folder.has(CONFIG) && is_ours(CONFIG) && file(folder).is_some()
    },
    read,
};

/// The file of weights, if its layout is that of this format.
fn file(folder: &Folder) -> Option<&'static str> {
    let name = llamascopium::weights(folder)?;
    folder.tensors(name).is_ok_and(|file| file.shape("encoder.weight").is_some()).then_some(name)
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let settings = folder.settings(CONFIG)?;
    let kind = settings.text("sae_type")?.unwrap_or("sae");
    if kind != "sae" {
        return Err(settings.wrong("sae_type", "`sae`; no other type is supported"));
    }
    let name = file(folder).unwrap_or("sae_weights.safetensors");
    let architecture = settings.text("act_fn")?.unwrap_or("relu").to_string();
    let mut blueprint = llama_scope::linear(folder, name, architecture)?;
    blueprint.harmless = &["dataset_average_activation_norm.*"];
    let hooks = Hooks::read(&settings)?;
    let names = ["log_jumprelu_threshold", "activation_function.log_jumprelu_threshold"];
    let has = |blueprint: &Blueprint, name: &str| blueprint.files[0].shape(name).is_some();
    let threshold = names.into_iter().find(|name| has(&blueprint, name)).unwrap_or(names[0]);
    openmoss::switches(&mut blueprint, &settings, hooks.as_ref(), || {
        Ok(Threshold::LogTensor(threshold.into()))
    })?;
    let stated = settings.inner(NORM)?;
    let tensor = |is_input: bool| -> Result<Option<f64>, DictionaryError> {
        let side = if is_input { "in" } else { "out" };
        if let Some(norm) = stated.number(side)? {
            return Ok(Some(norm));
        }
        let hook = hooks.as_ref().map(|hooks| if is_input { &hooks.input } else { &hooks.output });
        let sides = [Some(side), hook.map(String::as_str)].into_iter().flatten();
        let name = sides.map(|side| format!("{NORM}.{side}")).find(|name| has(&blueprint, name));
        name.map(|name| blueprint.files[0].scalar(&name)).transpose()
    };
    let norms = (tensor(true)?, tensor(false)?);
    openmoss::scaling(&mut blueprint, &settings, ask, |is_input| {
        Ok(if is_input { norms.0 } else { norms.1 })
    })?;
    llama_scope::threshold_units(&mut blueprint, &settings, ask, ThresholdUnits::Stored)?;
    llama_scope::gate(&mut blueprint, &settings)?;
    blueprint.stated.model = openmoss::model(folder)?;
    blueprint.card.dropped.extend(stated.dropped(&[], ask)?);
    blueprint.card.dropped.extend(settings.dropped(openmoss::HARMLESS, ask)?);
    Ok(blueprint)
}
