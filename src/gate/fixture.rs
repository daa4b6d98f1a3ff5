//! Made-up run folders of reseeded runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::RunFolder;
use crate::base::{Stream, Tally, write_atomic};
use crate::report::patching_fixture;
use crate::report::{CHOSEN, Cell, QualityRow, SCHEMA, ScoreLine, ScoreStatus, Summary, TaskPatching};

/// Properties of a made-up run.
#[derive(Clone)]
pub struct MadeRun {
    pub seed: u64,
    pub hooks: usize,
    pub methods: Vec<&'static str>,
    pub features: usize,
    pub simulator: &'static str,
    pub cpu: &'static str,
    /// Seed of the dictionaries; by default the run's seed.
    pub dictionary_seed: u64,
    /// Added to every score of a method.
    pub shift: BTreeMap<&'static str, f64>,
    /// Failed features of a method at each hook point.
    pub failed: BTreeMap<&'static str, usize>,
    pub fvu: BTreeMap<&'static str, f64>,
    /// Methods whose features are chosen.
    pub chosen: Vec<&'static str>,
    pub steps: u64,
    pub seconds: f64,
    /// Features for half of the divergence on the task, as a multiple of those of the fixture; none: no task.
    pub patching: Option<f64>,
}

impl MadeRun {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            hooks: 3,
            methods: vec!["sae", "pca", "random"],
            features: 200,
            simulator: "neuron_to_graph",
            cpu: "a cpu",
            dictionary_seed: seed,
            shift: BTreeMap::new(),
            failed: BTreeMap::new(),
            fvu: BTreeMap::new(),
            chosen: Vec::new(),
            steps: 600,
            seconds: 50.0,
            patching: None,
        }
    }

    /// Writes the folder and reads it.
    pub fn read(&self, below: &Path) -> RunFolder {
        RunFolder::read(&self.write(below)).expect("a run folder")
    }

    pub fn write(&self, below: &Path) -> PathBuf {
        let folder = below.join(format!("run{}", self.seed));
        let mut stream = Stream::new(self.seed, "made run");
        let (mut cells, mut quality, mut lines, mut dictionaries) =
            (Vec::new(), Vec::new(), String::new(), BTreeMap::new());
        for hook in (0..self.hooks).map(|layer| format!("blocks.{layer}.hook_resid_post")) {
            for (place, method) in self.methods.iter().enumerate() {
                let digest = format!("{hook} {method} {}", self.dictionary_seed);
                dictionaries.insert(format!("{hook}/{method}"), json!({"digest": digest}));
                let failed = self.failed.get(method).copied().unwrap_or(0);
                let centre = 0.7 - 0.1 * place as f64 + self.shift.get(method).copied().unwrap_or(0.0);
                let values: Vec<f64> = (0..self.features).map(|_| centre + 0.2 * stream.normal()).collect();
                for (feature, value) in values.iter().enumerate() {
                    let scored = feature >= failed;
                    let line = self.line(&hook, method, feature, scored.then_some(*value));
                    lines.push_str(&line.to_json_line().expect("a line"));
                }
                let scored = &values[failed..];
                cells.push(self.cell(
                    &hook,
                    method,
                    scored.iter().sum::<f64>() / scored.len() as f64,
                    scored.len(),
                ));
                let fvu = self.fvu.get(method).copied().unwrap_or(0.2) + 0.004 * stream.normal();
                quality.push(QualityRow {
                    hook: hook.clone(),
                    method: method.to_string(),
                    n_features: 512,
                    l0: Some(12.0 + 0.1 * stream.normal()),
                    fvu: Some(fvu),
                    dead: Some(5),
                    n_tokens: 1000,
                    ..QualityRow::default()
                });
            }
        }
        let summary = Summary {
            schema: SCHEMA,
            suite: "made".into(),
            run: format!("digest {}", self.seed),
            primary: Some("top_and_random".into()),
            reference: Some("sae".into()),
            margin: Some(0.05),
            cells,
            quality,
            patching: self.patching.map(|factor| self.task(factor)),
            ..Summary::default()
        };
        write_atomic(&folder.join("summary.json"), summary.to_json().expect("JSON").as_bytes())
            .expect("written");
        write_atomic(&folder.join("scores.jsonl"), lines.as_bytes()).expect("written");
        let manifest = self.manifest(dictionaries);
        write_atomic(&folder.join("manifest.json"), manifest.to_string().as_bytes()).expect("written");
        folder
    }

    /// A task whose numbers vary a little with the seed; those of `topk` are multiplied.
    fn task(&self, factor: f64) -> TaskPatching {
        let mut task = patching_fixture::task(1);
        let mut stream = Stream::new(self.seed, "made task");
        for dictionary in &mut task.dictionaries {
            let factor = if dictionary.is_method("topk") { factor } else { 1.0 };
            for curve in &mut dictionary.curves {
                for number in [&mut curve.area, &mut curve.half] {
                    let factor = factor * (0.03 * stream.normal()).exp();
                    for part in [&mut number.value, &mut number.ci_low, &mut number.ci_high] {
                        *part = part.map(|value| value * factor);
                    }
                }
            }
        }
        task
    }

    fn manifest(&self, dictionaries: BTreeMap<String, Value>) -> Value {
        json!({
            "version": "0.1.0",
            "seed": self.seed,
            "suite": {"name": "made", "seed": self.seed, "methods": [{"name": "sae", "steps": self.steps}]},
            "subject": {"name": "embedded", "weights_digest": "weights"},
            "corpus": {"digest": format!("text {}", self.seed)},
            "dictionaries": dictionaries,
            "metric_versions": {"top_and_random": 1},
            "machine": {"cpu": self.cpu, "instruction_set": "some", "threads": 2, "calibration_seconds": 0.01},
            "stages": [{"name": "fit", "seconds": self.seconds * (1.0 + 0.01 * (self.seed % 5) as f64),
                        "peak_memory_bytes": 1e9 + 1e6 * (self.seed % 7) as f64, "reused": false}],
            "prompts": {},
            "llm_usage": {},
        })
    }

    fn cell(&self, hook: &str, method: &str, mean: f64, n: usize) -> Cell {
        Cell {
            hook: hook.into(),
            method: method.into(),
            protocol: "standard".into(),
            explainer: "neuron_to_graph".into(),
            simulator: self.simulator.into(),
            scorer: "top_and_random".into(),
            mean: Some(mean),
            confidence: 0.95,
            n_requested: self.features,
            n_scored: n,
            n_defined: n,
            features: self.chosen.contains(&method).then(|| CHOSEN.into()),
            tally: Tally { scored: n, failed: self.features - n, ..Tally::default() },
            ..Cell::default()
        }
    }

    fn line(&self, hook: &str, method: &str, feature: usize, score: Option<f64>) -> ScoreLine {
        ScoreLine {
            hook: hook.into(),
            method: method.into(),
            training: None,
            feature,
            protocol: "standard".into(),
            explainer: "neuron_to_graph".into(),
            simulator: self.simulator.into(),
            control: None,
            status: if score.is_some() { ScoreStatus::Scored } else { ScoreStatus::Failed },
            reason: None,
            explanation: None,
            scores: BTreeMap::from([("top_and_random".to_string(), score)]),
            score_reasons: BTreeMap::new(),
            density: None,
            max_activation: None,
            kurtosis: None,
            n_top: 10,
            n_random: 10,
            tokens_untold: None,
            grades: None,
        }
    }
}
