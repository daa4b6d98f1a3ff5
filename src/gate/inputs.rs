//! What went into a run, and what of it differs between two.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run_folder::{RunFacts, RunFolder};

/// Fields of a suite that decide no number, or that only choose the seed.
const NOT_COMPARED: [&str; 3] = ["seed", "limits", "name"];

/// Longest value shown, in characters.
const SHOWN: usize = 60;

/// One input that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputChange {
    /// Which: `model`, `suite.methods.topk.steps`, `metric top_and_random`.
    pub input: String,
    /// What it was.
    pub before: String,
    /// What it is.
    pub after: String,
}

impl std::fmt::Display for InputChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} → {}", self.input, self.before, self.after)
    }
}

/// Everything that went into a run, by name: what two runs must have in common for a difference to be the code's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Version of the program.
    pub version: String,
    /// Digest of the model.
    pub model: String,
    /// Digest of the text's tokens by seed: an embedded text is drawn anew with each.
    pub corpus: BTreeMap<u64, String>,
    /// Fields of the resolved suite, flat, seed and limits left out.
    pub suite: BTreeMap<String, String>,
    /// Version of each definition behind a number.
    pub metric_versions: BTreeMap<String, u32>,
    /// Version of every question that language models were asked.
    pub prompts: BTreeMap<String, String>,
    /// Processor.
    pub cpu: String,
    /// Widest vector instructions used.
    pub instruction_set: String,
    /// Where models ran and autoencoders were trained.
    #[serde(default = "main_memory")]
    pub device: String,
    /// Threads: they change no number, but the time.
    pub threads: usize,
}

/// Where runs were made that do not say where.
fn main_memory() -> String {
    "cpu".into()
}

impl Inputs {
    /// Those of a run.
    pub fn of(facts: &RunFacts) -> Self {
        let mut suite = BTreeMap::new();
        flatten("", &facts.suite, &mut suite);
        suite.retain(|field, _| !NOT_COMPARED.contains(&field.split('.').next().unwrap_or_default()));
        Self {
            version: facts.version.clone(),
            model: facts.subject.weights_digest.clone(),
            corpus: BTreeMap::from([(facts.seed, facts.corpus.digest.clone())]),
            suite,
            metric_versions: facts.metric_versions.clone(),
            prompts: facts.prompts.iter().map(|(name, digest)| (name.clone(), shown(digest))).collect(),
            cpu: facts.machine.cpu.clone().unwrap_or_default(),
            instruction_set: facts.machine.instruction_set.clone(),
            device: facts.machine.device.clone().unwrap_or_else(main_memory),
            threads: facts.machine.threads,
        }
    }

    /// What differs, the model first. Texts are compared where both runs have one of a common seed.
    pub fn changes(&self, after: &Self) -> Vec<InputChange> {
        let mut changes = Vec::new();
        let mut note = |input: String, before: &str, after: &str| {
            if before != after {
                changes.push(InputChange { input, before: cut(before), after: cut(after) });
            }
        };
        note("model".into(), &self.model, &after.model);
        for (seed, digest) in &after.corpus {
            if let Some(before) = self.corpus.get(seed) {
                note(format!("text (seed {seed})"), before, digest);
            }
        }
        let both = |before: &BTreeMap<String, String>,
                    after: &BTreeMap<String, String>|
         -> BTreeSet<String> { before.keys().chain(after.keys()).cloned().collect() };
        let of = |map: &BTreeMap<String, String>, key: &str| {
            map.get(key).map_or("not there".into(), String::clone)
        };
        for field in both(&self.suite, &after.suite) {
            note(format!("suite.{field}"), &of(&self.suite, &field), &of(&after.suite, &field));
        }
        for name in both(&self.prompts, &after.prompts) {
            note(format!("prompt {name}"), &of(&self.prompts, &name), &of(&after.prompts, &name));
        }
        let metrics: BTreeSet<&String> =
            self.metric_versions.keys().chain(after.metric_versions.keys()).collect();
        let version = |inputs: &Self, metric: &str| {
            inputs
                .metric_versions
                .get(metric)
                .map_or("not there".into(), |version| format!("version {version}"))
        };
        for metric in metrics {
            note(format!("metric {metric}"), &version(self, metric), &version(after, metric));
        }
        note("program".into(), &self.version, &after.version);
        note("processor".into(), &self.cpu, &after.cpu);
        note("instruction set".into(), &self.instruction_set, &after.instruction_set);
        note("device".into(), &self.device, &after.device);
        note("threads".into(), &self.threads.to_string(), &after.threads.to_string());
        changes
    }

    /// Whether both were made on the same kind of machine: on another, sums round differently and training goes another
    /// way, as with another seed.
    pub fn same_machine(&self, other: &Self) -> bool {
        let kind = |of: &Self| (of.cpu.clone(), of.instruction_set.clone(), of.device.clone());
        kind(self) == kind(other)
    }

    /// Scorers whose definition differs.
    pub fn redefined(&self, other: &Self) -> BTreeSet<String> {
        let differs = |metric: &&String| match (
            self.metric_versions.get(*metric),
            other.metric_versions.get(*metric),
        ) {
            (Some(a), Some(b)) => a != b,
            _ => false,
        };
        self.metric_versions.keys().filter(differs).cloned().collect()
    }
}

/// Who explained and simulated under which protocol, of every cell of a run that is no control.
fn kinds(run: &RunFolder) -> BTreeSet<[&str; 3]> {
    let real = run.summary.cells.iter().filter(|cell| cell.control.is_none());
    real.map(|cell| [cell.protocol.as_str(), cell.explainer.as_str(), cell.simulator.as_str()]).collect()
}

/// Why two runs have no cell in common that may be compared; empty where they have one.
pub fn incomparable(a: &RunFolder, b: &RunFolder) -> Vec<String> {
    let (kinds_a, kinds_b) = (kinds(a), kinds(b));
    if kinds_a.is_empty() || kinds_b.is_empty() {
        let empty = if kinds_a.is_empty() { a } else { b };
        return vec![format!("{} has no scores", empty.name())];
    }
    if kinds_a.intersection(&kinds_b).next().is_some() {
        return Vec::new();
    }
    let mut why = Vec::new();
    for (place, what) in ["protocol", "explainer", "simulator"].into_iter().enumerate() {
        let names = |kinds: &BTreeSet<[&str; 3]>| {
            kinds.iter().map(|kind| kind[place].to_string()).collect::<BTreeSet<String>>()
        };
        let (in_a, in_b) = (names(&kinds_a), names(&kinds_b));
        if in_a.is_disjoint(&in_b) {
            why.push(format!("{what} {} and {what} {}", list(&in_a), list(&in_b)));
        }
    }
    if why.is_empty() {
        why.push("no protocol, explainer and simulator occur together in both".into());
    }
    why
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A field per leaf. Entries of a list that have a name stand under it, so that adding one moves no other.
fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |key: &str| if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&below(key), value, into)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (place, item) in items.iter().enumerate() {
                let name = item
                    .get("name")
                    .and_then(Value::as_str)
                    .map_or_else(|| place.to_string(), str::to_string);
                flatten(&below(&name), item, into);
            }
        }
        leaf => {
            into.insert(prefix.to_string(), shown(leaf));
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_string();
    }
    text.chars().take(SHOWN - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inputs(suite: Value, seed: u64, digest: &str) -> Inputs {
        let mut facts = RunFacts { suite, seed, ..RunFacts::default() };
        facts.corpus.digest = digest.into();
        Inputs::of(&facts)
    }

    #[test]
    fn a_change_is_named_by_its_field() {
        let a =
            inputs(json!({"seed": 1, "methods": [{"name": "sae", "steps": 600}, {"name": "pca"}]}), 1, "t1");
        let b = inputs(
            json!({"seed": 2, "methods": [{"name": "new"}, {"name": "sae", "steps": 12}, {"name": "pca"}]}),
            2,
            "t2",
        );
        let changes: Vec<String> = a.changes(&b).iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["suite.methods.new.name: not there → new", "suite.methods.sae.steps: 600 → 12"]);
        let same_seed =
            inputs(json!({"seed": 1, "methods": [{"name": "sae", "steps": 600}, {"name": "pca"}]}), 1, "t3");
        assert_eq!(a.changes(&same_seed)[0].to_string(), "text (seed 1): t1 → t3");
    }

    #[test]
    fn redefined_metrics_are_found() {
        let mut a = inputs(json!({}), 1, "t");
        a.metric_versions = BTreeMap::from([("top_only".into(), 1), ("fvu".into(), 1)]);
        let mut b = a.clone();
        b.metric_versions.insert("fvu".into(), 2);
        assert_eq!(a.redefined(&b), BTreeSet::from(["fvu".to_string()]));
        assert_eq!(a.changes(&b)[0].to_string(), "metric fvu: version 1 → version 2");
    }
}
