//! OpenAI's sparse_autoencoder: a torch file alone, `…/resid_post_mlp_v5_32k/autoencoders/7.pt`.
//!
//! ```text
//! c = act((z − pre_bias) encoder.weightᵀ + latent_bias)      encoder.weight [F, d]
//! x̂ = c decoder.weightᵀ + pre_bias                           decoder.weight [d, F]
//! ```
//!
//! `activation` is a text in the file: ReLU, Identity or TopK. With TopK alone, z is x minus its mean over its standard
//! deviation, and outputs are scaled back. Source: github.com/openai/sparse_autoencoder, `model.py` and `paths.py`.

use super::super::Stated;
use super::super::tensor_files::{Plain, TensorFile};
use super::super::tensors::RowScale;
use super::blueprint::{Blueprint, Nonlinearity, Part};
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

/// Tensors by which the format is recognised.
const OWN: [&str; 3] = ["pre_bias", "latent_bias", "encoder.weight"];
const TORCH: &[&str] = &[".pt", ".pth"];

pub(super) const ROW: Row = Row {
    format: FileFormat::OpenAi,
    words: "OpenAI's sparse_autoencoder",
    recognised_by: "a torch file with `pre_bias` and `latent_bias`",
    recognises: |folder| {
        let first = folder.ending(TORCH).first().and_then(|name| folder.tensors(name).ok());
        first.is_some_and(|file| OWN.iter().all(|name| file.shape(name).is_some()))
    },
    read,
};

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let files = folder.ending(TORCH);
    let [name] = files[..] else {
        let some: Vec<&str> = files.iter().copied().take(12).collect();
        let problem =
            format!("holds {} dictionaries; name one of its files: {}", files.len(), some.join(", "));
        return Err(DictionaryError::unusable(folder.path(), problem));
    };
    let file = folder.tensors(name)?;
    ask.has_no_input_scale(file.path())?;
    check_plain(&file)?;
    let (nonlinearity, words) = nonlinearity(&file, ask)?;
    let is_topk = matches!(nonlinearity, Nonlinearity::TopK(_));
    // A tied decoder is the encoder, stored once more.
    let is_tied = file.shape("decoder.weight").is_none() && file.shape("decoder.linear.weight").is_some();
    let (decoder, orientation) = match is_tied {
        true => (Part::rows("decoder.linear.weight"), "encoder.weight [F, d], tied decoder [F, d]"),
        false => (Part::columns("decoder.weight"), "encoder.weight [F, d], decoder.weight [d, F]"),
    };
    let scaling = if is_topk { "each row: layer_norm, undone on outputs" } else { "none" };
    let card = Card {
        architecture: words.split(',').next().unwrap_or_default().into(),
        orientation: orientation.into(),
        centring: "pre_bias subtracted from inputs".into(),
        scaling: scaling.into(),
        activation: words,
        ..Card::default()
    };
    let parts = [Part::rows("encoder.weight"), decoder];
    let mut blueprint = Blueprint::new(vec![file], parts, ["latent_bias", "pre_bias"], card);
    blueprint.subtracts_bias = true;
    blueprint.nonlinearity = nonlinearity;
    if is_topk {
        blueprint.row_scale = RowScale::LayerNorm;
    }
    blueprint.harmless = &[
        "stats_last_nonzero",
        "latents_activation_frequency",
        "latents_mean_square",
        "activation.*",
        "activation_state_dict.*",
    ];
    blueprint.stated = stated(&format!("{}/{}", ask.place, folder.join(name).display()));
    Ok(blueprint)
}

/// Values beside the tensors must be known.
fn check_plain(file: &TensorFile) -> Result<(), DictionaryError> {
    let is_known = |name: &str| {
        name == "activation" || name.starts_with("activation.") || name.starts_with("activation_state_dict")
    };
    match file.plain_names().find(|name| !is_known(name)) {
        None => Ok(()),
        Some(name) => {
            let name: String = name.chars().take(80).collect();
            Err(DictionaryError::unusable(file.path(), format!("holds `{name}`, whose meaning is unknown")))
        }
    }
}

fn nonlinearity(file: &TensorFile, ask: &Ask) -> Result<(Nonlinearity, String), DictionaryError> {
    let problem = |text: String| DictionaryError::unusable(file.path(), text);
    let name = match file.plain("activation") {
        None | Some(Plain::None) => "ReLU",
        Some(Plain::Text(name)) => name.as_str(),
        Some(_) => return Err(problem("`activation` is no text; expected ReLU, Identity or TopK".into())),
    };
    match name {
        "ReLU" | "Identity" => ask.has_no_k(file.path())?,
        "TopK" => {}
        _ => {
            let name: String = name.chars().take(80).collect();
            return Err(problem(format!("`activation` is {name}; expected one of ReLU, Identity, TopK")));
        }
    }
    if name != "TopK" {
        let nonlinearity = if name == "ReLU" { Nonlinearity::Relu } else { Nonlinearity::Identity };
        return Ok((nonlinearity, name.to_string()));
    }
    match state(file, "postact_fn") {
        None | Some(Plain::None) => {}
        Some(Plain::Text(function)) if function == "ReLU" => {}
        Some(Plain::Text(function)) if function == "Identity" => {
            let text =
                "`postact_fn` is Identity, so codes below 0 are kept, which is not supported; expected ReLU";
            return Err(problem(text.into()));
        }
        Some(_) => return Err(problem("`postact_fn` is unknown; expected ReLU".into())),
    }
    let stored = match state(file, "k") {
        Some(Plain::Int(k)) => usize::try_from(*k).ok(),
        Some(Plain::Float(k)) if *k >= 1.0 && k.fract() == 0.0 => Some(*k as usize),
        _ => match ["activation_state_dict.k", "activation.k"].iter().find(|name| file.shape(name).is_some())
        {
            Some(name) => Some(file.scalar(name)? as usize),
            None => None,
        },
    };
    let k = ask.k_of(file.path(), stored)?;
    let k = k.ok_or_else(|| problem("holds no `k` for TopK: give it as `k` in the suite".into()))?;
    Ok((Nonlinearity::TopK(k), format!("TopK, k {k}")))
}

/// A value of `activation_state_dict`.
fn state<'f>(file: &'f TensorFile, key: &str) -> Option<&'f Plain> {
    let inner = match file.plain("activation_state_dict") {
        Some(Plain::Dict(entries)) => entries.iter().find(|(name, _)| name == key).map(|(_, value)| value),
        _ => None,
    };
    inner.or_else(|| file.plain(&format!("activation_state_dict.{key}")))
}

/// Model and hook point, which stand in the path alone.
fn stated(path: &str) -> Stated {
    let parts: Vec<&str> = path.split('/').collect();
    let layer: Option<usize> =
        parts.last().and_then(|name| name.rsplit_once('.')).and_then(|(stem, _)| stem.parse().ok());
    let sites = [
        ("mlp_post_act", "mlp.hook_post"),
        ("resid_delta_mlp", "hook_mlp_out"),
        ("resid_delta_attn", "hook_attn_out"),
        ("resid_post_attn", "hook_resid_mid"),
        ("resid_post_mlp", "hook_resid_post"),
    ];
    let site =
        parts.iter().rev().find_map(|part| sites.iter().find(|(location, _)| part.starts_with(location)));
    Stated {
        model: parts.contains(&"gpt2-small").then(|| "gpt2-small".to_string()),
        hook: layer.zip(site).map(|(layer, (_, site))| format!("blocks.{layer}.{site}")),
        // The published ones saw the model as it is.
        centred: site.map(|_| false),
        ..Stated::default()
    }
}
