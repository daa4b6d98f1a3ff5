//! SAELens, versions 2 to 6: `cfg.json` and `sae_weights.safetensors`.
//!
//! ```text
//! p = (z − b_dec) W_enc + b_enc     W_enc [d, F]; b_dec only with `apply_b_dec_to_input`, and never in transcoders
//! standard, transcoder              c = ReLU(p), or tanh(ReLU(p))
//! topk, abstopk                     c = the k largest p, then ReLU; or the k largest |p|
//! jumprelu                          c = ReLU(p) where p > threshold [F]
//! batchtopk, matryoshka_batchtopk   c = ReLU(p) where p > topk_threshold: checkpoints of training
//! gated                             u = (z − b_dec) W_enc; c = ReLU(exp(r_mag) u + b_mag) where u + b_gate > 0
//! x̂ = unnormalise(c · scaling_factor W_dec + b_dec) + x W_skipᵀ      W_dec [F, d_out]
//! ```
//!
//! `rescale_acts_by_decoder_norm`: p is multiplied by the norms of decoder rows, and codes are divided by them before
//! the decoder. `normalize_activations` makes z of x. Source: github.com/decoderesearch/SAELens, `sae_lens/saes` and
//! `sae_lens/loading/pretrained_sae_loaders.py` (6.54), `sae_lens/sae.py` (3 and 5).

mod stated;

use serde_json::Value;

use super::super::tensor_files::TensorFile;
use super::super::tensors::RowScale;
use super::blueprint::{Blueprint, Nonlinearity, Norms, Part, Scale, Threshold, Whitening};
use super::settings::Settings;
use super::training_keys::SAELENS;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";
const SCALER: &str = "activation_scaler.json";
const WHITENING: &str = "activation_whitening.safetensors";
/// Names of the factors on codes that version 2 to 5 could train.
const FACTORS: &[&str] = &["scaling_factor", "finetuning_scaling_factor"];

pub(super) const ROW: Row = Row {
    format: FileFormat::Saelens,
    words: "SAELens, versions 2 to 6",
    recognised_by: "`cfg.json` and `sae_weights.safetensors`",
    recognises: |folder| (folder.has(CONFIG) && folder.has(WEIGHTS)) || old_pickle(folder).is_some(),
    read,
};

/// How codes are made of `p`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Relu,
    TanhRelu,
    TopK,
    AbsTopK,
    BatchTopK,
    JumpRelu,
    Gated,
}

/// An architecture by SAELens's name.
#[derive(Debug, Clone, Copy)]
struct Architecture {
    name: &'static str,
    form: Form,
    is_transcoder: bool,
    has_skip: bool,
}

const fn plain(name: &'static str, form: Form) -> Architecture {
    Architecture { name, form, is_transcoder: false, has_skip: false }
}

const fn transcoder(name: &'static str, form: Form, has_skip: bool) -> Architecture {
    Architecture { name, form, is_transcoder: true, has_skip }
}

const ARCHITECTURES: [Architecture; 11] = [
    plain("standard", Form::Relu),
    plain("topk", Form::TopK),
    plain("jumprelu", Form::JumpRelu),
    plain("gated", Form::Gated),
    plain("abstopk", Form::AbsTopK),
    plain("batchtopk", Form::BatchTopK),
    plain("matryoshka_batchtopk", Form::BatchTopK),
    transcoder("transcoder", Form::Relu, false),
    transcoder("skip_transcoder", Form::Relu, true),
    transcoder("jumprelu_transcoder", Form::JumpRelu, false),
    transcoder("jumprelu_skip_transcoder", Form::JumpRelu, true),
];

/// Architectures that no affine map of single rows computes: a part of the name, and why.
const REFUSED: [(&str, &str); 5] = [
    ("matching_pursuit", "matching pursuit takes one feature after another off the row"),
    ("temporal", "in a temporal dictionary codes of a token depend on the tokens before it"),
    ("crosscoder", "a crosscoder reads and writes several layers or models at once"),
    ("cross_layer", "a cross-layer transcoder writes to several layers"),
    ("clt", "a cross-layer transcoder writes to several layers"),
];

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    if let Some(name) = old_pickle(folder).filter(|_| !folder.has(WEIGHTS)) {
        let problem = format!(
            "`{name}` is a pickled object of an early SAELens or of transcoder_circuits, and pickles can run code, so \
             it is not read: load it with the program that wrote it, save `cfg.json` and `{WEIGHTS}` \
             (`save_model(folder)` of SAELens 2), and name that folder"
        );
        return Err(DictionaryError::unusable(&folder.join(name), problem));
    }
    let settings = folder.settings(CONFIG)?;
    // Before anything else, so that what cannot be read is refused by its name.
    let mut notes = Vec::new();
    let architecture = architecture(&settings, &mut notes)?;
    let metadata = settings.inner("metadata")?;
    refuse_single_heads(&settings, &metadata)?;
    let mut blueprint = locate(&settings, architecture, folder.tensors(WEIGHTS)?, ask)?;
    blueprint.card.notes = notes;
    blueprint.card.files.push(CONFIG.into());
    normalise(&settings, folder, ask, architecture, &mut blueprint)?;
    scaling_factors(&settings, &mut blueprint)?;
    // Heads are concatenated at `attn.hook_z` here, as `hook_z` asks.
    settings.one_of("reshape_activations", &["none", "hook_z"])?;
    check_sizes(&settings, &blueprint)?;
    blueprint.stated = stated::read(&settings, &metadata, folder)?;
    blueprint.card.notes.extend(stated::positions(&settings, &metadata));
    blueprint.card.dropped.extend(settings.dropped(SAELENS, ask)?);
    Ok(blueprint)
}

/// A pickle of version 1 and before, or of transcoder_circuits.
fn old_pickle(folder: &Folder) -> Option<&str> {
    let is_pickle = |name: &str| {
        let is_named = name.contains("sparse_autoencoder") || name.contains("sparse_transcoder");
        is_named && [".pt", ".pt.gz", ".pkl", ".pkl.gz"].iter().any(|ending| name.ends_with(ending))
    };
    folder.own().find(|name| is_pickle(name))
}

fn architecture(settings: &Settings, notes: &mut Vec<String>) -> Result<Architecture, DictionaryError> {
    let stated = settings.text("architecture")?;
    let name = stated.unwrap_or("standard");
    let known = || ARCHITECTURES.map(|known| known.name).join(", ");
    if let Some((_, why)) = REFUSED.iter().find(|(part, _)| name.contains(part)) {
        return Err(settings.wrong("architecture", &format!("one of {} ({why})", known())));
    }
    let found = ARCHITECTURES.iter().find(|known| known.name == name).copied();
    let mut found = found.ok_or_else(|| settings.wrong("architecture", &format!("one of {}", known())))?;
    if settings.flag("is_transcoder")? == Some(true) {
        found.is_transcoder = true;
    }
    // Versions before 6 name the activation function apart.
    let function_key = settings.spelled(&["activation_fn_str", "activation_fn"])?.unwrap_or("activation_fn");
    let function = settings.one_of(function_key, &["relu", "topk", "tanh-relu"])?;
    let only_relu = || {
        let expected = format!("relu, the only function that is read with architecture `{}`", found.name);
        settings.wrong(function_key, &expected)
    };
    found.form = match (found.form, function) {
        (Form::Relu, Some("topk")) => Form::TopK,
        (Form::Relu, Some("tanh-relu")) => Form::TanhRelu,
        (Form::TopK | Form::AbsTopK | Form::BatchTopK, Some("topk")) => found.form,
        (form, None | Some("relu")) => form,
        _ => return Err(only_relu()),
    };
    let says_k = || -> Result<bool, DictionaryError> {
        Ok(settings.has("k") || settings.inner("activation_fn_kwargs")?.has("k"))
    };
    if stated.is_none() && found.form == Form::Relu && says_k()? {
        if function.is_some() {
            let expected = "topk or another that keeps k codes: `k` is set, and ReLU keeps any number";
            return Err(settings.wrong("architecture", expected));
        }
        notes.push("`architecture` is missing and `k` is set: read as topk".into());
        found.form = Form::TopK;
    }
    Ok(found)
}

/// Hook points here are those of whole layers.
fn refuse_single_heads(settings: &Settings, metadata: &Settings) -> Result<(), DictionaryError> {
    for place in [settings, metadata] {
        for key in ["hook_head_index", "hook_point_head_index", "hook_head_index_out"] {
            if place.value(key).is_some() {
                let expected =
                    "null: a dictionary of a single head is not supported, as hook points hold all heads";
                return Err(place.wrong(key, expected));
            }
        }
    }
    Ok(())
}

/// Number of codes that are kept. `arguments` are those of the activation function in versions before 6.
fn k(settings: &Settings, arguments: &Settings, ask: &Ask) -> Result<usize, DictionaryError> {
    let (own, legacy) = (settings.size("k")?, arguments.size("k")?);
    if let (Some(own), Some(legacy)) = (own, legacy)
        && own != legacy
    {
        return Err(settings.wrong("k", &format!("{legacy}, as `activation_fn_kwargs` says")));
    }
    let k = ask.k_of(settings.path(), own.or(legacy))?;
    settings.required("k", "a whole number above 0 (here or in `activation_fn_kwargs`)", k)
}

/// The activation function, and in words.
fn nonlinearity(
    form: Form,
    file: &TensorFile,
    k: impl Fn() -> Result<usize, DictionaryError>,
) -> Result<(Nonlinearity, String), DictionaryError> {
    let holds = |name: &str| file.shape(name).is_some();
    let jump = |name: &str| Nonlinearity::JumpRelu(Threshold::Tensor(name.into()));
    Ok(match form {
        Form::Relu => (Nonlinearity::Relu, "ReLU".into()),
        Form::TanhRelu => (Nonlinearity::TanhRelu, "tanh(ReLU)".into()),
        Form::TopK => (Nonlinearity::TopK(k()?), format!("TopK, k {}", k()?)),
        Form::AbsTopK => (Nonlinearity::AbsTopK(k()?), format!("TopK of sizes, signs kept, k {}", k()?)),
        Form::JumpRelu if holds("log_threshold") && !holds("threshold") => {
            let logs = Threshold::LogTensor("log_threshold".into());
            (Nonlinearity::JumpRelu(logs), "JumpReLU, thresholds exp(log_threshold)".into())
        }
        Form::JumpRelu => (jump("threshold"), "JumpReLU".into()),
        Form::BatchTopK => {
            let name = if holds("topk_threshold") { "topk_threshold" } else { "threshold" };
            (jump(name), format!("JumpReLU, `{name}` for all features"))
        }
        Form::Gated => {
            let [gate, magnitude, log_gain] = ["b_gate", "b_mag", "r_mag"].map(String::from);
            (Nonlinearity::Gated { gate, magnitude, log_gain }, "gated".into())
        }
    })
}

/// The tensors of an architecture.
fn locate(
    settings: &Settings,
    architecture: Architecture,
    file: TensorFile,
    ask: &Ask,
) -> Result<Blueprint, DictionaryError> {
    let Architecture { name, form, is_transcoder, has_skip } = architecture;
    // transcoder_circuits subtracts `b_dec` [d] from inputs and adds `b_dec_out` [d_out] to outputs.
    let has_two_biases = is_transcoder && file.shape("b_dec_out").is_some();
    let arguments = settings.inner("activation_fn_kwargs")?;
    let (nonlinearity, words) = nonlinearity(form, &file, || k(settings, &arguments, ask))?;
    if !matches!(form, Form::TopK | Form::AbsTopK) {
        // The mean number of codes in training, or nothing: thresholds decide.
        let _ = settings.value("k");
        ask.has_no_k(settings.path())?;
    }
    let card = Card {
        architecture: name.into(),
        orientation: "W_enc [d, F], W_dec [F, d]".into(),
        activation: words,
        scaling: "none".into(),
        dropped: arguments.dropped(&["k", "use_sparse_activations"], ask)?,
        ..Card::default()
    };
    let parts = [Part::columns("W_enc"), Part::rows("W_dec")];
    let decoder_bias = if has_two_biases { "b_dec_out" } else { "b_dec" };
    let mut blueprint = Blueprint::new(vec![file], parts, ["b_enc", decoder_bias], card);
    blueprint.nonlinearity = nonlinearity;
    if form == Form::Gated {
        blueprint.encoder_bias = None;
    }
    blueprint.skip = has_skip.then(|| Part::rows("W_skip"));
    // Absent in version 2, which subtracted it.
    let subtracts = settings.flag("apply_b_dec_to_input")?.unwrap_or(true);
    blueprint.subtracts_bias = subtracts && !is_transcoder;
    blueprint.input_bias = has_two_biases.then(|| "b_dec".to_string());
    let centred = blueprint.subtracts_bias || has_two_biases;
    blueprint.card.centring = if centred { "b_dec subtracted from inputs" } else { "none" }.into();
    if settings.flag("rescale_acts_by_decoder_norm")? == Some(true) {
        if !matches!(form, Form::TopK | Form::AbsTopK | Form::BatchTopK) {
            let expected = format!("false with architecture `{name}`");
            return Err(settings.wrong("rescale_acts_by_decoder_norm", &expected));
        }
        blueprint.norms = Norms::IntoCodes;
        blueprint.card.scaling = "codes multiplied by the norms of decoder rows".into();
    }
    Ok(blueprint)
}

/// `normalize_activations`: z of x.
fn normalise(
    settings: &Settings,
    folder: &Folder,
    ask: &Ask,
    architecture: Architecture,
    blueprint: &mut Blueprint,
) -> Result<(), DictionaryError> {
    let key = "normalize_activations";
    let average = "expected_average_only_in";
    let known = ["none", average, "constant_norm_rescale", "layer_norm", "covariance_whitening"];
    let name = match settings.value(key) {
        // Early versions had a boolean here.
        Some(Value::Bool(scaled)) => [known[0], average][usize::from(*scaled)],
        _ => settings.one_of(key, &known)?.unwrap_or("none"),
    };
    if name != average {
        ask.has_no_input_scale(settings.path())?;
    }
    let words = match name {
        "none" => return Ok(()),
        "covariance_whitening" => {
            blueprint.whitening = Some(whitening(folder)?);
            blueprint.card.files.push(WHITENING.into());
            "inputs whitened by mean and covariance, undone on outputs".to_string()
        }
        name if name == average => match input_scale(folder, ask)? {
            Some(factor) => {
                blueprint.scale = Scale::of_input(factor);
                format!("inputs multiplied by {factor}, outputs divided by it")
            }
            None => {
                blueprint.lacks_scale = true;
                "inputs multiplied by a factor that the files do not hold".to_string()
            }
        },
        name => {
            blueprint.row_scale = name.parse().unwrap_or(RowScale::Plain);
            format!("each row: {name}, undone on outputs")
        }
    };
    if architecture.is_transcoder && name != average {
        // The library normalises the input and leaves the output as it is.
        return Err(settings.wrong(key, "none or expected_average_only_in for a transcoder"));
    }
    let card = &mut blueprint.card;
    card.scaling = if card.scaling == "none" { words } else { format!("{words}; {}", card.scaling) };
    Ok(())
}

/// The factor on inputs: from the file beside a checkpoint's weights, or from the suite.
fn input_scale(folder: &Folder, ask: &Ask) -> Result<Option<f64>, DictionaryError> {
    if !folder.has(SCALER) {
        return Ok(ask.input_scale);
    }
    let settings = folder.settings(SCALER)?;
    let key = "scaling_factor";
    let stored = settings.number(key)?;
    match (stored, ask.input_scale) {
        (Some(factor), _) if factor <= 0.0 => Err(settings.wrong(key, "a number above 0")),
        (Some(factor), Some(asked)) if (factor - asked).abs() > 1e-6 * factor => Err(settings
            .wrong(key, &format!("{asked}, as `input_scale` of the suite says: leave `input_scale` out"))),
        (stored, asked) => Ok(stored.or(asked)),
    }
}

fn whitening(folder: &Folder) -> Result<Whitening, DictionaryError> {
    if !folder.has(WHITENING) {
        let problem = format!(
            "`normalize_activations` is covariance_whitening, and `{WHITENING}` is not beside it: copy it there, or \
             save the dictionary with its whitening folded in"
        );
        return Err(DictionaryError::unusable(&folder.join(CONFIG), problem));
    }
    let file = folder.tensors(WHITENING)?;
    let [mean, matrix, inverse] = ["mean", "matrix", "inverse_matrix"].map(|name| file.values(name));
    Ok(Whitening { mean: mean?, matrix: matrix?, inverse: inverse? })
}

/// Factors on codes before the decoder, which versions 2 to 5 could train.
fn scaling_factors(settings: &Settings, blueprint: &mut Blueprint) -> Result<(), DictionaryError> {
    let spelling = settings.spelled(&["finetuning_scaling_factor", "uses_scaling_factor"])?;
    let flag = settings.flag(spelling.unwrap_or("finetuning_scaling_factor"))?;
    // Version 2 had no flag, and used factors that any method of finetuning had trained.
    let is_finetuned = settings.value("finetuning_method").is_some();
    let file = &blueprint.files[0];
    let Some(name) = FACTORS.iter().find(|name| file.shape(name).is_some()) else {
        if flag == Some(true) {
            // The library reads such a file without factors.
            blueprint.card.notes.push(
                "`finetuning_scaling_factor` is true, and the weights hold no factors: read without".into(),
            );
        }
        return Ok(());
    };
    if flag.unwrap_or(is_finetuned) {
        blueprint.decoder_factors = Some(name.to_string());
        blueprint.card.notes.push(format!("codes multiplied by `{name}` before the decoder"));
        return Ok(());
    }
    if file.values(name)?.iter().any(|&factor| factor != 1.0) {
        let note = format!("`{name}` is not all ones, and not used: `finetuning_scaling_factor` is not true");
        blueprint.card.notes.push(note);
    }
    blueprint.harmless = FACTORS;
    Ok(())
}

/// Shapes that the configuration states.
fn check_sizes(settings: &Settings, blueprint: &Blueprint) -> Result<(), DictionaryError> {
    let shape = blueprint.shape()?;
    let d_in = settings.size("d_in")?.unwrap_or(shape.d_in);
    let features = settings.size("d_sae")?.unwrap_or(shape.features);
    blueprint.expect("W_enc", &[d_in, features])?;
    let d_out = settings.size("d_out")?.unwrap_or(shape.d_out);
    blueprint.expect("W_dec", &[features, d_out])
}
