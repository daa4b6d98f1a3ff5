//! The page of one dictionary: every explained feature with its scores, and as many fragments as the page's size
//! allows. Texts are made visible here; the script only displays them.

mod budget;
mod candidates;
mod context;
mod data;
mod describe;
mod glance;
mod joint;

use std::collections::{BTreeMap, HashMap};

use super::evidence::{Evidence, Simulation};
use super::packed::Bytes;
use crate::base::distinct;
use crate::report::ReportError;
use crate::report::escape::{inert_json, shortened, visible};
use crate::report::layout::Place;
use crate::report::list::{Numbering, grouped};
use crate::report::schema::ScoreStatus;
use crate::report::scores::FeatureLine;
use crate::report::view::Pairing;
use budget::{Tokens, add_fragments, json_bytes};
use candidates::{Candidate, Uses, candidates};
pub use context::Context;
use context::{Explainer, Feature};
use data::{Data, FeatureData};
use describe::{NOTE_CHARACTERS, Page, explainer_data};
use joint::BINS;

/// Size limit of a page of up to this many features; with more features it grows in proportion.
const PAGE_BYTES: usize = 1_000_000;
const PAGE_FEATURES: usize = 150;

/// Share of a page for everything except fragments, in percent. Beyond it, explanations are shortened.
const FIXED_PERCENT: usize = 65;

/// Longest explanation in characters; each limit is tried in turn.
const EXPLANATION_CHARACTERS: [usize; 4] = [1_200, 500, 200, 80];

/// Simulators that predict activations in the feature's own unit; language models predict levels from 0 to 10.
const OFFLINE_SIMULATORS: [&str; 5] =
    ["neuron_to_graph", "neuron_to_graph_backoff", "token_lookup", "token_lookup_fit", "oracle"];

/// Whether a simulator predicts levels from 0 to 10. `has_prompt`: the manifest has a prompt of its name.
pub fn simulates_levels(simulator: &str, has_prompt: bool) -> bool {
    has_prompt || !OFFLINE_SIMULATORS.contains(&simulator)
}

/// The one feature of a page.
#[derive(Debug, Clone, Copy)]
pub struct Only {
    pub feature: usize,
    /// Size limit of the page.
    pub bytes: usize,
}

#[derive(Debug)]
pub struct Built {
    pub n_features: usize,
    /// JSON that is inert in a `script` element.
    pub json: String,
    /// What is missing on the page.
    pub notes: Vec<String>,
}

/// Size limit in bytes of a page of `n_features` features.
pub fn page_bytes(n_features: usize) -> usize {
    PAGE_BYTES * n_features.max(PAGE_FEATURES) / PAGE_FEATURES
}

/// Builds the data of a page, or of one feature. `lines` are about nothing else; `page_bytes` returns the size limit
/// for a number of features.
pub fn build(
    context: &Context<'_>,
    place: &Place,
    lines: &[&FeatureLine],
    only: Option<usize>,
    page_bytes: impl Fn(usize) -> usize,
) -> Result<Built, ReportError> {
    let choices = context.manifest.is_some_and(|manifest| manifest.chooses_explanations);
    let evidence = Evidence::read(context.layout, place, choices, only)?;
    let explainers = explainers(context, lines, &evidence);
    let (features, skipped) = features(context, &explainers, lines, &evidence);
    let room = page_bytes(features.len());
    let mut page = Page {
        context,
        place,
        explainers: &explainers,
        evidence: &evidence,
        tokens: Tokens::new(context.tokens),
        reasons: Numbering::default(),
        dictionaries: Numbering::default(),
        cells: HashMap::new(),
    };
    let described = describe_within(&mut page, &features, room * FIXED_PERCENT / 100);
    let n_cut = described.iter().flat_map(|feature| &feature.lines).filter(|line| line.cut).count();
    let skipped = skipped.into_iter().map(|(reason, features)| (page.reasons.number(reason), features));
    let skipped = skipped.collect();
    let scorer_number = |scorer: &&str| context.scorers.iter().position(|other| other == scorer);
    let mut data = Data {
        hook: visible(&place.hook),
        dictionary: visible(&place.dictionary),
        method: visible(lines.first().map_or(&place.dictionary, |line| &line.method)),
        control: place.control.as_deref().map(visible),
        scorers: context.scorers.iter().map(|scorer| visible(scorer)).collect(),
        chance_is_half: context.chance_is_half.iter().filter_map(scorer_number).collect(),
        explainers: explainers.iter().map(|explainer| explainer_data(context, explainer)).collect(),
        reasons: page.reasons.items.iter().map(|reason| shortened(reason, NOTE_CHARACTERS).0).collect(),
        dictionaries: page.dictionaries.items.iter().map(|name| linked(context, place, name)).collect(),
        skipped,
        bins: BINS,
        tokens: Vec::new(),
        fragments: Vec::new(),
        features: described,
    };
    let room = room.saturating_sub(json_bytes(&data));
    let shown = add_fragments(&mut data, &features, &explainers, &mut page.tokens, room);
    data.tokens = page.tokens.shown;
    let json = serde_json::to_string(&data).map_err(ReportError::Unwritable)?;
    let notes = notes(context, &evidence, &features, shown, n_cut);
    Ok(Built { n_features: features.len(), json: inert_json(&json), notes })
}

/// Describes the features with explanations as long as `room` bytes allow.
fn describe_within<'a>(page: &mut Page<'a>, features: &[Feature<'a>], room: usize) -> Vec<FeatureData> {
    let mut described = Vec::new();
    for most in EXPLANATION_CHARACTERS {
        described = features.iter().map(|feature| page.describe(feature, most)).collect();
        if json_bytes(&described) <= room {
            break;
        }
    }
    described
}

/// A dictionary's name, and the file of its page if there is one.
fn linked(context: &Context<'_>, place: &Place, dictionary: &str) -> (String, Option<String>) {
    let place = Place { dictionary: dictionary.to_string(), ..place.clone() };
    (visible(dictionary), context.names.file(&place).map(str::to_string))
}

/// Explainers with their simulators: first those of the lines, then those of simulations only.
fn explainers<'a>(
    context: &Context<'_>,
    lines: &[&'a FeatureLine],
    evidence: &'a Evidence,
) -> Vec<Explainer<'a>> {
    let of_lines = distinct(lines.iter().map(|line| line.pairing()));
    let simulations = evidence.simulations.all();
    let mut of_simulations: Vec<(&str, &str)> =
        simulations.map(|line| (line.explainer.as_str(), line.simulator.as_str())).collect();
    of_simulations.sort_unstable();
    let of_simulations = of_simulations.into_iter().map(|(one, two)| Pairing::without_protocol(one, two));
    let prompts = context.manifest.map_or(&[][..], |manifest| &manifest.prompts);
    let explainer = |pairing: Pairing<'a>| {
        let has_prompt = prompts.iter().any(|(name, _)| name == pairing.simulator);
        Explainer { pairing, ten_point: simulates_levels(pairing.simulator, has_prompt) }
    };
    distinct(of_lines.into_iter().chain(of_simulations)).into_iter().map(explainer).collect()
}

/// A reason, and the features that were left out for it.
type Skipped<'a> = Vec<(&'a str, Vec<usize>)>;

/// The features to show, by number, and those that were skipped, by reason.
fn features<'a>(
    context: &Context<'_>,
    explainers: &[Explainer<'_>],
    lines: &[&'a FeatureLine],
    evidence: &'a Evidence,
) -> (Vec<Feature<'a>>, Skipped<'a>) {
    let mut by_feature: BTreeMap<usize, Vec<&FeatureLine>> = BTreeMap::new();
    for line in lines {
        by_feature.entry(line.feature).or_default().push(line);
    }
    for feature in evidence.records.features() {
        by_feature.entry(feature).or_default();
    }
    let (mut shown, mut skipped) = (Vec::new(), Vec::new());
    for (feature, lines) in by_feature {
        let record = evidence.records.of(feature).last();
        if record.is_none() && lines.iter().all(|line| line.status == ScoreStatus::Skipped) {
            let reason = lines.iter().find_map(|line| line.reason.as_deref());
            skipped.push((reason.unwrap_or_default(), feature));
            continue;
        }
        let simulations = evidence.simulations.of(feature);
        let choices = evidence.explained.of(feature).iter().filter_map(|line| line.choice.as_ref());
        let uses = Uses {
            protocol: context.manifest.and_then(|manifest| manifest.splits.as_ref()),
            simulated: simulations.iter().map(|line| line.fragment).collect(),
            calibrated: choices.flat_map(|choice| &choice.calibrated_on).copied().collect(),
        };
        let candidates = record.map(|record| candidates(record, &uses)).unwrap_or_default();
        let max = record.and_then(|record| record.max_activation);
        let bytes = quantisation(explainers, max, simulations, &candidates);
        shown.push(Feature { feature, lines, record, simulations, bytes, candidates });
    }
    (shown, grouped(skipped))
}

/// The quantisation that covers a feature's activations and, where they have a sign, their simulations.
fn quantisation(
    explainers: &[Explainer<'_>],
    max_activation: Option<f64>,
    simulations: &[Simulation],
    candidates: &[Candidate<'_>],
) -> Bytes {
    let truths = candidates.iter().flat_map(|candidate| &candidate.fragment.activations);
    let (mut low, mut high) = truths
        .map(|&value| f64::from(value))
        .fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    high = high.max(max_activation.unwrap_or(0.0));
    // Without negative activations, negative predictions are drawn as 0.
    if low < 0.0 {
        for explainer in explainers {
            let unit = explainer.unit(max_activation);
            let own = simulations.iter().filter(|line| line.simulator == explainer.pairing.simulator);
            low = own
                .flat_map(|line| line.predicted.iter().flatten())
                .fold(low, |low, &value| low.min(f64::from(value) * unit));
        }
        low = low.max(-high.max(-low));
    }
    Bytes::over(low, high)
}

/// What a reader must know about missing parts of the page.
fn notes(
    context: &Context<'_>,
    evidence: &Evidence,
    features: &[Feature<'_>],
    shown: usize,
    n_cut: usize,
) -> Vec<String> {
    let mut notes = Vec::new();
    let total: usize = features.iter().map(|feature| feature.candidates.len()).sum();
    if shown < total {
        notes.push(format!(
            "{shown} of {total} fragments of {} features are on this page, the most useful ones of each feature \
             first. The folder records has all of them.",
            features.len()
        ));
    }
    if n_cut > 0 {
        notes.push(format!("{n_cut} explanations are shortened here; scores.jsonl has all of each."));
    }
    let missing = [
        (evidence.records.is_missing(), "fragments (no file in records)"),
        (evidence.simulations.is_missing(), "simulated activations (no file in simulations)"),
        (evidence.profiles.is_missing(), "histogram, logits and ablation (no file in profiles)"),
        (evidence.neighbours.is_missing(), "nearest features (no file in neighbours)"),
        (context.tokens.is_none(), "texts of tokens, shown as numbers (no records/tokens.json)"),
        (
            context.manifest.is_none(),
            "what each fragment was used for and digests of prompts (no manifest.json)",
        ),
    ];
    let missing: Vec<&str> = missing.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
    if !missing.is_empty() {
        notes.push(format!("Not in this run folder, so left out: {}.", missing.join("; ")));
    }
    notes
}
