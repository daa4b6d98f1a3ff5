//! Qwen-Scope: TopK autoencoders in `layerN.sae.pt`, without a configuration.
//!
//! ```text
//! p = x W_encᵀ + b_enc           W_enc [F, d]; the input is not centred
//! z = the k largest p, if positive
//! x̂ = z W_decᵀ + b_dec           W_dec [d, F]
//! ```
//!
//! Both matrices have SAELens's names and are laid out the other way round. k stands in the name of the repository
//! alone: `SAE-Res-Qwen3-1.7B-Base-W32K-L0_50`. Source: SAELens 6.54, `pretrained_sae_loaders.py`.

use super::super::Stated;
use super::blueprint::{Blueprint, Nonlinearity, Part};
use super::folder::TORCH;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row, names};

const TENSORS: &[&str] = &["W_enc", "W_dec", "b_enc", "b_dec"];

pub(super) const ROW: Row = Row {
    format: FileFormat::QwenScope,
    words: "Qwen-Scope",
    recognised_by: "`layerN.sae.pt`, or a torch file with W_enc [F, d], W_dec [d, F], b_enc and b_dec alone",
    recognises: |folder| !found(folder).is_empty(),
    read,
};

/// Layer of `layerN.sae.pt`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("layer")?.strip_suffix(".sae.pt")?.parse().ok()
}

/// Torch files with exactly these tensors whose name or biases say that matrices are the other way round.
fn found(folder: &Folder) -> Vec<&str> {
    let is_ours = |name: &&str| {
        let Ok(file) = folder.tensors(name) else { return false };
        let is_turned = match (file.shape("W_enc"), file.shape("b_enc"), file.shape("b_dec")) {
            (Some(&[rows, columns]), Some(&[features]), Some(&[d])) => {
                rows != columns && [rows, columns] == [features, d]
            }
            _ => false,
        };
        file.names().count() == TENSORS.len() && (layer_of(name).is_some() || is_turned)
    };
    folder.holding(TORCH, TENSORS).into_iter().filter(is_ours).collect()
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let found = match found(folder) {
        found if found.is_empty() => folder.holding(TORCH, TENSORS),
        found => found,
    };
    let name = folder.choose(&found)?;
    let file = folder.tensors(name)?;
    let parts = names::parts(folder, ask);
    let repository = parts.iter().find_map(|part| repository(part));
    let in_name = parts.iter().find_map(|part| names::number_behind(part, "L0_"));
    let k = ask.k.or(in_name).ok_or_else(|| {
        let problem = "k, the number of codes that are kept, stands in no file of this format, and no folder of the path \
                       ends in `L0_K`: set the field `k` (`k: 50`; `--k 50` on the command line)";
        DictionaryError::unusable(file.path(), problem)
    })?;
    let mut card = Card { architecture: "TopK".into(), ..Card::default() };
    match (ask.k, in_name) {
        (Some(asked), Some(named)) if asked != named => {
            card.notes.push(format!("k is {asked}, as asked; the path says {named}"));
        }
        (None, Some(named)) => card.notes.push(format!("k = {named} stands in the path")),
        _ => {}
    }
    let parts = [Part::rows("W_enc"), Part::columns("W_dec")];
    let mut blueprint = Blueprint::new(vec![file], parts, ["b_enc", "b_dec"], card);
    blueprint.nonlinearity = Nonlinearity::TopK(k);
    blueprint.stated = Stated {
        model: repository.map(|model| format!("Qwen/{model}")),
        hook: layer_of(name).map(|layer| format!("blocks.{layer}.hook_resid_post")),
        l0: in_name.map(|k| k as f64),
        ..Stated::default()
    };
    Ok(blueprint)
}

/// The model in `SAE-Res-Qwen3-1.7B-Base-W32K-L0_50`.
fn repository(part: &str) -> Option<&str> {
    let (model, _) = part.strip_prefix("SAE-Res-")?.rsplit_once("-L0_")?;
    Some(model.rsplit_once("-W")?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_model_layer_and_k() {
        let name = "SAE-Res-Qwen3-30B-A3B-Base-W32K-L0_100";
        assert_eq!(repository(name), Some("Qwen3-30B-A3B-Base"));
        assert_eq!(names::number_behind(name, "L0_"), Some(100));
        assert_eq!((layer_of("layer12.sae.pt"), layer_of("layer.sae.pt")), (Some(12), None));
    }
}
