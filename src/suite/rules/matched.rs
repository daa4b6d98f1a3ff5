//! The method whose sparsity a `topk` variant takes where a suite gives neither `match` nor `k`.

use serde_json::{Map, Value as Json};

use crate::dictionary::{Kind, Variant};
use crate::suite::spec::MethodFields;

/// The message for a suite without a sparse method.
pub const NOTHING: &str = "or `k` is needed for the variant `topk`, because the suite has no sparse autoencoder and no \
    dictionary from a file whose L0 it could take: write `match: NAME` or `k: N`, or leave the variant out \
    (`variants: [fitted, oriented, split]`)";

/// Whether a method has a `topk` variant whose k is not given.
pub fn is_open(own: &Map<String, Json>, fields: &MethodFields) -> bool {
    let is_given = |field: &str| {
        own.get(field).is_some_and(|value| !value.is_null())
            || fields.sweep.as_ref().is_some_and(|sweep| sweep.contains_key(field))
    };
    let topk = serde_json::json!(Variant::Topk);
    let has_topk = own.get("variants").and_then(Json::as_array).is_some_and(|all| all.contains(&topk));
    has_topk && !is_given("match") && !is_given("k")
}

/// The reference, if it is sparse, or else the first sparse method.
pub fn usual(entries: &[Option<Map<String, Json>>], reference: &str) -> Option<String> {
    let sparse: Vec<String> = entries.iter().flatten().flat_map(sparse_names).collect();
    sparse.iter().find(|name| *name == reference).or(sparse.first()).cloned()
}

/// Names of the methods of an entry, if its kind is sparse: one for each value of a sweep.
fn sparse_names(entry: &Map<String, Json>) -> Vec<String> {
    let text = |field: &str| entry.get(field).and_then(Json::as_str);
    let Some(kind) = text("kind").filter(|kind| Kind::named(kind).is_some_and(Kind::is_sparse)) else {
        return Vec::new();
    };
    let name = text("name").unwrap_or(kind);
    let swept = entry.get("sweep").and_then(Json::as_object).and_then(|sweep| sweep.values().next());
    match swept.and_then(Json::as_array) {
        Some(values) => values.iter().map(|value| format!("{name}_{value}")).collect(),
        None => vec![name.to_string()],
    }
}
