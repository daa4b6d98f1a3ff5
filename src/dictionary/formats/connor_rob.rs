//! Attention autoencoders of Kissane, Krzyzanowski and others: `NAME.pt` and `NAME_cfg.json`.
//!
//! ```text
//! z = ReLU((x − b_dec) W_enc + b_enc)     W_enc [d, F]
//! x̂ = z W_dec + b_dec                     W_dec [F, d]
//! ```
//!
//! Inputs are outputs of attention heads, concatenated head by head. Source: ckkissane's training code, and SAELens 6.54,
//! `pretrained_sae_loaders.py`.

use super::blueprint::{Blueprint, Part};
use super::folder::TORCH;
use super::settings::Settings;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

/// Settings of training: optimiser, data, resampling of dead features, logging. Sizes are those of the tensors.
const HARMLESS: &[&str] = &[
    "seed",
    "batch_size",
    "model_batch_size",
    "buffer_mult",
    "buffer_size",
    "buffer_batches",
    "lr",
    "num_tokens",
    "l1_coeff",
    "beta1",
    "beta2",
    "contiguous",
    "device",
    "reinit",
    "re_init_every",
    "resample_scheme",
    "resample_factor",
    "num_resamples",
    "anthropic_*",
    "dead_direction_cutoff",
    "wandb_*",
    "save_state_dict_every",
    "b_dec_init",
    "sched_*",
    "eval_every",
    "test",
    "name",
    "dict_mult",
    // The precision of training; tensors have their own.
    "enc_dtype",
    // Parts of `act_name`, and the shape of its heads.
    "site",
    "layer",
    "head",
    "d_head",
    "n_head",
    "n_heads",
];

pub(super) const ROW: Row = Row {
    format: FileFormat::ConnorRob,
    words: "attention autoencoders of Kissane, Krzyzanowski and others",
    recognised_by: "a torch file with W_enc and W_dec, and a file of its name with `_cfg.json`",
    recognises: |folder| !found(folder).is_empty(),
    read,
};

/// The configuration of a file of weights.
fn config_of(name: &str) -> String {
    let stem = TORCH.iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(name);
    format!("{stem}_cfg.json")
}

/// Torch files with a configuration.
fn found(folder: &Folder) -> Vec<&str> {
    folder.ending(TORCH).into_iter().filter(|name| folder.has(&config_of(name))).collect()
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let name = folder.choose(&found(folder))?;
    let settings = folder.settings(&config_of(name))?;
    refuse_single_heads(&settings)?;
    let card = Card { architecture: "ReLU".into(), ..Card::default() };
    let parts = [Part::columns("W_enc"), Part::rows("W_dec")];
    let mut blueprint = Blueprint::new(vec![folder.tensors(name)?], parts, ["b_enc", "b_dec"], card);
    blueprint.subtracts_bias = true;
    let shape = blueprint.shape()?;
    for (key, found) in [("act_size", shape.d_in), ("dict_size", shape.features)] {
        if settings.size(key)?.is_some_and(|stated| stated != found) {
            return Err(settings.wrong(key, &format!("{found}, as the tensors have")));
        }
    }
    let stated = &mut blueprint.stated;
    stated.hook = settings.text("act_name")?.map(String::from);
    stated.model = settings.text("model_name")?.map(String::from);
    stated.context_size = settings.size("seq_len")?;
    blueprint.card.dropped.extend(settings.dropped(HARMLESS, ask)?);
    Ok(blueprint)
}

fn refuse_single_heads(settings: &Settings) -> Result<(), DictionaryError> {
    let is_single = settings.flag("concat_heads")? == Some(false) || settings.flag("per_head")? == Some(true);
    if is_single {
        return Err(settings.unusable(
            "trained on single heads (`concat_heads: false`), which is not supported; expected all heads concatenated",
        ));
    }
    Ok(())
}
