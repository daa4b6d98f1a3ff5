//! Folders that SAELens 6 loads with `SAE.load_from_disk`.
//!
//! ```text
//! HOOK/DICTIONARY/cfg.json                   architecture, sizes, settings, metadata
//! HOOK/DICTIONARY/sae_weights.safetensors    W_enc [d, F]  W_dec [F, d]  b_dec [d]  …
//! HOOK/DICTIONARY/sparsity.safetensors       sparsity [F] = log10(density + 1e-10)
//! ```
//!
//! `metadata` says what the dictionary was fitted on. Of one that was trained elsewhere it holds only the model and the
//! hook point at which this run measured it.

use serde_json::{Map, Value, json};

use super::error::ExportError;
use super::job::{Job, Outcome};
use super::run_folder::{Entry, RunFolder};
use crate::dictionary::{Dictionary, Kind, export_saelens_with, load, saelens_problem, write_sparsity};

pub fn write(job: &mut Job<'_>, entry: &Entry) -> Result<Outcome, ExportError> {
    let folder = entry.folder(job.run);
    if !folder.exists() {
        return Ok(Outcome::Skipped("the run folder does not hold it".into()));
    }
    let dictionary = load(&folder)?;
    let dictionary = dictionary.as_affine();
    if let Some(problem) = saelens_problem(dictionary) {
        return Ok(Outcome::Skipped(problem));
    }
    let names = entry.names();
    let config = job.out.file(&names, "cfg", ".json")?;
    job.out.file(&names, "sae_weights", ".safetensors")?;
    let metadata = metadata(job.run, dictionary.info().kind == Kind::File);
    export_saelens_with(dictionary, metadata, config.parent().unwrap_or(&config))?;
    let measured = job.run.measured(entry)?;
    if let Some(density) = measured.map(|measured| measured.quality.density)
        && density.len() == dictionary.info().n_features
    {
        write_sparsity(&density, &job.out.file(&names, "sparsity", ".safetensors")?)?;
    }
    Ok(Outcome::Written { path: entry.exported_path(), features: None })
}

/// What SAELens records of a dictionary's activations, where the run knows it.
fn metadata(run: &RunFolder, trained_elsewhere: bool) -> Map<String, Value> {
    let facts = &run.facts;
    let mut metadata = Map::new();
    metadata.insert("model_name".into(), json!(facts.subject.name));
    if trained_elsewhere {
        return metadata;
    }
    // Without entries, SAELens loads the model unprocessed.
    let processed = facts.subject.processing.iter().map(|name| (name.clone(), json!(true)));
    let processing: Map<String, Value> = processed.collect();
    let prefix = &facts.bos.ids;
    let fields = [
        ("model_class_name", json!("HookedTransformer")),
        ("model_from_pretrained_kwargs", Value::Object(processing)),
        ("context_size", json!(facts.suite.corpus.ctx_tokens)),
        ("prepend_bos", json!(!prefix.is_empty())),
        // Neither the prefix nor, without one, the first token of a context is fitted on.
        ("seqpos_slice", json!([prefix.len().max(1), null])),
        ("exclude_special_tokens", json!(false)),
        ("dataset_path", json!(facts.suite.corpus.dataset())),
    ];
    metadata.extend(fields.map(|(name, value)| (name.to_string(), value)));
    metadata
}
