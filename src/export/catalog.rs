//! The forms: one row each.

use std::fmt;

use super::error::ExportError;
use super::job::{Job, Outcome};
use super::run_folder::Entry;
use super::{neuron_record, neuronpedia, saebench, saelens};
use crate::base::{Of, Row};

/// A form in which other programs read dictionaries or results.
pub struct FormRow {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub words: &'static str,
    /// Whether it holds scores, records and token texts.
    pub(super) needs_evidence: bool,
    /// Writes one dictionary.
    pub(super) write: fn(&mut Job<'_>, &Entry) -> Result<Outcome, ExportError>,
    /// Writes what all dictionaries share.
    pub(super) finish: fn(&mut Job<'_>) -> Result<(), ExportError>,
}

fn nothing_shared(_: &mut Job<'_>) -> Result<(), ExportError> {
    Ok(())
}

/// A form by reference.
pub type Form = Of<FormRow>;

impl fmt::Debug for FormRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Row for FormRow {
    const ALL: &'static [Self] = &[
        FormRow {
            name: "saelens",
            words: "dictionaries as folders that SAELens 6 loads",
            needs_evidence: false,
            write: saelens::write,
            finish: nothing_shared,
        },
        FormRow {
            name: "neuronpedia",
            words: "features, activations, explanations and scores as Neuronpedia imports them",
            needs_evidence: true,
            write: neuronpedia::write,
            finish: neuronpedia::finish,
        },
        FormRow {
            name: "saebench",
            words: "measurements of dictionaries as results of SAEBench's `core`",
            needs_evidence: false,
            write: saebench::write,
            finish: nothing_shared,
        },
        FormRow {
            name: "neuron-record",
            words: "records and scored explanations as neuron-explainer stores them",
            needs_evidence: true,
            write: neuron_record::write,
            finish: nothing_shared,
        },
    ];

    fn name(&self) -> &'static str {
        self.name
    }
}
