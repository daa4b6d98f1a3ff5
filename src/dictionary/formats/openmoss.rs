//! What the formats of OpenMOSS share: Llama Scope, its sequel for R1-distilled models, and llamascopium.
//!
//! ```text
//! p = s x E + b_E            s = √d / (mean norm of inputs)
//! z = act(n p) / n           n = ‖decoder row‖ if `sparsity_include_decoder_norm`, else 1
//! x̂ = (z D + b_D) / t        t = √d / (mean norm of outputs)
//! ```
//!
//! Source: OpenMOSS/Language-Model-SAEs, `models/sparse_dictionary.py` and `models/sae.py`.

use super::super::tensors::RowScale;
use super::blueprint::{Blueprint, Nonlinearity, Scale, Threshold};
use super::settings::Settings;
use super::{Ask, DictionaryError, Folder};

/// Decoder rows whose norms are looked at.
const SAMPLE: usize = 64;

/// Settings that change no code.
pub const HARMLESS: &[&str] = &[
    // The machine and the loading.
    "device",
    "dtype",
    "seed",
    "tp_size",
    "ddp_size",
    "use_triton_kernel",
    "sparsity_threshold_for_triton_spmm_kernel",
    "sae_pretrained_name_or_path",
    "strict_loading",
    "exp_name",
    "exp_series",
    "exp_result_path",
    // Shapes of tensors tell the number of features; some files state another one.
    "expansion_factor",
    "d_sae",
    // Used by one activation function, and then read.
    "top_k",
    "jump_relu_threshold",
    // Initial values, losses and schedules of training.
    "bias_init_method",
    "decoder_bias_init_method",
    "init_decoder_norm",
    "init_encoder_norm",
    "init_encoder_with_decoder_transpose",
    "init_encoder_with_decoder_transpose_factor",
    "init_log_jumprelu_threshold_value",
    "jumprelu_threshold_window",
    "jumprelu_threshold_grad_scale",
    "lp",
    "l1_coefficient",
    "l1_coefficient_warmup_steps",
    "initial_k",
    "k_warmup_steps",
    "use_batch_norm_mse",
    "use_ghost_grads",
    "remove_gradient_parallel_to_decoder_directions",
    // Constraints of training: the stored decoder fulfils them.
    "decoder_exactly_unit_norm",
    "decoder_exactly_fixed_norm",
    "force_unit_decoder_norm",
];

/// Hook points of inputs and outputs.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// Of inputs.
    pub input: String,
    /// Of outputs.
    pub output: String,
}

impl Hooks {
    /// Reads them; outputs are inputs where the settings do not name them.
    pub fn read(settings: &Settings) -> Result<Option<Self>, DictionaryError> {
        let input = settings.text("hook_point_in")?;
        let output = settings.text("hook_point_out")?.or(input);
        Ok(input.zip(output).map(|(input, output)| Self { input: input.into(), output: output.into() }))
    }
}

/// Reads the switches that all three formats share: bias, activation function, hook points.
pub fn switches(
    blueprint: &mut Blueprint,
    settings: &Settings,
    hooks: Option<&Hooks>,
    jump: impl FnOnce() -> Result<Threshold, DictionaryError>,
) -> Result<(), DictionaryError> {
    refuse_gates(settings)?;
    blueprint.nonlinearity = activation(settings, jump)?;
    if settings.flag("use_decoder_bias")? == Some(false) {
        blueprint.decoder_bias = None;
    }
    blueprint.subtracts_bias = settings.flag("apply_decoder_bias_to_pre_encoder")?.unwrap_or(false)
        && blueprint.decoder_bias.is_some();
    if let Some(Hooks { input, output }) = hooks {
        blueprint.stated.hook = Some(input.clone());
        blueprint.stated.hook_out = Some(output.clone()).filter(|output| output != input);
    }
    let d = blueprint.shape()?.d_in;
    match settings.size("d_model")? {
        Some(stated) if stated != d => {
            Err(settings.wrong("d_model", &format!("{d}, the width of the tensors")))
        }
        _ => Ok(()),
    }
}

fn refuse_gates(settings: &Settings) -> Result<(), DictionaryError> {
    if settings.flag("use_glu_encoder")? == Some(true) {
        return Err(settings.unusable(
            "`use_glu_encoder: true`: codes are products of two linear maps of the input (a gated linear unit), which \
             is not supported; use a dictionary without it",
        ));
    }
    Ok(())
}

fn activation(
    settings: &Settings,
    jump: impl FnOnce() -> Result<Threshold, DictionaryError>,
) -> Result<Nonlinearity, DictionaryError> {
    let word = settings.text("act_fn")?.unwrap_or("relu").to_lowercase();
    Ok(match word.as_str() {
        "relu" => Nonlinearity::Relu,
        "jumprelu" => Nonlinearity::JumpRelu(jump()?),
        "topk" => Nonlinearity::TopK(settings.size("top_k")?.unwrap_or(50)),
        "batchtopk" | "layertopk" | "batchlayertopk" => {
            return Err(settings.unusable(format!(
                "`act_fn: {word}` keeps the largest codes of a whole batch, so a row's codes depend on other rows, \
                 which is not supported: convert it to `jumprelu` with the program that wrote it"
            )));
        }
        _ => return Err(settings.wrong("act_fn", "one of relu, jumprelu, topk")),
    })
}

/// Reads how inputs and outputs were scaled. `mean_norm` gives the mean norm at the input (true) or the output, where
/// the files hold it.
pub fn scaling(
    blueprint: &mut Blueprint,
    settings: &Settings,
    ask: &Ask,
    mean_norm: impl Fn(bool) -> Result<Option<f64>, DictionaryError>,
) -> Result<(), DictionaryError> {
    let known = ["token-wise", "batch-wise", "dataset-wise", "inference", "none"];
    let word = settings.one_of("norm_activation", &known)?.unwrap_or("dataset-wise");
    let is_transcoder = blueprint.stated.hook_out.is_some();
    let norms = match word {
        "dataset-wise" => (positive(settings, mean_norm(true)?)?, positive(settings, mean_norm(false)?)?),
        _ => (None, None),
    };
    let root = (blueprint.shape()?.d_in as f64).sqrt();
    let refuse = |why: &str| {
        let problem = format!("`norm_activation: {word}` of a transcoder {why}");
        Err(settings.unusable(problem))
    };
    match (word, norms) {
        ("inference" | "none", _) => {}
        ("token-wise", _) if is_transcoder => {
            return refuse("divides each output by its own norm, which inputs do not tell: not supported");
        }
        ("token-wise", _) => blueprint.row_scale = RowScale::ConstantNorm,
        (_, (Some(input), output)) if output.is_some() || !is_transcoder => {
            let (input, output) = (root / input, root / output.unwrap_or(input));
            blueprint.scale = Scale { input, output, threshold: 1.0 };
        }
        _ if is_transcoder => {
            return refuse(
                "needs the mean norms of inputs and outputs (`dataset_average_activation_norm`), and the files \
                           do not hold both: not supported",
            );
        }
        _ => match ask.input_scale {
            Some(factor) => blueprint.scale = Scale::of_input(factor),
            None => blueprint.lacks_scale = true,
        },
    }
    let uses_it = ask.input_scale.is_some_and(|factor| blueprint.scale == Scale::of_input(factor));
    if ask.input_scale.is_some() && !uses_it {
        let problem = format!(
            "`input_scale` has no meaning here: `norm_activation: {word}`, and the files hold what it needs. Leave it out"
        );
        return Err(settings.unusable(problem));
    }
    if word == "batch-wise" {
        blueprint.card.notes.push(
            "`norm_activation: batch-wise` scaled each batch by its own mean norm; one factor stands for all"
                .into(),
        );
    }
    Ok(())
}

fn positive(settings: &Settings, norm: Option<f64>) -> Result<Option<f64>, DictionaryError> {
    match norm {
        Some(norm) if !(norm > 0.0 && norm.is_finite()) => Err(settings
            .unusable(format!("`dataset_average_activation_norm` is {norm}; expected a number above 0"))),
        norm => Ok(norm),
    }
}

/// Says what becomes of `sparsity_include_decoder_norm` where gates leave norms out, as SAELens does. Norms are read
/// from a sample of decoder rows.
pub fn note_plain_gate(blueprint: &mut Blueprint) -> Result<(), DictionaryError> {
    let features = blueprint.shape()?.features;
    let step = features.div_ceil(SAMPLE);
    let sample: Vec<usize> = (0..features).step_by(step).collect();
    let norms = blueprint.decoder_norms(&sample)?;
    let (low, high) = norms.iter().fold((f64::MAX, 0.0_f64), |(low, high), &n| (low.min(n), high.max(n)));
    blueprint.card.notes.push(if low > 0.98 && high < 1.02 {
        "`sparsity_include_decoder_norm` has no effect: decoder rows have norm 1".into()
    } else {
        format!(
            "`sparsity_include_decoder_norm` is left out of gates, as SAELens does; OpenMOSS compares thresholds with \
             codes times norms of decoder rows, here {low:.3} to {high:.3}"
        )
    });
    Ok(())
}

/// The model that `lm_config.json` beside the dictionary names.
pub fn model(folder: &Folder) -> Result<Option<String>, DictionaryError> {
    const FILE: &str = "lm_config.json";
    if !folder.has(FILE) {
        return Ok(None);
    }
    Ok(folder.settings(FILE)?.text("model_name")?.map(String::from))
}
