//! Llama Scope: `hyperparams.json` and `checkpoints/final.safetensors`.
//!
//! ```text
//! p = s x Eᵀ + b_E                 encoder.weight E [F, d]; s = √d / dataset_average_activation_norm.in
//! z = ReLU(p) where p > s θ        one `jump_relu_threshold` θ for all features
//! x̂ = (z Dᵀ + b_D) / t             decoder.weight D [d, F]; t = √d / dataset_average_activation_norm.out
//! ```
//!
//! Whether θ is in units of raw activations (`p > s θ`, as SAELens reads it) or of scaled ones (`p > θ`) is disputed:
//! SAELens issues 482 and 483, Language-Model-SAEs issue 128. `threshold: stored` reads it the second way. Source: arXiv
//! 2410.20526; settings of Language-Model-SAEs.

use super::blueprint::{Blueprint, Nonlinearity, Norms, Part, Threshold};
use super::openmoss::{self, Hooks};
use super::settings::Settings;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row, ThresholdUnits, names};

const CONFIG: &str = "hyperparams.json";
const FILES: [&str; 2] = ["checkpoints/final.safetensors", "checkpoints/pruned.safetensors"];

pub(super) const ROW: Row = Row {
    format: FileFormat::LlamaScope,
    words: "Llama Scope",
    recognised_by: "`hyperparams.json` and `checkpoints/final.safetensors`",
    recognises: |folder| folder.has(CONFIG) && FILES.iter().any(|file| folder.has(file)),
    read,
};

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let settings = folder.settings(CONFIG)?;
    let file = FILES.into_iter().find(|file| folder.has(file)).unwrap_or(FILES[0]);
    let architecture = settings.text("act_fn")?.unwrap_or("relu").to_string();
    let mut blueprint = linear(folder, file, architecture)?;
    let mut hooks = Hooks::read(&settings)?;
    let place = place(folder, ask);
    if let (None, Some((layer, [input, output]))) = (&hooks, &place) {
        let hook = |site| format!("blocks.{layer}.{site}");
        hooks = Some(Hooks { input: hook(*input), output: hook(*output) });
    }
    let threshold = || {
        let value = settings.number("jump_relu_threshold")?;
        Ok(Threshold::Constant(settings.required("jump_relu_threshold", "a number", value)?))
    };
    openmoss::switches(&mut blueprint, &settings, hooks.as_ref(), threshold)?;
    let norms = settings.inner("dataset_average_activation_norm")?;
    let norm = |is_input| norms.number(if is_input { "in" } else { "out" });
    openmoss::scaling(&mut blueprint, &settings, ask, norm)?;
    threshold_units(&mut blueprint, &settings, ask, ThresholdUnits::Scaled)?;
    gate(&mut blueprint, &settings)?;
    blueprint.stated.model = place.map(|_| "meta-llama/Llama-3.1-8B".to_string());
    blueprint.card.dropped.extend(norms.dropped(&[], ask)?);
    blueprint.card.dropped.extend(settings.dropped(openmoss::HARMLESS, ask)?);
    Ok(blueprint)
}

/// The tensors of a pair of linear maps.
pub(super) fn linear(
    folder: &Folder,
    file: &str,
    architecture: String,
) -> Result<Blueprint, DictionaryError> {
    let card = Card { architecture, ..Card::default() };
    let parts = [Part::rows("encoder.weight"), Part::columns("decoder.weight")];
    Ok(Blueprint::new(vec![folder.tensors(file)?], parts, ["encoder.bias", "decoder.bias"], card))
}

/// Sets the factor on thresholds and says which units they have.
pub(super) fn threshold_units(
    blueprint: &mut Blueprint,
    settings: &Settings,
    ask: &Ask,
    default: ThresholdUnits,
) -> Result<(), DictionaryError> {
    if !matches!(blueprint.nonlinearity, Nonlinearity::JumpRelu(_)) {
        return match ask.threshold {
            None => Ok(()),
            Some(_) => {
                Err(settings
                    .unusable("`threshold` has no meaning here: there are no thresholds. Leave it out"))
            }
        };
    }
    let units = ask.threshold.unwrap_or(default);
    if units == ThresholdUnits::Scaled {
        if blueprint.lacks_scale {
            let problem = "thresholds are to be multiplied by the factor on inputs, which the files do not hold: set \
                           `input_scale`, or `threshold: stored`";
            return Err(settings.unusable(problem));
        }
        blueprint.scale.threshold = blueprint.scale.input;
    }
    let (done, other) = match units {
        ThresholdUnits::Scaled => ("multiplied by the factor on inputs", "stored"),
        ThresholdUnits::Stored => ("used as stored", "scaled"),
    };
    let whose = if ask.threshold.is_none() { ", as SAELens does" } else { "" };
    blueprint.card.notes.push(format!(
        "units of thresholds are disputed: {done}{whose}; `threshold: {other}` reads them the other way"
    ));
    Ok(())
}

/// The use of `sparsity_include_decoder_norm`: SAELens leaves it out of thresholds; ranks of top-k, which SAELens does
/// not read, follow OpenMOSS.
pub(super) fn gate(blueprint: &mut Blueprint, settings: &Settings) -> Result<(), DictionaryError> {
    let includes = settings.flag("sparsity_include_decoder_norm")?.unwrap_or(true);
    match blueprint.nonlinearity {
        Nonlinearity::TopK(_) if includes => blueprint.norms = Norms::IntoGate,
        Nonlinearity::JumpRelu(_) if includes => openmoss::note_plain_gate(blueprint)?,
        _ => {}
    }
    Ok(())
}

/// Layer, and sites of inputs and outputs, in names like `Llama3_1-8B-Base-L15R-8x`.
fn place(folder: &Folder, ask: &Ask) -> Option<(usize, [&'static str; 2])> {
    names::parts(folder, ask).iter().find_map(|part| {
        let rest = part.strip_prefix("Llama3_1-8B-Base-L")?;
        let layer = names::number_behind(part, "Llama3_1-8B-Base-L")?;
        let sites = match rest.trim_start_matches(|c: char| c.is_ascii_digit()).split('-').next()? {
            "R" => ["hook_resid_post"; 2],
            "A" => ["hook_attn_out"; 2],
            "M" => ["hook_mlp_out"; 2],
            "TC" => ["ln2.hook_normalized", "hook_mlp_out"],
            _ => return None,
        };
        Some((layer, sites))
    })
}
