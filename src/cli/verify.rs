//! `report --verify` and `cache --verify`: whether stored files hold what was written.

use std::path::Path;

use super::args::{Common, Env};
use super::cache::{files, size};
use super::print_result;
use super::remote::RunHere;
use crate::activations::{ActivationSet, DamagedStore};
use crate::base::{Content, Flaw, ListedFile};
use crate::hub::{self, Proof};
use crate::llm::{AnswerAge, verify_answer};
use crate::report::{self, Part, Verified, count, visible};
use crate::run::RunError;

/// Exit code where something is damaged or missing.
const DAMAGED: u8 = 8;

/// Files listed on the screen, of each kind. `--json` lists all.
const SHOWN: usize = 20;

/// Checks every file of a finished run.
pub fn verify_run(run: &Path, common: &Common, env: &Env) -> Result<u8, RunError> {
    let here = RunHere::open(run, Part::Everything, common, env)?;
    let advice = "the same `autointerp run` command makes damaged and missing files again";
    let verified = Verified { folder: run.display().to_string(), ..report::verify(here.folder())? };
    told(&verified, advice, common)
}

/// Checks every file of the cache that says what it should hold.
pub fn verify_cache(common: &Common, env: &Env) -> Result<u8, RunError> {
    let mut verified = Verified::new(&env.cache);
    for file in hub::verify(&env.cache) {
        let path = inside(&env.cache, &file.path);
        match file.found {
            Ok(Proof::None) => verified.unlisted.push(path),
            Ok(Proof::Size(bytes)) => {
                verified.size_only += 1;
                verified.add(path, Ok(bytes));
            }
            Ok(Proof::Digest(bytes)) => verified.add(path, Ok(bytes)),
            Err(flaw) => verified.add(path, Err(flaw)),
        }
    }
    verify_activations(&env.cache, &mut verified);
    verify_answers(&env.cache, &mut verified);
    let advice = "a run makes damaged activations and answers again by itself; remove a damaged download, and it is \
                  fetched again";
    told(&verified, advice, common)
}

/// A path inside a folder, with `/` between its parts.
fn inside(folder: &Path, path: &Path) -> String {
    ListedFile::new(folder, path, Content::of(&[])).path
}

/// Whether a file has its final name. Others are being written, or were set aside.
fn is_final(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    !name.starts_with('.') && !name.ends_with(".damaged")
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|extension| extension == wanted)
}

/// Stores of activations, each with its sidecar.
fn verify_activations(cache: &Path, verified: &mut Verified) {
    let stored = files(&cache.join("activations"));
    for (path, bytes, _) in stored.iter().filter(|(path, ..)| is_final(path) && has_extension(path, "act")) {
        let sidecar = path.with_extension("json");
        match ActivationSet::open(path) {
            Ok(Some(_)) => {
                verified.add(inside(cache, path), Ok(*bytes));
                verified.add(inside(cache, &sidecar), Ok(sidecar.metadata().map_or(0, |meta| meta.len())));
            }
            // Incomplete or of an earlier version: never used.
            Ok(None) => verified.unlisted.push(inside(cache, path)),
            Err(DamagedStore { path, flaw }) => verified.add(inside(cache, &path), Err(flaw)),
        }
    }
}

fn verify_answers(cache: &Path, verified: &mut Verified) {
    let stored = files(&cache.join("answers"));
    for (path, bytes, _) in stored.iter().filter(|(path, ..)| is_final(path) && has_extension(path, "json")) {
        let place = inside(cache, path);
        match verify_answer(path) {
            Ok(AnswerAge::Current) => verified.add(place, Ok(*bytes)),
            // It does not hold its question: it is asked again.
            Ok(AnswerAge::Older) => verified.unlisted.push(place),
            Err(why) => verified.add(place, Err(Flaw::Damaged(why))),
        }
    }
}

/// Prints the result and returns the exit code.
fn told(verified: &Verified, advice: &str, common: &Common) -> Result<u8, RunError> {
    print_result(common, verified, |verified| text(verified, advice))?;
    Ok(if verified.is_sound() { 0 } else { DAMAGED })
}

fn text(verified: &Verified, advice: &str) -> String {
    let Verified { folder, sound_files, sound_bytes, size_only, damaged, missing, unlisted } = verified;
    let mut lines = Vec::new();
    let mut list = |what: &str, files: Vec<String>| {
        lines.extend(files.iter().take(SHOWN).map(|file| format!("{what}: {file}")));
        if files.len() > SHOWN {
            lines.push(format!("{what}: {} more, see --json", count(files.len() - SHOWN)));
        }
    };
    let named = |path: &String| format!("`{}`", visible(path));
    list(
        "damaged",
        damaged.iter().map(|file| format!("{} {}", named(&file.path), visible(&file.why))).collect(),
    );
    list("missing", missing.iter().map(named).collect());
    list("not listed", unlisted.iter().map(named).collect());
    let of_size = match size_only {
        0 => String::new(),
        n => format!(" ({} of them by their size alone)", count(*n)),
    };
    lines.push(format!(
        "{folder}: {} files hold what was written{of_size}, {}",
        count(*sound_files),
        size(*sound_bytes)
    ));
    if !verified.is_sound() {
        lines.push(format!("{} damaged, {} missing: {advice}", count(damaged.len()), count(missing.len())));
    }
    lines.join("\n")
}
