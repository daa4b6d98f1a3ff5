//! The inputs of a run, and their differences between two runs.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::run_folder::{RunFacts, RunFolder};

/// Fields of a suite that change no number, and the seed.
const NOT_COMPARED: [&str; 3] = ["seed", "limits", "name"];

/// Longest value shown, in characters.
const SHOWN: usize = 60;

/// One input that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputChange {
    /// Name of the input: `model`, `suite.methods.topk.steps`, `metric top_and_random`.
    pub input: String,
    /// Value in the first run.
    pub before: String,
    /// Value in the second run.
    pub after: String,
}

impl std::fmt::Display for InputChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} → {}", self.input, self.before, self.after)
    }
}

/// All inputs of a run. If they are equal, a difference between two runs comes from the code.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    pub version: String,
    /// Digest of the model.
    pub model: String,
    /// Digest of the corpus tokens, by seed: a generated corpus differs between seeds.
    pub corpus: BTreeMap<u64, String>,
    /// Fields of the resolved suite by path, without seed, limits and name.
    pub suite: BTreeMap<String, String>,
    /// Version of each metric's definition.
    pub metric_versions: BTreeMap<String, u32>,
    /// Version of every prompt.
    pub prompts: BTreeMap<String, String>,
    pub cpu: String,
    /// Widest vector instructions used.
    pub instruction_set: String,
    /// Device of models and of training.
    #[serde(default = "default_device")]
    pub device: String,
    /// Threads. They change the time, but no number.
    pub threads: usize,
}

/// Device of a run that does not record one.
fn default_device() -> String {
    "cpu".into()
}

impl Inputs {
    pub fn of(facts: &RunFacts) -> Self {
        let mut suite = BTreeMap::new();
        flatten("", &facts.suite, &mut suite);
        suite.retain(|field, _| !NOT_COMPARED.contains(&field.split('.').next().unwrap_or_default()));
        Self {
            version: facts.version.clone(),
            model: facts.subject.digest.clone(),
            corpus: BTreeMap::from([(facts.seed, facts.corpus.digest.clone())]),
            suite,
            metric_versions: facts.metric_versions.clone(),
            prompts: facts.prompts.iter().map(|(name, digest)| (name.clone(), shown(digest))).collect(),
            cpu: facts.machine.cpu.clone().unwrap_or_default(),
            instruction_set: facts.machine.instruction_set.clone(),
            device: facts.machine.device.clone().unwrap_or_else(default_device),
            threads: facts.machine.threads,
        }
    }

    /// The inputs that differ, the model first. Corpora are compared for common seeds.
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
        let versions = |of: &Self| -> BTreeMap<String, String> {
            let versions = of.metric_versions.iter();
            versions.map(|(name, version)| (name.clone(), format!("version {version}"))).collect()
        };
        for (prefix, before, after) in [
            ("suite.", self.suite.clone(), after.suite.clone()),
            ("prompt ", self.prompts.clone(), after.prompts.clone()),
            ("metric ", versions(self), versions(after)),
        ] {
            let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
            for name in names {
                let [before, after] =
                    [&before, &after].map(|map| map.get(name).map_or("not there", String::as_str));
                note(format!("{prefix}{name}"), before, after);
            }
        }
        note("program".into(), &self.version, &after.version);
        note("processor".into(), &self.cpu, &after.cpu);
        note("instruction set".into(), &self.instruction_set, &after.instruction_set);
        note("device".into(), &self.device, &after.device);
        note("threads".into(), &self.threads.to_string(), &after.threads.to_string());
        changes
    }

    /// Whether both ran on the same kind of machine. On another kind, sums round differently, so training diverges
    /// as it would with another seed.
    pub fn same_machine(&self, other: &Self) -> bool {
        self.cpu == other.cpu && self.instruction_set == other.instruction_set && self.device == other.device
    }

    /// Metrics that both have with different definitions.
    pub fn redefined(&self, other: &Self) -> BTreeSet<String> {
        let differs = |(name, version): &(&String, &u32)| {
            other.metric_versions.get(*name).is_some_and(|v| v != *version)
        };
        self.metric_versions.iter().filter(differs).map(|(name, _)| name.clone()).collect()
    }
}

/// [protocol, explainer, simulator] of every cell that is not a control.
fn kinds(run: &RunFolder) -> BTreeSet<[&str; 3]> {
    let real = run.summary.cells.iter().filter(|cell| cell.control.is_none());
    real.map(|cell| [cell.protocol.as_str(), cell.explainer.as_str(), cell.simulator.as_str()]).collect()
}

/// Why no cell of two runs may be compared; empty if one may.
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
        let names = |kinds: &BTreeSet<[&str; 3]>| -> BTreeSet<String> {
            kinds.iter().map(|kind| format!("`{}`", kind[place])).collect()
        };
        let (in_a, in_b) = (names(&kinds_a), names(&kinds_b));
        if in_a.is_disjoint(&in_b) {
            let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(", ");
            why.push(format!("{what} {} and {what} {}", list(in_a), list(in_b)));
        }
    }
    if why.is_empty() {
        why.push("no protocol, explainer and simulator occur together in both".into());
    }
    why
}

/// One field per leaf. An entry of a list goes by its `name`, so that adding an entry renames no other.
fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    let below = |key: &str| if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| flatten(&below(key), value, into)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (place, item) in items.iter().enumerate() {
                let name = item["name"].as_str().map_or_else(|| place.to_string(), str::to_string);
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
