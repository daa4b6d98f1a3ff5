//! Gemma Scope: JumpReLU autoencoders and transcoders in one `params.npz`, without a configuration.
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

use super::super::Stated;
use super::blueprint::{Blueprint, Nonlinearity, Part, Scale, Threshold};
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row, names};

const FILE: &str = "params.npz";

pub(super) const ROW: Row = Row {
    format: FileFormat::GemmaScope,
    words: "Gemma Scope",
    recognised_by: "`params.npz` with W_enc, W_dec and threshold",
    recognises: |folder| folder.has(FILE),
    read,
};

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let file = folder.tensors(FILE)?;
    // Some releases spell the matrices in lower case.
    let lower = file.shape("w_enc").is_some();
    let name = |name: &str| if lower { name.replace('W', "w") } else { name.to_string() };
    // The factors of SAELens's fine-tuning occur in re-exports.
    let factors = file.shape("scaling_factor").map(|_| "scaling_factor".to_string());
    let card = Card { architecture: "JumpReLU".into(), ..Card::default() };
    let parts = [Part::columns(name("W_enc")), Part::rows(name("W_dec"))];
    let mut blueprint = Blueprint::new(vec![file], parts, ["b_enc", "b_dec"], card);
    blueprint.nonlinearity = Nonlinearity::JumpRelu(Threshold::Tensor("threshold".into()));
    blueprint.decoder_factors = factors;
    let parts = names::parts(folder, ask);
    blueprint.stated = stated(&parts);
    if parts.iter().any(|part| part == "embedding") {
        let root = (blueprint.shape()?.d_in as f64).sqrt();
        blueprint.scale = Scale { input: root.recip(), output: root.recip(), threshold: 1.0 };
        // The embedding times √d is what enters the first block.
        blueprint.stated.hook = Some("blocks.0.hook_resid_pre".into());
        blueprint.card.notes.push(
            "trained on embeddings without the model's factor √d: inputs are divided by √d, outputs (b_dec too) \
             multiplied by √d. SAELens multiplies W_dec alone"
                .into(),
        );
    }
    Ok(blueprint)
}

/// What the path says, its innermost part first.
fn stated(parts: &[String]) -> Stated {
    let l0 = parts.iter().find_map(|part| part.strip_prefix("average_l0_")?.parse().ok());
    let layer: Option<usize> = parts.iter().find_map(|part| part.strip_prefix("layer_")?.parse().ok());
    let mut stated = Stated { l0, ..Stated::default() };
    // gemma-scope-2b-pt-res: size, base or instruction-tuned, site.
    let repository = parts.iter().find_map(|part| part.strip_prefix("gemma-scope-"));
    let words: Vec<&str> = repository.unwrap_or_default().split('-').collect();
    if let [size @ ("2b" | "9b" | "27b"), tuning @ ("pt" | "it"), site, ..] = words[..] {
        stated.model = Some(format!("google/gemma-2-{size}{}", if tuning == "it" { "-it" } else { "" }));
        let sites = match site {
            "res" => Some(("hook_resid_post", None)),
            "mlp" => Some(("hook_mlp_out", None)),
            "att" => Some(("attn.hook_z", None)),
            // Inputs are those of the MLP, after the norm before it.
            "transcoders" => Some(("ln2.hook_normalized", Some("hook_mlp_out"))),
            _ => None,
        };
        if let (Some(layer), Some((site, output))) = (layer, sites) {
            stated.hook = Some(format!("blocks.{layer}.{site}"));
            stated.hook_out = output.map(|output| format!("blocks.{layer}.{output}"));
        }
    }
    stated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_model_hook_points_and_l0() {
        let of = |path: &str| stated(&path.rsplit('/').map(String::from).collect::<Vec<_>>());
        let resid = of("google/gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82");
        assert_eq!(resid.model.as_deref(), Some("google/gemma-2-2b"));
        assert_eq!(resid.hook.as_deref(), Some("blocks.12.hook_resid_post"));
        assert_eq!((resid.hook_out, resid.l0), (None, Some(82.0)));
        let transcoder = of("google/gemma-scope-9b-it-transcoders/layer_3/width_16k/average_l0_7");
        assert_eq!(transcoder.model.as_deref(), Some("google/gemma-2-9b-it"));
        assert_eq!(transcoder.hook_out.as_deref(), Some("blocks.3.hook_mlp_out"));
        assert_eq!(of("mine/layer_3/params"), Stated::default());
    }
}
