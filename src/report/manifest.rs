//! What a page shows of `manifest.json`. Read tolerantly: a field that is missing or has another
//! shape is left out, since a page must not fail over a remark.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::ReportError;
use crate::base::read_to_string;

/// What was asked and what it ran on.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ManifestView {
    /// `version`: of the program.
    pub version: Option<String>,
    /// `suite.name`, or `suite` where that is a text.
    pub suite_name: Option<String>,
    /// `suite`, pretty-printed: everything that was asked, defaults spelled out.
    pub suite: Option<String>,
    /// `seed`, or `suite.seed`.
    pub seed: Option<u64>,
    /// `digests`, flattened to dotted names.
    pub digests: Vec<(String, String)>,
    /// `stages`.
    pub stages: Vec<StageView>,
    /// `cpu`, a text or an object with `name`.
    pub cpu: Option<String>,
    /// `instruction_set`, or `cpu.instruction_set`.
    pub instruction_set: Option<String>,
    /// `warnings`.
    pub warnings: Vec<String>,
    /// `deviations` from the protocol.
    pub deviations: Vec<String>,
}

/// One stage of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StageView {
    /// `name`.
    pub name: String,
    /// `seconds`: wall time.
    pub seconds: Option<f64>,
    /// `peak_memory_bytes`: of the whole process when the stage ended.
    pub peak_memory_bytes: Option<u64>,
    /// `reused`: taken from an earlier run.
    pub reused: Option<bool>,
}

impl ManifestView {
    /// Reads `manifest.json`; none if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>, ReportError> {
        if !path.exists() {
            return Ok(None);
        }
        let text = read_to_string(path)?;
        let value: Value = serde_json::from_str(&text).map_err(|source| ReportError::Json {
            path: path.to_path_buf(),
            line: None,
            source,
        })?;
        Ok(Some(Self::from_value(&value)))
    }

    /// Picks what a page shows.
    pub fn from_value(value: &Value) -> Self {
        let suite = value.get("suite");
        let cpu = value.get("cpu");
        let mut digests = Vec::new();
        if let Some(Value::Object(map)) = value.get("digests") {
            flatten("", map, &mut digests);
        }
        Self {
            version: text(value.get("version")),
            suite_name: text(suite).or_else(|| text(suite?.get("name"))),
            suite: suite.filter(|suite| suite.is_object()).map(|suite| format!("{suite:#}")),
            seed: value.get("seed").or_else(|| suite?.get("seed")).and_then(Value::as_u64),
            digests,
            stages: stages(value.get("stages")),
            cpu: text(cpu).or_else(|| text(cpu?.get("name"))),
            instruction_set: text(value.get("instruction_set")).or_else(|| text(cpu?.get("instruction_set"))),
            warnings: texts(value.get("warnings")),
            deviations: texts(value.get("deviations")),
        }
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_string)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .map(|items| items.iter().filter_map(Value::as_str).map(str::to_string).collect())
        .unwrap_or_default()
}

fn flatten(prefix: &str, map: &Map<String, Value>, into: &mut Vec<(String, String)>) {
    for (key, value) in map {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(inner) => flatten(&name, inner, into),
            Value::String(digest) => into.push((name, digest.clone())),
            _ => {}
        }
    }
}

fn stages(value: Option<&Value>) -> Vec<StageView> {
    let Some(Value::Array(items)) = value else { return Vec::new() };
    items
        .iter()
        .filter_map(|item| {
            Some(StageView {
                name: text(item.get("name"))?,
                seconds: item.get("seconds").and_then(Value::as_f64),
                peak_memory_bytes: item.get("peak_memory_bytes").and_then(Value::as_u64),
                reused: item.get("reused").and_then(Value::as_bool),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_is_there_and_forgives_the_rest() {
        let view = ManifestView::from_value(&json!({
            "version": "0.1.0",
            "suite": {"name": "residual", "seed": 7},
            "digests": {"model": "ab", "dictionaries": {"sae": "cd"}, "odd": 3},
            "stages": [{"name": "harvest", "seconds": 1.5, "peak_memory_bytes": 1024}, "odd"],
            "cpu": {"name": "some cpu", "instruction_set": "avx512"},
            "warnings": ["careful", 3],
        }));
        assert_eq!(view.suite_name.as_deref(), Some("residual"));
        assert_eq!(view.seed, Some(7));
        assert_eq!(
            view.digests,
            [("dictionaries.sae".to_string(), "cd".to_string()), ("model".to_string(), "ab".to_string())]
        );
        assert_eq!(view.stages.len(), 1);
        assert_eq!(view.instruction_set.as_deref(), Some("avx512"));
        assert_eq!(view.warnings, ["careful"]);
        assert_eq!(ManifestView::from_value(&json!([1, 2])), ManifestView::default());
    }
}
