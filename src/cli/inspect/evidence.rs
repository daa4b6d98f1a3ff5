//! The evidence of one feature: what it fires on, what was claimed, what was predicted.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::parse_lines;
use super::shading::{Reading, fragment, legend};
use crate::base::read;
use crate::explain::catalog::ExplainerKind;
use crate::report::{Look, ScoreLine, left, right, spelled, width, wrap, wrap_at_most};
use crate::run::RunError;

/// Fragments shown of each list.
const SHOWN_FRAGMENTS: usize = 4;

/// Lines shown of a control's explanation.
const CONTROL_LINES: usize = 2;

/// Strongest value of simulators that are language models.
const TEN: f64 = 10.0;

/// What is read of a line of `records/HOOK/METHOD.jsonl`.
#[derive(Deserialize)]
struct Record {
    feature: usize,
    density: f64,
    firing_fragments: usize,
    max_activation: f64,
    top: Vec<Fragment>,
    random: Vec<Fragment>,
}

#[derive(Deserialize)]
struct Fragment {
    fragment: usize,
    tokens: Vec<u32>,
    activations: Vec<f64>,
}

/// What is read of a line of `simulations/HOOK/METHOD.jsonl`.
#[derive(Deserialize)]
struct Simulated {
    feature: usize,
    explainer: String,
    simulator: String,
    fragment: usize,
    predicted: Vec<Option<f64>>,
}

/// What `inspect RUN HOOK/METHOD/FEATURE --json` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FeatureEvidence<'a> {
    /// Hook point.
    pub hook: String,
    /// Dictionary: its method, and which of several trainings.
    pub dictionary: String,
    /// Index of the feature.
    pub feature: usize,
    /// Every line of `scores.jsonl` about it: each explainer, and the controls.
    pub lines: Vec<&'a ScoreLine>,
    /// What it fires on; null where it was not eligible.
    pub fires: Option<Fires>,
}

/// What a feature fires on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fires {
    /// Share of the evaluation tokens on which it fires.
    pub density: f64,
    /// Evaluation fragments in which it fires.
    pub firing_fragments: usize,
    /// Its largest activation.
    pub max_activation: f64,
    /// Fragments where it is strongest, those that were scored on first.
    pub top: Vec<Shown>,
    /// Fragments drawn from all in which it fires, likewise.
    pub random: Vec<Shown>,
}

/// One fragment.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// Number of the fragment.
    pub fragment: usize,
    /// Text of each token.
    pub tokens: Vec<String>,
    /// Activation at each token.
    pub activations: Vec<f64>,
    /// What was predicted, by explainer; none where the fragment was explained on and not scored.
    pub simulated: BTreeMap<String, Prediction>,
}

/// What was predicted for a fragment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Prediction {
    /// Who predicted.
    pub simulator: String,
    /// Where the largest activation stands in this simulator's unit: that activation itself, or 10 where it speaks
    /// of 0 to 10.
    pub full_scale: f64,
    /// One value per token; none where the simulator told none.
    pub predicted: Vec<Option<f64>>,
}

impl<'a> FeatureEvidence<'a> {
    /// Reads what a run folder has of the feature of `line`; `lines` are all that `scores.jsonl` has.
    pub fn read(folder: &Path, line: &ScoreLine, lines: Vec<&'a ScoreLine>) -> Result<Self, RunError> {
        let dictionary = line.dictionary();
        let file = |kind: &str| folder.join(kind).join(&line.hook).join(format!("{dictionary}.jsonl"));
        let records: Vec<Record> =
            parse_lines(&file("records"), |record: &Record| record.feature == line.feature)?;
        let fires = match records.into_iter().next() {
            None => None,
            Some(record) => {
                let simulated =
                    parse_lines(&file("simulations"), |other: &Simulated| other.feature == line.feature)?;
                Some(Fires::new(record, simulated, &token_texts(folder)?))
            }
        };
        Ok(Self { hook: line.hook.clone(), dictionary, feature: line.feature, lines, fires })
    }

    /// The evidence as a person reads it.
    pub fn text(&self, look: Look) -> String {
        let title = format!("{} · {} · feature {}", self.hook, self.dictionary, self.feature);
        let mut text = format!("{}\n", look.bold(&spelled(&title)));
        self.lines.iter().for_each(|line| push_scores(&mut text, line, look));
        let Some(fires) = &self.fires else { return text };
        let facts = format!(
            "fires on {:.3} % of tokens, in {} fragments; largest activation {:.3}",
            100.0 * fires.density,
            fires.firing_fragments,
            fires.max_activation
        );
        text.push('\n');
        wrap(&facts, look.width).iter().for_each(|line| text.push_str(&format!("{line}\n")));
        text.push_str(&format!("{}\n", legend(fires.max_activation, look.ink)));
        let explainer = self.lines.first().map_or("", |line| line.explainer.as_str());
        for (name, list) in [("top", &fires.top), ("random", &fires.random)] {
            for shown in list.iter().take(SHOWN_FRAGMENTS) {
                push_fragment(&mut text, name, shown, explainer, fires.max_activation, look);
            }
        }
        text
    }
}

/// One explainer's claim with its scores, each with its reason where it has none.
fn push_scores(text: &mut String, line: &ScoreLine, look: Look) {
    let control = line.control.as_deref().map_or(String::new(), |name| format!(" (control: {name})"));
    text.push_str(&format!("\n{}\n", look.bold(&spelled(&format!("{}{control}", line.explainer)))));
    let claim = spelled(line.explanation.as_deref().unwrap_or("no explanation"));
    let most = if line.control.is_some() { CONTROL_LINES } else { usize::MAX };
    for part in wrap_at_most(&claim, look.width.saturating_sub(2), most) {
        text.push_str(&format!("  {part}\n"));
    }
    let names = line.scores.keys().map(|name| width(&spelled(name))).max().unwrap_or(0);
    for (name, score) in &line.scores {
        let reason =
            line.score_reasons.get(name).map_or(String::new(), |reason| format!("  {}", spelled(reason)));
        text.push_str(&format!(
            "  {}{}{reason}\n",
            left(&spelled(name), names),
            right(&super::number(*score), 8)
        ));
    }
    if let Some(reason) = &line.reason {
        text.push_str(&format!("  {}\n", spelled(reason)));
    }
}

fn push_fragment(text: &mut String, list: &str, shown: &Shown, explainer: &str, largest: f64, look: Look) {
    let share = |value: &f64, of: f64| if of > 0.0 { (value / of).clamp(-1.0, 1.0) } else { 0.0 };
    let shares = shown.activations.iter().map(|value| share(value, largest)).collect();
    let mut readings = vec![Reading { name: "true", shares }];
    let mut by = "explained on, not scored".to_string();
    if let Some(prediction) = shown.simulated.get(explainer) {
        let shares = prediction.predicted.iter();
        let shares = shares.map(|value| share(&value.unwrap_or(0.0), prediction.full_scale)).collect();
        readings.push(Reading { name: "simul", shares });
        by = format!("simulated by {}", spelled(&prediction.simulator));
    }
    text.push_str(&format!("\n{}\n", look.dim(&format!("{list}, fragment {}, {by}", shown.fragment))));
    let tokens: Vec<&str> = shown.tokens.iter().map(String::as_str).collect();
    text.push_str(&fragment(&tokens, &readings, look.width, look.ink));
}

impl Fires {
    fn new(record: Record, simulated: Vec<Simulated>, texts: &[String]) -> Self {
        let mut predictions: BTreeMap<usize, BTreeMap<String, Prediction>> = BTreeMap::new();
        for line in simulated {
            let full_scale = if speaks_activations(&line.simulator) { record.max_activation } else { TEN };
            let prediction = Prediction { simulator: line.simulator, full_scale, predicted: line.predicted };
            predictions.entry(line.fragment).or_default().insert(line.explainer, prediction);
        }
        // A protocol may have one fragment in both lists.
        let list = |fragments: Vec<Fragment>| -> Vec<Shown> {
            let shown = fragments.into_iter().map(|fragment| Shown {
                simulated: predictions.get(&fragment.fragment).cloned().unwrap_or_default(),
                fragment: fragment.fragment,
                tokens: fragment.tokens.iter().map(|id| token_text(texts, *id)).collect(),
                activations: fragment.activations,
            });
            let mut shown: Vec<Shown> = shown.collect();
            shown.sort_by_key(|shown| shown.simulated.is_empty());
            shown
        };
        Self {
            density: record.density,
            firing_fragments: record.firing_fragments,
            max_activation: record.max_activation,
            top: list(record.top),
            random: list(record.random),
        }
    }
}

/// Whether a simulator predicts activations as they are; language models speak of 0 to 10.
fn speaks_activations(simulator: &str) -> bool {
    ExplainerKind::named(simulator).is_some_and(|kind| !kind.asks_model())
}

fn token_text(texts: &[String], id: u32) -> String {
    texts.get(id as usize).cloned().unwrap_or_else(|| "?".into())
}

/// Text of every token id; a run folder has it beside the records.
fn token_texts(folder: &Path) -> Result<Vec<String>, RunError> {
    let path = folder.join("records/tokens.json");
    serde_json::from_slice(&read(&path)?).map_err(|error| RunError::Input { path, why: error.to_string() })
}
