//! The view of one feature: at a glance, then fragments with true and simulated activations, then every explanation
//! with its scores.

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::invalid_input;
use super::super::steered_text::{questions_text, steering_text};
use super::shading::{Row, fragment, legend};
use super::{glance, parse_lines};
use crate::base::read;
use crate::explain::catalog::ExplainerKind;
use crate::report::{
    EvidenceFile, Glance, Layout, Look, Place, ScoreLine, check_listed, fixed, pad_left, pad_right,
    visible_token, width, wrap, wrap_at_most,
};
use crate::run::RunError;

/// Number of fragments shown from each list.
const SHOWN_FRAGMENTS: usize = 4;

/// Number of lines shown of a control's explanation.
const CONTROL_LINES: usize = 2;

/// Largest activation on the scale of language models, 0 to 10.
const LLM_SCALE: f64 = 10.0;

/// The fields used of a line of `records/HOOK/METHOD.jsonl`.
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

/// The fields used of a line of `simulations/HOOK/METHOD.jsonl`.
#[derive(Deserialize)]
struct Simulated {
    feature: usize,
    explainer: String,
    simulator: String,
    fragment: usize,
    predicted: Vec<Option<f64>>,
}

/// Output of `inspect RUN HOOK/METHOD/FEATURE --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FeatureEvidence<'a> {
    /// Hook point.
    pub hook: String,
    /// Dictionary: its method, with the training if there are several.
    pub dictionary: String,
    /// Index of the feature.
    pub feature: usize,
    /// What to know first, under the first explainer.
    pub glance: Glance,
    /// Every line of `scores.jsonl` about the feature: one per explainer and control.
    pub lines: Vec<&'a ScoreLine>,
    /// Its activations; null if it has no record.
    pub fires: Option<Fires>,
}

/// Activations of a feature.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Fires {
    /// Share of evaluation tokens on which it fires.
    pub density: f64,
    /// Number of evaluation fragments in which it fires.
    pub firing_fragments: usize,
    /// Its largest activation.
    pub max_activation: f64,
    /// Fragments with the strongest activations. Scored fragments come first.
    pub top: Vec<Shown>,
    /// Random fragments in which it fires. Scored fragments come first.
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
    /// Simulated activations by explainer; empty if the fragment was used for explaining.
    pub simulated: BTreeMap<String, Prediction>,
}

/// Simulated activations of a fragment.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Prediction {
    /// Simulator.
    pub simulator: String,
    /// The feature's largest activation on the simulator's scale: the activation itself, or 10 for a language model.
    pub full_scale: f64,
    /// One value per token; null if the simulator gave none.
    pub predicted: Vec<Option<f64>>,
}

impl<'a> FeatureEvidence<'a> {
    /// Reads a feature from a run folder. `lines` are its lines of `scores.jsonl`, at least one; `all` is every line.
    pub fn read(folder: &Path, all: &[ScoreLine], lines: Vec<&'a ScoreLine>) -> Result<Self, RunError> {
        let line = lines.iter().find(|line| line.control.is_none()).unwrap_or(&lines[0]);
        let (layout, dictionary) = (Layout::new(folder), line.dictionary());
        let place = Place { hook: line.hook.clone(), dictionary: dictionary.clone(), control: None };
        let file = |kind| layout.evidence(&place, kind);
        check_listed(
            folder,
            &[file(EvidenceFile::Records), file(EvidenceFile::Simulations), layout.token_texts()],
        )?;
        let is_of = |feature: usize| feature == line.feature;
        let records = parse_lines(&file(EvidenceFile::Records), |record: &Record| is_of(record.feature))?;
        let simulated =
            || parse_lines(&file(EvidenceFile::Simulations), |other: &Simulated| is_of(other.feature));
        let fires = match records.into_iter().next() {
            Some(record) => Some(Fires::new(record, simulated()?, &token_texts(&layout)?)),
            None => None,
        };
        let glance = Glance::read(folder, line, all)?;
        Ok(Self { hook: line.hook.clone(), dictionary, feature: line.feature, glance, lines, fires })
    }

    pub fn text(&self, look: Look) -> String {
        let title = format!("{} · {} · feature {}", self.hook, self.dictionary, self.feature);
        let mut text =
            format!("{}\n\n{}", look.bold(&visible_token(&title)), glance::text(&self.glance, look));
        if let Some(fires) = &self.fires {
            self.push_fragments(&mut text, fires, look);
        }
        if let Some(steering) = &self.glance.steering {
            text.push_str(&format!("\n{}\n{}", look.bold("steered text"), steering_text(steering, look)));
        }
        if !self.glance.questions.is_empty() {
            let title = "which of two texts was steered?";
            text.push_str(&format!(
                "\n{}\n{}",
                look.bold(title),
                questions_text(&self.glance.questions, look)
            ));
        }
        self.lines.iter().for_each(|line| push_scores(&mut text, line, look));
        text
    }

    fn push_fragments(&self, text: &mut String, fires: &Fires, look: Look) {
        let facts = format!(
            "fires in {} fragments; largest activation {:.3}",
            fires.firing_fragments, fires.max_activation
        );
        text.push('\n');
        text.extend(wrap(&facts, look.width).iter().map(|line| format!("{line}\n")));
        text.push_str(&format!("{}\n", legend(fires.max_activation, look.ink)));
        for (name, list) in [("top", &fires.top), ("random", &fires.random)] {
            for shown in list.iter().take(SHOWN_FRAGMENTS) {
                push_fragment(text, name, shown, &self.glance.explainer, fires.max_activation, look);
            }
        }
    }
}

/// Appends one explanation with its scores. A missing score has its reason.
fn push_scores(text: &mut String, line: &ScoreLine, look: Look) {
    let control = line.control.as_deref().map_or(String::new(), |name| format!(" (control: {name})"));
    text.push_str(&format!("\n{}\n", look.bold(&visible_token(&format!("{}{control}", line.explainer)))));
    let claim = visible_token(line.explanation.as_deref().unwrap_or("no explanation"));
    let most = if line.control.is_some() { CONTROL_LINES } else { usize::MAX };
    let parts = wrap_at_most(&claim, look.width.saturating_sub(2), most);
    text.extend(parts.iter().map(|part| format!("  {part}\n")));
    let names = line.scores.keys().map(|name| width(&visible_token(name))).max().unwrap_or(0);
    for (name, score) in &line.scores {
        let reason = line.score_reasons.get(name).map(|reason| format!("  {}", visible_token(reason)));
        let reason = reason.unwrap_or_default();
        let (name, score) = (pad_right(&visible_token(name), names), pad_left(&fixed(*score, 3), 8));
        text.push_str(&format!("  {name}{score}{reason}\n"));
    }
    if let Some(grades) = &line.grades {
        let shown = grades.iter().map(grades_text).collect::<Vec<_>>().join(" | ");
        let shown = format!("fragments × grade, weakest interval of activation first: {shown}");
        let parts = wrap(&shown, look.width.saturating_sub(2));
        text.extend(parts.iter().map(|part| format!("  {part}\n")));
    }
    text.extend(line.reason.iter().map(|reason| format!("  {}\n", visible_token(reason))));
}

/// `2 × 3, 1 × 0`: fragments by grade, the best first.
fn grades_text(counts: &[usize; 4]) -> String {
    let parts = counts.iter().enumerate().rev().filter(|(_, n)| **n > 0);
    let parts: Vec<String> = parts.map(|(grade, n)| format!("{n} × {grade}")).collect();
    if parts.is_empty() { "no fragment".into() } else { parts.join(", ") }
}

/// Appends one fragment, shaded by true and by simulated activations.
fn push_fragment(text: &mut String, list: &str, shown: &Shown, explainer: &str, largest: f64, look: Look) {
    let share = |value: &f64, of: f64| if of > 0.0 { (value / of).clamp(-1.0, 1.0) } else { 0.0 };
    let shares = shown.activations.iter().map(|value| share(value, largest)).collect();
    let mut rows = vec![Row { name: "true", shares }];
    let mut by = "explained on, not scored".to_string();
    if let Some(prediction) = shown.simulated.get(explainer) {
        let shares = prediction.predicted.iter();
        let shares = shares.map(|value| share(&value.unwrap_or(0.0), prediction.full_scale)).collect();
        rows.push(Row { name: "simul", shares });
        by = format!("simulated by {}", visible_token(&prediction.simulator));
    }
    text.push_str(&format!("\n{}\n", look.dim(&format!("{list}, fragment {}, {by}", shown.fragment))));
    let tokens: Vec<&str> = shown.tokens.iter().map(String::as_str).collect();
    text.push_str(&fragment(&tokens, &rows, look.width, look.ink));
}

impl Fires {
    fn new(record: Record, simulated: Vec<Simulated>, texts: &[String]) -> Self {
        let mut predictions: BTreeMap<usize, BTreeMap<String, Prediction>> = BTreeMap::new();
        for line in simulated {
            let full_scale =
                if predicts_activations(&line.simulator) { record.max_activation } else { LLM_SCALE };
            let prediction = Prediction { simulator: line.simulator, full_scale, predicted: line.predicted };
            predictions.entry(line.fragment).or_default().insert(line.explainer, prediction);
        }
        let token_text = |id: &u32| texts.get(*id as usize).cloned().unwrap_or_else(|| "?".into());
        // Predictions are cloned: a fragment may be in both lists.
        let list = |fragments: Vec<Fragment>| -> Vec<Shown> {
            let shown = fragments.into_iter().map(|fragment| Shown {
                simulated: predictions.get(&fragment.fragment).cloned().unwrap_or_default(),
                fragment: fragment.fragment,
                tokens: fragment.tokens.iter().map(token_text).collect(),
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

/// Whether a simulator predicts activations in their own unit. Language models use 0 to 10.
fn predicts_activations(simulator: &str) -> bool {
    ExplainerKind::named(simulator).is_some_and(|kind| !kind.asks_model())
}

fn token_texts(layout: &Layout) -> Result<Vec<String>, RunError> {
    let path = layout.token_texts();
    serde_json::from_slice(&read(&path)?).map_err(|error| invalid_input(&path, error.to_string()))
}
