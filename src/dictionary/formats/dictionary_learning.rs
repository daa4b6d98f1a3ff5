//! dictionary_learning (saprmarks): `ae.pt` and `config.json`. `dict_class` says what the tensors mean.
//!
//! ```text
//! AutoEncoder            c = n ReLU((x − bias) Eᵀ + b), x̂ = c D / n + bias      E [F, d], D [d, F], n = ‖columns of D‖
//! AutoEncoderNew         c = ReLU(x Eᵀ + b), x̂ = c Dᵀ + decoder.bias
//! GatedAutoEncoder       u = (x − decoder_bias) Eᵀ; c = ReLU(exp(r_mag) u + mag_bias) where u + gate_bias > 0
//! AutoEncoderTopK        c = the k largest ReLU((x − b_dec) Eᵀ + b)
//! BatchTopKSAE           c = ReLU((x − b_dec) Eᵀ + b) where it exceeds `threshold`, one number
//! MatryoshkaBatchTopKSAE the same with W_enc [d, F], W_dec [F, d]
//! JumpReluAutoEncoder    c = ReLU(p) where p > threshold [F], p = x W_enc + b_enc
//! ```
//!
//! Source: github.com/saprmarks/dictionary_learning, `dictionary.py` and `trainers` (0.1.0): `encode` of a dictionary
//! that `from_pretrained` loaded. Trainers that scale rows save weights for rows as they are.

use super::super::tensor_files::TensorFile;
use super::blueprint::{Blueprint, Nonlinearity, Norms, Part, Threshold};
use super::settings::Settings;
use super::training_keys::DICTIONARY_LEARNING;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

const WEIGHTS: &str = "ae.pt";
const CONFIG: &str = "config.json";

pub(super) const ROW: Row = Row {
    format: FileFormat::DictionaryLearning,
    words: "dictionary_learning",
    recognised_by: "`ae.pt` and `config.json` with `trainer.dict_class`",
    recognises: |folder| files(folder).is_some(),
    read,
};

/// Classes that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantNames)]
enum Class {
    AutoEncoder,
    AutoEncoderNew,
    GatedAutoEncoder,
    AutoEncoderTopK,
    #[strum(serialize = "BatchTopKSAE")]
    BatchTopK,
    #[strum(serialize = "MatryoshkaBatchTopKSAE")]
    MatryoshkaBatchTopK,
    JumpReluAutoEncoder,
}

/// Names of weights and configuration. A checkpoint's configuration lies one folder up.
fn files(folder: &Folder) -> Option<(&str, &'static str)> {
    let is_checkpoint = |name: &&str| name.starts_with("ae_");
    let (weights, config) = match folder.has(WEIGHTS) {
        true => (WEIGHTS, CONFIG),
        false => (folder.only(&[".pt"]).filter(is_checkpoint)?, "../config.json"),
    };
    if !folder.join(config).is_file() {
        return None;
    }
    let trainer = folder.settings(config).and_then(|settings| settings.inner("trainer"));
    trainer.is_ok_and(|trainer| trainer.has("dict_class")).then_some((weights, config))
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let (weights, config) = files(folder).unwrap_or((WEIGHTS, CONFIG));
    let settings = folder.settings(config)?;
    let trainer = settings.inner("trainer")?;
    let class = class(&trainer)?;
    ask.has_no_input_scale(settings.path())?;
    let mut blueprint = locate(class, folder.tensors(weights)?, &trainer, ask)?;
    let shape = blueprint.shape()?;
    for (key, found) in [("activation_dim", shape.d_in), ("dict_size", shape.features)] {
        if trainer.size(key)?.is_some_and(|size| size != found) {
            return Err(trainer.wrong(key, &format!("{found}, the size of the tensors")));
        }
    }
    place(&settings, &trainer, &mut blueprint)?;
    // How rows were gathered.
    let buffer = settings.inner("buffer")?;
    blueprint.stated.context_size = buffer.size("ctx_len")?;
    if let Some(most) = buffer.number("max_activation_norm_multiple")? {
        let note =
            format!("trained without rows whose norm exceeds {most} times the median; here they count");
        blueprint.card.notes.push(note);
    }
    blueprint.card.files.push(CONFIG.into());
    blueprint.card.dropped = trainer.dropped(DICTIONARY_LEARNING, ask)?;
    blueprint.card.dropped.extend(settings.dropped(&["eval_results"], ask)?);
    Ok(blueprint)
}

fn class(trainer: &Settings) -> Result<Class, DictionaryError> {
    let key = "dict_class";
    let known = || <Class as strum::VariantNames>::VARIANTS.join(", ");
    let name = trainer.text(key)?;
    let name = trainer.required(key, &format!("one of {}", known()), name)?;
    let why = match name {
        "IdentityDict" => " (codes of IdentityDict are the activations themselves: use `kind: identity`)",
        "JumpAutoEncoder" => " (JumpAutoEncoder adds a learned jump to active codes, which is not supported)",
        name if name.to_lowercase().contains("crosscoder") => {
            " (a crosscoder reads and writes several layers or models at once, which is not supported)"
        }
        _ => "",
    };
    name.parse().map_err(|_| trainer.wrong(key, &format!("one of {}{why}", known())))
}

/// Number of codes that are kept: in the weights, the configuration or the suite, which must agree.
fn k(file: &TensorFile, trainer: &Settings, ask: &Ask) -> Result<usize, DictionaryError> {
    let configured = trainer.size("k")?;
    let stored = match file.shape("k") {
        Some(_) => Some(file.scalar("k")? as usize),
        None => None,
    };
    if let (Some(stored), Some(configured)) = (stored, configured)
        && stored != configured
    {
        return Err(trainer.wrong("k", &format!("{stored}, as the weights say")));
    }
    let k = ask.k_of(trainer.path(), stored.or(configured))?;
    trainer.required("k", "a whole number above 0", k)
}

/// Encoder and decoder, the encoder's bias, and their shapes in words.
fn matrices(class: Class, file: &TensorFile) -> ([Part; 2], &'static str, &'static str) {
    if matches!(class, Class::JumpReluAutoEncoder | Class::MatryoshkaBatchTopK) {
        return ([Part::columns("W_enc"), Part::rows("W_dec")], "b_enc", "W_enc [d, F], W_dec [F, d]");
    }
    // A variant with its own kernels stores a decoder of rows.
    let has_rows = file.shape("decoder").is_some() && file.shape("decoder.weight").is_none();
    let (decoder, orientation) = match has_rows {
        true => (Part::rows("decoder"), "encoder.weight [F, d], decoder [F, d]"),
        false => (Part::columns("decoder.weight"), "encoder.weight [F, d], decoder.weight [d, F]"),
    };
    ([Part::rows("encoder.weight"), decoder], "encoder.bias", orientation)
}

/// The activation function, and in words.
fn nonlinearity(
    class: Class,
    file: &TensorFile,
    trainer: &Settings,
    ask: &Ask,
) -> Result<(Nonlinearity, String), DictionaryError> {
    if class == Class::AutoEncoderTopK {
        let k = k(file, trainer, ask)?;
        return Ok((Nonlinearity::TopK(k), format!("TopK, k {k}")));
    }
    // The mean number of codes in training.
    let _ = trainer.value("k");
    ask.has_no_k(trainer.path())?;
    let jump = Nonlinearity::JumpRelu(Threshold::Tensor("threshold".into()));
    Ok(match class {
        Class::AutoEncoder | Class::AutoEncoderNew => (Nonlinearity::Relu, "ReLU".into()),
        Class::GatedAutoEncoder => {
            let [gate, magnitude, log_gain] = ["gate_bias", "mag_bias", "r_mag"].map(String::from);
            (Nonlinearity::Gated { gate, magnitude, log_gain }, "gated".into())
        }
        Class::JumpReluAutoEncoder => (jump, "JumpReLU".into()),
        _ => (jump, "JumpReLU, one threshold for all features".into()),
    })
}

/// The tensors of a class.
fn locate(
    class: Class,
    file: TensorFile,
    trainer: &Settings,
    ask: &Ask,
) -> Result<Blueprint, DictionaryError> {
    let (parts, encoder_bias, orientation) = matrices(class, &file);
    let decoder_bias = match class {
        Class::AutoEncoder => "bias",
        Class::AutoEncoderNew => "decoder.bias",
        Class::GatedAutoEncoder => "decoder_bias",
        _ => "b_dec",
    };
    let (nonlinearity, activation) = nonlinearity(class, &file, trainer, ask)?;
    let card = Card {
        architecture: <&str>::from(class).into(),
        orientation: orientation.into(),
        activation,
        scaling: "none".into(),
        ..Card::default()
    };
    let mut blueprint = Blueprint::new(vec![file], parts, [encoder_bias, decoder_bias], card);
    blueprint.nonlinearity = nonlinearity;
    blueprint.subtracts_bias = !matches!(class, Class::AutoEncoderNew | Class::JumpReluAutoEncoder);
    blueprint.card.centring = match blueprint.subtracts_bias {
        true => format!("{decoder_bias} subtracted from inputs"),
        false => "none".into(),
    };
    match class {
        Class::GatedAutoEncoder => blueprint.encoder_bias = None,
        Class::AutoEncoder => {
            blueprint.norms = Norms::IntoCodes;
            blueprint.card.scaling = "codes multiplied by the norms of decoder rows".into();
        }
        // TopK keeps a threshold beside, for another way of encoding.
        Class::AutoEncoderTopK => blueprint.harmless = &["k", "threshold"],
        Class::BatchTopK | Class::MatryoshkaBatchTopK => blueprint.harmless = &["k", "group_sizes"],
        _ => {}
    }
    Ok(blueprint)
}

/// Model and hook point.
fn place(settings: &Settings, trainer: &Settings, blueprint: &mut Blueprint) -> Result<(), DictionaryError> {
    blueprint.stated.model = trainer.text("lm_name")?.map(String::from);
    let module = trainer.text("submodule_name")?;
    // Some programs write "unknown".
    let layer = trainer.value("layer").and_then(|layer| match layer.as_str() {
        Some(text) => text.parse().ok(),
        None => layer.as_u64(),
    });
    let buffer = settings.inner("buffer")?;
    let side = buffer.text("io")?.unwrap_or("out");
    if !["in", "out"].contains(&side) {
        blueprint
            .card
            .notes
            .push(format!("trained on `io: {side}` of its module: its hook points are not known"));
        return Ok(());
    }
    let is_input = side == "in";
    blueprint.stated.hook = match module {
        Some(module) => Some(hook(module, layer, is_input).unwrap_or_else(|| module.to_string())),
        None => layer.map(|layer| {
            let site = if is_input { "hook_resid_pre" } else { "hook_resid_post" };
            let note = format!("`submodule_name` is missing: taken to be blocks.{layer}.{site}");
            blueprint.card.notes.push(note);
            format!("blocks.{layer}.{site}")
        }),
    };
    Ok(())
}

/// The hook point of `resid_post_layer_3`, `mlp_out_layer3` and the like. `is_input`: of the module's input.
fn hook(module: &str, layer: Option<u64>, is_input: bool) -> Option<String> {
    let (site, number) = match module.split_once("layer") {
        Some((site, number)) => (site, number.trim_start_matches('_').parse().ok()),
        None => (module, None),
    };
    let layer: u64 = number.or(layer)?;
    let site = match (site.trim_end_matches('_'), is_input) {
        ("resid_post" | "resid_out" | "resid", false) => "hook_resid_post",
        ("resid_pre", _) | ("resid_post" | "resid_out" | "resid", true) => "hook_resid_pre",
        ("mlp_out" | "mlp", false) => "hook_mlp_out",
        ("attn_out" | "attn" | "attention_out", false) => "hook_attn_out",
        _ => return None,
    };
    Some(format!("blocks.{layer}.{site}"))
}
