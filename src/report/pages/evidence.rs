//! The evidence of one dictionary, read from its files of JSON lines. Every file may be missing.

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::report::layout::{EvidenceFile, Layout, Place};
use crate::report::scores::read_lines;
use crate::report::steering::Steering;
use crate::report::written::{Chosen, Continuations};
use crate::report::{ReportError, read_json};

/// A line of `records/`.
#[derive(Debug, Deserialize)]
pub struct Record {
    pub feature: usize,
    #[serde(default)]
    pub first_scored: usize,
    pub n_tokens: usize,
    pub firing_tokens: usize,
    pub density: Option<f64>,
    pub firing_fragments: Option<usize>,
    pub firing_documents: Option<usize>,
    pub max_activation: Option<f64>,
    #[serde(default)]
    pub top: Vec<Fragment>,
    #[serde(default)]
    pub random: Vec<Fragment>,
    #[serde(default)]
    pub quantiles: Vec<Vec<Pick>>,
    #[serde(default)]
    pub quantile_fragments: Vec<Fragment>,
    #[serde(default)]
    pub non_firing: Vec<Fragment>,
}

/// One fragment with one feature's activation on each token.
#[derive(Debug, Deserialize)]
pub struct Fragment {
    pub fragment: usize,
    pub document: Option<usize>,
    pub tokens: Vec<u32>,
    pub activations: Vec<f32>,
}

/// A member of a quantile group.
#[derive(Debug, Deserialize)]
pub struct Pick {
    pub fragment: usize,
}

/// A line of `simulations/`.
#[derive(Debug, Deserialize)]
pub struct Simulation {
    pub feature: usize,
    pub explainer: String,
    pub simulator: String,
    pub fragment: usize,
    #[serde(default)]
    pub strata: Vec<String>,
    /// By token; none where the simulator gave no number.
    pub predicted: Vec<Option<f32>>,
}

/// A line of `explanations/`, of which only the choice is read.
#[derive(Debug, Deserialize)]
pub struct Explained {
    pub feature: usize,
    pub choice: Option<Choice>,
}

/// How one of several explanations was chosen.
#[derive(Debug, Deserialize)]
pub struct Choice {
    #[serde(default)]
    pub calibrated_on: Vec<usize>,
}

/// A line of `judgements/`.
#[derive(Debug, Deserialize)]
pub struct Judged {
    pub feature: usize,
    pub explainer: String,
    pub judging: String,
    pub reason: Option<String>,
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
    #[serde(default)]
    pub choices: Vec<Chosen>,
}

/// A language model's verdict on one fragment.
#[derive(Debug, Deserialize)]
pub struct Verdict {
    pub fires: bool,
    pub says: Option<bool>,
    pub gain_nats: Option<f64>,
    pub grade: Option<u8>,
    pub interval: Option<usize>,
}

/// A line of `profiles/`: the distribution of a feature's activations and its effects on the model's output.
#[derive(Debug, Deserialize)]
pub struct Profile {
    pub feature: usize,
    pub n_tokens: Option<usize>,
    pub histogram: Option<Histogram>,
    pub logits: Option<Logits>,
    pub logits_note: Option<String>,
    pub ablation: Option<Ablation>,
    pub kurtosis: Option<f64>,
    pub steering: Option<Steering>,
}

/// Firing tokens by activation: counts of the most frequent tokens, and of the rest together.
#[derive(Debug, Deserialize)]
pub struct Histogram {
    pub low: f64,
    pub high: f64,
    pub n_firing: Option<usize>,
    #[serde(default)]
    pub tokens: Vec<TokenCounts>,
    #[serde(default)]
    pub rest: Vec<u64>,
}

/// The counts of one token, by bin.
#[derive(Debug, Deserialize)]
pub struct TokenCounts {
    pub token: u32,
    pub counts: Vec<u64>,
}

/// The tokens whose logits the feature's direction changes most.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Logits {
    pub raised: Vec<Effect>,
    pub lowered: Vec<Effect>,
}

/// The change of one token's logit.
#[derive(Debug, Deserialize)]
pub struct Effect {
    pub token: u32,
    pub effect: f64,
}

/// The change of the loss when the feature is ablated.
#[derive(Debug, Deserialize)]
pub struct Ablation {
    pub loss_change_nats: f64,
    pub n_tokens: Option<usize>,
    pub n_fragments: Option<usize>,
}

/// A line of `neighbours/`.
#[derive(Debug, Deserialize)]
pub struct Neighbours {
    pub feature: usize,
    #[serde(default)]
    pub same: Vec<Neighbour>,
    #[serde(default)]
    pub others: Vec<Neighbour>,
}

/// A direction close to the feature's.
#[derive(Debug, Deserialize)]
pub struct Neighbour {
    pub dictionary: Option<String>,
    pub feature: usize,
    pub cosine: f64,
}

/// The lines of one file by feature; none if the file is missing.
pub struct Lines<T>(Option<HashMap<usize, Vec<T>>>);

impl<T: DeserializeOwned> Lines<T> {
    fn read(
        path: Option<PathBuf>,
        only: Option<usize>,
        feature: impl Fn(&T) -> usize,
    ) -> Result<Self, ReportError> {
        let lines: Option<Vec<T>> = path.map_or(Ok(None), |path| read_lines(&path))?;
        Ok(Self(lines.map(|lines| {
            let mut groups: HashMap<usize, Vec<T>> = HashMap::new();
            let is_wanted = |line: &T| only.is_none_or(|only| feature(line) == only);
            for line in lines.into_iter().filter(is_wanted) {
                groups.entry(feature(&line)).or_default().push(line);
            }
            groups
        })))
    }

    pub fn is_missing(&self) -> bool {
        self.0.is_none()
    }

    pub fn of(&self, feature: usize) -> &[T] {
        self.0.as_ref().and_then(|groups| groups.get(&feature)).map_or(&[], Vec::as_slice)
    }

    pub fn features(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flat_map(HashMap::keys).copied()
    }

    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(HashMap::values).flatten()
    }
}

pub struct Evidence {
    pub records: Lines<Record>,
    pub continuations: Lines<Continuations>,
    pub simulations: Lines<Simulation>,
    pub explained: Lines<Explained>,
    pub judged: Lines<Judged>,
    pub profiles: Lines<Profile>,
    pub neighbours: Lines<Neighbours>,
}

impl Evidence {
    /// Reads the files that exist. `explanations/` is large and read only `with_choices`, where explanations were
    /// chosen from several candidates. `only`: evidence of this feature alone.
    pub fn read(
        layout: &Layout,
        place: &Place,
        with_choices: bool,
        only: Option<usize>,
    ) -> Result<Self, ReportError> {
        let file = |kind: EvidenceFile| Some(layout.evidence(place, kind));
        let explanations = file(EvidenceFile::Explanations).filter(|_| with_choices);
        Ok(Self {
            records: Lines::read(file(EvidenceFile::Records), only, |line: &Record| line.feature)?,
            continuations: Lines::read(file(EvidenceFile::Continuations), only, |line: &Continuations| {
                line.feature
            })?,
            simulations: Lines::read(file(EvidenceFile::Simulations), only, |line: &Simulation| {
                line.feature
            })?,
            explained: Lines::read(explanations, only, |line: &Explained| line.feature)?,
            judged: Lines::read(file(EvidenceFile::Judgements), only, |line: &Judged| line.feature)?,
            profiles: Lines::read(file(EvidenceFile::Profiles), only, |line: &Profile| line.feature)?,
            neighbours: Lines::read(file(EvidenceFile::Neighbours), only, |line: &Neighbours| line.feature)?,
        })
    }
}

/// The text of every token, by id; none if the file is missing.
pub fn token_texts(layout: &Layout) -> Result<Option<Vec<String>>, ReportError> {
    read_json(&layout.token_texts())
}
