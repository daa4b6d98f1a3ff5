//! Single pages of a run folder: the view of one feature as a document of its own, for a notebook, which is the page of
//! its dictionary with one feature and without links to other pages; and the page of one dictionary, drawn again.

use std::path::{Path, PathBuf};

use super::feature::Only;
use super::{Shared, Site, Sources, feature_page};
use crate::base::write_atomic;
use crate::report::layout::{Layout, Place};
use crate::report::manifest::ManifestView;
use crate::report::schema::Summary;
use crate::report::scores::{FeatureLine, FeatureScores};
use crate::report::view::View;
use crate::report::{EvidenceFile, ReportError, check_listed, read_json};

/// Size limit of the document, in bytes.
const VIEW_BYTES: usize = 290_000;

/// The view of one feature of a run folder: an HTML document of less than 300 kB with its style and script, which
/// asks for no other file. `method` is the name of the dictionary: of the second of several trainings, it ends in
/// `.seed2`.
pub fn feature_view(folder: &Path, hook: &str, method: &str, id: usize) -> Result<String, ReportError> {
    let place = Place { hook: hook.to_string(), dictionary: method.to_string(), control: None };
    let only = Only { feature: id, bytes: VIEW_BYTES };
    page_of(folder, &place, Some(only))?.ok_or_else(|| ReportError::NoFeature {
        folder: folder.to_path_buf(),
        address: format!("{hook}/{method}/{id}"),
    })
}

/// Draws the page of a dictionary again, because one of its features was traced. Returns its path; none if the run
/// folder has no such page.
pub fn redraw_dictionary(folder: &Path, place: &Place) -> Result<Option<PathBuf>, ReportError> {
    let path = Layout::new(folder).feature_pages().join(Layout::feature_page(place));
    if !path.is_file() {
        return Ok(None);
    }
    let Some(page) = page_of(folder, place, None)? else { return Ok(None) };
    write_atomic(&path, page.as_bytes())?;
    Ok(Some(path))
}

/// The page of a dictionary of a run folder, or of one feature of it.
fn page_of(folder: &Path, place: &Place, only: Option<Only>) -> Result<Option<String>, ReportError> {
    let layout = Layout::new(folder);
    if !layout.summary().exists() {
        return Err(ReportError::NoSummary(folder.to_path_buf()));
    }
    let evidence = EvidenceFile::ALL.map(|kind| layout.evidence(place, kind));
    let results = [layout.summary(), layout.scores(), layout.manifest(), layout.token_texts()];
    check_listed(folder, &[results.as_slice(), evidence.as_slice()].concat())?;
    let summary = Summary::read(&layout.summary())?;
    let manifest: Option<serde_json::Value> = read_json(&layout.manifest())?;
    let scores = FeatureScores::read(&layout.scores())?;
    let sources = Sources {
        layout: &layout,
        view: &View::new(&summary),
        manifest: manifest.as_ref().map(ManifestView::from_value),
        scores: scores.as_ref(),
        charts: &[],
    };
    let site = Site::new(&sources)?;
    let is_shown = |line: &&FeatureLine| {
        only.is_none_or(|only| line.feature == only.feature) && site.names.place_of(line) == *place
    };
    let lines: Vec<&FeatureLine> = sources.lines().iter().filter(is_shown).collect();
    feature_page(&site, &Shared::read(&site)?, place, &lines, only)
}
