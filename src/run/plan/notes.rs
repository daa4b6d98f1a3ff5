//! Remarks on what a plan could and could not know.

use std::error::Error;
use std::path::Path;

use crate::base::{DeviceName, cores};
use crate::llm::ClientKind;
use crate::report::count;
use crate::run::plan::calibrate::Calibration;
use crate::run::plan::planned::{SECONDS_PER_TOKEN, SECONDS_TO_BEGIN};
use crate::run::plan::shape::Shape;
use crate::run::{Places, RunError};
use crate::subject::embedded;
use crate::suite::resolve;

/// Share of the processor time below which the machine counts as busy.
const BUSY: f64 = 0.9;

/// Endings of compressed files, whose size says little about their text.
const COMPRESSED: [&str; 4] = ["gz", "gzip", "zst", "zstd"];

/// All remarks.
pub fn all(shape: &Shape<'_>, places: &Places, measured: &Result<Calibration, RunError>) -> Vec<String> {
    let mut notes = Vec::new();
    match measured {
        Ok(measured) => {
            notes.extend(busy(measured.share, shape.threads.min(cores())));
            if measured.stands_in {
                notes.push("time was measured on the embedded corpus: a plan fetches no data set".into());
            }
            let failed = measured.failed.iter();
            notes.extend(failed.map(|failed| format!("not measured, taken to be like the rest: {failed}")));
            notes.extend(too_little_text(shape, places, measured.bytes_per_token));
        }
        Err(why) => {
            let mut note = format!("the time is unknown, because it could not be measured: {why}");
            let mut cause = why.source();
            while let Some(error) = cause {
                note.push_str(&format!(": {error}"));
                cause = error.source();
            }
            notes.push(note);
        }
    }
    if places.device != DeviceName::Cpu {
        notes.push("memory is that of the machine, not that of its GPU".into());
    }
    notes.extend(assumed_latency(shape));
    notes.extend(guessed_sizes(shape));
    notes.extend(chosen_features(shape));
    notes.extend(patching(shape));
    notes.extend(erasure(shape));
    if shape.suite.corpus.source.starts_with("hub:") {
        let note =
            "hub data sets are read as text or JSONL (plain, .gz, .zst); parquet is not, convert it first";
        notes.push(note.into());
    }
    notes.extend(stored_stages(places));
    notes
}

/// What else runs on this machine, and how much of `threads` cores it left.
fn busy(share: Option<f64>, threads: usize) -> Option<String> {
    let share = share.filter(|share| *share < BUSY)?;
    let cores = if threads == 1 { "one core was".to_string() } else { format!("{threads} cores were") };
    Some(format!(
        "measured while the machine was busy: about {:.0} % of {cores} free; the time is for a free machine",
        100.0 * share
    ))
}

/// A text that has less than the suite asks for: a run refuses it.
fn too_little_text(shape: &Shape<'_>, places: &Places, bytes_per_token: f64) -> Option<String> {
    let source = &shape.suite.corpus.source;
    if !shape.model.runs || *source == embedded::NAME || source.starts_with("hub:") {
        return None;
    }
    let bytes = plain_bytes(&resolve(source, &places.suite_folder))?;
    let has = bytes as f64 / bytes_per_token.max(0.1);
    let needs = (shape.fit_tokens + shape.evaluate_tokens()) as f64;
    (has < needs).then(|| {
        format!(
            "the text has about {} tokens, and the suite asks for {}: `run` will refuse it; lower \
             `corpus.fit_tokens` or `corpus.eval_fragments`, or give more text",
            thousands(has),
            thousands(needs)
        )
    })
}

/// A count, rounded to thousands.
fn thousands(n: f64) -> String {
    count(1000 * (n / 1000.0).round().max(1.0) as usize)
}

/// Size of a file, or of the files in a folder; none if one of them is compressed or cannot be read.
fn plain_bytes(path: &Path) -> Option<u64> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    let compressed = extension.is_some_and(|extension| COMPRESSED.contains(&extension.as_str()));
    let about = std::fs::metadata(path).ok().filter(|_| !compressed)?;
    if !about.is_dir() {
        return Some(about.len());
    }
    std::fs::read_dir(path).ok()?.map(|entry| plain_bytes(&entry.ok()?.path())).sum()
}

/// A plan asks no endpoint, so it cannot know how fast it answers.
fn assumed_latency(shape: &Shape<'_>) -> Option<String> {
    let mut models = shape.suite.pairs.iter().flat_map(|pair| pair.models());
    models.any(|llm| llm.client != ClientKind::Local).then(|| {
        format!(
            "the time of endpoints is assumed: {SECONDS_TO_BEGIN} s for a request, and {SECONDS_PER_TOKEN} s for each \
             token of the answer"
        )
    })
}

/// Dictionaries whose files are not on this disk.
fn guessed_sizes(shape: &Shape<'_>) -> Option<String> {
    let elsewhere = shape.passes.first()?.methods.iter().filter(|method| method.fit.is_none());
    let names: Vec<&str> = elsewhere.map(|method| method.spec.name.as_str()).collect();
    let note = "not fetched yet, so their sizes are guessed, and time, memory and disk with them";
    (!names.is_empty()).then(|| format!("{note}: {}", names.join(", ")))
}

/// The methods whose features are chosen.
fn chosen_features(shape: &Shape<'_>) -> Option<String> {
    let methods = shape.suite.methods.iter();
    let chosen = methods.filter_map(|method| Some(format!("{} {}", method.name, method.ids()?.len())));
    let chosen: Vec<String> = chosen.collect();
    let note = "chosen features, not a sample of the dictionary";
    (!chosen.is_empty()).then(|| format!("{note}: {}", chosen.join(", ")))
}

/// The passes of a task.
fn patching(shape: &Shape<'_>) -> Option<String> {
    let (task, pass) = (shape.suite.task.as_ref()?, shape.passes.first()?);
    let rows: Vec<_> = shape.hooks.iter().flat_map(|at| shape.patched(at, pass)).collect();
    let passes: usize = rows.iter().map(|row| task.pairs * task.most_passes(row.features)).sum();
    Some(format!(
        "task {}: {} pairs of prompts, {} dictionaries, at most {} passes of a prompt",
        task.kind_name(),
        task.pairs,
        rows.len(),
        count(passes)
    ))
}

/// The passes of erasure.
fn erasure(shape: &Shape<'_>) -> Option<String> {
    let (erasure, pass) = (shape.suite.erasure.as_ref()?, shape.passes.first()?);
    let rows = shape.hooks.iter().map(|at| shape.erased(at, pass).count()).sum::<usize>();
    let held_out = 2 * erasure.n_test(erasure.prompts);
    Some(format!(
        "erasure: at most {} held-out prompts of each concept, {rows} dictionaries, at most {} passes of a prompt for each \
         concept; their time is not measured, but taken from that of other passes",
        held_out,
        count(rows * held_out * erasure.most_passes())
    ))
}

/// Stages of an earlier run in the run folder, which a run reuses if they still fit.
fn stored_stages(places: &Places) -> Option<String> {
    let stored = std::fs::read_dir(places.layout().stages()).ok()?.flatten().count();
    let folder = places.out.display();
    (stored > 0).then(|| {
        format!("`{folder}` has {stored} stored stages; the plan is for a run that reuses none of them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::write_atomic;

    #[test]
    fn a_busy_machine_is_said_to_be_busy() {
        assert_eq!(busy(Some(0.97), 2), None);
        assert_eq!(busy(None, 2), None, "unknown");
        let said = busy(Some(0.413), 2).expect("busy");
        assert!(
            said.starts_with("measured while the machine was busy: about 41 % of 2 cores were free"),
            "{said}"
        );
        assert!(busy(Some(0.5), 1).is_some_and(|said| said.contains("50 % of one core was free")));
    }

    #[test]
    fn plain_text_has_a_size() {
        let folder = tempfile::tempdir().expect("a folder");
        write_atomic(&folder.path().join("a.txt"), &[b'a'; 1000]).expect("written");
        assert_eq!(plain_bytes(&folder.path().join("a.txt")), Some(1000));
        write_atomic(&folder.path().join("b.jsonl"), &[b'b'; 500]).expect("written");
        assert_eq!(plain_bytes(folder.path()), Some(1500));
        write_atomic(&folder.path().join("c.zst"), b"c").expect("written");
        assert_eq!(plain_bytes(folder.path()), None, "a compressed file says nothing");
        assert_eq!(plain_bytes(&folder.path().join("none")), None);
        assert_eq!((thousands(61_234.0), thousands(9_038_100.0)), ("61,000".into(), "9,038,000".into()));
    }
}
