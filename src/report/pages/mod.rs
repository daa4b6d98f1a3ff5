//! The pages of a run folder: `index.html`, `features.html` and one page for each dictionary in `features/`.
//!
//! In: a run folder, through the files beside this one.
//! Out: HTML that needs no network and no other file, except the pages and charts that it links.
//! Never: lets text of a suite, a corpus, a model or an LLM become markup or script; makes a browser fetch.
//!
//! A page inlines its style sheet and scripts. Its content security policy allows exactly those, by digest. Evidence
//! is inert JSON in the page, which the script displays.

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

use super::charts::Chart;
use super::escape::visible;
use super::layout::{Layout, Place};
use super::manifest::ManifestView;
use super::schema::ScoreStatus;
use super::scores::{FeatureLine, FeatureScores};
use super::view::View;
use super::{ReportError, remove_stale};
use crate::base::write_atomic;
pub use evidence::{Effect, Histogram, Neighbours, Profile};
pub use feature::simulates_levels;
use names::Names;

/// Everything that pages are made from.
pub struct Sources<'a> {
    pub layout: &'a Layout,
    pub view: &'a View<'a>,
    /// None without `manifest.json`.
    pub manifest: Option<ManifestView>,
    /// None without `scores.jsonl`.
    pub scores: Option<&'a FeatureScores>,
    pub charts: &'a [Chart<'a>],
}

impl Sources<'_> {
    fn lines(&self) -> &[FeatureLine] {
        self.scores.map_or(&[][..], |scores| &scores.lines)
    }
}

/// What all pages share.
struct Site<'a> {
    sources: &'a Sources<'a>,
    names: Names,
    environment: Environment<'static>,
}

/// Writes every page and returns the paths. Feature pages of an earlier rendering that are no longer current are
/// removed.
pub fn write(sources: &Sources<'_>) -> Result<Vec<PathBuf>, ReportError> {
    let names = Names::of(sources.view.summary, sources.lines());
    let site = Site { sources, names, environment: shell::environment()? };
    let folder = sources.layout.feature_pages();
    let mut written = write_features(&site, &folder)?;
    remove_stale(&folder, &written, |name| name.ends_with(".html") && name.contains("--"))?;
    for (name, page) in [("features.html", explorer::render(&site)?), ("index.html", index::render(&site)?)] {
        let path = sources.layout.folder().join(name);
        write_atomic(&path, page.as_bytes())?;
        written.push(path);
    }
    Ok(written)
}

fn write_features(site: &Site<'_>, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let Site { sources, names, .. } = site;
    let mut by_place: HashMap<Place, Vec<&FeatureLine>> = HashMap::new();
    let mut walked: HashMap<Place, HashSet<usize>> = HashMap::new();
    for line in sources.lines() {
        let place = names.place_of(line);
        if line.status != ScoreStatus::Skipped {
            walked.entry(place.clone()).or_default().insert(line.feature);
        }
        by_place.entry(place).or_default().push(line);
    }
    let tokens = evidence::token_texts(sources.layout)?;
    let chance_is_half = sources.view.chance_is_half();
    let context = feature::Context {
        layout: sources.layout,
        names,
        tokens: tokens.as_deref(),
        manifest: sources.manifest.as_ref(),
        scorers: &sources.view.scorers,
        chance_is_half: &chance_is_half,
        walked: &walked,
    };
    let write = |(place, file): (&Place, &str)| -> Result<PathBuf, ReportError> {
        let lines = by_place.get(place).map_or(&[][..], Vec::as_slice);
        let page = feature_page(site, &context, place, lines)?;
        let path = folder.join(file);
        write_atomic(&path, page.as_bytes())?;
        Ok(path)
    };
    names.places().par_iter().filter_map(|place| Some((place, names.file(place)?))).map(write).collect()
}

fn feature_page(
    site: &Site<'_>,
    shared: &feature::Context<'_>,
    place: &Place,
    lines: &[&FeatureLine],
) -> Result<String, ReportError> {
    let with = |json: &str, notes: &[String]| {
        let control = place.control.as_deref().map(visible);
        let (hook, dictionary) = (visible(&place.hook), visible(&place.dictionary));
        let page = context! {
            title => format!("{dictionary} at {hook} · features"),
            suite => visible(&site.sources.view.summary.suite),
            hook, dictionary, control, notes,
        };
        shell::page(&site.environment, shell::FEATURE, page, json, false)
    };
    // 2,000 bytes are reserved for the notes.
    let shell_bytes = with("", &[])?.len() + 2_000;
    let built = feature::build(shared, place, lines, |n| feature::page_bytes(n).saturating_sub(shell_bytes))?;
    with(&built.json, &built.notes)
}
