//! Tables, charts and pages of a run folder, and the schema of the files that they are made from.
//!
//! In: a run folder: `summary.json`, `scores.jsonl`, `manifest.json`, and the evidence of each dictionary in
//! `records/`, `explanations/`, `simulations/`, `judgements/`, `profiles/`, `neighbours/`. Only the first is
//! required.
//! Out: `table.md`, `table.csv`, `table.tex`, `quality.csv`, `differences.csv`, of a run with grades `specificity.csv`,
//! of a run with a task `patching.csv` and `patching_differences.csv`, of one with erasure `erasure.csv`, `charts/*.svg`, `charts/*.png`, `index.html`,
//! `features.html`, `features/*.html`; the view of one feature as a document; for a terminal: the verdict, the table,
//! the closing screen, aligned lists and a feature at a glance.
//! Never: needs a model, a key or the network; trusts text from a suite, a corpus, a model or an LLM; claims
//! that one method is more interpretable than another.

mod cards;
mod charts;
mod citation;
mod digests;
mod erasure;
mod escape;
mod glance;
mod label;
mod layout;
mod list;
mod manifest;
mod number;
mod pages;
mod patched;
mod patching;
mod quadrants;
mod ranking;
mod recorded;
mod schema;
mod scores;
mod specificity;
mod standing;
mod steering;
mod table;
mod terminal;
mod trace;
mod verdict;
mod view;
mod written;

#[cfg(test)]
mod erasure_fixture;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod patching_fixture;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use strum::VariantArray;

use crate::base::{FileError, read_to_string, write_atomic};

pub use cards::{DictionaryCard, dictionary_cards};
pub use citation::Citation;
pub use digests::{
    DamagedFile, Digests, Verified, check_data, check_listed, listed_files, remove_digests, update_digests,
    verify, write_digests,
};
pub use erasure::{Erasure, ErasureConcept, ErasureCurve, ErasureDictionary, ErasurePoint};
pub use escape::{markdown, visible, xml};
pub use glance::{Glance, GlanceHistogram, GlanceScore, Near, TokenEffect};
pub use label::{Label, quoted_token};
pub use layout::{EvidenceFile, Layout, Part, Place};
pub use number::{DASH, count, fixed, p_value};
pub(crate) use pages::{Effect, Histogram, Neighbours, Profile, simulates_levels};
pub use pages::{feature_view, redraw_dictionary, trace_files};
pub use patched::{RANDOM_DIRECTIONS, RANDOM_FEATURES};
pub use patching::{
    PatchCurve, PatchPoint, PatchedDictionary, PatchedDifference, PatchedNumber, TaskPatching,
};
pub use quadrants::{QuadrantRow, Quadrants, Share};
pub use ranking::{RankedMethod, Ranking};
pub use recorded::ScoreFacts;
pub use schema::{
    CHOSEN, Cell, DifferenceRow, Family, QualityRow, Role, SCHEMA, ScoreLine, ScoreStatus, Summary, Verdict,
    dictionary_name,
};
pub use scores::{FeatureLine, read_lines};
pub use specificity::{GradeShare, GradedInterval, GradedRow};
pub use steering::{
    CodeChange, EditSize, EditedText, NextToken, ShiftedToken, SteeredSample, Steering, WrittenText,
};
pub use terminal::{
    Closing, Column, ControlRange, Drawn, Extremes, Grid, Ink, Look, Unscored, cut, labelled_list,
    next_feature, pad_left, pad_right, terminal_table, terminal_verdict, visible_token, width, wrap,
    wrap_at_most,
};
pub use trace::{
    FeatureTrace, TRACE_SCHEMA, TraceCauses, TraceEdge, TraceHistogram, TraceNode, TraceSettings, TracedMean,
};
pub use verdict::{Findings, Rule, Sentence, Standing, StandingRow};
pub use written::{AnsweredQuestion, Chosen, Continuations, TextPair};

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the run folder could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder has no summary.
    #[error("no `summary.json` in `{}`: expected the folder of a finished run (a killed one is finished by the same `autointerp run` command)", .0.display())]
    NoSummary(PathBuf),
    /// The folder has no list of digests.
    #[error("check `{}`: no `digests.json` there: expected the folder of a finished run (a stopped one is finished, and checked, by the same `autointerp run` command)", .0.display())]
    NoDigests(PathBuf),
    /// A file does not hold what the run wrote.
    #[error("read `{}`: it {why}: run the suite again to make it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file is not the expected JSON.
    #[error("read `{}`{}: not the JSON expected there: run the suite again to rewrite it", path.display(), line.map(|n| format!(", line {n}")).unwrap_or_default())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line number, in a file of JSON lines.
        line: Option<usize>,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// The folder has nothing of a feature.
    #[error("show feature `{address}`: it is not in `{}`: expected the HOOK/METHOD/FEATURE of a feature that the run evaluated, as `autointerp inspect` lists them", folder.display())]
    NoFeature {
        /// The run folder.
        folder: PathBuf,
        /// `HOOK/METHOD/FEATURE`.
        address: String,
    },
    /// The summary has another schema number.
    #[error("read `{}`: schema {found}, this version reads {SCHEMA}: use the version of autointerp that wrote it, or run the suite again", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// The number found.
        found: u64,
    },
    /// A result that cannot be written as JSON.
    #[error("write results as JSON")]
    Unwritable(#[source] serde_json::Error),
    /// The PNG backend failed on the chart of this name, with this message.
    #[error("draw chart `{0}`: {1}")]
    Draw(String, String),
    /// A page's template failed.
    #[error("fill the page's template")]
    Page(#[source] minijinja::Error),
}

/// What to render.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RenderOptions {
    /// Render these charts and nothing else; none: everything.
    charts: Option<Vec<charts::Kind>>,
}

impl RenderOptions {
    /// The name that selects all charts, tables and pages.
    pub const ALL: &'static str = "all";

    /// Names of charts, in drawing order.
    pub fn chart_names() -> impl Iterator<Item = &'static str> {
        charts::Kind::VARIANTS.iter().map(|kind| kind.name())
    }

    /// Selects the named charts without tables and pages, or everything if [`Self::ALL`] is among the names.
    /// `Err` is the first name that is neither.
    pub fn only<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, &'n str> {
        let mut kinds = Vec::new();
        let mut all = false;
        for name in names {
            match name.parse::<charts::Kind>() {
                Ok(kind) => kinds.push(kind),
                Err(_) if name == Self::ALL => all = true,
                Err(_) => return Err(name),
            }
        }
        Ok(Self { charts: (!all).then_some(kinds) })
    }
}

/// Tables that only some runs have: those with grades, and those with a task or erasure.
const OF_SOME: [&str; 4] = ["specificity.csv", "patching.csv", "patching_differences.csv", "erasure.csv"];

/// Renders a run folder into that folder and returns the paths written. Each file is replaced atomically.
/// Charts and pages of an earlier rendering that are no longer current are removed.
pub fn render(run_folder: &Path, options: &RenderOptions) -> Result<Vec<PathBuf>, ReportError> {
    let layout = Layout::new(run_folder);
    let summary_path = layout.summary();
    if !summary_path.exists() {
        return Err(ReportError::NoSummary(run_folder.to_path_buf()));
    }
    check_listed(run_folder, &["summary.json", "scores.jsonl", "manifest.json"])?;
    let summary = Summary::read(&summary_path)?;
    let manifest: Option<serde_json::Value> = read_json(&layout.manifest())?;
    let scores = scores::FeatureScores::read(&layout.scores())?;
    let view = view::View::new(&summary);

    let facts = manifest.as_ref().map(charts::Facts::of_manifest).unwrap_or_default();
    let wanted = options.charts.as_deref().unwrap_or(charts::Kind::VARIANTS);
    let charts = charts::plan(&view, scores.as_ref(), &facts, wanted);
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if options.charts.is_none() {
        let tables = [
            ("table.md", table::markdown(&view)),
            ("table.csv", table::cells_csv(&summary)),
            ("quality.csv", table::quality_csv(&summary)),
            ("differences.csv", table::differences_csv(&summary)),
            ("table.tex", table::tex(&view)),
        ];
        files.extend(tables.map(|(name, text)| (run_folder.join(name), text.into_bytes())));
        let graded = (!summary.specificity.is_empty()).then(|| table::specificity_csv(&summary));
        let of_some = [
            graded,
            table::patching_csv(&summary),
            table::patching_differences_csv(&summary),
            table::erasure_csv(&summary),
        ];
        let of_some =
            OF_SOME.iter().zip(of_some).filter_map(|(name, text)| Some((run_folder.join(name), text?)));
        files.extend(of_some.map(|(path, text)| (path, text.into_bytes())));
    }
    let chart_folder = layout.charts();
    files.extend(charts::files(&charts, &chart_folder)?);
    for (path, bytes) in &files {
        write_atomic(path, bytes)?;
    }
    let mut written: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
    remove_stale(&chart_folder, &written, |name| charts::is_chart(name, wanted))?;
    if options.charts.is_none() {
        remove_stale(run_folder, &written, |name| OF_SOME.contains(&name))?;
        let sources = pages::Sources {
            layout: &layout,
            view: &view,
            manifest: manifest.as_ref().map(manifest::ManifestView::from_value),
            scores: scores.as_ref(),
            charts: &charts,
        };
        written.extend(pages::write(&sources)?);
    }
    Ok(written)
}

/// Reads a JSON file; none if it does not exist.
fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReportError> {
    if !path.exists() {
        return Ok(None);
    }
    let unreadable = |source| ReportError::Json { path: path.to_path_buf(), line: None, source };
    serde_json::from_str(&read_to_string(path)?).map(Some).map_err(unreadable)
}

/// Removes the files of a folder whose names are ours and that were not written this time.
fn remove_stale(
    folder: &Path,
    written: &[PathBuf],
    is_ours: impl Fn(&str) -> bool,
) -> Result<(), ReportError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if is_ours(&name) && !written.contains(&path) {
            let failed = |source| FileError { action: "remove", path: path.clone(), source };
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}
