//! Gemma Scope: JumpReLU autoencoders in one `params.npz`, without a configuration.
//!
//! ```text
//! p = x W_enc + b_enc               W_enc [d, F]; the input is not centred
//! z = ReLU(p) where p > threshold   threshold [F]
//! x̂ = z W_dec + b_dec               W_dec [F, d]
//! ```
//!
//! Model, hook point and L0 stand in the path: `gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82`. Autoencoders of
//! the embedding saw embeddings without the factor √d of the model, so their encoder takes `x / √d` and their output is
//! multiplied by √d. Source: arXiv 2408.05147.

use super::blueprint::{Blueprint, Nonlinearity, Part, Scale, Threshold};
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

const FILE: &str = "params.npz";

pub(super) const ROW: Row = Row {
    format: FileFormat::GemmaScope,
    words: "Gemma Scope (`params.npz`)",
    recognised_by: "`params.npz` with W_enc, W_dec and threshold",
    recognises: |folder| folder.has(FILE),
    read,
};

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let file = folder.tensors(FILE)?;
    let place = format!("{}/{}", ask.place, folder.path().display());
    // Some releases spell the matrices in lower case.
    let lower = file.shape("w_enc").is_some();
    let name = |name: &str| if lower { name.replace('W', "w") } else { name.to_string() };
    let card = Card {
        architecture: "JumpReLU".into(),
        orientation: "W_enc [d, F], W_dec [F, d]".into(),
        centring: "none".into(),
        scaling: "none".into(),
        ..Card::default()
    };
    let parts = [Part::columns(name("W_enc")), Part::rows(name("W_dec"))];
    let mut blueprint = Blueprint::new(vec![file], parts, ["b_enc", "b_dec"], card);
    blueprint.nonlinearity = Nonlinearity::JumpRelu(Threshold::Tensor("threshold".into()));
    let parts: Vec<&str> = place.split('/').collect();
    if parts.contains(&"embedding") {
        let d = blueprint.shape()?.d_in as f64;
        blueprint.scale = Scale { input: d.sqrt().recip(), output: d.sqrt().recip(), threshold: 1.0 };
        blueprint.card.scaling =
            "inputs divided by √d, outputs multiplied by √d (an embedding autoencoder)".into();
    }
    let stated = &mut blueprint.stated;
    stated.l0 = parts.iter().rev().find_map(|part| part.strip_prefix("average_l0_")?.parse().ok());
    let repository = parts.iter().find(|part| part.starts_with("gemma-scope-"));
    let layer: Option<usize> = parts.iter().rev().find_map(|part| part.strip_prefix("layer_")?.parse().ok());
    if let Some(repository) = repository {
        // gemma-scope-2b-pt-res: size, base or instruction-tuned, site.
        let words: Vec<&str> = repository.split('-').collect();
        if let [_, _, size, tuning, site, ..] = words[..] {
            stated.model = Some(format!("google/gemma-2-{size}{}", if tuning == "it" { "-it" } else { "" }));
            let site = match site {
                "res" => Some("hook_resid_post"),
                "mlp" => Some("hook_mlp_out"),
                "att" => Some("attn.hook_z"),
                _ => None,
            };
            stated.hook = layer.zip(site).map(|(layer, site)| format!("blocks.{layer}.{site}"));
        }
    }
    Ok(blueprint)
}
