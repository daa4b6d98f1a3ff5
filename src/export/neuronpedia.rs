//! Neuronpedia's bulk import: the tree of its public exports (`v1`, docs.neuronpedia.org/api-and-data/exports), with the
//! columns of its database (`apps/webapp/prisma/schema.prisma` of hijohnnylin/neuronpedia, September 2026).
//!
//! ```text
//! v1/config/*.jsonl                               explainers, scores and simulators that the rows below name
//! v1/MODEL/SOURCE/{release,model,sourceset,source}.jsonl
//! v1/MODEL/SOURCE/features/batch-N.jsonl.gz       table Neuron
//! v1/MODEL/SOURCE/activations/batch-N.jsonl.gz    table Activation: top and random fragments
//! v1/MODEL/SOURCE/explanations/batch-N.jsonl.gz   table Explanation
//! v1/MODEL/SOURCE/explanation_scores/batch-N.jsonl.gz    table ExplanationScore
//! ```
//!
//! The importer takes the columns of a file from its first line, so all lines of a table have the same. It fills in
//! dates, but not ids: an id here is a digest of what the row is about, so a second import adds nothing.

mod names;
mod rows;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;

use serde_json::Value;

use super::error::ExportError;
use super::evidence::{Evidence, Neighbours, Profile};
use super::folder::{Output, PackedLines};
use super::job::{Job, Outcome};
use super::run_folder::Entry;
use names::Source;
use rows::{Rows, config};

/// Features whose rows stand in one file, as in Neuronpedia's own exports.
const BATCH: usize = 1024;

pub fn write(job: &mut Job<'_>, entry: &Entry) -> Result<Outcome, ExportError> {
    let Some(tokens) = job.tokens.take() else {
        return Ok(Outcome::Skipped("`records/tokens.json` is missing".into()));
    };
    let written = write_source(job, entry, &tokens);
    job.tokens = Some(tokens);
    written
}

fn write_source(job: &mut Job<'_>, entry: &Entry, tokens: &[String]) -> Result<Outcome, ExportError> {
    let Some(source) = Source::of(job.run, entry) else {
        return Ok(Outcome::Skipped("its hook point is not known".into()));
    };
    let mut evidence = Evidence::open(&job.run.layout, entry, false)?;
    let rows = Rows { run: job.run, source: &source, entry, tokens };
    let (mut features, mut batch) = (0, Batch::default());
    while let Some(record) = evidence.next_record()? {
        job.check_stop()?;
        if features > 0 && features % BATCH == 0 {
            let nth = batch.nth + 1;
            std::mem::take(&mut batch).finish()?;
            batch.nth = nth;
        }
        features += 1;
        let profile: Option<Profile> = evidence.profiles.of(&record.feature)?.pop();
        let neighbours: Option<Neighbours> = evidence.neighbours.of(&record.feature)?.pop();
        let lines = job.scores.of(entry, record.feature)?;
        let folders = ["v1", &source.model, &source.id];
        let feature = rows.feature(&record, profile.as_ref(), neighbours.as_ref());
        batch.add(&mut job.out, folders, "features", vec![feature])?;
        batch.add(&mut job.out, folders, "activations", rows.activations(&record))?;
        batch.add(&mut job.out, folders, "explanations", rows.explanations(record.feature, &lines))?;
        batch.add(&mut job.out, folders, "explanation_scores", rows.scores(record.feature, &lines))?;
    }
    batch.finish()?;
    if features == 0 {
        return Ok(Outcome::Skipped("no feature of it was explained".into()));
    }
    for (name, row) in rows.descriptions() {
        job.out.json(&["v1", &source.model, &source.id], name, ".jsonl", &row)?;
    }
    Ok(Outcome::Written { path: format!("v1/{}/{}", source.model, source.id), features: Some(features) })
}

/// The rows that explanations and scores refer to.
pub fn finish(job: &mut Job<'_>) -> Result<(), ExportError> {
    for (name, rows) in config(job.run) {
        job.out.json_lines(&["v1", "config"], name, &rows)?;
    }
    Ok(())
}

/// The files of up to [`BATCH`] features, by table. A file appears with its first row, because the importer cannot read
/// an empty one.
#[derive(Default)]
struct Batch {
    nth: usize,
    files: BTreeMap<&'static str, PackedLines>,
}

impl Batch {
    fn add(
        &mut self,
        out: &mut Output,
        folders: [&str; 3],
        table: &'static str,
        rows: Vec<Value>,
    ) -> Result<(), ExportError> {
        if rows.is_empty() {
            return Ok(());
        }
        let file = match self.files.entry(table) {
            Slot::Occupied(file) => file.into_mut(),
            Slot::Vacant(place) => {
                let [version, model, source] = folders;
                let name = format!("batch-{}", self.nth);
                place.insert(out.packed_lines(&[version, model, source, table], &name)?)
            }
        };
        rows.iter().try_for_each(|row| file.line(row))
    }

    fn finish(self) -> Result<(), ExportError> {
        self.files.into_values().try_for_each(PackedLines::finish)
    }
}
