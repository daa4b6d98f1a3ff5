//! Apollo's e2e_sae: `samples_N.pt` with `HOOK.encoder.0.weight` for each hook point, and `final_config.yaml`.
//!
//! ```text
//! z = ReLU(x Eᵀ + b_E)                 E [F, d]; the input is not centred
//! x̂ = z D̃ᵀ + b_D                       D̃: columns of D [d, F] divided by their norms in every forward pass
//! ```
//!
//! Dots of hook points are dashes in names of tensors. Source: ApolloResearch/e2e_sae, `models/sparsifiers.py` and
//! `models/transformers.py`.

use super::super::{Stated, hook_of};
use super::blueprint::{Blueprint, Part};
use super::folder::TORCH;
use super::settings::Settings;
use super::{Ask, Card, DictionaryError, FileFormat, Folder, Row};

const CONFIG: &str = "final_config.yaml";
const ENCODER: &str = ".encoder.0.weight";
const BIASES: [&str; 2] = [".encoder.0.bias", ".decoder.bias"];
const DECODER: &str = ".decoder.weight";

/// Settings that change no code: optimiser, losses, evaluation, logging.
const HARMLESS: &[&str] = &[
    "wandb_*",
    "seed",
    "tlens_model_path",
    "save_dir",
    "n_samples",
    "save_every_n_samples",
    "eval_*",
    "batch_size",
    "effective_batch_size",
    "lr",
    "lr_schedule",
    "min_lr_factor",
    "warmup_samples",
    "cooldown_samples",
    "max_grad_norm",
    "log_every_n_*",
    "collect_*",
    "act_frequency_n_tokens",
    "loss",
];
/// Settings of `saes` that change no code: sizes and names are those of the tensors; `k` is that of codebooks.
const HARMLESS_OF_SAES: &[&str] =
    &["dict_size_to_input_ratio", "k", "pretrained_sae_paths", "retrain_saes", "sae_positions"];

pub(super) const ROW: Row = Row {
    format: FileFormat::E2eSae,
    words: "e2e_sae of Apollo Research",
    recognised_by: "a torch file with tensors HOOK.encoder.0.weight and HOOK.decoder.weight",
    recognises: |folder| !found(folder).is_empty(),
    read,
};

fn found(folder: &Folder) -> Vec<&str> {
    let is_ours =
        |name: &&str| folder.tensors(name).is_ok_and(|file| file.names().any(|name| name.ends_with(ENCODER)));
    folder.ending(TORCH).into_iter().filter(is_ours).collect()
}

fn read(folder: &Folder, ask: &Ask) -> Result<Blueprint, DictionaryError> {
    let settings = if folder.has(CONFIG) { Some(folder.settings(CONFIG)?) } else { None };
    let saes = settings.as_ref().map(|settings| settings.inner("saes")).transpose()?;
    if let Some(saes) = &saes {
        saes.one_of("type_of_sparsifier", &["sae"])?;
    }
    let file = folder.tensors(folder.choose(&found(folder))?)?;
    let all: Vec<String> =
        file.names().filter_map(|name| name.strip_suffix(ENCODER)).map(String::from).collect();
    let chosen = choose(&all, ask).map_err(|problem| DictionaryError::unusable(file.path(), problem))?;
    let is_other = |name: &&str| all.iter().any(|sae| *sae != chosen && name.starts_with(&format!("{sae}.")));
    let others = file.names().filter(is_other).map(String::from).collect();
    let named = |suffix: &str| format!("{chosen}{suffix}");
    let card = Card { architecture: "ReLU, decoder normalised".into(), ..Card::default() };
    let parts = [Part::rows(named(ENCODER)), Part::columns(named(DECODER))];
    let biases = BIASES.map(named);
    let mut blueprint = Blueprint::new(vec![file], parts, [&biases[0], &biases[1]], card);
    blueprint.unit_decoder = true;
    blueprint.others = others;
    blueprint.stated.hook = Some(dotted(&chosen));
    if all.len() > 1 {
        blueprint.card.notes.push(format!("one of {} dictionaries in the file", all.len()));
    }
    if let (Some(settings), Some(saes)) = (&settings, &saes) {
        from_settings(&mut blueprint.stated, settings)?;
        blueprint.card.dropped.extend(saes.dropped(HARMLESS_OF_SAES, ask)?);
        blueprint.card.dropped.extend(settings.dropped(HARMLESS, ask)?);
    }
    Ok(blueprint)
}

fn from_settings(stated: &mut Stated, settings: &Settings) -> Result<(), DictionaryError> {
    stated.model = settings.text("tlens_model_name")?.map(String::from);
    // How the data were loaded changes no code.
    let data = settings.inner("train_data")?;
    stated.dataset = data.text("dataset_name")?.map(String::from);
    stated.context_size = data.size("n_ctx")?;
    Ok(())
}

fn dotted(name: &str) -> String {
    name.replace('-', ".")
}

/// The dictionary that the suite names, the only one, or that of the hook point of use.
fn choose(all: &[String], ask: &Ask) -> Result<String, String> {
    let listed = all.iter().take(20).map(|name| dotted(name)).collect::<Vec<_>>().join(", ");
    let found = match (&ask.part, all) {
        (Some(part), _) => all.iter().find(|name| dotted(name) == dotted(part)),
        (None, [only]) => Some(only),
        (None, _) => all.iter().find(|name| ask.hook.is_some() && hook_of(&dotted(name)) == ask.hook),
    };
    found.cloned().ok_or_else(|| match &ask.part {
        Some(part) => format!("`part: {part}` is not in this file; found {listed}"),
        None => format!("holds {} dictionaries; name one with `part`: {listed}", all.len()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_is_chosen_by_name_or_by_the_hook_point_of_use() {
        let all = ["blocks-2-hook_resid_pre", "blocks-6-hook_resid_pre"].map(String::from);
        let ask = Ask { part: Some("blocks.6.hook_resid_pre".into()), ..Ask::default() };
        assert_eq!(choose(&all, &ask).as_deref(), Ok("blocks-6-hook_resid_pre"));
        let ask = Ask { hook: hook_of("blocks.2.hook_resid_pre"), ..Ask::default() };
        assert_eq!(choose(&all, &ask).as_deref(), Ok("blocks-2-hook_resid_pre"));
        let problem = choose(&all, &Ask::default()).expect_err("ambiguous");
        assert!(problem.contains("`part`") && problem.contains("blocks.6.hook_resid_pre"), "{problem}");
        let ask = Ask { part: Some("blocks.9.hook_resid_pre".into()), ..Ask::default() };
        assert!(choose(&all, &ask).expect_err("unknown").contains("found blocks.2.hook_resid_pre"));
        assert_eq!(choose(&all[..1], &Ask::default()).as_deref(), Ok("blocks-2-hook_resid_pre"));
    }
}
