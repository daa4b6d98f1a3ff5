//! Autoencoders of DeepSeek-R1 models: one torch file, without a configuration.
//!
//! ```text
//! z = ReLU(x Eᵀ + b_E)      encoder.weight E [F, d]; the input is not centred
//! x̂ = z Dᵀ + b_D            decoder.weight D [d, F]
//! ```
//!
//! Model and layer stand in the name: `DeepSeek-R1-Distill-Llama-8B-SAE-l19.pt`. The tensors are those of
//! dictionary_learning's `AutoEncoderNew`, which computes the same; its files are called `ae.pt` and have `config.json`
//! beside them. Source: SAELens 6.54, `pretrained_sae_loaders.py`.

use super::blueprint::{Blueprint, Part};
use super::folder::TORCH;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row, goodfire};

const TENSORS: &[&str] = &["encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias"];

pub(super) const ROW: Row = Row {
    format: FileFormat::DeepseekR1,
    words: "autoencoders of DeepSeek-R1 models",
    recognised_by: "a torch file, not named `ae.pt`, with encoder and decoder, weight and bias, and no configuration",
    recognises: |folder| {
        let configurations = ["config.json", "cfg.json", "config.yaml", "hyperparams.json"];
        !configurations.iter().any(|name| folder.has(name)) && !found(folder).is_empty()
    },
    read,
};

/// Torch files with exactly these tensors.
fn found(folder: &Folder) -> Vec<&str> {
    let is_whole = |name: &&str| folder.tensors(name).is_ok_and(|file| file.names().count() == TENSORS.len());
    let holding = folder.holding(TORCH, TENSORS);
    holding.into_iter().filter(|name| *name != "ae.pt").filter(is_whole).collect()
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    // Named as this format, `ae.pt` is meant too.
    let found = match found(folder) {
        found if found.is_empty() => folder.holding(TORCH, TENSORS),
        found => found,
    };
    let name = folder.choose(&found)?;
    let card = Card { architecture: "ReLU".into(), ..Card::default() };
    let parts = [Part::rows("encoder.weight"), Part::columns("decoder.weight")];
    let mut blueprint =
        Blueprint::new(vec![folder.tensors(name)?], parts, ["encoder.bias", "decoder.bias"], card);
    blueprint.stated = goodfire::residual_of(name, folder, ask);
    Ok(blueprint)
}
