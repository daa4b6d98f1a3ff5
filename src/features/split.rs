//! Divides a feature's record into what an explainer may see and what a scorer may see.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use super::draw::Stratum;
use super::record::{ActivationRecord, FeatureRecord};
use super::written::{Output, OutputEvidence, WrittenPair};
use super::{FeatureError, Protocol, Stride};

/// What an explainer may see of a feature. Only `split` makes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    feature: usize,
    first_scored: usize,
    records: Vec<ActivationRecord>,
    /// None unless [`Evidence::with_output`] added it.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Output<OutputEvidence>>,
}

impl Evidence {
    /// The same with what the feature does to the output.
    pub fn with_output(mut self, output: Output<OutputEvidence>) -> Self {
        self.output = Some(output);
        self
    }

    /// What the feature does to the output; none unless [`Evidence::with_output`] added it.
    pub fn output(&self) -> Option<&Output<OutputEvidence>> {
        self.output.as_ref()
    }

    /// Index of the feature in its dictionary.
    pub fn feature(&self) -> usize {
        self.feature
    }

    /// First scored position of a fragment; earlier activations must not be used.
    pub fn first_scored(&self) -> usize {
        self.first_scored
    }

    /// Top, then random, then non-firing fragments.
    pub fn records(&self) -> &[ActivationRecord] {
        &self.records
    }

    /// Fragments chosen because the feature fires on them: top and random.
    pub fn firing_records(&self) -> impl Iterator<Item = &ActivationRecord> {
        self.records.iter().filter(|record| matches!(record.stratum, Stratum::Top | Stratum::Random))
    }

    /// (token, activation) of all scored positions.
    pub fn scored_tokens(&self) -> impl Iterator<Item = (u32, f32)> {
        self.records.iter().flat_map(|record| {
            let tokens = record.tokens.iter().zip(&record.activations).skip(self.first_scored);
            tokens.map(|(token, activation)| (*token, *activation))
        })
    }

    /// Divides the evidence: candidates are made from the first part and compared on the second. Every other
    /// top and random fragment, starting with the second, goes to the second part; non-firing ones stay.
    pub fn divide(&self) -> (Self, Calibration) {
        let (mut kept, mut fragments) = (Vec::new(), Vec::new());
        let mut ranks: BTreeMap<Stratum, usize> = BTreeMap::new();
        for record in &self.records {
            let rank = ranks.entry(record.stratum).or_default();
            if matches!(record.stratum, Stratum::Top | Stratum::Random) && *rank % 2 == 1 {
                fragments.push(HeldFragment::of(record));
            } else {
                kept.push(record.clone());
            }
            *rank += 1;
        }
        let evidence = Self { records: kept, output: self.output.clone(), ..*self };
        (evidence, Calibration { first_scored: self.first_scored, fragments })
    }
}

/// Fragments on which candidate explanations are compared. Made only from evidence, by [`Evidence::divide`],
/// so the choice never sees scored fragments.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    first_scored: usize,
    fragments: Vec<HeldFragment>,
}

impl Calibration {
    /// First position of a fragment that is compared.
    pub fn first_scored(&self) -> usize {
        self.first_scored
    }

    /// Top fragments, then random ones.
    pub fn fragments(&self) -> &[HeldFragment] {
        &self.fragments
    }
}

/// A held-out fragment, on which a feature is scored.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeldFragment {
    /// Index of the fragment.
    pub fragment: usize,
    /// The document that it comes from.
    pub document: usize,
    /// Token ids: all that a simulator gets.
    pub tokens: Vec<u32>,
    /// The truth: the feature's code on each token.
    pub activations: Vec<f32>,
}

impl HeldFragment {
    pub(super) fn of(record: &ActivationRecord) -> Self {
        Self {
            fragment: record.fragment,
            document: record.document,
            tokens: record.tokens.clone(),
            activations: record.activations.clone(),
        }
    }
}

/// A fragment that is judged as a whole: does the feature fire on it?
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgedFragment {
    /// The fragment with its truth.
    pub held: HeldFragment,
    /// The draw it comes from.
    pub stratum: Stratum,
    /// Whether it represents firing fragments; else non-firing ones (or the least firing, of a dense
    /// feature).
    pub fires: bool,
    /// Interval of activation that it is graded in, from 0; none if it is not graded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<usize>,
}

/// A member of one list.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Pick {
    /// Index into `Held::fragments`.
    pub fragment: usize,
    /// The draw it comes from.
    pub stratum: Stratum,
    /// Probability of entering this list, for weights 1 / probability.
    pub probability: f64,
}

/// What a scorer may see of a feature. Only `split` makes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Held {
    feature: usize,
    first_scored: usize,
    fragments: Vec<HeldFragment>,
    top: Vec<Pick>,
    random: Vec<Pick>,
    non_firing: Vec<Pick>,
    beyond_token: Vec<Pick>,
    judged: Vec<JudgedFragment>,
    /// Empty unless [`Held::with_graded`] drew them.
    pub(super) graded: Vec<JudgedFragment>,
    /// None unless [`Held::with_written`] added them.
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<Output<Vec<WrittenPair>>>,
}

impl Held {
    /// The same with pairs of texts to tell apart.
    pub fn with_written(mut self, written: Output<Vec<WrittenPair>>) -> Self {
        self.written = Some(written);
        self
    }

    /// Pairs of texts to tell apart; none unless [`Held::with_written`] added them.
    pub fn written(&self) -> Option<&Output<Vec<WrittenPair>>> {
        self.written.as_ref()
    }

    /// Index of the feature in its dictionary.
    pub fn feature(&self) -> usize {
        self.feature
    }

    /// First position of a fragment that is scored.
    pub fn first_scored(&self) -> usize {
        self.first_scored
    }

    /// Every fragment of every list, each once: what has to be simulated.
    pub fn fragments(&self) -> &[HeldFragment] {
        &self.fragments
    }

    /// Top fragments to score.
    pub fn top(&self) -> &[Pick] {
        &self.top
    }

    /// Random firing fragments to score.
    pub fn random(&self) -> &[Pick] {
        &self.random
    }

    /// Non-firing fragments to score; only `population` uses them.
    pub fn non_firing(&self) -> &[Pick] {
        &self.non_firing
    }

    /// Random firing fragments for `beyond_token`, outside those explained on; those of `random` first. Their
    /// probability is that of the record's list.
    pub fn beyond_token(&self) -> &[Pick] {
        &self.beyond_token
    }

    /// Fragments for judging whole texts: firing ones from all quantiles equally, then as many non-firing
    /// ones (of a dense feature: lowest maxima). None comes from a document that explains.
    pub fn judged(&self) -> &[JudgedFragment] {
        &self.judged
    }

    /// The same without fragments that only `beyond_token` uses, for simulators with a cost per fragment.
    /// `beyond_token` then holds the protocol's random fragments.
    pub fn protocol_only(&self) -> Self {
        let scored: HashSet<usize> = self.random.iter().map(|pick| pick.fragment).collect();
        let both: Vec<Pick> =
            self.beyond_token.iter().filter(|pick| scored.contains(&pick.fragment)).copied().collect();
        let mut kept = HeldBuilder::default();
        let mut again = |picks: &[Pick]| -> Vec<Pick> {
            let keep = |pick: &Pick| Pick { fragment: kept.keep(&self.fragments[pick.fragment]), ..*pick };
            picks.iter().map(keep).collect()
        };
        let (top, random) = (again(&self.top), again(&self.random));
        let (non_firing, beyond_token) = (again(&self.non_firing), again(&both));
        let (fragments, judged, graded) = (kept.fragments, self.judged.clone(), self.graded.clone());
        let written = self.written.clone();
        Self { fragments, top, random, non_firing, beyond_token, judged, graded, written, ..*self }
    }
}

/// Divides a record by the protocol's ranks.
///
/// The two sides share no fragment and no document, unless the protocol allows the random list to repeat the
/// top one, as the published one does.
pub fn split<'a>(record: &'a FeatureRecord, protocol: &Protocol) -> Result<(Evidence, Held), FeatureError> {
    let take = |list: &'static str, records: &'a [ActivationRecord], stride: Stride| {
        let too_few = |rank: usize| FeatureError::TooFew {
            feature: record.feature,
            list,
            got: records.len(),
            rank,
            protocol: protocol.name.clone(),
        };
        let at = |rank: usize| records.get(rank).ok_or_else(|| too_few(rank));
        stride.ranks().map(at).collect::<Result<Vec<&'a ActivationRecord>, _>>()
    };
    let mut explain = take("top", &record.top, protocol.explain.top)?;
    explain.extend(take("random", &record.random, protocol.explain.random)?);
    explain.extend(take("non-firing", &record.non_firing, protocol.explain.non_firing)?);
    let seen: HashSet<usize> = explain.iter().map(|record| record.document).collect();

    let mut held = HeldBuilder::default();
    let top = held.subset(&record.top, &take("top", &record.top, protocol.score.top)?);
    let random = held.subset(&record.random, &take("random", &record.random, protocol.score.random)?);
    let non_firing = take("non-firing", &record.non_firing, protocol.score.non_firing)?;
    let non_firing = held.subset(&record.non_firing, &non_firing);
    let beyond_token = beyond_token(record, protocol, &seen);
    let beyond_token = beyond_token.into_iter().map(|record| held.pick(record, record.probability)).collect();
    let judged = judged(record, &seen);

    let (feature, first_scored) = (record.feature, record.first_scored);
    let records = explain.into_iter().cloned().collect();
    let evidence = Evidence { feature, first_scored, records, output: None };
    let fragments = held.fragments;
    let (graded, written) = (Vec::new(), None);
    let held = Held {
        feature,
        first_scored,
        fragments,
        top,
        random,
        non_firing,
        beyond_token,
        judged,
        graded,
        written,
    };
    Ok((evidence, held))
}

/// The scored random fragments first, then the others as drawn, without documents explained on.
fn beyond_token<'a>(
    record: &'a FeatureRecord,
    protocol: &Protocol,
    explained: &HashSet<usize>,
) -> Vec<&'a ActivationRecord> {
    let scored: HashSet<usize> = protocol.score.random.ranks().collect();
    let mut random: Vec<(usize, &ActivationRecord)> = record.random.iter().enumerate().collect();
    random.sort_by_key(|(rank, _)| !scored.contains(rank));
    random
        .into_iter()
        .map(|(_, record)| record)
        .chain(&record.more_random)
        .filter(|record| !explained.contains(&record.document))
        .take(protocol.n_beyond_token)
        .collect()
}

/// Quantile fragments with a positive activation, taken in turn from each group, and as many non-firing ones.
fn judged(record: &FeatureRecord, explained: &HashSet<usize>) -> Vec<JudgedFragment> {
    let usable = |fragment: &&ActivationRecord| !explained.contains(&fragment.document);
    let drawn: BTreeMap<usize, &ActivationRecord> =
        record.random.iter().chain(&record.more_random).map(|drawn| (drawn.fragment, drawn)).collect();
    let deepest = record.quantiles.iter().map(Vec::len).max().unwrap_or(0);
    let fires =
        |drawn: &&ActivationRecord| drawn.activations.iter().skip(record.first_scored).any(|&a| a > 0.0);
    let firing: Vec<&ActivationRecord> = (0..deepest)
        .flat_map(|nth| record.quantiles.iter().filter_map(move |group| group.get(nth)))
        .filter_map(|pick| drawn.get(&pick.fragment).copied())
        .filter(usable)
        .filter(fires)
        .collect();
    let silent: Vec<&ActivationRecord> = record.non_firing.iter().filter(usable).collect();
    let n = firing.len().min(silent.len());
    let judged = |fires| {
        move |of: &ActivationRecord| JudgedFragment {
            held: HeldFragment::of(of),
            stratum: of.stratum,
            fires,
            interval: None,
        }
    };
    let firing = firing.into_iter().take(n).map(judged(true));
    firing.chain(silent.into_iter().take(n).map(judged(false))).collect()
}

#[derive(Default)]
struct HeldBuilder {
    fragments: Vec<HeldFragment>,
    places: BTreeMap<usize, usize>,
}

impl HeldBuilder {
    /// Index of a fragment, which is added if new.
    fn keep(&mut self, fragment: &HeldFragment) -> usize {
        *self.places.entry(fragment.fragment).or_insert_with(|| {
            self.fragments.push(fragment.clone());
            self.fragments.len() - 1
        })
    }

    fn pick(&mut self, record: &ActivationRecord, probability: f64) -> Pick {
        let place = self.keep(&HeldFragment::of(record));
        Pick { fragment: place, stratum: record.stratum, probability }
    }

    /// Part of a list: each probability is multiplied by the share of its stratum that is taken.
    fn subset(&mut self, list: &[ActivationRecord], taken: &[&ActivationRecord]) -> Vec<Pick> {
        let share = |stratum| {
            let of_list = list.iter().filter(|record| record.stratum == stratum).count();
            let of_taken = taken.iter().filter(|record| record.stratum == stratum).count();
            of_taken as f64 / of_list.max(1) as f64
        };
        taken.iter().map(|record| self.pick(record, record.probability * share(record.stratum))).collect()
    }
}
