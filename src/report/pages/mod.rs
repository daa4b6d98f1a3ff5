//! The pages of a run folder: `index.html`, `features.html` and one page for each dictionary in `features/`.
//!
//! In: what a run folder holds, as the files beside this one read it.
//! Out: HTML that needs nothing else: no network, no other file but the pages and charts that it links.
//! Never: lets text of a suite, a corpus, a model or an LLM become markup or script; asks a browser to fetch.
//!
//! A page has one style sheet and one script of its own, inlined, and a policy that names them by digest and forbids
//! everything else. Evidence stands in it as JSON that nothing runs; the script shows what is asked for.

mod evidence;
mod explorer;
mod feature;
mod index;
mod names;
mod packed;
mod shell;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use minijinja::{Environment, context};
use rayon::prelude::*;

use super::ReportError;
use super::charts::Chart;
use super::escape::visible;
use super::manifest::ManifestView;
use super::schema::ScoreStatus;
use super::scores::{FeatureLine, FeatureScores};
use super::view::View;
use crate::base::{FileError, write_atomic};
use names::{Names, Place};
use shell::Kind;

/// Folder of the pages of features.
const FEATURES: &str = "features";

/// Everything that pages are drawn from.
pub struct Sources<'a> {
    /// The run folder.
    pub run_folder: &'a Path,
    /// The summary, sorted for reading.
    pub view: &'a View<'a>,
    /// What was asked; none without `manifest.json`.
    pub manifest: Option<&'a ManifestView>,
    /// Single features; none without `scores.jsonl`.
    pub scores: Option<&'a FeatureScores>,
    /// Charts, drawn into the folder beside.
    pub charts: &'a [Chart<'a>],
}

/// Writes every page and returns the paths; pages of features of an earlier drawing that no longer belong go.
pub fn write(sources: &Sources<'_>) -> Result<Vec<PathBuf>, ReportError> {
    let lines = sources.scores.map_or(&[][..], |scores| &scores.lines);
    let names = Names::of(sources.view.summary, lines);
    let environment = shell::environment()?;
    let mut by_place: HashMap<Place, Vec<&FeatureLine>> = HashMap::new();
    for line in lines {
        by_place.entry(names.place_of(line)).or_default().push(line);
    }
    let folder = sources.run_folder.join(FEATURES);
    let mut written = write_features(sources, &names, &by_place, &environment, &folder)?;
    remove_stale(&folder, &written)?;
    let explorer = explorer::render(sources, &names, &environment)?;
    let index = index::render(sources, &names, &environment)?;
    for (name, page) in [("features.html", explorer), ("index.html", index)] {
        let path = sources.run_folder.join(name);
        write_atomic(&path, page.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

fn write_features(
    sources: &Sources<'_>,
    names: &Names,
    by_place: &HashMap<Place, Vec<&FeatureLine>>,
    environment: &Environment<'_>,
    folder: &Path,
) -> Result<Vec<PathBuf>, ReportError> {
    let tokens = evidence::token_texts(sources.run_folder)?;
    let walked: HashMap<Place, HashSet<usize>> = by_place
        .iter()
        .map(|(place, lines)| {
            let explained = lines.iter().filter(|line| line.status != ScoreStatus::Skipped);
            (place.clone(), explained.map(|line| line.feature).collect())
        })
        .collect();
    let chance_is_half = sources.view.chance_is_half();
    let context = feature::Context {
        run_folder: sources.run_folder,
        names,
        tokens: tokens.as_deref(),
        manifest: sources.manifest,
        scorers: &sources.view.scorers,
        chance_is_half: &chance_is_half,
        walked: &walked,
    };
    let pages: Result<Vec<PathBuf>, ReportError> = names
        .places()
        .par_iter()
        .filter_map(|place| names.file(place).map(|file| (place, file)))
        .map(|(place, file)| {
            let lines = by_place.get(place).map_or(&[][..], Vec::as_slice);
            let page = feature_page(sources, &context, place, lines, environment)?;
            let path = folder.join(file);
            write_atomic(&path, page.as_bytes())?;
            Ok(path)
        })
        .collect();
    pages
}

fn feature_page(
    sources: &Sources<'_>,
    shared: &feature::Context<'_>,
    place: &Place,
    lines: &[&FeatureLine],
    environment: &Environment<'_>,
) -> Result<String, ReportError> {
    let whole = |json: &str, notes: &[String]| {
        let control = place.control.as_deref().map(visible);
        let hook = visible(&place.hook);
        let dictionary = visible(&place.dictionary);
        let page = context! {
            title => format!("{dictionary} at {hook} · features"),
            suite => visible(&sources.view.summary.suite),
            hook, dictionary, control, notes,
        };
        shell::page(environment, Kind::Feature, page, json, false)
    };
    // Notes are short, and there are few; what they take is kept free.
    let shell_bytes = whole("", &[])?.len() + 2_000;
    let built = feature::build(shared, place, lines, |n| feature::page_bytes(n).saturating_sub(shell_bytes))?;
    whole(&built.json, &built.notes)
}

/// Removes pages of features that this drawing did not write. Other files stay.
fn remove_stale(folder: &Path, written: &[PathBuf]) -> Result<(), ReportError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".html") && name.contains("--") && !written.contains(&path) {
            let failed = |source| FileError { action: "remove", path: path.clone(), source };
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}
