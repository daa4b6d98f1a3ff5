//! The section about erasure: charts and a table for each concept.

use minijinja::context;
use minijinja::value::Value;

use crate::report::erasure::ErasureConcept;
use crate::report::escape::visible;
use crate::report::schema::Summary;
use crate::report::table::{ERASURE_HEAD, concept_line, erasure_rows, erasure_what};

/// The section for the template with its charts; none without erasure.
pub fn section(summary: &Summary, charts: Vec<Value>) -> Option<Value> {
    let erasure = summary.erasure.as_ref()?;
    let concept = |concept: &ErasureConcept| {
        let rows = erasure_rows(erasure, concept).into_iter().map(|row| {
            context! {
                hook => visible(&row.hook),
                method => visible(&row.method),
                is_control => row.is_control,
                cells => row.cells.map(|cell| visible(&cell)),
            }
        });
        context! { line => visible(&concept_line(concept)), rows => rows.collect::<Vec<_>>() }
    };
    Some(context! {
        head => ERASURE_HEAD,
        concepts => erasure.concepts.iter().map(concept).collect::<Vec<_>>(),
        what => visible(&erasure_what(erasure)),
        charts,
    })
}
