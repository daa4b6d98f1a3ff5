//! Activations that are still on disk after a run. A run deletes what it harvests; it never deletes activations that
//! its suite names as its subject.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::activations::ActivationSet;
use crate::base::{Digest, HookPoint, StoredBlock, read};
use crate::report::{Layout, ReportError};
use crate::run::RunError;
use crate::subject::stored::ActivationFiles;

/// Where the activations of a run's subject at a hook point lie: `[sequences, positions, width]` in the file that the
/// suite names as its subject, or `[tokens, width]` of the fit split in the cache.
pub fn kept_activations(run_folder: &Path, hook: HookPoint, cache: &Path) -> Result<StoredBlock, RunError> {
    let missing = |why: String| RunError::NotKept { folder: run_folder.to_path_buf(), hook, why };
    let manifest = manifest(run_folder)?;
    if let Some(file) = manifest.pointer("/suite/subject/activations").and_then(Value::as_str) {
        let path = PathBuf::from(file);
        if !path.exists() {
            return Err(missing(format!(
                "the suite names `{file}`, which is not there, seen from this folder"
            )));
        }
        let elsewhere =
            || missing(format!("in `{file}` they are no single block of numbers that can be mapped"));
        return ActivationFiles::open(&path)?.block(hook)?.ok_or_else(elsewhere);
    }
    let Some(digest) = fitted_on(&manifest, hook) else {
        return Err(missing("the run has no dictionary there".into()));
    };
    match ActivationSet::find(&cache.join("activations"), digest).and_then(|set| set.block()) {
        Some(block) => Ok(block),
        None => Err(missing("a run deletes what it harvests when it needs it no longer".into())),
    }
}

/// `manifest.json` of a finished run.
pub fn manifest(run_folder: &Path) -> Result<Value, RunError> {
    let path = Layout::new(run_folder).manifest();
    if !path.exists() {
        return Err(ReportError::NoSummary(run_folder.to_path_buf()).into());
    }
    let unreadable = |source| ReportError::Json { path: path.clone(), line: None, source };
    Ok(serde_json::from_slice(&read(&path)?).map_err(unreadable)?)
}

/// Digest of the activations that the subject's dictionaries of a hook point were fitted on.
fn fitted_on(manifest: &Value, hook: HookPoint) -> Option<Digest> {
    let begins = format!("{hook}/");
    let of_subject = |name: &str| name.starts_with(&begins) && !name.ends_with(')');
    let mut all = manifest.get("dictionaries")?.as_object()?.iter();
    let (_, record) = all.find(|(name, _)| of_subject(name))?;
    Digest::deserialize(record.get("fitted_on")?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::activations::{ActivationWriter, Precision};
    use crate::base::write_atomic;

    fn hook() -> HookPoint {
        "blocks.0.hook_resid_post".parse().expect("a hook point")
    }

    fn write_manifest(folder: &Path, manifest: &Value) {
        write_atomic(&Layout::new(folder).manifest(), manifest.to_string().as_bytes()).expect("written");
    }

    #[test]
    fn what_the_dictionaries_were_fitted_on_is_found_in_the_cache() {
        let folder = tempfile::tempdir().expect("a folder");
        let (run, cache) = (folder.path().join("run"), folder.path().join("cache"));
        std::fs::create_dir_all(cache.join("activations")).expect("created");
        std::fs::create_dir_all(&run).expect("created");
        let store = cache.join("activations/some.act");
        let mut writer = ActivationWriter::create(&store, hook(), 2, Precision::F16).expect("created");
        writer.push(&[1.0, 2.0, 3.0, 4.0, 5.0, 7.0], &[0, 1, 2]).expect("pushed");
        let digest = writer.finish().expect("finished").digest();
        let name = format!("{}/topk", hook());
        let control = format!("{}/topk (random_weights)", hook());
        let dictionaries =
            json!({ control: {"fitted_on": Digest::of(b"other")}, name: {"fitted_on": digest} });
        write_manifest(&run, &json!({"dictionaries": dictionaries}));
        let block = kept_activations(&run, hook(), &cache).expect("kept");
        let expected = StoredBlock { path: store.clone(), dtype: "<f2", offset: 0, shape: vec![3, 2] };
        assert_eq!(block, expected);
        ActivationSet::remove(&store);
        let error = kept_activations(&run, hook(), &cache).expect_err("removed").to_string();
        assert!(
            error.contains("keeps no activations of `blocks.0.hook_resid_post`: a run deletes"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_a_missing_hook_point_and_a_missing_run_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let told = |manifest: Value| {
            write_manifest(folder.path(), &manifest);
            kept_activations(folder.path(), hook(), folder.path()).expect_err("not kept").to_string()
        };
        assert!(
            told(json!({"suite": {"subject": {"activations": "no.file"}}}))
                .contains("`no.file`, which is not")
        );
        assert!(told(json!({"dictionaries": {}})).ends_with("the run has no dictionary there"));
        let nothing = kept_activations(&folder.path().join("none"), hook(), folder.path());
        assert!(matches!(nothing, Err(RunError::Report(ReportError::NoSummary(_)))));
    }
}
