//! Which features of a dictionary are walked, and on how much text its quality is measured: as written in a suite, and
//! as checked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most chosen features of a method.
pub const MOST_IDS: usize = 1_000_000;

/// The features that are scored: a random sample, or chosen ones.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[schemars(extend("x-main" = "per_cell"))]
#[serde(default)]
pub struct Features {
    /// Eligible features scored per hook point and method, drawn at random.
    #[schemars(range(min = 2, max = 1_000_000), extend("x-default" = "`40`; `cunningham2023`: `150`"))]
    pub per_cell: Option<usize>,
    /// Exactly these features, in this order, in place of a random sample. They are indices in the row's own
    /// dictionary, counted from 0; `split` and `topk` variants have 2n features.
    #[schemars(schema_with = "ids")]
    pub ids: Option<Vec<Option<usize>>>,
    /// The same from a file: one index a line. Blank lines, and text after `#`, are skipped.
    pub ids_file: Option<String>,
}

fn ids(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": ["array", "null"], "minItems": 1, "maxItems": MOST_IDS, "x-sparse": true,
        "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
    })
}

/// What is stored as an example of each scored feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Examples {
    /// Text that the subject writes with the feature's code set to ten times its maximum activation.
    Steering,
}

/// How a dictionary's quality is measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum QualityPass {
    /// On all evaluation fragments.
    #[default]
    Full,
    /// On the first 64 evaluation fragments, those of loss recovered.
    Sample,
    /// Not at all.
    #[serde(rename = "false")]
    Off,
}

/// The words of [`QualityPass`] in a suite, where `false` is YAML's.
pub fn quality(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"oneOf": [
        {"const": "full", "description": "On all evaluation fragments."},
        {"const": "sample", "description": "On the first 64 evaluation fragments, those of loss recovered."},
        {"const": false, "description": "Not at all: the row of the quality table is empty."},
    ]})
}

impl QualityPass {
    /// Whether it is the default, which is not written to a checked suite.
    pub fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

/// The features of a method, where they differ from a random sample of the suite's size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FeatureChoice {
    /// A random sample with this many eligible features.
    PerCell(usize),
    /// Exactly these features, in this order.
    Ids(Vec<usize>),
}
