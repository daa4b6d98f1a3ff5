//! What pages show of `manifest.json`. A field that is missing or has another shape is left out: a page must not
//! fail because of it.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::cards::{DictionaryCard, dictionary_cards};

/// What the suite asked for and what it ran on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ManifestView {
    /// `version` of the program.
    pub version: Option<String>,
    /// `suite.name`, or `suite` if that is a string.
    pub suite_name: Option<String>,
    /// `suite`, pretty-printed: the suite with every default written out.
    pub suite: Option<String>,
    /// `seed`, or `suite.seed`.
    pub seed: Option<u64>,
    /// `digests`, flattened to dotted names, and those of subject, corpus, dictionaries and prompts.
    pub digests: Vec<(String, String)>,
    pub stages: Vec<StageView>,
    /// `cpu` or `machine.cpu`: a string or an object with `name`.
    pub cpu: Option<String>,
    /// `instruction_set`, or that of `cpu` or `machine`.
    pub instruction_set: Option<String>,
    pub warnings: Vec<String>,
    /// Deviations from the protocol.
    pub deviations: Vec<String>,
    /// `prompts`: (explainer or simulator, digest of its prompt).
    pub prompts: Vec<(String, String)>,
    /// `suite.protocol`: which ranks of a feature's lists are used to explain and which to score.
    pub splits: Option<Splits>,
    /// Whether any explanation of `suite.pairs` was chosen from several candidates (`best_of` above 1).
    pub chooses_explanations: bool,
    /// `suite.per_cell`: features wanted of each method at each hook point.
    pub per_cell: Option<usize>,
    /// Facts about subject, corpus and protocol, as (name, value).
    pub facts: Vec<(String, String)>,
    /// `llm_usage`, by model.
    pub usage: Vec<UsageView>,
    /// Dictionaries trained elsewhere.
    pub cards: Vec<DictionaryCard>,
}

/// Which ranks are used to explain and which to score.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Splits {
    pub explain: Picks,
    pub score: Picks,
}

/// The ranks of each list of a feature that one purpose uses.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Picks {
    pub top: Stride,
    pub random: Stride,
    pub non_firing: Stride,
}

/// The `n` ranks start, start + step, start + 2 step, …, counted from 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub struct Stride {
    pub start: usize,
    pub step: usize,
    pub n: usize,
}

impl Stride {
    pub fn has(self, rank: usize) -> bool {
        let Some(after) = rank.checked_sub(self.start) else { return false };
        self.step > 0 && after % self.step == 0 && after / self.step < self.n
    }
}

/// Requests to one language model and their cost.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UsageView {
    pub model: String,
    pub requests: u64,
    /// Requests answered from the cache.
    pub cached: u64,
    pub tokens_in: u64,
    pub tokens_out: u64,
    /// None where the model has no known price.
    pub dollars: Option<f64>,
}

/// One stage of a run.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct StageView {
    pub name: String,
    /// Wall time.
    pub seconds: Option<f64>,
    /// Of the whole process when the stage ended.
    pub peak_memory_bytes: Option<u64>,
    /// Taken from an earlier run.
    pub reused: Option<bool>,
}

/// The facts of a manifest: the name shown, and the path of the value.
const FACTS: [(&str, &str); 13] = [
    ("subject model", "/subject/name"),
    ("revision of the model", "/subject/revision"),
    ("family", "/subject/family"),
    ("layers", "/subject/n_layers"),
    ("width of the residual stream", "/subject/d_model"),
    ("vocabulary", "/subject/vocab"),
    ("corpus", "/suite/corpus/source"),
    ("revision of the corpus", "/corpus/revision"),
    ("documents", "/corpus/counts/documents"),
    ("tokens to fit on", "/suite/corpus/fit_tokens"),
    ("fragments to evaluate on", "/suite/corpus/eval_fragments"),
    ("protocol", "/suite/protocol/name"),
    ("features wanted of each method at each hook point", "/suite/per_cell"),
];

impl ManifestView {
    /// Selects what pages show.
    pub fn from_value(value: &Value) -> Self {
        let at = |path: &str| value.pointer(path);
        let first = |paths: &[&str]| paths.iter().find_map(|path| text(at(path)));
        let cpu = if at("/cpu").is_some() { "/cpu" } else { "/machine/cpu" };
        Self {
            version: text(at("/version")),
            suite_name: first(&["/suite", "/suite/name", "/suite_name"]),
            suite: at("/suite").filter(|suite| suite.is_object()).map(|suite| format!("{suite:#}")),
            seed: at("/seed").or_else(|| at("/suite/seed")).and_then(Value::as_u64),
            digests: digests(value),
            stages: items(at("/stages")).filter_map(|stage| StageView::deserialize(stage).ok()).collect(),
            cpu: first(&[cpu, &format!("{cpu}/name")]),
            instruction_set: first(&[
                "/instruction_set",
                &format!("{cpu}/instruction_set"),
                "/machine/instruction_set",
            ]),
            warnings: items(at("/warnings")).filter_map(|item| text(Some(item))).collect(),
            deviations: items(at("/deviations")).filter_map(|item| text(Some(item))).collect(),
            prompts: named_texts(at("/prompts")),
            splits: at("/suite/protocol").and_then(|protocol| Splits::deserialize(protocol).ok()),
            chooses_explanations: at("/suite/pairs").is_some_and(chooses),
            per_cell: at("/suite/per_cell").and_then(Value::as_u64).map(|n| n as usize),
            facts: facts(value),
            cards: dictionary_cards(value),
            usage: fields(at("/llm_usage")).filter_map(|(model, used)| usage(model, used)).collect(),
        }
    }
}

fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_string)
}

/// The items of an array; nothing from any other value.
fn items(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// The fields of an object; nothing from any other value.
fn fields(value: Option<&Value>) -> impl Iterator<Item = (&String, &Value)> {
    value.and_then(Value::as_object).into_iter().flatten()
}

fn named_texts(value: Option<&Value>) -> Vec<(String, String)> {
    fields(value).filter_map(|(name, field)| Some((name.clone(), text(Some(field))?))).collect()
}

/// Whether some explainer of the pairs has `best_of` above 1.
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

/// Digests of everything that the numbers depend on.
fn digests(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if let Some(Value::Object(map)) = value.get("digests") {
        flatten("", map, &mut found);
    }
    let one = |name: String, value: Option<&Value>| Some((name, text(value)?));
    found.extend(one("subject weights".into(), value.pointer("/subject/weights_digest")));
    found.extend(one("corpus tokens".into(), value.pointer("/corpus/digest")));
    for (name, record) in fields(value.get("dictionaries")) {
        found.extend(one(format!("dictionary {name}"), record.get("digest")));
    }
    let prompts = named_texts(value.get("prompts")).into_iter();
    found.extend(prompts.map(|(name, digest)| (format!("prompt {name}"), digest)));
    found
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

fn facts(value: &Value) -> Vec<(String, String)> {
    let shown = |path: &str| match value.pointer(path)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    FACTS.iter().filter_map(|(name, path)| Some((name.to_string(), shown(path)?))).collect()
}

fn usage(model: &str, used: &Value) -> Option<UsageView> {
    Some(UsageView { model: model.to_string(), ..UsageView::deserialize(used).ok()? })
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
