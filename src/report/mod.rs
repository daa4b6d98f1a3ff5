//! The saved schema, and tables, charts and pages drawn from it.
//!
//! In: a run folder: `summary.json`, `scores.jsonl`, `manifest.json`, and the evidence of each dictionary in
//! `records/`, `explanations/`, `simulations/`, `judgements/`, `profiles/`, `neighbours/`; all but the first may be
//! missing.
//! Out: `table.md`, `table.csv`, `table.tex`, `quality.csv`, `differences.csv`, `charts/*.svg`,
//! `charts/*.png`, `index.html`, `features.html`, `features/*.html`; what a terminal shows: the table, the
//! closing screen, aligned lists.
//! Never: needs a model, a key or the network; trusts text that came out of a suite, a corpus, a
//! model or an LLM; says that one method is more interpretable than another.
//!
//! Colours: M. Okabe, K. Ito, *Color Universal Design* (2008), and a mark of its own for each
//! method, so that charts also read without colour. Charts are composed here and drawn through
//! kuva's SVG and PNG backends.

mod charts;
mod escape;
mod manifest;
mod number;
mod pages;
mod schema;
mod scores;
mod table;
mod terminal;
mod view;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use crate::base::{FileError, read_to_string, write_atomic};

pub use escape::{markdown, visible, xml};
pub use manifest::{ManifestView, StageView};
pub use number::{DASH, fixed, p_value};
pub use schema::{
    Cell, DifferenceRow, Family, QualityRow, SCHEMA, ScoreLine, ScoreStatus, Summary, Verdict,
    dictionary_name,
};
pub use scores::{FeatureLine, read_lines};
pub use terminal::{
    Closing, Column, ControlRange, Drawn, Extremes, Grid, Ink, Look, Unscored, cut, facts, left,
    next_feature, right, spelled, terminal_table, width, wrap, wrap_at_most,
};

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of the run folder could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder has no summary.
    #[error("no `summary.json` in `{}`: expected the folder of a finished run (a killed one is finished by the same `autointerp run` command)", folder.display())]
    NoSummary {
        /// The folder.
        folder: PathBuf,
    },
    /// A file is not the JSON that it should be.
    #[error("read `{}`{}: not the JSON expected there: run the suite again to rewrite it", path.display(), line.map(|n| format!(", line {n}")).unwrap_or_default())]
    Json {
        /// The file.
        path: PathBuf,
        /// The line, in a file of lines.
        line: Option<usize>,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// A summary of another schema.
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
    /// The PNG backend refused a chart.
    #[error("draw chart `{chart}`: {why}")]
    Draw {
        /// The chart's file name without extension.
        chart: String,
        /// What the backend says.
        why: String,
    },
    /// The page's template failed.
    #[error("fill the page's template")]
    Page(#[source] minijinja::Error),
}

/// What of a report is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RenderOptions {
    /// Charts to draw, and nothing else; none: everything.
    charts: Option<Vec<charts::Kind>>,
}

impl RenderOptions {
    /// The word for all charts, tables and pages.
    pub const ALL: &'static str = "all";

    /// Names of charts, in the order that they are drawn in.
    pub fn chart_names() -> impl Iterator<Item = &'static str> {
        charts::Kind::ALL.into_iter().map(charts::Kind::name)
    }

    /// Those charts alone, without tables and pages; everything where one of the names is [`Self::ALL`]. `Err`
    /// is a name that no chart has.
    pub fn only<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, &'n str> {
        let mut kinds = Vec::new();
        let mut all = false;
        for name in names {
            match charts::Kind::parse(name) {
                Some(kind) => kinds.push(kind),
                None if name == Self::ALL => all = true,
                None => return Err(name),
            }
        }
        Ok(Self { charts: (!all).then_some(kinds) })
    }
}

/// Draws what `options` ask for, everything unless they say otherwise, from a run folder alone into that folder,
/// and returns the paths written. Each file is replaced whole or not at all; charts of an earlier drawing that no
/// longer belong are removed.
pub fn render(run_folder: &Path, options: &RenderOptions) -> Result<Vec<PathBuf>, ReportError> {
    let summary_path = run_folder.join("summary.json");
    if !summary_path.exists() {
        return Err(ReportError::NoSummary { folder: run_folder.to_path_buf() });
    }
    let summary = Summary::read(&summary_path)?;
    let manifest_path = run_folder.join("manifest.json");
    let manifest = ManifestView::read(&manifest_path)?;
    let scores = scores::FeatureScores::read(&run_folder.join("scores.jsonl"))?;
    let view = view::View::new(&summary);

    let facts = match manifest.is_some() {
        true => charts::Facts::of_manifest(&read_to_string(&manifest_path)?),
        false => charts::Facts::default(),
    };
    let wanted = options.charts.as_deref().unwrap_or(&charts::Kind::ALL);
    let charts = charts::plan(&view, scores.as_ref(), &facts, wanted);
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    if options.charts.is_none() {
        files.extend([
            (run_folder.join("table.md"), table::markdown(&view).into_bytes()),
            (run_folder.join("table.csv"), table::cells_csv(&summary).into_bytes()),
            (run_folder.join("quality.csv"), table::quality_csv(&summary).into_bytes()),
            (run_folder.join("differences.csv"), table::differences_csv(&summary).into_bytes()),
            (run_folder.join("table.tex"), table::tex(&view).into_bytes()),
        ]);
    }
    let chart_folder = run_folder.join("charts");
    files.extend(charts::files(&charts, &chart_folder)?);
    for (path, bytes) in &files {
        write_atomic(path, bytes)?;
    }
    let mut written: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
    charts::remove_stale(&chart_folder, wanted, &written)?;
    if options.charts.is_none() {
        let sources = pages::Sources {
            run_folder,
            view: &view,
            manifest: manifest.as_ref(),
            scores: scores.as_ref(),
            charts: &charts,
        };
        written.extend(pages::write(&sources)?);
    }
    Ok(written)
}
