//! Gemma Scope 2: JumpReLU autoencoders and transcoders of Gemma 3 in `params.safetensors`, mostly with `config.json`.
//!
//! ```text
//! p = x w_enc + b_enc                                   w_enc [d, F]; the input is not centred
//! z = ReLU(p) where p > threshold                       threshold [F]
//! x̂ = z w_dec + b_dec (+ x affine_skip_connection)      w_dec [F, d_out], affine_skip_connection [d, d_out]
//! ```
//!
//! Without a configuration, model and hook point stand in the path:
//! `gemma-scope-2-4b-it/transcoder_all/layer_5_width_16k_l0_big_affine`. Source: SAELens 6.54, `pretrained_sae_loaders.py`.

use super::super::Stated;
use super::blueprint::{Blueprint, Nonlinearity, Part, Threshold};
use super::folder::SAFETENSORS;
use super::settings::Settings;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row, names};

const FILE: &str = "params.safetensors";
const CONFIG: &str = "config.json";
const SKIP: &str = "affine_skip_connection";
const TENSORS: &[&str] = &["w_enc", "w_dec", "threshold"];

/// Settings that change no code: shapes of tensors tell the number of features.
const HARMLESS: &[&str] = &["width"];

pub(super) const ROW: Row = Row {
    format: FileFormat::GemmaScope2,
    words: "Gemma Scope 2",
    recognised_by: "`params.safetensors` with w_enc, w_dec and threshold",
    recognises: |folder| !folder.holding(SAFETENSORS, TENSORS).is_empty(),
    read,
};

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let settings = if folder.has(CONFIG) { Some(folder.settings(CONFIG)?) } else { None };
    if let Some(settings) = &settings {
        refuse_types(settings)?;
    }
    let found = folder.holding(SAFETENSORS, TENSORS);
    // A folder of cross-layer transcoders has one file per layer.
    let name = if folder.has(FILE) { FILE } else { found.first().copied().unwrap_or(FILE) };
    let file = folder.tensors(name)?;
    if file.shape("w_dec").is_some_and(|shape| shape.len() == 3) {
        return Err(several_layers(file.path()));
    }
    let name = if folder.has(FILE) { FILE } else { folder.choose(&found)? };
    let file = folder.tensors(name)?;
    let has_skip = file.shape(SKIP).is_some();
    let card = Card { architecture: "jump_relu".into(), ..Card::default() };
    let parts = [Part::columns("w_enc"), Part::rows("w_dec")];
    let mut blueprint = Blueprint::new(vec![file], parts, ["b_enc", "b_dec"], card);
    blueprint.nonlinearity = Nonlinearity::JumpRelu(Threshold::Tensor("threshold".into()));
    blueprint.skip = has_skip.then(|| Part::columns(SKIP));
    blueprint.stated = from_path(&names::parts(folder, ask));
    if let Some(settings) = &settings {
        let is_affine = settings.flag("affine_connection")?;
        if is_affine.is_some_and(|is_affine| is_affine != has_skip) {
            let expected =
                format!("{has_skip}: the tensor {SKIP} is {}", if has_skip { "there" } else { "missing" });
            return Err(settings.wrong("affine_connection", &expected));
        }
        from_settings(&mut blueprint.stated, settings)?;
        blueprint.card.dropped.extend(settings.dropped(HARMLESS, ask)?);
    }
    Ok(blueprint)
}

fn refuse_types(settings: &Settings) -> Result<(), DictionaryError> {
    settings.one_of("architecture", &["jump_relu"])?;
    match settings.text("type")? {
        Some(kind @ ("clt" | "crosscoder" | "cross_layer_transcoder")) => Err(settings.unusable(format!(
            "`type: {kind}`: its features write to several layers at once, which is not supported"
        ))),
        _ => settings.one_of("type", &["sae", "transcoder"]).map(|_| ()),
    }
}

fn several_layers(path: &std::path::Path) -> DictionaryError {
    let problem = "w_dec has three dimensions: a cross-layer transcoder or crosscoder, whose features write to several \
                   layers at once, which is not supported";
    DictionaryError::unusable(path, problem)
}

fn from_settings(stated: &mut Stated, settings: &Settings) -> Result<(), DictionaryError> {
    if let Some(name) = settings.text("model_name")? {
        stated.model = Some(model(name));
    }
    if let Some(input) = settings.text("hf_hook_point_in")? {
        stated.hook = Some(input.to_string());
        stated.hook_out = None;
    }
    let output = settings.text("hf_hook_point_out")?.map(String::from);
    stated.hook_out = output.or(stated.hook_out.take()).filter(|output| Some(output) != stated.hook.as_ref());
    stated.l0 = settings.number("l0")?;
    Ok(())
}

/// The name on the Hub: `gemma-v3-270m-pt` is `google/gemma-3-270m`, whose base model has no suffix.
fn model(name: &str) -> String {
    let name = name.replace("gemma-v3", "gemma-3");
    let name = if name.contains('/') { name } else { format!("google/{name}") };
    name.strip_suffix("270m-pt").map_or(name.clone(), |start| format!("{start}270m"))
}

/// What the path says, its innermost part first.
fn from_path(parts: &[String]) -> Stated {
    // gemma-scope-2-4b-it: size, base or instruction-tuned.
    let rest = parts.iter().filter_map(|part| part.strip_prefix("gemma-scope-2-"));
    let is_model = |rest: &&str| {
        let (size, tuning) = rest.split_once('-').unwrap_or_default();
        ["270m", "1b", "4b", "12b", "27b"].contains(&size) && ["pt", "it"].contains(&tuning)
    };
    let name = rest.filter(is_model).map(|rest| model(&format!("gemma-3-{rest}"))).next();
    let mut stated = Stated { model: name, ..Stated::default() };
    let layer = parts.iter().filter(|part| part.contains("_width_"));
    let layer = layer.filter_map(|part| names::number_behind(part, "layer_")).next();
    let site = parts.iter().find_map(|part| {
        let site = part.strip_suffix("_all").unwrap_or(part);
        ["resid_post", "attn_out", "mlp_out", "transcoder"].into_iter().find(|known| *known == site)
    });
    if let (Some(layer), Some(site)) = (layer, site) {
        let (input, output) = match site {
            "resid_post" => ("output", None),
            "attn_out" => ("self_attn.o_proj.input", None),
            "mlp_out" => ("post_feedforward_layernorm.output", None),
            _ => ("pre_feedforward_layernorm.output", Some("post_feedforward_layernorm.output")),
        };
        stated.hook = Some(format!("model.layers.{layer}.{input}"));
        stated.hook_out = output.map(|output| format!("model.layers.{layer}.{output}"));
    }
    stated
}

#[cfg(test)]
mod tests {
    use super::super::super::hook_of;
    use super::*;

    #[test]
    fn a_path_names_model_and_hook_points() {
        let of = |path: &str| from_path(&path.rsplit('/').map(String::from).collect::<Vec<_>>());
        let resid = of("google/gemma-scope-2-270m-pt/resid_post_all/layer_5_width_16k_l0_small");
        assert_eq!(resid.model.as_deref(), Some("google/gemma-3-270m"));
        let hook = resid.hook.as_deref().and_then(hook_of).expect("a hook point");
        assert_eq!(hook.to_string(), "blocks.5.hook_resid_post");
        let attention = of("google/gemma-scope-2-4b-it/attn_out/layer_9_width_65k_l0_big");
        let hook = attention.hook.as_deref().and_then(hook_of).expect("a hook point");
        assert_eq!(
            (attention.model.as_deref(), hook.to_string().as_str()),
            (Some("google/gemma-3-4b-it"), "blocks.9.attn.hook_z")
        );
        let transcoder = of("google/gemma-scope-2-1b-pt/transcoder/layer_7_width_16k_l0_big_affine");
        let input = transcoder.hook.as_deref().and_then(hook_of).expect("a hook point");
        assert_eq!(input.to_string(), "blocks.7.mlp.hook_in");
        let output = transcoder.hook_out.as_deref().and_then(hook_of).expect("a hook point");
        assert_eq!(output.to_string(), "blocks.7.hook_mlp_out");
    }

    #[test]
    fn other_names_say_nothing() {
        assert_eq!(from_path(&["gemma-scope-2--resid-post".to_string()]), Stated::default());
    }

    #[test]
    fn models_are_named_as_on_the_hub() {
        assert_eq!(model("google/gemma-v3-270m-pt"), "google/gemma-3-270m");
        assert_eq!(model("gemma-v3-4b-it"), "google/gemma-3-4b-it");
    }
}
