//! Transcoders of circuit-tracer, among them those of mwhanna and mntss: `layer_N.safetensors`.
//!
//! ```text
//! z = act(x W_encᵀ + b_enc)               W_enc [F, d]; the input is not centred
//! ŷ = z W_dec + b_dec (+ x W_skipᵀ)       W_dec [F, d], W_skip [d, d]
//! ```
//!
//! act is JumpReLU where the file holds `activation_function.threshold`, top-k where `config.yaml` or a tensor says so,
//! ReLU otherwise. `config.yaml` names model and hook points of all layers. `wandb-config.yaml` (in some repositories
//! `wanb-config.yaml`) is a log of the training: circuit-tracer does not read it. Source: circuit-tracer,
//! `transcoder/single_layer_transcoder.py` and `utils/hf_utils.py`.

use super::blueprint::{Blueprint, Nonlinearity, Part, Threshold};
use super::folder::SAFETENSORS;
use super::settings::Settings;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row, names};

const CONFIG: &str = "config.yaml";
const TENSORS: &[&str] = &["W_enc", "W_dec", "b_enc", "b_dec"];
const THRESHOLD: &str = "activation_function.threshold";

/// Settings that change no code: names for the interface, and where files of the set lie.
const HARMLESS: &[&str] = &["scan", "scan_name", "transcoders", "repo_id", "revision", "subfolder"];

pub(super) const ROW: Row = Row {
    format: FileFormat::CircuitTracer,
    words: "transcoders of circuit-tracer, mwhanna's among them",
    recognised_by: "`layer_N.safetensors` with W_enc, W_dec, b_enc and b_dec",
    recognises: |folder| !found(folder).is_empty(),
    read,
};

/// Layer of `layer_N.safetensors`.
fn layer_of(name: &str) -> Option<usize> {
    name.strip_prefix("layer_")?.strip_suffix(".safetensors")?.parse().ok()
}

fn found(folder: &Folder) -> Vec<&str> {
    folder.holding(SAFETENSORS, TENSORS).into_iter().filter(|name| layer_of(name).is_some()).collect()
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let settings = if folder.has(CONFIG) { Some(folder.settings(CONFIG)?) } else { None };
    if let Some(settings) = &settings {
        refuse_kinds(settings)?;
    }
    // Named as this format, a file may have any name.
    let found = match found(folder) {
        found if found.is_empty() => folder.holding(SAFETENSORS, TENSORS),
        found => found,
    };
    let name = folder.choose(&found)?;
    let file = folder.tensors(name)?;
    let has = |tensor: &str| file.shape(tensor).is_some();
    let (has_threshold, has_skip, has_k) = (has(THRESHOLD), has("W_skip"), has("k"));
    let stored_k = if has_k { Some(file.scalar("k")?) } else { None };
    let parts = [Part::rows("W_enc"), Part::rows("W_dec")];
    let mut blueprint = Blueprint::new(vec![file], parts, ["b_enc", "b_dec"], Card::default());
    blueprint.skip = has_skip.then(|| Part::rows("W_skip"));
    blueprint.nonlinearity = activation(settings.as_ref(), ask, has_threshold, stored_k, blueprint.path())?;
    if let Nonlinearity::TopK(_) = blueprint.nonlinearity {
        blueprint.harmless = &["k"];
        blueprint.card.notes.push(
            "circuit-tracer keeps the k largest values even where they are negative; here negative ones are 0, which \
             differs in rows with fewer than k positive values"
                .into(),
        );
    }
    blueprint.card.architecture = if has_skip { "skip transcoder" } else { "transcoder" }.into();
    check_log(folder, &blueprint)?;
    let stated = &mut blueprint.stated;
    stated.model = qwen(&names::parts(folder, ask));
    if let Some(settings) = &settings {
        stated.model = settings.text("model_name")?.map(String::from).or(stated.model.take());
        let hook = |key: &str| -> Result<Option<String>, DictionaryError> {
            let place = layer_of(name).zip(settings.text(key)?);
            Ok(place.map(|(layer, hook)| format!("blocks.{layer}.{hook}")))
        };
        let (input, output) = (hook("feature_input_hook")?, hook("feature_output_hook")?);
        stated.hook_out = output.filter(|output| Some(output) != input.as_ref());
        stated.hook = input;
        blueprint.card.dropped.extend(settings.dropped(HARMLESS, ask)?);
    }
    Ok(blueprint)
}

fn refuse_kinds(settings: &Settings) -> Result<(), DictionaryError> {
    if settings.text("model_kind")? == Some("cross_layer_transcoder") {
        return Err(settings.unusable(
            "`model_kind: cross_layer_transcoder`: its features write to several layers at once, which is not supported",
        ));
    }
    settings.one_of("model_kind", &["transcoder_set"]).map(|_| ())
}

fn activation(
    settings: Option<&Settings>,
    ask: &Ask,
    has_threshold: bool,
    stored_k: Option<f64>,
    path: &std::path::Path,
) -> Result<Nonlinearity, DictionaryError> {
    let known = ["relu", "topk", "jumprelu", "jump_relu"];
    let word = settings.map(|settings| settings.one_of("activation", &known)).transpose()?.flatten();
    let configured = settings.map(|settings| settings.size("k")).transpose()?.flatten();
    let is_topk = word == Some("topk") || (word.is_none() && stored_k.is_some());
    if is_topk {
        let stored = stored_k.filter(|k| k.fract() == 0.0 && *k >= 1.0).map(|k| k as usize);
        let k = ask.k.or(stored).or(configured);
        let problem =
            "`activation: topk` and no k: set the field `k` (`k: 128`; `--k 128` on the command line)";
        return k.map(Nonlinearity::TopK).ok_or_else(|| DictionaryError::unusable(path, problem));
    }
    if ask.k.is_some() {
        let problem = "`k` has no meaning here: the activation function is not top-k. Leave it out";
        return Err(DictionaryError::unusable(path, problem));
    }
    match (word, has_threshold) {
        (Some("jumprelu" | "jump_relu"), false) => Err(DictionaryError::unusable(
            path,
            format!("`activation: jumprelu`, and tensor {THRESHOLD} is missing"),
        )),
        (Some("relu"), true) => Err(DictionaryError::unusable(
            path,
            format!("`activation: relu`, and the file holds {THRESHOLD}: one of them is wrong"),
        )),
        (_, true) => Ok(Nonlinearity::JumpRelu(Threshold::Tensor(THRESHOLD.into()))),
        _ => Ok(Nonlinearity::Relu),
    }
}

/// Sizes in the log of the training must be those of the tensors; nothing else of it is read.
fn check_log(folder: &Folder, blueprint: &Blueprint) -> Result<(), DictionaryError> {
    let Some(name) = ["wandb-config.yaml", "wanb-config.yaml"].into_iter().find(|name| folder.has(name))
    else {
        return Ok(());
    };
    let (log, shape) = (folder.settings(name)?, blueprint.shape()?);
    for (key, found) in [("d_model", shape.d_in), ("d_feature", shape.features)] {
        if log.inner(key)?.size("value")?.is_some_and(|stated| stated != found) {
            return Err(log.wrong(key, &format!("{found}, as the tensors have")));
        }
    }
    Ok(())
}

/// The model in names like `qwen3-14b-transcoders`. Some of these repositories have no configuration.
fn qwen(parts: &[String]) -> Option<String> {
    parts.iter().find_map(|part| {
        let size = part.strip_prefix("qwen3-")?.split_once("b-transcoders")?.0;
        size.parse::<f64>().ok().map(|_| format!("Qwen/Qwen3-{size}B"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_layer_and_model() {
        assert_eq!((layer_of("layer_12.safetensors"), layer_of("golden.safetensors")), (Some(12), None));
        let of = |name: &str| qwen(&[name.to_string()]);
        assert_eq!(of("qwen3-0.6b-transcoders-lowl0").as_deref(), Some("Qwen/Qwen3-0.6B"));
        assert_eq!(of("qwen3-14b-transcoders").as_deref(), Some("Qwen/Qwen3-14B"));
        assert_eq!(of("qwen3-mine-transcoders"), None);
    }
}
