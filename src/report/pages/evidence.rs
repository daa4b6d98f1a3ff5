//! The evidence of one dictionary, read from its files of JSON lines. Every file may be missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::names::Place;
use crate::base::read;
use crate::report::ReportError;
use crate::report::scores::read_lines;

/// A line of `records/`.
#[derive(Debug, Deserialize)]
pub struct Record {
    pub feature: usize,
    #[serde(default)]
    pub first_scored: usize,
    pub n_tokens: usize,
    pub firing_tokens: usize,
    #[serde(default)]
    pub density: Option<f64>,
    #[serde(default)]
    pub firing_fragments: Option<usize>,
    #[serde(default)]
    pub firing_documents: Option<usize>,
    #[serde(default)]
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
    #[serde(default)]
    pub document: Option<usize>,
    pub tokens: Vec<u32>,
    pub activations: Vec<f32>,
}

/// A member of a rank group.
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
    /// None for a token of which nothing was told.
    pub predicted: Vec<Option<f32>>,
}

/// A line of `explanations/`; the explanation in its own form is not read.
#[derive(Debug, Deserialize)]
pub struct Explained {
    pub feature: usize,
    #[serde(default)]
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
    #[serde(default)]
    pub reason: Option<String>,
    #[serde(default)]
    pub verdicts: Vec<Verdict>,
}

/// What a language model said of one fragment.
#[derive(Debug, Deserialize)]
pub struct Verdict {
    pub fires: bool,
    #[serde(default)]
    pub says: Option<bool>,
    #[serde(default)]
    pub gain_nats: Option<f64>,
}

/// A line of `profiles/`: how a feature's activations are distributed, and what it does to the model's output.
#[derive(Debug, Deserialize)]
pub struct Profile {
    pub feature: usize,
    #[serde(default)]
    pub n_tokens: Option<usize>,
    #[serde(default)]
    pub histogram: Option<Histogram>,
    #[serde(default)]
    pub logits: Option<Logits>,
    #[serde(default)]
    pub logits_note: Option<String>,
    #[serde(default)]
    pub ablation: Option<Ablation>,
    #[serde(default)]
    pub kurtosis: Option<f64>,
}

/// Counts of firing tokens by activation, the commonest tokens apart.
#[derive(Debug, Deserialize)]
pub struct Histogram {
    pub low: f64,
    pub high: f64,
    #[serde(default)]
    pub n_firing: Option<usize>,
    #[serde(default)]
    pub tokens: Vec<TokenCounts>,
    #[serde(default)]
    pub rest: Vec<u64>,
}

/// One token's counts.
#[derive(Debug, Deserialize)]
pub struct TokenCounts {
    pub token: u32,
    pub counts: Vec<u64>,
}

/// The tokens whose logits the feature's direction moves most.
#[derive(Debug, Default, Deserialize)]
pub struct Logits {
    #[serde(default)]
    pub raised: Vec<Effect>,
    #[serde(default)]
    pub lowered: Vec<Effect>,
}

/// One token's logit effect.
#[derive(Debug, Deserialize)]
pub struct Effect {
    pub token: u32,
    pub effect: f64,
}

/// What becomes of the loss when the feature is taken out.
#[derive(Debug, Deserialize)]
pub struct Ablation {
    pub loss_change_nats: f64,
    #[serde(default)]
    pub n_tokens: Option<usize>,
    #[serde(default)]
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
    #[serde(default)]
    pub dictionary: Option<String>,
    pub feature: usize,
    pub cosine: f64,
}

/// What there is of one dictionary; none where the file is missing.
#[derive(Debug, Default)]
pub struct Evidence {
    pub records: Option<Vec<Record>>,
    /// By feature.
    pub simulations: Option<HashMap<usize, Vec<Simulation>>>,
    /// Fragments that candidates for an explanation were compared on, by feature.
    pub calibrated: HashMap<usize, Vec<usize>>,
    pub judged: HashMap<usize, Vec<Judged>>,
    pub profiles: Option<HashMap<usize, Profile>>,
    pub neighbours: Option<HashMap<usize, Neighbours>>,
}

impl Evidence {
    /// Reads what is there. `explanations` are large and say what the other files do not only where an explanation
    /// was chosen out of several.
    pub fn read(run_folder: &Path, place: &Place, with_choices: bool) -> Result<Self, ReportError> {
        let file = |kind: &str| file_of(run_folder, place, kind);
        let explained: Option<Vec<Explained>> = match with_choices {
            true => lines(file("explanations"))?,
            false => None,
        };
        let mut calibrated: HashMap<usize, Vec<usize>> = HashMap::new();
        for line in explained.unwrap_or_default() {
            if let Some(choice) = line.choice {
                calibrated.entry(line.feature).or_default().extend(choice.calibrated_on);
            }
        }
        Ok(Self {
            records: lines(file("records"))?,
            simulations: lines(file("simulations"))?
                .map(|all| grouped(all, |line: &Simulation| line.feature)),
            calibrated,
            judged: grouped(lines(file("judgements"))?.unwrap_or_default(), |line: &Judged| line.feature),
            profiles: lines(file("profiles"))?.map(|all| by_feature(all, |line: &Profile| line.feature)),
            neighbours: lines(file("neighbours"))?
                .map(|all| by_feature(all, |line: &Neighbours| line.feature)),
        })
    }
}

/// `KIND/HOOK/DICTIONARY.jsonl`, of a control below its folder. None for a name that would lead elsewhere.
fn file_of(run_folder: &Path, place: &Place, kind: &str) -> Option<PathBuf> {
    let plain =
        |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':', '\0']);
    let names = [Some(&place.hook), Some(&place.dictionary), place.control.as_ref()];
    if !names.into_iter().flatten().all(|name| plain(name)) {
        return None;
    }
    let base = match &place.control {
        Some(control) => run_folder.join("controls").join(control),
        None => run_folder.to_path_buf(),
    };
    Some(base.join(kind).join(&place.hook).join(format!("{}.jsonl", place.dictionary)))
}

fn lines<T: DeserializeOwned>(path: Option<PathBuf>) -> Result<Option<Vec<T>>, ReportError> {
    path.map_or(Ok(None), |path| read_lines(&path))
}

fn grouped<T>(lines: Vec<T>, feature: impl Fn(&T) -> usize) -> HashMap<usize, Vec<T>> {
    let mut groups: HashMap<usize, Vec<T>> = HashMap::new();
    for line in lines {
        groups.entry(feature(&line)).or_default().push(line);
    }
    groups
}

fn by_feature<T>(lines: Vec<T>, feature: impl Fn(&T) -> usize) -> HashMap<usize, T> {
    lines.into_iter().map(|line| (feature(&line), line)).collect()
}

/// Text of every token, by id; none where the file is missing.
pub fn token_texts(run_folder: &Path) -> Result<Option<Vec<String>>, ReportError> {
    let path = run_folder.join("records/tokens.json");
    if !path.exists() {
        return Ok(None);
    }
    let bytes = read(&path)?;
    let unreadable = |source| ReportError::Json { path: path.clone(), line: None, source };
    serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_run_folder() {
        let place = |hook: &str, control: Option<&str>| Place {
            hook: hook.into(),
            dictionary: "topk".into(),
            control: control.map(Into::into),
        };
        let path = |place: &Place| file_of(Path::new("run"), place, "records");
        let plain = Path::new("run").join("records").join("blocks.0.hook_resid_post").join("topk.jsonl");
        assert_eq!(path(&place("blocks.0.hook_resid_post", None)), Some(plain));
        for hook in ["../up", "a/b", "..", "", "c:\\d"] {
            assert_eq!(path(&place(hook, None)), None, "{hook}");
        }
        assert_eq!(path(&place("hook_embed", Some("../x"))), None);
    }
}
