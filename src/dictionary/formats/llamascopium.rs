//! llamascopium (OpenMOSS, formerly Language-Model-SAEs): `config.json` with `sae_type`, and tensors W_E, W_D.
//!
//! ```text
//! p = s x W_E + b_E                        W_E [d, F]; the input is not centred
//! z = p where act keeps n p                n_i = ‖W_D row i‖ if `sparsity_include_decoder_norm`, else 1
//! x̂ = (z W_D + b_D) / t                    W_D [F, d]
//! ```
//!
//! act: ReLU, JumpReLU (thresholds are `exp(log_jumprelu_threshold)`) or the `top_k` largest of a row. s and t by
//! `norm_activation`: `√d / dataset_average_activation_norm.HOOK` (dataset-wise), `√d / ‖x‖` (token-wise), or 1
//! (inference). Source: OpenMOSS/Language-Model-SAEs, `models/sae.py`; goldens of version 2.0.0b34.

use super::blueprint::{Blueprint, Nonlinearity, Norms, Part, Threshold};
use super::openmoss::{self, Hooks};
use super::settings::Settings;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

const CONFIG: &str = "config.json";
/// Files of weights, in the order in which the program looks for them.
const WEIGHTS: [&str; 6] = [
    "sae_weights.safetensors",
    "sae_weights.pt",
    "checkpoints/pruned.safetensors",
    "checkpoints/pruned.pt",
    "checkpoints/final.safetensors",
    "checkpoints/final.pt",
];
const NORM: &str = "dataset_average_activation_norm.";

pub(super) const ROW: Row = Row {
    format: FileFormat::Llamascopium,
    words: "llamascopium (Language-Model-SAEs of OpenMOSS)",
    recognised_by: "`config.json` with `sae_type`, or tensors W_E and W_D",
    recognises: |folder| {
        let names_a_type =
            folder.has(CONFIG) && folder.settings(CONFIG).is_ok_and(|config| config.has("sae_type"));
        let opened = weights(folder).and_then(|name| folder.tensors(name).ok());
        // `encoder.weight` is the layout of its predecessor, which the R1-distilled Llama Scope has.
        let has = |tensor: &str| {
            opened.as_ref().is_some_and(|file| {
                ["", "sae."].iter().any(|at| file.shape(&format!("{at}{tensor}")).is_some())
            })
        };
        (names_a_type && !has("encoder.weight")) || (has("W_E") && has("W_D"))
    },
    read,
};

/// The file of weights.
pub(super) fn weights(folder: &Folder) -> Option<&'static str> {
    WEIGHTS.into_iter().find(|name| folder.has(name))
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    if !folder.has(CONFIG) {
        let problem = "`config.json` is missing: it holds the activation function and the scaling of inputs";
        return Err(DictionaryError::unusable(folder.path(), problem));
    }
    let settings = folder.settings(CONFIG)?;
    let kind = refuse_types(&settings)?;
    let Some(name) = weights(folder) else { return Err(missing_weights(folder)) };
    let file = folder.tensors(name)?;
    // A torch file holds the tensors below `sae`.
    let at = if file.shape("sae.W_E").is_some() { "sae." } else { "" };
    let named = |name: &str| format!("{at}{name}");
    let mean_norms: Vec<(String, f64)> = file
        .names()
        .filter_map(|name| Some((name, name.strip_prefix(at)?.strip_prefix(NORM)?)))
        .map(|(name, hook)| Ok((hook.to_string(), file.scalar(name)?)))
        .collect::<Result<_, DictionaryError>>()?;
    let card = Card { architecture: kind, ..Card::default() };
    let parts = [Part::columns(named("W_E")), Part::rows(named("W_D"))];
    let [encoder_bias, decoder_bias] = [named("b_E"), named("b_D")];
    let mut blueprint = Blueprint::new(vec![file], parts, [&encoder_bias, &decoder_bias], card);
    // Norms that the scaling does not need are statistics; without a dataset-wise norm they are not even set.
    blueprint.harmless = &["dataset_average_activation_norm.*", "sae.dataset_average_activation_norm.*"];
    let hooks = Hooks::read(&settings)?;
    let threshold = named("activation_function.log_jumprelu_threshold");
    openmoss::switches(&mut blueprint, &settings, hooks.as_ref(), || Ok(Threshold::LogTensor(threshold)))?;
    openmoss::scaling(&mut blueprint, &settings, ask, |is_input| {
        let hook = hooks.as_ref().map(|hooks| if is_input { &hooks.input } else { &hooks.output });
        Ok(mean_norms.iter().find(|(name, _)| Some(name) == hook).map(|(_, norm)| *norm))
    })?;
    if settings.flag("sparsity_include_decoder_norm")?.unwrap_or(true) {
        blueprint.norms = Norms::IntoGate;
    }
    note_fold(&mut blueprint, &settings)?;
    blueprint.stated.model = openmoss::model(folder)?;
    blueprint.card.dropped.extend(settings.dropped(openmoss::HARMLESS, ask)?);
    Ok(blueprint)
}

/// Its own fold of scales leaves thresholds alone; the files are read as they are.
fn note_fold(blueprint: &mut Blueprint, settings: &Settings) -> Result<(), DictionaryError> {
    let is_folded = settings.text("norm_activation")? == Some("inference");
    if is_folded && matches!(blueprint.nonlinearity, Nonlinearity::JumpRelu(_)) {
        blueprint.card.notes.push(
            "`norm_activation: inference`: scales were folded into weights; llamascopium's own fold leaves thresholds \
             in units of scaled inputs, so that gates may differ from those of training"
                .into(),
        );
    }
    Ok(())
}

/// The word of `sae_type`. Every type but the autoencoder (or transcoder) of single rows is refused by its name.
fn refuse_types(settings: &Settings) -> Result<String, DictionaryError> {
    let kind = settings.text("sae_type")?.unwrap_or("sae");
    let reason = match kind {
        "sae" => return Ok(kind.into()),
        "clt" => "a cross-layer transcoder writes to several layers at once",
        "crosscoder" => "a crosscoder reads and writes several hook points at once",
        "lorsa" => "a low-rank sparse attention reads all earlier tokens",
        "molt" => "a mixture of linear transforms has no decoder row per feature",
        "mixcoder" => "a mixcoder has features of several modalities",
        _ => return Err(settings.wrong("sae_type", "`sae`; no other type is supported")),
    };
    let problem = format!("`sae_type: {kind}`: {reason}, which is not supported");
    Err(settings.unusable(problem))
}

fn missing_weights(folder: &Folder) -> DictionaryError {
    let is_distributed = folder.folders().iter().any(|name| name.ends_with(".dcp"));
    let problem = if is_distributed {
        "the weights are a torch distributed checkpoint (`.dcp`), which is not supported: save it with \
         llamascopium's `save_pretrained` on one device, as `sae_weights.safetensors`"
            .to_string()
    } else {
        format!("no file of weights; expected one of {}", WEIGHTS.join(", "))
    };
    DictionaryError::unusable(folder.path(), problem)
}
