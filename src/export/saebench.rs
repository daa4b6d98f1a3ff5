//! Results in the form of SAEBench 0.6.0, eval `core`: one JSON file for each dictionary.
//!
//! Only metrics with SAEBench's own formula have SAEBench's names:
//!
//! ```text
//! sparsity.l0                          mean number of codes ≠ 0 per token
//! model_performance_preservation.*     mean losses: clean, hook point zeroed, reconstruction in place;
//!                                      ce_loss_score = (ablated − reconstructed) / (ablated − clean)
//! misc_metrics.frac_alive              share of features with density > 0
//! misc_metrics.freq_over_{1,10}_percent             share of features with density > 0.01, > 0.1
//! misc_metrics.normalized_freq_over_{1,10}_percent  their share of the sum of all densities
//! token_stats.*                        tokens behind these numbers
//! ```
//!
//! One setting differs: the first token of a fragment keeps its activation in both passes (the prefix, if there is
//! one); `eval_result_unstructured` says so. Missing are what a run does not measure (KL divergence, l1, norms, cosines),
//! and `explained_variance`, because SAEBench's code and its stated formula differ: the run's FVU stands in
//! `eval_result_unstructured`. The eval `autointerp` is never written: its score is an accuracy on 14 sequences of which
//! 10 are assumed silent, which no scorer here measures.

use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};

use super::error::ExportError;
use super::job::{Job, Outcome};
use super::run_folder::{Entry, Losses, Measured, RunFolder};
use crate::base::{Digest, FileName, read};
use crate::dictionary::loss_recovered;
use crate::report::ReportError;

/// Ends the name of a file of results.
const ENDING: &str = "_eval_results.json";

pub fn write(job: &mut Job<'_>, entry: &Entry) -> Result<Outcome, ExportError> {
    let Some(measured) = job.run.measured(entry)? else {
        return Ok(Outcome::Skipped("the run holds no measurements of it".into()));
    };
    let result = json!({
        "eval_type_id": "core",
        "eval_config": config(job.run, &measured),
        "eval_id": uuid(&format!("{} {} {}", job.run.summary.run, entry.place.hook, entry.place.dictionary)),
        "datetime_epoch_millis": milliseconds(job.run),
        "eval_result_metrics": metrics(&measured),
        "eval_result_details": [],
        "eval_result_unstructured": {"autointerp": own_metrics(entry, &measured)},
        "sae_bench_commit_hash": format!("not run by SAEBench: exported by autointerp {}", env!("CARGO_PKG_VERSION")),
        "sae_lens_id": null,
        "sae_lens_release_id": null,
        "sae_lens_version": null,
        "sae_cfg_dict": sae_config(job.run, entry)?,
    });
    // SAEBench's plots tell results apart by this name, and evals by the folder's. No hook point begins like another,
    // so the name tells where it ends.
    let name = entry.names().join("_");
    job.out.json(&["core"], &name, ENDING, &result)?;
    Ok(Outcome::Written { path: format!("core/{}", FileName::of(&name).with(ENDING)), features: None })
}

/// SAEBench's settings, with one fragment as a batch.
fn config(run: &RunFolder, measured: &Measured) -> Value {
    let (prefix, fragment) = (run.facts.bos.ids.len(), run.facts.suite.protocol.fragment_tokens.unwrap_or(0));
    // Without a prefix, the first token of a fragment is not predicted.
    let predicted = if prefix == 0 { fragment.saturating_sub(1) } else { fragment };
    let losses = measured.losses.filter(|_| measured.spliced.is_some());
    let reconstructed = losses.and_then(|losses| losses.n_tokens.checked_div(predicted));
    json!({
        "model_name": run.facts.subject.name.clone().unwrap_or_default(),
        "llm_dtype": "float32",
        "batch_size_prompts": 1,
        "n_eval_reconstruction_batches": reconstructed.unwrap_or(0),
        "n_eval_sparsity_variance_batches": run.fragments_of(measured.quality.n_tokens).unwrap_or(0),
        "dataset": run.facts.suite.corpus.label(),
        "context_size": prefix + fragment,
        "compute_kl": false,
        "compute_ce_loss": losses.is_some(),
        "compute_l2_norms": false,
        "compute_sparsity_metrics": true,
        "compute_variance_metrics": false,
        "compute_featurewise_density_statistics": true,
        "compute_featurewise_weight_based_metrics": false,
        "exclude_special_tokens_from_reconstruction": true,
        "verbose": false,
    })
}

fn metrics(measured: &Measured) -> Value {
    let quality = &measured.quality;
    let mut metrics = json!({
        "sparsity": {"l0": quality.l0},
        "misc_metrics": frequencies(&quality.density),
        "token_stats": {"total_tokens_eval_sparsity_variance": quality.n_tokens},
    });
    if let (Some(losses), Some(spliced)) = (measured.losses, measured.spliced) {
        let Losses { clean, zero, n_tokens } = losses;
        metrics["model_performance_preservation"] = json!({
            "ce_loss_score": loss_recovered(clean, spliced, zero),
            "ce_loss_with_ablation": zero,
            "ce_loss_with_sae": spliced,
            "ce_loss_without_sae": clean,
        });
        metrics["token_stats"]["total_tokens_eval_reconstruction"] = json!(n_tokens);
    }
    metrics
}

/// How many features fire often.
fn frequencies(density: &[f64]) -> Map<String, Value> {
    let (features, total) = (density.len().max(1) as f64, density.iter().sum::<f64>());
    let above = |least: f64| density.iter().copied().filter(move |share| *share > least);
    let share = |least: f64| json!(above(least).count() as f64 / features);
    let of_total = |least: f64| json!(if total > 0.0 { above(least).sum::<f64>() / total } else { 0.0 });
    Map::from_iter([
        ("frac_alive".to_string(), share(0.0)),
        ("freq_over_1_percent".to_string(), share(0.01)),
        ("freq_over_10_percent".to_string(), share(0.1)),
        ("normalized_freq_over_1_percent".to_string(), of_total(0.01)),
        ("normalized_freq_over_10_percent".to_string(), of_total(0.1)),
    ])
}

/// The run's own numbers that have no equal in SAEBench, under our names.
fn own_metrics(entry: &Entry, measured: &Measured) -> Value {
    let row = &entry.quality;
    // Of several trainings the row is the mean, and none of them has its own number.
    let of_one = |value: Option<f64>| value.filter(|_| row.trainings.is_none_or(|n| n == 1));
    json!({
        "fvu": of_one(row.fvu),
        "loss_recovered_mean": of_one(row.loss_recovered_mean),
        "reconstructs": measured.spliced.is_some(),
        "positions": "the first token of a fragment, or the prefix if there is one, keeps its activation in the pass \
                      with the reconstruction and in the one with zeros",
        "definitions": "results/README.md of autointerp",
    })
}

/// The settings of the dictionary by SAELens's names.
fn sae_config(run: &RunFolder, entry: &Entry) -> Result<Value, ExportError> {
    const SETTINGS: [&str; 8] = [
        "architecture",
        "d_in",
        "d_sae",
        "k",
        "dtype",
        "apply_b_dec_to_input",
        "normalize_activations",
        "hook_name",
    ];
    let path = entry.folder(run).join("config.json");
    let unreadable = |source| ReportError::Json { path: path.clone(), line: None, source };
    let config: Map<String, Value> = serde_json::from_slice(&read(&path)?).map_err(unreadable)?;
    let mut kept: Map<String, Value> =
        config.into_iter().filter(|(name, _)| SETTINGS.contains(&name.as_str())).collect();
    kept.insert("model_name".into(), json!(run.facts.subject.name));
    Ok(Value::Object(kept))
}

/// When the summary was written, in milliseconds since 1970; 0 if the system does not say.
fn milliseconds(run: &RunFolder) -> u64 {
    let written = std::fs::metadata(run.layout.summary()).and_then(|file| file.modified());
    let since = written.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|time| u64::try_from(time.as_millis()).ok()).unwrap_or(0)
}

/// A UUID of version 8 (RFC 9562): the digest of a text.
fn uuid(text: &str) -> String {
    let mut bytes = Digest::of(text.as_bytes()).bytes();
    bytes[6] = 0x80 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex: String = bytes[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
