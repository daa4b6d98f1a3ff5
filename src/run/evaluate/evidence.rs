//! Writes the evidence behind the scores as JSON lines: records, continuations, explanations, simulations, judgements
//! and profiles.

use std::collections::HashSet;
use std::path::PathBuf;

use serde::Serialize;

use crate::base::{Attempt, ListedFile};
use crate::explain::Choice;
use crate::explain::catalog::Explained;
use crate::features::{
    ActivationRecord, Evidence, Explanation, FeatureRecord, Held, QuantilePick, TokenChanges, TokenTexts,
    WrittenPair,
};
use crate::report::{Chosen, Continuations, EvidenceFile, TextPair};
use crate::run::evaluate::explain::AllJudged;
use crate::run::evaluate::judged::Verdict;
use crate::run::evaluate::profile::ProfileLine;
use crate::run::evaluate::{AllHeld, Evaluation};
use crate::run::{JsonLines, RunError};
use crate::simulate::Simulation;
use crate::suite::Pair;

/// Precision of stored predictions: four decimals.
const PREDICTION_DIGITS: f64 = 1e4;

/// The files of one row. All of them appear on commit.
pub struct EvidenceFiles {
    records: JsonLines,
    /// Present if texts are written with features changed.
    continuations: Option<JsonLines>,
    explanations: JsonLines,
    simulations: JsonLines,
    /// Present if a language model judges.
    judgements: Option<JsonLines>,
    /// Present for the real subject.
    profiles: Option<JsonLines>,
    run_folder: PathBuf,
}

/// A feature record. Random fragments that serve only `beyond_token` are stored as (fragment, probability), without
/// activations.
#[derive(Serialize)]
struct RecordLine<'a> {
    feature: usize,
    first_scored: usize,
    n_tokens: usize,
    firing_tokens: usize,
    density: f64,
    firing_fragments: usize,
    firing_documents: usize,
    max_activation: f32,
    top: &'a [ActivationRecord],
    random: &'a [ActivationRecord],
    quantiles: &'a [Vec<QuantilePick>],
    quantile_fragments: Vec<&'a ActivationRecord>,
    non_firing: &'a [ActivationRecord],
    more_random: Vec<(usize, f64)>,
}

impl<'a> RecordLine<'a> {
    fn of(record: &'a FeatureRecord) -> Self {
        let picked: HashSet<usize> = record.quantiles.iter().flatten().map(|pick| pick.fragment).collect();
        let wanted = |other: &&ActivationRecord| picked.contains(&other.fragment);
        Self {
            feature: record.feature,
            first_scored: record.first_scored,
            n_tokens: record.n_tokens,
            firing_tokens: record.firing_tokens,
            density: record.density,
            firing_fragments: record.firing_fragments,
            firing_documents: record.firing_documents,
            max_activation: record.max_activation,
            top: &record.top,
            random: &record.random,
            quantiles: &record.quantiles,
            quantile_fragments: record.more_random.iter().filter(wanted).collect(),
            non_firing: &record.non_firing,
            more_random: record.more_random.iter().map(|other| (other.fragment, other.probability)).collect(),
        }
    }
}

#[derive(Serialize)]
struct ExplanationLine<'a> {
    feature: usize,
    explainer: &'a str,
    text: Option<String>,
    explanation: &'a Attempt<Explanation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    choice: Option<&'a Choice>,
}

#[derive(Serialize)]
struct JudgementLine<'a> {
    feature: usize,
    explainer: &'a str,
    judging: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    verdicts: &'a [Verdict],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    choices: &'a [Chosen],
}

#[derive(Serialize)]
struct SimulationLine<'a> {
    feature: usize,
    explainer: &'a str,
    simulator: &'a str,
    fragment: usize,
    strata: Vec<&'static str>,
    predicted: Vec<Option<f64>>,
}

impl EvidenceFiles {
    /// Opens the files of one row: `records/HOOK/ROW.jsonl` and so on. `profiled`: profiles are written.
    pub fn create(row: &Evaluation<'_>, profiled: bool) -> Result<Self, RunError> {
        let (layout, place) =
            (row.pass.run.places.layout(), row.pass.place(row.dictionary.info().hook, row.row));
        let open = |kind: EvidenceFile| JsonLines::create(&layout.evidence(&place, kind));
        let suite = row.pass.run.suite;
        let written = suite.explains_output() || suite.compares_written();
        let judged = suite.pairs.iter().any(|pair| pair.judge.is_some());
        Ok(Self {
            records: open(EvidenceFile::Records)?,
            continuations: if written { Some(open(EvidenceFile::Continuations)?) } else { None },
            explanations: open(EvidenceFile::Explanations)?,
            simulations: open(EvidenceFile::Simulations)?,
            judgements: if judged { Some(open(EvidenceFile::Judgements)?) } else { None },
            profiles: if profiled { Some(open(EvidenceFile::Profiles)?) } else { None },
            run_folder: row.pass.run.places.out.clone(),
        })
    }

    /// Writes the record of each explained feature, and the texts that show what it does.
    pub fn records(
        &mut self,
        row: &Evaluation<'_>,
        records: &[FeatureRecord],
        (evidence, held): (&[Evidence], &AllHeld),
    ) -> Result<(), RunError> {
        records.iter().try_for_each(|record| self.records.line(&RecordLine::of(record)))?;
        let Some(file) = &mut self.continuations else { return Ok(()) };
        let control = row.pass.run.suite.effects.as_ref().map_or("", |effects| effects.control.into());
        let text = |id| row.pass.run.text(id);
        let mut features = evidence.iter().zip(held.all());
        features.try_for_each(|(evidence, held)| file.line(&continuations(evidence, held, control, &text)))
    }

    /// Writes the profile of each explained feature.
    pub fn profiles(&mut self, profiles: &[ProfileLine]) -> Result<(), RunError> {
        let Some(file) = &mut self.profiles else { return Ok(()) };
        profiles.iter().try_for_each(|profile| file.line(profile))
    }

    /// Writes each feature's explanation and the candidates that it was chosen from.
    pub fn explanations(
        &mut self,
        row: &Evaluation<'_>,
        pair: &Pair,
        evidence: &[Evidence],
        explained: &Explained,
    ) -> Result<(), RunError> {
        for (place, (evidence, explanation)) in evidence.iter().zip(&explained.explanations).enumerate() {
            let text = explanation.done().map(|explanation| explanation.text(&|id| row.pass.run.text(id)));
            let line = ExplanationLine {
                feature: evidence.feature(),
                explainer: pair.explainer.name(),
                text,
                explanation,
                choice: explained.choices.as_ref().map(|choices| &choices[place]),
            };
            self.explanations.line(&line)?;
        }
        Ok(())
    }

    /// Writes predictions for the protocol's fragments. The extra fragments of `beyond_token` are not stored,
    /// because their predictions follow from the explanation.
    pub fn simulations(
        &mut self,
        pair: &Pair,
        held: &[Held],
        simulations: &[Attempt<Vec<Simulation>>],
    ) -> Result<(), RunError> {
        for (held, simulations) in held.iter().zip(simulations) {
            let Attempt::Done(simulations) = simulations else { continue };
            let lists = [("top", held.top()), ("random", held.random()), ("non_firing", held.non_firing())];
            for (place, (fragment, simulation)) in held.fragments().iter().zip(simulations).enumerate() {
                let of_list = |(name, picks): &(&'static str, &[crate::features::Pick])| {
                    picks.iter().any(|pick| pick.fragment == place).then_some(*name)
                };
                let strata: Vec<&str> = lists.iter().filter_map(of_list).collect();
                if strata.is_empty() {
                    continue;
                }
                let predicted = simulation
                    .expected
                    .iter()
                    .map(|value| value.map(|value| (value * PREDICTION_DIGITS).round() / PREDICTION_DIGITS));
                self.simulations.line(&SimulationLine {
                    feature: held.feature(),
                    explainer: pair.explainer.name(),
                    simulator: pair.simulator.name(),
                    fragment: fragment.fragment,
                    strata,
                    predicted: predicted.collect(),
                })?;
            }
        }
        Ok(())
    }

    /// Writes the judgements of whole fragments, in the order asked.
    pub fn judgements(&mut self, pair: &Pair, held: &[Held], judged: &AllJudged) -> Result<(), RunError> {
        let Some(file) = &mut self.judgements else { return Ok(()) };
        let all = judged.iter().flat_map(|(judging, judged)| {
            held.iter().zip(judged).map(move |(held, judged)| (judging, held, judged))
        });
        for (judging, held, judged) in all {
            let (reason, verdicts, choices) = match judged {
                Attempt::Done(judged) => (None, judged.verdicts.as_slice(), judged.choices.as_slice()),
                Attempt::Missing(missing) => (Some(missing.reason()), &[][..], &[][..]),
            };
            let (explainer, judging) = (pair.explainer.name(), judging.name());
            let feature = held.feature();
            file.line(&JudgementLine { feature, explainer, judging, reason, verdicts, choices })?;
        }
        Ok(())
    }

    /// Gives all files their final names, and lists them with what they hold.
    pub fn commit(self) -> Result<Vec<ListedFile>, RunError> {
        let maybe = [self.continuations, self.judgements, self.profiles].into_iter().flatten();
        let files = [self.records, self.explanations, self.simulations].into_iter().chain(maybe);
        let commit = |file: JsonLines| {
            let (path, content) = file.commit()?;
            Ok(ListedFile::new(&self.run_folder, &path, content))
        };
        files.map(commit).collect()
    }
}

/// What a feature does, in words.
fn continuations(evidence: &Evidence, held: &Held, control: &str, texts: &TokenTexts<'_>) -> Continuations {
    let text = |tokens: &[u32]| tokens.iter().map(|&token| texts(token)).collect::<String>();
    let pair = |pair: &WrittenPair| TextPair {
        fragment: pair.fragment,
        prompt: text(&pair.prompt),
        steered: text(&pair.steered),
        other: text(&pair.other),
    };
    let output = evidence.output().and_then(|output| output.as_ref().ok());
    let asked = held.written().and_then(|written| written.as_ref().ok());
    let reasons = [
        evidence.output().and_then(|output| output.as_ref().err()),
        held.written().and_then(|written| written.as_ref().err()),
    ];
    let lists = |changes: &TokenChanges| [changes.raised.clone(), changes.lowered.clone()];
    Continuations {
        feature: evidence.feature(),
        reason: reasons.into_iter().flatten().next().map(|why| (*why).to_string()),
        direct: output.and_then(|output| output.direct.as_ref().map(lists)),
        measured: output.map(|output| lists(&output.measured)),
        shown: output.map(|output| output.texts.iter().map(pair).collect()).unwrap_or_default(),
        control: control.into(),
        asked: asked.map(|pairs| pairs.iter().map(pair).collect()).unwrap_or_default(),
    }
}
