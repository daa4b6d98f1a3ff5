//! JSON Schemas of the output of `--json` and of the files of a run folder.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value;

use super::{
    cache, doctor, encode, errors, gate, harvest, init, inspect, list, part, progress, run, steer, submit,
    trace,
};
use crate::export::Exported;
use crate::gate::{Comparison, GateReport};
use crate::report::{Citation, Digests, FeatureTrace, ScoreLine, Summary, Verified};
use crate::run::{Estimate, Manifest, Scaled};
use crate::suite::Suite;

/// Every schema, by its file name without `.schema.json`.
pub fn schemas() -> Vec<(&'static str, Value)> {
    vec![
        ("run", of::<run::Ran<'_>>()),
        ("run-part", of::<part::RanPart<'_>>()),
        ("plan", of::<Estimate>()),
        ("plan-engines", of::<Scaled>()),
        ("submit", of::<submit::Submitted>()),
        ("check", of::<Suite>()),
        ("init", of::<init::Started>()),
        ("list", of::<list::List>()),
        ("report", of::<run::Drawn>()),
        ("cite", of::<Citation>()),
        ("inspect", of::<inspect::Listing<'_>>()),
        ("inspect-feature", of::<inspect::FeatureEvidence<'_>>()),
        ("steer", of::<steer::Steered>()),
        ("trace", of::<trace::Drawn>()),
        ("trace-file", of::<FeatureTrace>()),
        ("compare", of::<Comparison>()),
        ("accept", of::<gate::Accepted>()),
        ("regress", of::<GateReport>()),
        ("harvest", of::<harvest::Harvested>()),
        ("encode", of::<encode::EncodedCodes>()),
        ("export", of::<Exported>()),
        ("cache", of::<cache::Cached>()),
        ("verify", of::<Verified>()),
        ("doctor", of::<doctor::Report>()),
        ("error", of::<errors::Failure>()),
        ("progress-line", of::<progress::Line>()),
        ("summary", of::<Summary>()),
        ("scores-line", of::<ScoreLine>()),
        ("manifest", of::<Manifest<'_>>()),
        ("digests", of::<Digests>()),
    ]
}

fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value()
}
