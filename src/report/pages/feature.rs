//! What the page of one dictionary holds: every explained feature with its scores, and as many fragments as the
//! page's bytes allow. Texts are made visible here; the script only places them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::evidence::{Evidence, Fragment, Histogram, Judged, Neighbours, Profile, Record, Simulation};
use super::names::{Names, Place};
use super::packed::{Bytes, base64, varints};
use crate::report::ReportError;
use crate::report::escape::{self, inert_json, shortened, visible};
use crate::report::manifest::ManifestView;
use crate::report::schema::ScoreStatus;
use crate::report::scores::FeatureLine;
use crate::report::view::Pairing;

/// Bytes of a page of so many features or fewer; one of more features may grow with their number.
const PAGE_BYTES: usize = 1_000_000;
const PAGE_FEATURES: usize = 150;

/// Share of a page that may go to everything but fragments before explanations are shortened, in percent.
const FIXED_PERCENT: usize = 65;

/// Longest explanations, in characters, from what is tried first.
const EXPLANATION_CHARACTERS: [usize; 4] = [1_200, 500, 200, 80];

/// Bins of each axis of a scatter.
const BINS: usize = 20;

/// Simulators that predict activations in the feature's own unit; language models speak of 0–10.
const OFFLINE_SIMULATORS: [&str; 5] =
    ["neuron_to_graph", "neuron_to_graph_backoff", "token_lookup", "token_lookup_fit", "oracle"];
const STRONGEST_LEVEL: f64 = 10.0;

/// A control of which each line carries another feature's explanation.
const SHUFFLED: &str = "shuffled";

/// The lists that a fragment of a feature can be in, as the page numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Top,
    Random,
    Quantile,
    NonFiring,
}

/// What a fragment was used for in one list, as the page numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Neither,
    Explained,
    Scored,
    /// Candidates for an explanation were compared on it.
    Calibrated,
    /// Not scored on; whether it explained is not known without the protocol.
    NotScored,
}

/// What all pages of one run folder have in common.
pub struct Context<'a> {
    /// The run folder.
    pub run_folder: &'a Path,
    /// File of every page.
    pub names: &'a Names,
    /// Text of every token, by id.
    pub tokens: Option<&'a [String]>,
    /// What was asked.
    pub manifest: Option<&'a ManifestView>,
    /// In the order of the tables.
    pub scorers: &'a [&'a str],
    /// Those of them of which chance is 0.5.
    pub chance_is_half: &'a [&'a str],
    /// The features of each dictionary that have a place on its page.
    pub walked: &'a HashMap<Place, HashSet<usize>>,
}

/// The data of one page.
#[derive(Debug)]
pub struct Built {
    /// JSON that may stand in a `script` element.
    pub json: String,
    /// What the reader must know of what is missing.
    pub notes: Vec<String>,
}

#[derive(Serialize)]
struct Data {
    hook: String,
    dictionary: String,
    control: Option<String>,
    scorers: Vec<String>,
    chance_is_half: Vec<usize>,
    explainers: Vec<ExplainerData>,
    reasons: Vec<String>,
    /// Dictionaries that neighbours are in: name, and file of the page if there is one.
    dictionaries: Vec<(String, Option<String>)>,
    /// Walked and left out: a reason and its features.
    skipped: Vec<(usize, Vec<usize>)>,
    bins: usize,
    tokens: Vec<String>,
    /// Number, document, packed tokens.
    fragments: Vec<(usize, Option<usize>, String)>,
    features: Vec<FeatureData>,
}

#[derive(Serialize)]
struct ExplainerData {
    name: String,
    simulator: String,
    label: String,
    /// Whether it simulates on the scale 0–10, of which 10 is drawn as the feature's largest activation.
    ten_point: bool,
    /// Whose question, and its digest.
    prompts: Vec<(String, String)>,
}

#[derive(Serialize)]
struct FeatureData {
    feature: usize,
    density: Option<f64>,
    max_activation: Option<f64>,
    #[serde(flatten)]
    record: Option<RecordData>,
    lines: Vec<LineData>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    judged: Vec<JudgedData>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<ProfileData>,
    /// Of the same dictionary, then of others.
    #[serde(skip_serializing_if = "Option::is_none")]
    neighbours: Option<[Vec<NeighbourData>; 2]>,
    shown: Vec<ShownFragment>,
}

/// Dictionary, feature, cosine, and 1 where it is on a page.
type NeighbourData = (usize, usize, f64, u8);

#[derive(Serialize)]
struct RecordData {
    n_tokens: usize,
    firing_tokens: usize,
    firing_fragments: Option<usize>,
    firing_documents: Option<usize>,
    first_scored: usize,
    /// The byte that stands for 0, and the worth of a step.
    scale: (u8, f64),
    /// Fragments in the run folder.
    n_fragments: usize,
    n_quantiles: usize,
    joint: Vec<Joint>,
}

/// True against simulated activations over the scored tokens of the top and random lists.
#[derive(Serialize)]
struct Joint {
    explainer: usize,
    n_fragments: usize,
    n_tokens: usize,
    /// Predictions beyond the scale, counted in its outermost bin.
    n_beyond: usize,
    /// Packed pairs of distance from the cell before and count; a cell is `true bin · bins + simulated bin`.
    cells: String,
}

#[derive(Serialize)]
struct LineData {
    explainer: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    control: Option<String>,
    status: ScoreStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
    scores: Vec<Option<f64>>,
    /// Scorer, and why its score is missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<(usize, usize)>,
}

/// What a language model said of a feature's fragments.
#[derive(Serialize)]
struct JudgedData {
    explainer: usize,
    judging: String,
    reason: Option<usize>,
    /// Of the firing fragments and of the others: how many, and how many were said to fire.
    said: [(usize, usize); 2],
    /// Of the firing fragments and of the others: mean gain in nats.
    gain: Option<[Option<f64>; 2]>,
}

#[derive(Serialize)]
struct ProfileData {
    n_tokens: Option<usize>,
    kurtosis: Option<f64>,
    histogram: Option<HistogramData>,
    raised: Vec<(usize, f64)>,
    lowered: Vec<(usize, f64)>,
    logits_note: Option<String>,
    /// Nats, tokens, fragments.
    ablation: Option<(f64, Option<usize>, Option<usize>)>,
}

#[derive(Serialize)]
struct HistogramData {
    low: f64,
    high: f64,
    bins: usize,
    n_firing: Option<usize>,
    tokens: Vec<usize>,
    /// Packed counts: of each token, then of the rest.
    counts: String,
}

/// A fragment of a feature: which one, its lists (list, place, role), packed activations, packed simulations by
/// explainer.
#[derive(Serialize)]
struct ShownFragment(usize, Vec<(u8, usize, u8)>, String, Vec<Option<String>>);

/// Page-local numbers of tokens, given as they are met, so that the commonest are small.
struct Tokens<'a> {
    texts: Option<&'a [String]>,
    numbers: HashMap<u32, usize>,
    shown: Vec<String>,
    bytes: usize,
}

impl Tokens<'_> {
    fn number(&mut self, id: u32) -> usize {
        if let Some(&number) = self.numbers.get(&id) {
            return number;
        }
        let shown = match self.texts.and_then(|texts| texts.get(id as usize)) {
            Some(text) => escape::token(text),
            None => format!("<{id}>"),
        };
        self.bytes += json_bytes(&shown) + 1;
        self.shown.push(shown);
        self.numbers.insert(id, self.shown.len() - 1);
        self.shown.len() - 1
    }

    /// Takes back what was numbered since there were `n`: the fragment that needed it has no room.
    fn keep(&mut self, n: usize) {
        self.shown.truncate(n);
        self.numbers.retain(|_, number| *number < n);
    }
}

/// Numbers of repeated texts.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, usize>,
    shown: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: &str) -> usize {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        self.shown.push(shortened(text, 300).0);
        self.numbers.insert(text.to_string(), self.shown.len() - 1);
        self.shown.len() - 1
    }
}

/// Bytes of a value as it will stand on the page.
fn json_bytes<T: Serialize + ?Sized>(value: &T) -> usize {
    serde_json::to_string(value).map_or(0, |json| inert_json(&json).len())
}

/// Four significant digits; none for what is no number.
fn rounded(value: f64) -> Option<f64> {
    if !value.is_finite() {
        return None;
    }
    format!("{value:.3e}").parse().ok()
}

/// A fragment of a feature before it is known whether the page has room for it.
struct Candidate<'a> {
    fragment: &'a Fragment,
    members: Vec<(u8, usize, u8)>,
}

/// A feature with what is known of it.
struct Feature<'a> {
    feature: usize,
    lines: Vec<&'a FeatureLine>,
    record: Option<&'a Record>,
    simulations: &'a [Simulation],
    bytes: Bytes,
    /// By falling worth for the reader.
    candidates: Vec<Candidate<'a>>,
}

/// Makes the data of a page that may have `page_bytes` bytes for them.
pub fn build(
    context: &Context<'_>,
    place: &Place,
    lines: &[&FeatureLine],
    page_bytes: impl Fn(usize) -> usize,
) -> Result<Built, ReportError> {
    let choices = context.manifest.is_some_and(|manifest| manifest.chooses_explanations);
    let evidence = Evidence::read(context.run_folder, place, choices)?;
    let explainers = explainers(lines, &evidence);
    let (features, skipped) = features(context, &explainers, lines, &evidence);
    let n_features = features.len();
    let room = page_bytes(n_features);

    let mut tokens = Tokens { texts: context.tokens, numbers: HashMap::new(), shown: Vec::new(), bytes: 0 };
    let mut reasons = Texts::default();
    let mut dictionaries = Texts::default();
    let mut fixed = Vec::new();
    let mut cut = 0;
    for most in EXPLANATION_CHARACTERS {
        let describe = |feature: &Feature<'_>,
                        tokens: &mut Tokens<'_>,
                        reasons: &mut Texts,
                        dictionaries: &mut Texts| {
            describe(context, place, &explainers, &evidence, feature, most, tokens, reasons, dictionaries)
        };
        fixed = features
            .iter()
            .map(|feature| describe(feature, &mut tokens, &mut reasons, &mut dictionaries))
            .collect();
        cut = fixed.iter().flat_map(|feature| &feature.lines).filter(|line| line.cut).count();
        if json_bytes(&fixed) * 100 <= room * FIXED_PERCENT {
            break;
        }
    }
    let skipped = skipped.into_iter().map(|(reason, features)| (reasons.number(&reason), features)).collect();
    let page = |name: &String| {
        let place = Place { dictionary: name.clone(), ..place.clone() };
        (visible(name), context.names.file(&place).map(str::to_string))
    };
    let mut named: Vec<(&String, &usize)> = dictionaries.numbers.iter().collect();
    named.sort_by_key(|(_, number)| **number);
    let scorer_number = |scorer: &&str| context.scorers.iter().position(|other| other == scorer);
    let mut data = Data {
        hook: visible(&place.hook),
        dictionary: visible(&place.dictionary),
        control: place.control.as_deref().map(visible),
        scorers: context.scorers.iter().map(|scorer| visible(scorer)).collect(),
        chance_is_half: context.chance_is_half.iter().filter_map(scorer_number).collect(),
        explainers: explainers.iter().map(|pairing| explainer_data(context, *pairing)).collect(),
        reasons: reasons.shown,
        dictionaries: named.into_iter().map(|(name, _)| page(name)).collect(),
        skipped,
        bins: BINS,
        tokens: Vec::new(),
        fragments: Vec::new(),
        features: fixed,
    };
    let spent = json_bytes(&data);
    let total: usize = features.iter().map(|feature| feature.candidates.len()).sum();
    let shown = add_fragments(&mut data, &features, &explainers, &mut tokens, room.saturating_sub(spent));
    data.tokens = tokens.shown;
    let json = serde_json::to_string(&data).map_err(ReportError::Unwritable)?;
    let notes = notes(context, &evidence, n_features, (shown, total), cut);
    Ok(Built { json: inert_json(&json), notes })
}

/// Bytes that a page of so many features may have.
pub fn page_bytes(n_features: usize) -> usize {
    PAGE_BYTES * n_features.max(PAGE_FEATURES) / PAGE_FEATURES
}

/// Explainers with their simulators in the order of the lines, those that only simulations name last.
fn explainers<'a>(lines: &[&'a FeatureLine], evidence: &'a Evidence) -> Vec<Pairing<'a>> {
    let of_lines = lines.iter().map(|line| (line.explainer.as_str(), line.simulator.as_str()));
    let simulations = evidence.simulations.iter().flat_map(HashMap::values).flatten();
    let mut of_simulations: Vec<(&str, &str)> =
        simulations.map(|line| (line.explainer.as_str(), line.simulator.as_str())).collect();
    of_simulations.sort_unstable();
    of_simulations.dedup();
    let mut found: Vec<Pairing<'_>> = Vec::new();
    for (explainer, simulator) in of_lines.chain(of_simulations) {
        let pairing = Pairing { protocol: "", explainer, simulator };
        if !found.contains(&pairing) {
            found.push(pairing);
        }
    }
    found
}

fn explainer_data(context: &Context<'_>, pairing: Pairing<'_>) -> ExplainerData {
    let digest = |name: &str| {
        let prompts = context.manifest.map_or(&[][..], |manifest| &manifest.prompts);
        prompts
            .iter()
            .find(|(whose, _)| whose == name)
            .map(|(whose, digest)| (visible(whose), visible(digest)))
    };
    let mut prompts: Vec<_> =
        [digest(pairing.explainer), digest(pairing.simulator)].into_iter().flatten().collect();
    prompts.dedup();
    ExplainerData {
        name: visible(pairing.explainer),
        simulator: visible(pairing.simulator),
        label: visible(&pairing.label()),
        ten_point: is_ten_point(context, pairing.simulator),
        prompts,
    }
}

fn is_ten_point(context: &Context<'_>, simulator: &str) -> bool {
    let asked =
        context.manifest.is_some_and(|manifest| manifest.prompts.iter().any(|(name, _)| name == simulator));
    asked || !OFFLINE_SIMULATORS.contains(&simulator)
}

/// A reason and the features that were left out for it.
type Skipped = Vec<(String, Vec<usize>)>;

/// Features that were explained, by number, and those that were walked and left out, by reason.
fn features<'a>(
    context: &Context<'_>,
    explainers: &[Pairing<'_>],
    lines: &[&'a FeatureLine],
    evidence: &'a Evidence,
) -> (Vec<Feature<'a>>, Skipped) {
    let mut by_feature: BTreeMap<usize, Vec<&FeatureLine>> = BTreeMap::new();
    for line in lines {
        by_feature.entry(line.feature).or_default().push(line);
    }
    let records: HashMap<usize, &Record> =
        evidence.records.iter().flatten().map(|record| (record.feature, record)).collect();
    for feature in records.keys() {
        by_feature.entry(*feature).or_default();
    }
    let mut skipped: Vec<(String, Vec<usize>)> = Vec::new();
    let mut kept = Vec::new();
    for (feature, lines) in by_feature {
        let record = records.get(&feature).copied();
        let left_out = record.is_none() && lines.iter().all(|line| line.status == ScoreStatus::Skipped);
        if left_out {
            let reason = lines.iter().find_map(|line| line.reason.clone()).unwrap_or_default();
            match skipped.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, features)) => features.push(feature),
                None => skipped.push((reason, vec![feature])),
            }
            continue;
        }
        let simulations = evidence.simulations.as_ref().and_then(|all| all.get(&feature));
        let simulations = simulations.map_or(&[][..], Vec::as_slice);
        let candidates = record.map_or_else(Vec::new, |record| {
            let calibrated = evidence.calibrated.get(&feature).map_or(&[][..], Vec::as_slice);
            candidates(context, record, simulations, calibrated)
        });
        let bytes = scale(context, explainers, record, simulations, &candidates);
        kept.push(Feature { feature, lines, record, simulations, bytes, candidates });
    }
    (kept, skipped)
}

/// What a prediction of 1 is worth in the feature's own unit.
fn unit(context: &Context<'_>, simulator: &str, record: Option<&Record>) -> f64 {
    match (is_ten_point(context, simulator), record.and_then(|record| record.max_activation)) {
        (true, Some(max)) => max / STRONGEST_LEVEL,
        _ => 1.0,
    }
}

/// The scale of a feature: its activations and their simulations, whatever has a sign.
fn scale(
    context: &Context<'_>,
    explainers: &[Pairing<'_>],
    record: Option<&Record>,
    simulations: &[Simulation],
    candidates: &[Candidate<'_>],
) -> Bytes {
    let truths = candidates
        .iter()
        .flat_map(|candidate| &candidate.fragment.activations)
        .map(|&value| f64::from(value));
    let (mut low, mut high) =
        truths.fold((0.0f64, 0.0f64), |(low, high), value| (low.min(value), high.max(value)));
    high = high.max(record.and_then(|record| record.max_activation).unwrap_or(0.0));
    // Where truths have no sign, a prediction below 0 is held at 0: there is nothing it could be compared with.
    if low < 0.0 {
        for pairing in explainers {
            let unit = unit(context, pairing.simulator, record);
            let own = simulations.iter().filter(|line| line.simulator == pairing.simulator);
            low = own
                .flat_map(|line| line.predicted.iter().flatten())
                .fold(low, |low, &value| low.min(f64::from(value) * unit));
        }
        low = low.max(-high.max(-low));
    }
    Bytes::over(low, high)
}

/// Fragments by falling worth: of four one or two of the top, one random and one of a rank group, and now and then
/// one that does not fire. What is scored and what is explained on alternate, as the lists do.
fn candidates<'a>(
    context: &Context<'_>,
    record: &'a Record,
    simulations: &[Simulation],
    calibrated: &[usize],
) -> Vec<Candidate<'a>> {
    let simulated: HashSet<usize> = simulations.iter().map(|line| line.fragment).collect();
    let protocol = context.manifest.and_then(|manifest| manifest.splits.as_ref());
    let role = |list: List, place: usize, fragment: usize| -> u8 {
        if calibrated.contains(&fragment) {
            return Role::Calibrated as u8;
        }
        let (explain, score) = match (protocol, list) {
            (Some(splits), List::Top) => (splits.explain.top.has(place), splits.score.top.has(place)),
            (Some(splits), List::Random) => {
                (splits.explain.random.has(place), splits.score.random.has(place))
            }
            (Some(splits), List::NonFiring) => {
                (splits.explain.non_firing.has(place), splits.score.non_firing.has(place))
            }
            (None, _) if simulated.contains(&fragment) => (false, true),
            (None, _) => return Role::NotScored as u8,
            (_, List::Quantile) => (false, false),
        };
        (if score {
            Role::Scored
        } else if explain {
            Role::Explained
        } else {
            Role::Neither
        }) as u8
    };
    let mut by_number: HashMap<usize, Candidate<'a>> = HashMap::new();
    let mut order: [Vec<usize>; 4] = Default::default();
    for (list, fragments) in
        [(List::Top, &record.top), (List::Random, &record.random), (List::NonFiring, &record.non_firing)]
    {
        for (place, fragment) in fragments.iter().enumerate() {
            let member = (list as u8, place, role(list, place, fragment.fragment));
            by_number
                .entry(fragment.fragment)
                .or_insert_with(|| Candidate { fragment, members: Vec::new() })
                .members
                .push(member);
            order[list as usize].push(fragment.fragment);
        }
    }
    for fragment in &record.quantile_fragments {
        by_number.entry(fragment.fragment).or_insert_with(|| Candidate { fragment, members: Vec::new() });
    }
    let most = record.quantiles.iter().map(Vec::len).max().unwrap_or(0);
    for nth in 0..most {
        for (group, picks) in record.quantiles.iter().enumerate() {
            let Some(pick) = picks.get(nth) else { continue };
            if let Some(candidate) = by_number.get_mut(&pick.fragment) {
                candidate.members.push((List::Quantile as u8, group, Role::Neither as u8));
                order[List::Quantile as usize].push(pick.fragment);
            }
        }
    }
    let mut queues = order.map(Vec::into_iter);
    let cycle = [
        List::Top,
        List::Random,
        List::Top,
        List::Quantile,
        List::Random,
        List::Top,
        List::Quantile,
        List::NonFiring,
    ];
    let mut ranked = Vec::with_capacity(by_number.len());
    while !by_number.is_empty() {
        let before = queues.iter().map(ExactSizeIterator::len).sum::<usize>();
        for list in cycle {
            let queue = &mut queues[list as usize];
            if let Some(candidate) = queue.by_ref().find_map(|number| by_number.remove(&number)) {
                ranked.push(candidate);
            }
        }
        if queues.iter().map(ExactSizeIterator::len).sum::<usize>() == before {
            break;
        }
    }
    ranked
}

#[expect(
    clippy::too_many_arguments,
    reason = "everything that a page shares between its features meets here"
)]
fn describe(
    context: &Context<'_>,
    place: &Place,
    explainers: &[Pairing<'_>],
    evidence: &Evidence,
    feature: &Feature<'_>,
    most: usize,
    tokens: &mut Tokens<'_>,
    reasons: &mut Texts,
    dictionaries: &mut Texts,
) -> FeatureData {
    let number = |explainer: &str, simulator: Option<&str>| {
        explainers.iter().position(|other| {
            other.explainer == explainer && simulator.is_none_or(|name| name == other.simulator)
        })
    };
    let lines = feature
        .lines
        .iter()
        .filter_map(|line| {
            let explainer = number(&line.explainer, Some(&line.simulator))?;
            Some(line_data(context, place, line, explainer, most, reasons))
        })
        .collect();
    let judged = evidence.judged.get(&feature.feature).map_or(&[][..], Vec::as_slice);
    let judged = judged
        .iter()
        .filter_map(|judged| Some(judged_data(judged, number(&judged.explainer, None)?, reasons)))
        .collect();
    let known = |value: fn(&FeatureLine) -> Option<f64>| feature.lines.iter().find_map(|line| value(line));
    let density = feature.record.and_then(|record| record.density).or_else(|| known(|line| line.density));
    let max =
        feature.record.and_then(|record| record.max_activation).or_else(|| known(|line| line.max_activation));
    let record = feature.record.map(|record| RecordData {
        n_tokens: record.n_tokens,
        firing_tokens: record.firing_tokens,
        firing_fragments: record.firing_fragments,
        firing_documents: record.firing_documents,
        first_scored: record.first_scored,
        scale: (feature.bytes.zero, rounded_step(feature.bytes.step)),
        n_fragments: feature.candidates.len(),
        n_quantiles: record.quantiles.len(),
        joint: joints(context, explainers, feature, record),
    });
    let profile = evidence.profiles.as_ref().and_then(|all| all.get(&feature.feature));
    let neighbours = evidence.neighbours.as_ref().and_then(|all| all.get(&feature.feature));
    FeatureData {
        feature: feature.feature,
        density: density.and_then(rounded),
        max_activation: max.and_then(rounded),
        record,
        lines,
        judged,
        profile: profile.map(|profile| profile_data(profile, tokens)),
        neighbours: neighbours.map(|found| neighbour_data(context, place, found, dictionaries)),
        shown: Vec::new(),
    }
}

/// A step must come back as it was, since 255 of them are added up.
fn rounded_step(step: f64) -> f64 {
    format!("{step:.6e}").parse().unwrap_or(step)
}

fn line_data(
    context: &Context<'_>,
    place: &Place,
    line: &FeatureLine,
    explainer: usize,
    most: usize,
    reasons: &mut Texts,
) -> LineData {
    let control = line.control.as_ref().filter(|control| place.control.as_ref() != Some(control));
    let own = line.explanation.as_ref().filter(|_| control.is_none_or(|control| control != SHUFFLED));
    let text = own.map(|text| shortened(text, most));
    let mut why = Vec::new();
    let scores = context
        .scorers
        .iter()
        .enumerate()
        .map(|(nth, scorer)| {
            if let Some(reason) = line.score_reasons.get(*scorer) {
                why.push((nth, reasons.number(reason)));
            }
            line.scores.get(*scorer).copied().flatten().and_then(rounded)
        })
        .collect();
    LineData {
        explainer,
        control: control.map(|control| visible(control)),
        status: line.status,
        reason: line.reason.as_ref().map(|reason| reasons.number(reason)),
        cut: text.as_ref().is_some_and(|(_, cut)| *cut),
        text: text.map(|(text, _)| text),
        scores,
        why,
    }
}

fn judged_data(judged: &Judged, explainer: usize, reasons: &mut Texts) -> JudgedData {
    let of = |fires: bool| judged.verdicts.iter().filter(move |verdict| verdict.fires == fires);
    let said =
        |fires: bool| (of(fires).count(), of(fires).filter(|verdict| verdict.says == Some(true)).count());
    let gain = |fires: bool| {
        let gains: Vec<f64> = of(fires).filter_map(|verdict| verdict.gain_nats).collect();
        if gains.is_empty() { None } else { rounded(gains.iter().sum::<f64>() / gains.len() as f64) }
    };
    let gains = judged.verdicts.iter().any(|verdict| verdict.gain_nats.is_some());
    JudgedData {
        explainer,
        judging: visible(&judged.judging),
        reason: judged.reason.as_ref().map(|reason| reasons.number(reason)),
        said: [said(true), said(false)],
        gain: gains.then(|| [gain(true), gain(false)]),
    }
}

fn profile_data(profile: &Profile, tokens: &mut Tokens<'_>) -> ProfileData {
    let mut effects = |list: &[super::evidence::Effect]| -> Vec<(usize, f64)> {
        list.iter().filter_map(|one| Some((tokens.number(one.token), rounded(one.effect)?))).collect()
    };
    let (raised, lowered) = match &profile.logits {
        Some(logits) => (effects(&logits.raised), effects(&logits.lowered)),
        None => (Vec::new(), Vec::new()),
    };
    ProfileData {
        n_tokens: profile.n_tokens,
        kurtosis: profile.kurtosis.and_then(rounded),
        histogram: profile.histogram.as_ref().and_then(|histogram| histogram_data(histogram, tokens)),
        raised,
        lowered,
        logits_note: profile.logits_note.as_deref().map(|note| shortened(note, 300).0),
        ablation: profile
            .ablation
            .as_ref()
            .and_then(|found| Some((rounded(found.loss_change_nats)?, found.n_tokens, found.n_fragments))),
    }
}

fn histogram_data(histogram: &Histogram, tokens: &mut Tokens<'_>) -> Option<HistogramData> {
    let bins = histogram.rest.len();
    let whole = histogram.tokens.iter().all(|one| one.counts.len() == bins);
    if bins == 0 || !whole || !histogram.low.is_finite() || !histogram.high.is_finite() {
        return None;
    }
    let counts = histogram.tokens.iter().map(|one| &one.counts).chain([&histogram.rest]);
    let counts = counts.flatten().map(|&count| usize::try_from(count).unwrap_or(usize::MAX));
    Some(HistogramData {
        low: rounded(histogram.low)?,
        high: rounded(histogram.high)?,
        bins,
        n_firing: histogram.n_firing,
        counts: base64(&varints(counts)),
        tokens: histogram.tokens.iter().map(|one| tokens.number(one.token)).collect(),
    })
}

fn neighbour_data(
    context: &Context<'_>,
    place: &Place,
    found: &Neighbours,
    dictionaries: &mut Texts,
) -> [Vec<NeighbourData>; 2] {
    let mut data = |list: &[super::evidence::Neighbour]| {
        list.iter()
            .filter_map(|one| {
                let dictionary = one.dictionary.as_deref().unwrap_or(&place.dictionary);
                let there = Place { dictionary: dictionary.to_string(), ..place.clone() };
                let walked =
                    context.walked.get(&there).is_some_and(|features| features.contains(&one.feature));
                Some((dictionaries.number(dictionary), one.feature, rounded(one.cosine)?, u8::from(walked)))
            })
            .collect()
    };
    [data(&found.same), data(&found.others)]
}

/// Of each explainer the scatter of its scored tokens, where it simulated any.
fn joints(
    context: &Context<'_>,
    explainers: &[Pairing<'_>],
    feature: &Feature<'_>,
    record: &Record,
) -> Vec<Joint> {
    let truths: HashMap<usize, &Fragment> = feature
        .candidates
        .iter()
        .map(|candidate| (candidate.fragment.fragment, candidate.fragment))
        .collect();
    let mut found = Vec::new();
    for (explainer, pairing) in explainers.iter().enumerate() {
        let unit = unit(context, pairing.simulator, Some(record));
        let own = feature
            .simulations
            .iter()
            .filter(|line| line.explainer == pairing.explainer && line.simulator == pairing.simulator);
        let mut counts = vec![0usize; BINS * BINS];
        let (mut n_fragments, mut n_tokens, mut n_beyond) = (0, 0, 0);
        for line in own {
            // A fragment that both lists repeat is scored twice.
            let times = line.strata.iter().filter(|name| ["top", "random"].contains(&name.as_str())).count();
            let Some(truth) = truths.get(&line.fragment).filter(|_| times > 0) else { continue };
            n_fragments += times;
            let pairs = truth.activations.iter().zip(&line.predicted).skip(record.first_scored);
            let told = pairs.filter_map(|(&truth, &predicted)| Some((truth, predicted?)));
            for (truth, predicted) in told {
                let predicted = f64::from(predicted) * unit;
                let bin = |value: f64| usize::from(feature.bytes.of(value)) * BINS / 256;
                counts[bin(f64::from(truth)) * BINS + bin(predicted)] += times;
                n_tokens += times;
                n_beyond += usize::from(beyond(feature.bytes, predicted)) * times;
            }
        }
        if n_tokens == 0 {
            continue;
        }
        let mut last = 0;
        let cells = counts.iter().enumerate().filter(|(_, count)| **count > 0).flat_map(|(cell, &count)| {
            let gap = cell - last;
            last = cell;
            [gap, count]
        });
        let cells = base64(&varints(cells.collect::<Vec<_>>()));
        found.push(Joint { explainer, n_fragments, n_tokens, n_beyond, cells });
    }
    found
}

/// Whether a prediction lies outside the scale by more than rounding.
fn beyond(bytes: Bytes, value: f64) -> bool {
    let place = f64::from(bytes.zero) + value / bytes.step;
    !(-0.5..=255.5).contains(&place)
}

/// Adds fragments in turns over the features, each feature's worthiest first, until the bytes are spent. How many
/// were added.
fn add_fragments(
    data: &mut Data,
    features: &[Feature<'_>],
    explainers: &[Pairing<'_>],
    tokens: &mut Tokens<'_>,
    room: usize,
) -> usize {
    let ten_point: Vec<bool> = data.explainers.iter().map(|explainer| explainer.ten_point).collect();
    let deepest = features.iter().map(|feature| feature.candidates.len()).max().unwrap_or(0);
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    // The tokens that the profiles named are paid for first.
    let mut spent = tokens.bytes;
    let mut shown = 0;
    for nth in 0..deepest {
        for (place, feature) in features.iter().enumerate() {
            let Some(candidate) = feature.candidates.get(nth) else { continue };
            let (before, known) = (tokens.bytes, tokens.shown.len());
            let packed = (!numbers.contains_key(&candidate.fragment.fragment)).then(|| {
                let numbers = candidate.fragment.tokens.iter().map(|&id| tokens.number(id));
                let packed = base64(&varints(numbers.collect::<Vec<_>>()));
                (candidate.fragment.fragment, candidate.fragment.document, packed)
            });
            let number = numbers.get(&candidate.fragment.fragment).copied().unwrap_or(data.fragments.len());
            let one = shown_fragment(number, candidate, feature, explainers, &ten_point);
            let cost = json_bytes(&one) + 1 + packed.as_ref().map_or(0, |packed| json_bytes(packed) + 1);
            spent += cost + (tokens.bytes - before);
            if spent > room {
                tokens.keep(known);
                return shown;
            }
            if let Some(packed) = packed {
                numbers.insert(packed.0, data.fragments.len());
                data.fragments.push(packed);
            }
            data.features[place].shown.push(one);
            shown += 1;
        }
    }
    shown
}

fn shown_fragment(
    number: usize,
    candidate: &Candidate<'_>,
    feature: &Feature<'_>,
    explainers: &[Pairing<'_>],
    ten_point: &[bool],
) -> ShownFragment {
    let truths = candidate.fragment.activations.iter().map(|&value| f64::from(value));
    let max = feature.record.and_then(|record| record.max_activation);
    let mut simulated: Vec<Option<String>> = explainers
        .iter()
        .zip(ten_point)
        .map(|(pairing, ten_point)| {
            let line = feature.simulations.iter().find(|line| {
                line.fragment == candidate.fragment.fragment
                    && line.explainer == pairing.explainer
                    && line.simulator == pairing.simulator
            })?;
            let unit = max.filter(|_| *ten_point).map_or(1.0, |max| max / STRONGEST_LEVEL);
            Some(
                feature
                    .bytes
                    .pack(line.predicted.iter().map(|&value| f64::from(value.unwrap_or(0.0)) * unit)),
            )
        })
        .collect();
    while simulated.last().is_some_and(Option::is_none) {
        simulated.pop();
    }
    ShownFragment(number, candidate.members.clone(), feature.bytes.pack(truths), simulated)
}

fn notes(
    context: &Context<'_>,
    evidence: &Evidence,
    n_features: usize,
    (shown, total): (usize, usize),
    cut: usize,
) -> Vec<String> {
    let mut notes = Vec::new();
    if shown < total {
        notes.push(format!(
            "{shown} of {total} fragments of {n_features} features are on this page, of each feature those worth most \
             first; all of them are in the folder records."
        ));
    }
    if cut > 0 {
        notes.push(format!("{cut} explanations are shortened here; scores.jsonl has all of each."));
    }
    let missing = [
        (evidence.records.is_none(), "fragments (no file in records)"),
        (evidence.simulations.is_none(), "simulated activations (no file in simulations)"),
        (evidence.profiles.is_none(), "histogram, logits and ablation (no file in profiles)"),
        (evidence.neighbours.is_none(), "nearest features (no file in neighbours)"),
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
