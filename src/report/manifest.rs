//! What a page shows of `manifest.json`. Read tolerantly: a field that is missing or has another
//! shape is left out, since a page must not fail over a remark.

use std::path::Path;

use serde::{Deserialize, Serialize};
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
    /// `prompts`: whose question, and its digest.
    pub prompts: Vec<(String, String)>,
    /// `suite.protocol`: which ranks of a feature's lists explain and which score.
    pub splits: Option<Splits>,
    /// Whether any explanation of `suite.pairs` was chosen out of several.
    pub chooses_explanations: bool,
    /// `suite.per_cell`: features wanted of each method at each hook point.
    pub per_cell: Option<usize>,
    /// `subject`, `corpus`: what was interpreted and on which text, as (name, value).
    pub facts: Vec<(String, String)>,
    /// `llm_usage`, by model.
    pub usage: Vec<UsageView>,
}

/// Which ranks two purposes take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Splits {
    /// What the explainer got.
    pub explain: Picks,
    /// What the scorer got.
    pub score: Picks,
}

/// Which ranks of a feature's lists one purpose takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Picks {
    /// Of the top list.
    pub top: Stride,
    /// Of the random list.
    pub random: Stride,
    /// Of the non-firing list.
    pub non_firing: Stride,
}

/// Every n-th rank of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stride {
    /// First rank, from 0.
    pub start: usize,
    /// Distance between ranks.
    pub step: usize,
    /// How many.
    pub n: usize,
}

impl Stride {
    /// Whether a rank is one of them.
    pub fn has(self, rank: usize) -> bool {
        let Some(after) = rank.checked_sub(self.start) else { return false };
        self.step > 0 && after % self.step == 0 && after / self.step < self.n
    }
}

/// What one language model was asked and what it cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UsageView {
    /// The model.
    #[serde(default)]
    pub model: String,
    /// Requests answered.
    #[serde(default)]
    pub requests: u64,
    /// Of these from the cache.
    #[serde(default)]
    pub cached: u64,
    /// Tokens of questions.
    #[serde(default)]
    pub tokens_in: u64,
    /// Tokens of answers.
    #[serde(default)]
    pub tokens_out: u64,
    /// None where prices are not known.
    #[serde(default)]
    pub dollars: Option<f64>,
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
        let machine = value.get("machine");
        let cpu = value.get("cpu").or_else(|| machine?.get("cpu"));
        Self {
            version: text(value.get("version")),
            suite_name: text(suite)
                .or_else(|| text(suite?.get("name")))
                .or_else(|| text(value.get("suite_name"))),
            suite: suite.filter(|suite| suite.is_object()).map(|suite| format!("{suite:#}")),
            seed: value.get("seed").or_else(|| suite?.get("seed")).and_then(Value::as_u64),
            digests: digests(value),
            stages: stages(value.get("stages")),
            cpu: text(cpu).or_else(|| text(cpu?.get("name"))),
            instruction_set: text(value.get("instruction_set"))
                .or_else(|| text(cpu?.get("instruction_set")))
                .or_else(|| text(machine?.get("instruction_set"))),
            warnings: texts(value.get("warnings")),
            deviations: texts(value.get("deviations")),
            prompts: named_texts(value.get("prompts")),
            splits: suite
                .and_then(|suite| suite.get("protocol"))
                .and_then(|protocol| Splits::deserialize(protocol).ok()),
            chooses_explanations: suite.and_then(|suite| suite.get("pairs")).is_some_and(chooses),
            per_cell: suite
                .and_then(|suite| suite.get("per_cell"))
                .and_then(Value::as_u64)
                .map(|n| n as usize),
            facts: facts(value),
            usage: usage(value.get("llm_usage")),
        }
    }
}

fn named_texts(value: Option<&Value>) -> Vec<(String, String)> {
    let Some(Value::Object(map)) = value else { return Vec::new() };
    map.iter().filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_string()))).collect()
}

/// Whether an explainer of several `best_of` is among the pairs.
fn chooses(pairs: &Value) -> bool {
    match pairs {
        Value::Array(items) => items.iter().any(chooses),
        Value::Object(map) => map.iter().any(|(key, value)| match key.as_str() {
            "best_of" => value.as_u64().is_some_and(|n| n > 1),
            _ => chooses(value),
        }),
        _ => false,
    }
}

/// Everything that a number rests on: `digests`, and those of subject, corpus and dictionaries.
fn digests(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Some(Value::Object(map)) = value.get("digests") {
        flatten("", map, &mut found);
    }
    let one = |name: &str, value: Option<&Value>| Some((name.to_string(), text(value)?));
    let of = |key: &str, field: &str| value.get(key).and_then(|value| value.get(field));
    found.extend(one("subject weights", of("subject", "weights_digest")));
    found.extend(one("corpus tokens", of("corpus", "digest")));
    if let Some(Value::Object(map)) = value.get("dictionaries") {
        for (name, record) in map {
            found.extend(one(&format!("dictionary {name}"), record.get("digest")));
        }
    }
    found.extend(
        named_texts(value.get("prompts"))
            .into_iter()
            .map(|(name, digest)| (format!("prompt {name}"), digest)),
    );
    found
}

/// What a reader asks first of subject and corpus.
fn facts(value: &Value) -> Vec<(String, String)> {
    let shown = |path: &[&str]| -> Option<String> {
        let found = path.iter().try_fold(value, |value, key| value.get(key))?;
        match found {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    };
    const FACTS: [(&str, &[&str]); 13] = [
        ("subject model", &["subject", "name"]),
        ("revision of the model", &["subject", "revision"]),
        ("family", &["subject", "family"]),
        ("layers", &["subject", "n_layers"]),
        ("width of the residual stream", &["subject", "d_model"]),
        ("vocabulary", &["subject", "vocab"]),
        ("corpus", &["suite", "corpus", "source"]),
        ("revision of the corpus", &["corpus", "revision"]),
        ("documents", &["corpus", "counts", "documents"]),
        ("tokens to fit on", &["suite", "corpus", "fit_tokens"]),
        ("fragments to evaluate on", &["suite", "corpus", "eval_fragments"]),
        ("protocol", &["suite", "protocol", "name"]),
        ("features wanted of each method at each hook point", &["suite", "per_cell"]),
    ];
    FACTS.iter().filter_map(|(name, path)| Some((name.to_string(), shown(path)?))).collect()
}

fn usage(value: Option<&Value>) -> Vec<UsageView> {
    let Some(Value::Object(map)) = value else { return Vec::new() };
    map.iter()
        .filter_map(|(model, used)| {
            Some(UsageView { model: model.clone(), ..UsageView::deserialize(used).ok()? })
        })
        .collect()
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
            "prompts": {"token_activation": "ef"},
            "subject": {"name": "embedded", "weights_digest": "01"},
            "llm_usage": {"some-model": {"requests": 3, "cached": 1, "tokens_in": 40, "tokens_out": 5, "dollars": null}},
        }));
        assert_eq!(view.suite_name.as_deref(), Some("residual"));
        assert_eq!(view.seed, Some(7));
        assert_eq!(
            view.digests,
            [
                ("dictionaries.sae".to_string(), "cd".to_string()),
                ("model".to_string(), "ab".to_string()),
                ("subject weights".to_string(), "01".to_string()),
                ("prompt token_activation".to_string(), "ef".to_string()),
            ]
        );
        assert_eq!(view.facts, [("subject model".to_string(), "embedded".to_string())]);
        assert_eq!((view.usage[0].requests, view.usage[0].dollars), (3, None));
        assert_eq!(view.stages.len(), 1);
        assert_eq!(view.instruction_set.as_deref(), Some("avx512"));
        assert_eq!(view.warnings, ["careful"]);
        assert_eq!(ManifestView::from_value(&json!([1, 2])), ManifestView::default());
    }

    #[test]
    fn the_protocol_says_which_ranks_explain_and_which_score() {
        let stride = |start: usize| json!({"start": start, "step": 2, "n": 10});
        let picks = |start: usize| json!({"top": stride(start), "random": stride(start), "non_firing": stride(start)});
        let view = ManifestView::from_value(&json!({"suite": {
            "protocol": {"name": "standard", "explain": picks(0), "score": picks(1)},
            "pairs": [{"explainer": {"model": {"best_of": 3}}}],
        }}));
        let splits = view.splits.expect("a protocol");
        assert!(splits.explain.top.has(0) && splits.explain.top.has(18) && !splits.explain.top.has(20));
        assert!(splits.score.random.has(1) && !splits.score.random.has(2));
        assert!(view.chooses_explanations);
        assert!(!Stride::default().has(0));
    }
}
