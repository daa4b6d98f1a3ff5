//! Cards of dictionaries that were trained elsewhere: what was read, and what the load proof measured.
//!
//! Read from `manifest.json`, so that pages and the terminal show the same words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::number::fixed;

/// The card of one dictionary at one hook point.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DictionaryCard {
    /// `HOOK/ROW`.
    pub dictionary: String,
    /// Facts as (name, value).
    pub facts: Vec<(String, String)>,
    /// Hook point, scaling, L0, FVU of every trial; the first is the dictionary as it was read.
    pub trials: Vec<[String; 4]>,
    /// Tokens of each trial.
    pub n_tokens: Option<usize>,
    /// What explains clearly more, and other reasons for doubt.
    pub doubts: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Read {
    card: ReadCard,
    stated: Stated,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ReadCard {
    format: String,
    recognised_by: String,
    files: Vec<String>,
    architecture: String,
    orientation: String,
    centring: String,
    scaling: String,
    activation: String,
    dropped: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stated {
    model: Option<String>,
    hook: Option<String>,
    hook_out: Option<String>,
    dataset: Option<String>,
    prepend_bos: Option<bool>,
    context_size: Option<usize>,
    l0: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Proof {
    n_tokens: usize,
    here: Option<Trial>,
    others: Vec<Trial>,
    looks_like: Option<String>,
    doubts: Vec<String>,
    decoder_norms: [f64; 3],
    thresholds: Option<[f64; 3]>,
}

#[derive(Debug, Deserialize)]
struct Trial {
    hook: String,
    scaling: String,
    l0: f64,
    fvu: Option<f64>,
}

/// The cards of a manifest, in its order; none for runs without dictionaries trained elsewhere.
pub fn dictionary_cards(manifest: &Value) -> Vec<DictionaryCard> {
    let dictionaries = manifest.get("dictionaries").and_then(Value::as_object).into_iter().flatten();
    dictionaries.filter_map(|(name, record)| card(name, record)).collect()
}

fn card(name: &str, record: &Value) -> Option<DictionaryCard> {
    let Read { card, stated } = Read::deserialize(record.pointer("/report/read")?).ok()?;
    let proof = record.get("proof").and_then(|proof| Proof::deserialize(proof).ok());
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut push = |name: &str, value: String| {
        if !value.is_empty() {
            facts.push((name.to_string(), value));
        }
    };
    let source = |field: &str| record.pointer(&format!("/source/{field}")).and_then(Value::as_str);
    push("from", source("path").unwrap_or_default().to_string());
    push("commit", source("revision").unwrap_or_default().to_string());
    push("format", card.format);
    push("recognised by", card.recognised_by);
    push("files", card.files.join(", "));
    push("architecture", card.architecture);
    push("activation", card.activation);
    push("orientation", card.orientation);
    push("centring", card.centring);
    push("scaling", card.scaling);
    push("left out (`ignore`)", card.dropped.join(", "));
    push("trained on model", stated.model.unwrap_or_default());
    push("trained at", stated.hook.unwrap_or_default());
    push("reconstructs", stated.hook_out.unwrap_or_default());
    push("trained on data", stated.dataset.unwrap_or_default());
    push(
        "BOS in training",
        stated.prepend_bos.map_or(String::new(), |bos| if bos { "yes" } else { "no" }.into()),
    );
    push("context in training", stated.context_size.map_or(String::new(), |size| format!("{size} tokens")));
    push("L0 that it states", stated.l0.map_or(String::new(), |l0| fixed(Some(l0), 1)));
    if let Some(proof) = &proof {
        push("norms of decoder rows", spread(&proof.decoder_norms));
        push("thresholds", proof.thresholds.map_or(String::new(), |thresholds| spread(&thresholds)));
    }
    push("notes", card.notes.join("; "));
    let trials = proof.iter().flat_map(|proof| proof.here.iter().chain(&proof.others));
    Some(DictionaryCard {
        dictionary: name.to_string(),
        trials: trials
            .map(|trial| {
                [trial.hook.clone(), trial.scaling.clone(), fixed(Some(trial.l0), 1), fixed(trial.fvu, 3)]
            })
            .collect(),
        n_tokens: proof.as_ref().map(|proof| proof.n_tokens),
        doubts: proof.map_or(Vec::new(), |proof| proof.looks_like.into_iter().chain(proof.doubts).collect()),
        facts,
    })
}

fn spread([smallest, mean, largest]: &[f64; 3]) -> String {
    format!("{smallest:.3} to {largest:.3}, mean {mean:.3}")
}
