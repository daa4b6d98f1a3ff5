//! The view of one feature as a document of its own, for a notebook: the page of its dictionary with one feature and
//! without links to other pages.

use std::path::Path;

use super::feature::Only;
use super::{Shared, Site, Sources, feature_page};
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
    let layout = Layout::new(folder);
    if !layout.summary().exists() {
        return Err(ReportError::NoSummary(folder.to_path_buf()));
    }
    let place = Place { hook: hook.to_string(), dictionary: method.to_string(), control: None };
    let evidence = EvidenceFile::ALL.map(|kind| layout.evidence(&place, kind));
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
    let of_feature = |line: &&FeatureLine| line.feature == id && site.names.place_of(line) == place;
    let lines: Vec<&FeatureLine> = sources.lines().iter().filter(of_feature).collect();
    let only = Only { feature: id, bytes: VIEW_BYTES };
    let page = feature_page(&site, &Shared::read(&site)?, &place, &lines, Some(only))?;
    page.ok_or_else(|| ReportError::NoFeature {
        folder: folder.to_path_buf(),
        address: format!("{hook}/{method}/{id}"),
    })
}
