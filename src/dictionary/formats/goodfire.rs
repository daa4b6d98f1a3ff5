//! Goodfire's autoencoders: one file with `encoder_linear` and `decoder_linear`, without a configuration.
//!
//! ```text
//! z = ReLU(x Eᵀ + b_E)      encoder_linear.weight E [F, d]; the input is not centred
//! x̂ = z Dᵀ + b_D            decoder_linear.weight D [d, F]
//! ```
//!
//! Model and layer stand in the name: `Llama-3.1-8B-Instruct-SAE-l19.pth`. Source: SAELens 6.54,
//! `pretrained_sae_loaders.py`.

use super::super::Stated;
use super::blueprint::{Blueprint, Part};
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row, names};

const FILES: &[&str] = &[".pt", ".pth", ".bin", ".safetensors"];
const TENSORS: &[&str] = &["encoder_linear.weight", "decoder_linear.weight"];

pub(super) const ROW: Row = Row {
    format: FileFormat::Goodfire,
    words: "Goodfire's autoencoders",
    recognised_by: "a torch or safetensors file with encoder_linear.weight and decoder_linear.weight",
    recognises: |folder| !folder.holding(FILES, TENSORS).is_empty(),
    read,
};

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let name = folder.choose(&folder.holding(FILES, TENSORS))?;
    let card = Card { architecture: "ReLU".into(), ..Card::default() };
    let parts = [Part::rows("encoder_linear.weight"), Part::columns("decoder_linear.weight")];
    let biases = ["encoder_linear.bias", "decoder_linear.bias"];
    let mut blueprint = Blueprint::new(vec![folder.tensors(name)?], parts, biases, card);
    blueprint.stated = residual_of(name, folder, ask);
    Ok(blueprint)
}

/// What the name of the file, or of its folders, says: the residual stream after a block.
pub(super) fn residual_of(file: &str, folder: &Folder, ask: &Ask) -> Stated {
    let parts = names::parts(folder, ask);
    let all = std::iter::once(file).chain(parts.iter().map(String::as_str));
    let Some((model, layer)) = all.filter_map(names::model_and_layer).next() else {
        return Stated::default();
    };
    Stated { model: Some(model), hook: Some(format!("blocks.{layer}.hook_resid_post")), ..Stated::default() }
}
