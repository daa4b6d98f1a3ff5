//! sparsify (EleutherAI): `cfg.json` and `sae.safetensors`.
//!
//! ```text
//! p = ReLU(x′ encoder.weightᵀ + encoder.bias)      encoder.weight [F, d]; x′ = x − b_dec, or x with `transcode`
//! topk       c = the k largest p                   `signed` of early files: the k largest |p| without ReLU
//! groupmax   c = the largest p of each of k groups of F / k neighbours
//! x̂ = c W_dec + b_dec + x W_skipᵀ                  W_dec [F, d], W_skip [d, d] with `skip_connection`
//! ```
//!
//! The folder is named after a module of the base model: `layers.2` is the output of that layer. Source:
//! github.com/EleutherAI/sparsify, `sparsify/sparse_coder.py` and `config.py` (1.3.3).

use std::path::Path;

use super::super::{Stated, hook_of};
use super::blueprint::{Blueprint, Nonlinearity, Part};
use super::settings::Settings;
use super::training_keys::SPARSIFY;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae.safetensors";

pub(super) const ROW: Row = Row {
    format: FileFormat::Sparsify,
    words: "sparsify",
    recognised_by: "`cfg.json` and `sae.safetensors`",
    recognises: |folder| folder.has(CONFIG) && folder.has(WEIGHTS),
    read,
};

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let settings = folder.settings(CONFIG)?;
    let (nonlinearity, activation) = nonlinearity(&settings, ask)?;
    for (key, what) in [
        ("embed_skip", "its output takes embeddings beside its input"),
        ("gram_lookup", "its output takes a table of n-grams beside its input"),
    ] {
        if settings.flag(key)? == Some(true) {
            return Err(settings.wrong(key, &format!("false: {what}, which is not supported")));
        }
    }
    ask.has_no_input_scale(settings.path())?;
    let is_transcoder = settings.flag("transcode")?;
    let has_skip = settings.flag("skip_connection")? == Some(true);
    let subtracts_bias = is_transcoder != Some(true);
    let card = Card {
        architecture: if has_skip { "skip transcoder" } else { "sparse coder" }.into(),
        orientation: "encoder.weight [F, d], W_dec [F, d]".into(),
        centring: if subtracts_bias { "b_dec subtracted from inputs" } else { "none" }.into(),
        scaling: "none".into(),
        activation,
        files: vec![CONFIG.into()],
        ..Card::default()
    };
    let parts = [Part::rows("encoder.weight"), Part::rows("W_dec")];
    let file = folder.tensors(WEIGHTS)?;
    let mut blueprint = Blueprint::new(vec![file], parts, ["encoder.bias", "b_dec"], card);
    blueprint.nonlinearity = nonlinearity;
    blueprint.subtracts_bias = subtracts_bias;
    blueprint.skip = has_skip.then(|| Part::rows("W_skip"));
    if has_skip && is_transcoder.is_none() {
        let note = "`transcode` is missing: b_dec is subtracted from inputs, as sparsify does then";
        blueprint.card.notes.push(note.into());
    }
    check_sizes(&settings, &blueprint)?;
    blueprint.stated = stated(folder, ask, is_transcoder == Some(true) || has_skip);
    blueprint.card.dropped = settings.dropped(SPARSIFY, ask)?;
    Ok(blueprint)
}

fn nonlinearity(settings: &Settings, ask: &Ask) -> Result<(Nonlinearity, String), DictionaryError> {
    let name = settings.one_of("activation", &["topk", "groupmax"])?.unwrap_or("topk");
    let is_signed = settings.flag("signed")? == Some(true);
    // The default of the program.
    let k = ask.k_of(settings.path(), settings.size("k")?)?.unwrap_or(32);
    Ok(match (name, is_signed) {
        ("groupmax", true) => return Err(settings.wrong("signed", "false with activation groupmax")),
        ("groupmax", false) => (Nonlinearity::GroupMax(k), format!("the largest of each of {k} groups")),
        (_, true) => (Nonlinearity::AbsTopK(k), format!("TopK of sizes, signs kept, k {k}")),
        (_, false) => (Nonlinearity::TopK(k), format!("TopK, k {k}")),
    })
}

/// `num_latents`, or `d_in · expansion_factor` where that is 0.
fn check_sizes(settings: &Settings, blueprint: &Blueprint) -> Result<(), DictionaryError> {
    let shape = blueprint.shape()?;
    let d_in = settings.size("d_in")?.unwrap_or(shape.d_in);
    let factor = settings.size("expansion_factor")?.unwrap_or(32);
    let stated = match settings.number("num_latents")? {
        None => None,
        Some(0.0) => Some(d_in.saturating_mul(factor)),
        Some(_) => settings.size("num_latents")?,
    };
    blueprint.expect("encoder.weight", &[stated.unwrap_or(shape.features), d_in])
}

/// The module in the folder's name, and the run's configuration in the folder above.
fn stated(folder: &Folder, ask: &Ask, is_transcoder: bool) -> Stated {
    let is_seed = |name: &str| name.strip_prefix("seed").is_some_and(|digits| digits.parse::<u64>().is_ok());
    let absolute = std::path::absolute(folder.path()).unwrap_or_else(|_| folder.path().to_path_buf());
    let mut path = absolute.as_path();
    if last_part(path).is_some_and(is_seed) {
        path = path.parent().unwrap_or(path);
    }
    let run = path.parent().and_then(run_settings);
    let own = [last_part(path), last_part(Path::new(&ask.place))];
    let module = own.into_iter().flatten().map(spelled_out).find(|name| hook_of(name).is_some());
    // A folder of another name, with the only module of the run.
    let module = module.or_else(|| match run.as_ref()?.value("hookpoints")?.as_array()?.as_slice() {
        [only] => only.as_str().map(String::from),
        _ => None,
    });
    let text = |key: &str| run.as_ref().and_then(|run| run.text(key).ok().flatten()).map(String::from);
    Stated {
        model: text("model"),
        dataset: text("dataset"),
        context_size: run.as_ref().and_then(|run| run.size("ctx_len").ok().flatten()),
        // A transcoder reads the module's input, which has no name of its own.
        hook: module.as_ref().map(|module| match is_transcoder {
            true => format!("{module}.input"),
            false => module.clone(),
        }),
        hook_out: module.filter(|_| is_transcoder),
        ..Stated::default()
    }
}

fn last_part(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// Early runs named layers `layer_2`.
fn spelled_out(name: &str) -> String {
    match name.strip_prefix("layer_") {
        Some(layer) => format!("layers.{layer}"),
        None => name.to_string(),
    }
}

/// `config.json` of a run.
fn run_settings(folder: &Path) -> Option<Settings> {
    let folder = Folder::open(folder).ok().filter(|folder| folder.has("config.json"))?;
    let settings = folder.settings("config.json").ok()?;
    (settings.has("sae") || settings.has("hookpoints")).then_some(settings)
}
