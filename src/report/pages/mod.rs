//! The pages of a run folder: `index.html`, `features.html` and one page for each dictionary in `features/`.
//!
//! In: a run folder, through the files beside this one.
//! Out: HTML that needs no network and no other file, except the pages and charts that it links; the view of one
//! feature as a document of its own.
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
mod single;
mod trace;

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
pub use evidence::{Effect, Histogram, Judged, Neighbours, Profile, token_texts};
pub use feature::simulates_levels;
use names::Names;
pub use single::{feature_view, redraw_dictionary};
pub use trace::trace_files;

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

impl<'a> Site<'a> {
    fn new(sources: &'a Sources<'a>) -> Result<Self, ReportError> {
        let names = Names::of(sources.view.summary, sources.lines());
        Ok(Self { sources, names, environment: shell::environment()? })
    }
}

/// Writes every page and returns the paths. Feature pages of an earlier rendering that are no longer current are
/// removed.
pub fn write(sources: &Sources<'_>) -> Result<Vec<PathBuf>, ReportError> {
    let site = Site::new(sources)?;
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

/// What the pages of features share.
struct Shared<'a> {
    by_place: HashMap<Place, Vec<&'a FeatureLine>>,
    /// The features of each dictionary that are on its page.
    walked: HashMap<Place, HashSet<usize>>,
    tokens: Option<Vec<String>>,
    chance_is_half: Vec<&'a str>,
    glance_scorers: Vec<(usize, &'a str, bool)>,
}

impl<'a> Shared<'a> {
    fn read(site: &Site<'a>) -> Result<Self, ReportError> {
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
        Ok(Self {
            by_place,
            walked,
            tokens: evidence::token_texts(sources.layout)?,
            chance_is_half: sources.view.chance_is_half(),
            glance_scorers: sources.view.glance_scorers(),
        })
    }

    fn context<'s>(&'s self, site: &'s Site<'a>) -> feature::Context<'s> {
        let Site { sources, names, .. } = site;
        feature::Context {
            layout: sources.layout,
            names,
            tokens: self.tokens.as_deref(),
            manifest: sources.manifest.as_ref(),
            scores: sources.scores,
            scorers: &sources.view.scorers,
            glance_scorers: &self.glance_scorers,
            chance_is_half: &self.chance_is_half,
            walked: &self.walked,
        }
    }
}

fn write_features(site: &Site<'_>, folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let shared = Shared::read(site)?;
    let write = |(place, file): (&Place, &str)| -> Result<Option<PathBuf>, ReportError> {
        let lines = shared.by_place.get(place).map_or(&[][..], Vec::as_slice);
        let Some(page) = feature_page(site, &shared, place, lines, None)? else { return Ok(None) };
        let path = folder.join(file);
        write_atomic(&path, page.as_bytes())?;
        Ok(Some(path))
    };
    let places = site.names.places().par_iter();
    let pages = places.filter_map(|place| Some((place, site.names.file(place)?)));
    pages.filter_map(|page| write(page).transpose()).collect()
}

/// The page of a dictionary, or of one feature of it: none if the run folder has nothing of that feature.
fn feature_page(
    site: &Site<'_>,
    shared: &Shared<'_>,
    place: &Place,
    lines: &[&FeatureLine],
    only: Option<feature::Only>,
) -> Result<Option<String>, ReportError> {
    let with = |json: &str, notes: &[String]| {
        let control = place.control.as_deref().map(visible);
        let (hook, dictionary) = (visible(&place.hook), visible(&place.dictionary));
        let page = context! {
            title => format!("{dictionary} at {hook} · features"),
            suite => visible(&site.sources.view.summary.suite),
            alone => only.is_some(),
            hook, dictionary, control, notes,
        };
        shell::page(&site.environment, shell::FEATURE, page, json, false)
    };
    // 2,000 bytes are reserved for the notes.
    let shell_bytes = with("", &[])?.len() + 2_000;
    let most = |n| only.map_or_else(|| feature::page_bytes(n), |only| only.bytes).saturating_sub(shell_bytes);
    let built = feature::build(&shared.context(site), place, lines, only.map(|only| only.feature), most)?;
    if only.is_some() && lines.is_empty() && built.n_features == 0 {
        return Ok(None);
    }
    with(&built.json, &built.notes).map(Some)
}
