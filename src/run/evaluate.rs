//! One dictionary at one hook point: what its features fire on, explanations, simulations, scores.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::asked::{Asked, Wanted};
use super::best_of::ModelRow;
use super::evidence::EvidenceFiles;
use super::judged::Judged;
use super::kept_codes::KeptCodes;
use super::models::Models;
use super::oracle;
use super::parallel::Tell;
use super::prepare::Fillers;
use super::probes::Probes;
use super::profile::ProfileLine;
use super::scoring::{FeatureScores, score_feature, simulated};
use super::{Event, RunError, Stop};
use crate::activations::ActivationSet;
use crate::base::{Attempt, Matrix, Missing, Stream};
use crate::corpus::{TokenLabels, TokenSets};
use crate::dictionary::{Codes, Dictionary, Quality, QualityCounter};
use crate::explain::catalog::{AskModel, Concepts, Explained, Inputs};
use crate::explain::{ActivateError, ExplainError, Probe, derangement};
use crate::features::{
    ChosenActivations, CodeShape, Evidence, Explanation, FeatureRecord, FeatureSummary, FragmentSet, Held,
    HeldFragment, RecordBuilder, ShapeSurvey, Walk, split, walk,
};
use crate::linalg::SparseCodes;
use crate::report::{ScoreLine, ScoreStatus};
use crate::score::{Judging, NoScore, ScoreOutcome};
use crate::simulate::{Offline, Simulation, Simulator};
use crate::subject::SubjectModel;
use crate::suite::{Controls, Pair, SimulatorSpec, Suite};

/// Fragments encoded at once.
const BLOCK_FRAGMENTS: usize = 64;

/// Probes encoded at once.
const PROBE_ROWS: usize = 4096;

/// A block of codes with more non-zero entries than this share is handled densely.
const SPARSE_SHARE: f64 = 0.25;

/// Judgements of every feature, by the kind of judging.
type AllJudged = Vec<(Judging, Vec<Attempt<Judged>>)>;

/// What each feature was given for an explanation, and how that scored.
type Shuffled = (Vec<Attempt<Explanation>>, Vec<Attempt<FeatureScores>>);

/// What one pass over all fragments gave.
struct Survey {
    summaries: Vec<FeatureSummary>,
    quality: Quality,
    /// The codes themselves, where they are few.
    codes: Option<KeptCodes>,
}

/// The features looked at, and what is known of them whoever explains them.
struct Walked<'a> {
    walk: &'a Walk,
    summaries: &'a [FeatureSummary],
    /// Of the explained ones, by feature.
    kurtosis: BTreeMap<usize, Option<f64>>,
}

/// One walked feature under one explainer, real or as a control.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// Its line of `scores.jsonl`.
    pub line: ScoreLine,
    /// Tokens that `beyond_token` lives on: those whose type occurs at least twice.
    pub tokens_repeating: Option<usize>,
}

/// What came of one dictionary.
pub struct Evaluated {
    /// Every feature walked, under every explainer.
    pub outcomes: Vec<Outcome>,
    /// How good the dictionary is.
    pub quality: Quality,
    /// The features that were explained, in the order walked.
    pub explained: Vec<usize>,
}

/// What one dictionary is evaluated on.
pub struct Evaluation<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// Name of the row.
    pub row: &'a str,
    /// Name of the method in tables; several trainings have one.
    pub method: &'a str,
    /// Which of several trainings this is.
    pub training: Option<u32>,
    /// Name of the control whose dictionary this is, if it is one.
    pub control: Option<&'a str>,
    /// The subject.
    pub subject: &'a dyn SubjectModel,
    /// The dictionary.
    pub dictionary: &'a dyn Dictionary,
    /// Activations of the fit split.
    pub fit: &'a ActivationSet,
    /// Activations of every fragment's every token, in order.
    pub evaluate: &'a ActivationSet,
    /// Tokens of both splits.
    pub tokens: &'a TokenSets,
    /// Concepts of the tokens of both splits, where features are explained by them as a control.
    pub labels: Option<&'a TokenLabels>,
    /// Document of each fragment.
    pub documents: &'a [usize],
    /// Answers neuron-to-graph.
    pub probes: &'a Probes<'a>,
    /// Tokens it puts where text should be.
    pub fillers: &'a Fillers,
    /// Text of every token id.
    pub token_texts: &'a [String],
    /// The suite's language models, if it asks any.
    pub models: Option<&'a Models>,
    /// Whether to go on.
    pub stop: &'a Stop,
    /// Who hears of progress.
    pub tell: &'a Tell<'a>,
}

impl Evaluation<'_> {
    /// Walks, explains, simulates and scores; writes the evidence below `folder`.
    pub fn run(&self, folder: &Path) -> Result<Evaluated, RunError> {
        let Survey { summaries, quality, codes } = self.survey()?;
        let seed = self.suite.seed;
        let mut order = Stream::named(seed, &["walk", &self.place()]);
        let walk = walk(&summaries, self.suite.per_cell, &self.suite.protocol, &mut order);
        let (records, shapes) = self.records(&walk, &summaries, codes)?;
        let split: Vec<(Evidence, Held)> =
            records.iter().map(|record| split(record, &self.suite.protocol)).collect::<Result<_, _>>()?;
        let (evidence, full): (Vec<Evidence>, Vec<Held>) = split.into_iter().unzip();
        let asks = self.suite.pairs.iter().any(|pair| pair.simulator.model().is_some());
        let few: Vec<Held> = full.iter().filter(|_| asks).map(Held::protocol_only).collect();
        let judged = self.suite.pairs.iter().any(|pair| pair.judge.is_some());
        let hook = self.dictionary.info().hook.to_string();
        let profiled = shapes.is_some();
        let mut files = EvidenceFiles::create(folder, &hook, self.row, judged, profiled)?;
        files.records(&records)?;
        let profiles = shapes.map_or(Ok(Vec::new()), |shapes| self.profiles(&evidence, shapes))?;
        files.profiles(&profiles)?;
        let kurtosis = profiles.iter().map(ProfileLine::kurtosis).collect();
        let walked = Walked { walk: &walk, summaries: &summaries, kurtosis };
        let mut outcomes = Vec::new();
        let means = self.fit_means(&evidence)?;
        let oracle = self.labels.and_then(|_| Pair::oracle());
        let named = oracle::named_concepts();
        let holds =
            |set: u32, concept: usize| self.labels.is_some_and(|labels| oracle::holds(labels, set, concept));
        let concepts = means.labels.as_ref().map(|means| Concepts { means, named: &named, holds: &holds });
        let inputs = Inputs {
            evidence: &evidence,
            activate: &|probes: &[Probe]| self.activations(&evidence, probes),
            pad: self.fillers.pad,
            type_means: means.types.as_ref(),
            concepts,
            patterns: &OnceCell::new(),
        };
        let pairs = self.suite.pairs.len() + oracle.iter().len();
        for (nth, pair) in self.suite.pairs.iter().chain(&oracle).enumerate() {
            self.stop.check()?;
            self.tell("explain", nth, pairs, "explainers");
            let control =
                if pair.explainer.name() == Controls::ORACLE { Some(Controls::ORACLE) } else { self.control };
            let held = if pair.simulator.model().is_some() { &few } else { &full };
            let Explained { explanations, choices } = self.explain(pair, &inputs)?;
            files.explanations(pair, &evidence, &explanations, choices.as_deref(), &|id| self.text(id))?;
            let simulations = self.simulate(pair, held, &explanations)?;
            files.simulations(pair, held, simulations.as_deref().unwrap_or_default())?;
            let judged = self.judge(pair, held, &explanations)?;
            for (judging, judged) in &judged {
                files.judgements(pair, *judging, held, judged)?;
            }
            let scores = self.score(held, &explanations, simulations.as_deref(), &judged);
            outcomes.extend(self.outcomes(pair, control, &walked, &explanations, held, scores));
            if control.is_none() && self.suite.controls.shuffled {
                let (explanations, scores) = self.shuffled(pair, &explanations, held)?;
                outcomes.extend(self.outcomes(pair, Some("shuffled"), &walked, &explanations, held, scores));
            }
        }
        files.commit()?;
        self.tell("explain", pairs, pairs, "explainers");
        Ok(Evaluated { outcomes, quality, explained: walk.eligible().collect() })
    }

    /// Says how far one of this row's stages is.
    fn tell(&self, what: &str, done: usize, total: usize, unit: &'static str) {
        let control =
            self.control.map_or(String::new(), |control| format!(" ({})", control.replace('_', " ")));
        let stage = format!("{what} {}/{}{control}", self.dictionary.info().hook, self.row);
        (self.tell)(Event::Work { stage, done: done as u64, total: total as u64, unit });
    }

    /// Names this row's seed streams.
    fn place(&self) -> String {
        let control = self.control.unwrap_or("real");
        format!("{}/{}/{control}", self.dictionary.info().hook, self.row)
    }

    fn text(&self, id: u32) -> String {
        self.token_texts.get(id as usize).cloned().unwrap_or_else(|| format!("<id {id}>"))
    }

    fn fragments(&self) -> Result<FragmentSet<'_>, RunError> {
        Ok(FragmentSet::new(&self.tokens.evaluate, self.documents)?)
    }

    /// One pass over all fragments: what every feature fires on, and how good the dictionary is.
    fn survey(&self) -> Result<Survey, RunError> {
        let fragments = self.fragments()?;
        let n_features = self.dictionary.info().n_features;
        let mut stream = Stream::named(self.suite.seed, &["records", &self.place()]);
        let mut builder = RecordBuilder::new(n_features, fragments, &self.suite.protocol, &mut stream)?;
        let mut counter = QualityCounter::new(self.dictionary, self.fit.mean());
        let (positions, first_scored) = (fragments.positions(), self.suite.protocol.first_scored());
        let counts = |row: usize| row % positions >= first_scored;
        let mut kept = Some(KeptCodes::new(BLOCK_FRAGMENTS * positions));
        let mut sparse = true;
        for first in (0..fragments.len()).step_by(BLOCK_FRAGMENTS) {
            self.stop.check()?;
            self.tell("encode", first, fragments.len(), "fragments");
            let block = self.evaluate.read(first * positions, BLOCK_FRAGMENTS * positions)?;
            if sparse {
                let (codes, estimate) = self.dictionary.encode_and_reconstruct(&block)?;
                counter.add_coded(&block, Codes::Sparse(&codes), estimate.as_ref(), counts);
                builder.add_sparse_block(first, &codes)?;
                let entries = (codes.rows() * n_features).max(1) as f64;
                sparse = (codes.n_entries() as f64) < SPARSE_SHARE * entries;
                kept = kept.and_then(|kept| kept.with(codes));
            } else {
                let codes = self.dictionary.encode(&block)?;
                let reconstructs = self.dictionary.info().is_reconstruction;
                let estimate =
                    if reconstructs { Some(self.dictionary.decode_of(&block, &codes)?) } else { None };
                counter.add_coded(&block, Codes::Dense(&codes), estimate.as_ref(), counts);
                builder.add_block(first, &codes)?;
                kept = None;
            }
        }
        self.tell("encode", fragments.len(), fragments.len(), "fragments");
        Ok(Survey { summaries: builder.finish()?, quality: counter.finish(), codes: kept })
    }

    /// The chosen fragments of the eligible features, encoded again where their codes were not kept; and how
    /// those features' codes are distributed over all fragments, in rising order of features, except in
    /// controls.
    fn records(
        &self,
        walk: &Walk,
        summaries: &[FeatureSummary],
        kept: Option<KeptCodes>,
    ) -> Result<(Vec<FeatureRecord>, Option<Vec<CodeShape>>), RunError> {
        let fragments = self.fragments()?;
        let (positions, first_scored) = (fragments.positions(), self.suite.protocol.first_scored());
        let mut chosen = ChosenActivations::new(walk.summaries(summaries), positions);
        let features = chosen.features();
        let codes_of = |fragments: &[usize]| match &kept {
            Some(kept) => Ok(kept.of(fragments, positions, &features)),
            None => self.encode_fragments(fragments, positions, &features),
        };
        let all: Vec<usize> = (0..if features.is_empty() { 0 } else { fragments.len() }).collect();
        let mut survey =
            self.control.is_none().then(|| ShapeSurvey::new(fragments, first_scored, features.len()));
        let needed = if survey.is_some() { all.clone() } else { chosen.fragments() };
        // Of the chosen features alone there may be few codes where those of all were too many.
        let firing = walk.summaries(summaries).map(|summary| summary.firing_tokens).sum();
        let mut few = KeptCodes::of_about(firing, BLOCK_FRAGMENTS * positions).filter(|_| kept.is_none());
        for needed in needed.chunks(BLOCK_FRAGMENTS) {
            self.stop.check()?;
            let codes = codes_of(needed)?;
            chosen.add_block(needed, &codes)?;
            if let Some(survey) = &mut survey {
                survey.add_block(needed[0], &codes)?;
                few = few.and_then(|few| few.with(SparseCodes::from_dense(&codes)));
            }
        }
        let columns: Vec<usize> = (0..features.len()).collect();
        let count = |survey: ShapeSurvey<'_>| -> Result<Vec<CodeShape>, RunError> {
            let mut counter = survey.finish();
            for block in all.chunks(BLOCK_FRAGMENTS) {
                self.stop.check()?;
                let codes = match &few {
                    Some(few) => few.of(block, positions, &columns),
                    None => codes_of(block)?,
                };
                counter.add_block(block[0], &codes)?;
            }
            Ok(counter.finish())
        };
        let shapes = survey.map(count).transpose()?;
        let complete = |summary| {
            FeatureRecord::assemble(summary, fragments, first_scored, |feature, fragment| {
                chosen.get(feature, fragment)
            })
        };
        Ok((walk.summaries(summaries).map(complete).collect::<Result<_, _>>()?, shapes))
    }

    fn encode_fragments(
        &self,
        fragments: &[usize],
        positions: usize,
        features: &[usize],
    ) -> Result<Matrix, RunError> {
        Ok(self.dictionary.encode_features(&self.rows_of(fragments, positions)?, features)?)
    }

    /// Activations of whole fragments `[fragments · positions, width]`, one after the other.
    pub(super) fn rows_of(&self, fragments: &[usize], positions: usize) -> Result<Matrix, RunError> {
        if let [first, .., last] = fragments
            && last - first + 1 == fragments.len()
            && fragments.is_sorted()
        {
            return Ok(self.evaluate.read(first * positions, fragments.len() * positions)?);
        }
        let mut block = Matrix::zeros(fragments.len() * positions, self.evaluate.width());
        for (nth, fragment) in fragments.iter().enumerate() {
            let rows = self.evaluate.read(fragment * positions, positions)?;
            let start = nth * positions * rows.cols();
            block.data_mut()[start..start + rows.data().len()].copy_from_slice(rows.data());
        }
        Ok(block)
    }

    fn explain(&self, pair: &Pair, inputs: &Inputs<'_>) -> Result<Explained, RunError> {
        let asker = pair.explainer.model().map(|spec| ModelRow {
            evaluation: self,
            spec,
            simulator: pair.simulator.model(),
        });
        let model = asker.as_ref().map(|asker| asker as &dyn AskModel);
        pair.explainer.kind().explain(inputs, model).map_err(|error| match error {
            ExplainError::Activate(ActivateError(source)) => match source.downcast::<RunError>() {
                Ok(error) => *error,
                Err(other) => self.cannot_explain(&other.to_string()),
            },
            other => self.cannot_explain(&other.to_string()),
        })
    }

    /// Predicts every held fragment of every feature from the feature's explanation; none where no score needs it.
    fn simulate(
        &self,
        pair: &Pair,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
    ) -> Result<Option<Vec<Attempt<Vec<Simulation>>>>, RunError> {
        if pair.simulator == SimulatorSpec::Nobody || simulated(&self.suite.scorers).next().is_none() {
            return Ok(None);
        }
        let Some(spec) = pair.simulator.model() else { return Ok(Some(self.read(held, explanations))) };
        let asked = self.asked()?;
        let simulating = asked.models.simulating(spec)?;
        let wanted: Vec<Wanted<'_>> = held
            .iter()
            .zip(explanations)
            .map(|(held, explanation)| Wanted { explanation, fragments: held.fragments() })
            .collect();
        Ok(Some(asked.simulate(simulating, &simulating.role, &wanted)?))
    }

    /// Predictions of explanations that need no language model to be read.
    fn read(&self, held: &[Held], explanations: &[Attempt<Explanation>]) -> Vec<Attempt<Vec<Simulation>>> {
        let of_fragment = |explanation: &Explanation, fragment: &HeldFragment| match explanation {
            Explanation::Concept(_) => self.simulate_concept(explanation, fragment),
            _ => Offline.simulate(explanation, &fragment.tokens),
        };
        let simulate = |(held, explanation): (&Held, &Attempt<Explanation>)| match explanation {
            Attempt::Done(explanation) => {
                Attempt::all(held.fragments().iter().map(|fragment| of_fragment(explanation, fragment)))
            }
            Attempt::Missing(missing) => Attempt::Missing(missing.clone()),
        };
        held.par_iter().zip(explanations).map(simulate).collect()
    }

    /// What a language model says of whole fragments, given each feature's explanation.
    fn judge(
        &self,
        pair: &Pair,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
    ) -> Result<AllJudged, RunError> {
        let Some(spec) = &pair.judge else { return Ok(Vec::new()) };
        let asked = self.asked()?;
        let judge = |judging: Judging| {
            let stream = |feature: usize| {
                let parts = ["judge", &self.place(), judging.name(), &feature.to_string()];
                Stream::named(self.suite.seed, &parts)
            };
            let by = asked.models.judged_by(spec, judging)?;
            Ok((judging, asked.judge(by, held, explanations, stream)?))
        };
        self.suite.judgings().into_iter().map(judge).collect()
    }

    pub(super) fn asked(&self) -> Result<Asked<'_>, RunError> {
        let models = self.models.ok_or_else(|| self.cannot_explain("no language model is connected"))?;
        let place = format!("{}/{}", self.dictionary.info().hook, self.row);
        Ok(Asked { models, place, token_texts: self.token_texts, stop: self.stop, tell: self.tell })
    }

    /// What stops the explanation of all features.
    pub(super) fn cannot_explain(&self, why: &str) -> RunError {
        RunError::Explain {
            method: self.row.into(),
            hook: self.dictionary.info().hook.to_string(),
            why: why.into(),
        }
    }

    /// A feature's activation at the last token of each probe.
    fn activations(&self, evidence: &[Evidence], probes: &[Probe]) -> Result<Vec<f32>, ActivateError> {
        let failed = |error: RunError| ActivateError(Box::new(error));
        self.stop.check().map_err(failed)?;
        let mut found = Vec::with_capacity(probes.len());
        for chunk in probes.chunks(PROBE_ROWS) {
            let sequences: Vec<&[u32]> = chunk.iter().map(|probe| probe.tokens.as_slice()).collect();
            let rows = self.probes.last_activations(&sequences).map_err(|error| failed(error.into()))?;
            let mut slots: Vec<usize> = chunk.iter().map(|probe| probe.feature).collect();
            slots.sort_unstable();
            slots.dedup();
            let features: Vec<usize> = slots.iter().map(|&slot| evidence[slot].feature()).collect();
            let codes = self.dictionary.encode_features(&rows, &features);
            let codes = codes.map_err(|error| failed(error.into()))?;
            let column = |slot| slots.partition_point(|&other| other < slot);
            found.extend(chunk.iter().enumerate().map(|(row, probe)| codes.at(row, column(probe.feature))));
        }
        Ok(found)
    }

    /// Every score that is asked for, of every feature that has an explanation.
    fn score(
        &self,
        held: &[Held],
        explanations: &[Attempt<Explanation>],
        simulations: Option<&[Attempt<Vec<Simulation>>]>,
        judged: &[(Judging, Vec<Attempt<Judged>>)],
    ) -> Vec<Attempt<FeatureScores>> {
        let scorers = &self.suite.scorers;
        let score = |(place, (held, explanation)): (usize, (&Held, &Attempt<Explanation>))| {
            if let Attempt::Missing(missing) = explanation {
                return Attempt::Missing(missing.clone());
            }
            let mut scores = FeatureScores::default();
            let failure = simulations.and_then(|simulations| match &simulations[place] {
                Attempt::Done(simulated) => {
                    score_feature(held, simulated, scorers, &mut scores).err().map(|why| why.to_string())
                }
                Attempt::Missing(missing) => Some(missing.reason().to_string()),
            });
            if let Some(reason) = failure {
                simulated(scorers).for_each(|name| scores.fail(name, &reason));
            }
            for judging in self.suite.judgings() {
                match judged.iter().find(|(other, _)| *other == judging).map(|(_, judged)| &judged[place]) {
                    Some(Attempt::Done(judged)) => {
                        judged.scores.iter().for_each(|(name, outcome)| scores.add(name, *outcome));
                    }
                    Some(Attempt::Missing(missing)) => {
                        judging.scores().iter().for_each(|name| scores.fail(name, missing.reason()));
                    }
                    // Patterns and tables are put to no language model.
                    None => {
                        let undefined = ScoreOutcome::Undefined(NoScore::NotASentence);
                        judging.scores().iter().for_each(|name| scores.add(name, undefined));
                    }
                }
            }
            Attempt::Done(scores)
        };
        held.par_iter().zip(explanations).enumerate().map(score).collect()
    }

    /// Every feature under another feature's explanation, on the same fragments.
    fn shuffled(
        &self,
        pair: &Pair,
        explanations: &[Attempt<Explanation>],
        held: &[Held],
    ) -> Result<Shuffled, RunError> {
        let explained: Vec<usize> =
            (0..explanations.len()).filter(|&index| explanations[index].done().is_some()).collect();
        let mut stream = Stream::named(self.suite.seed, &["shuffled", &self.place(), pair.explainer.name()]);
        let Some(order) = derangement(explained.len(), &mut stream) else {
            // A feature that got no explanation keeps its own reason.
            let alone = |explanation: &Attempt<Explanation>| match explanation {
                Attempt::Missing(missing) => missing.clone(),
                Attempt::Done(_) => Missing::Skipped("no_other_explanation".into()),
            };
            let missing: Vec<Missing> = explanations.iter().map(alone).collect();
            let scores = missing.iter().cloned().map(Attempt::Missing).collect();
            return Ok((missing.into_iter().map(Attempt::Missing).collect(), scores));
        };
        let mut others = explanations.to_vec();
        for (place, &other) in order.iter().enumerate() {
            others[explained[place]] = explanations[explained[other]].clone();
        }
        let simulations = self.simulate(pair, held, &others)?;
        let judged = self.judge(pair, held, &others)?;
        let scores = self.score(held, &others, simulations.as_deref(), &judged);
        Ok((others, scores))
    }

    /// A line for every walked feature, whatever became of it.
    fn outcomes(
        &self,
        pair: &Pair,
        control: Option<&str>,
        walked: &Walked<'_>,
        explanations: &[Attempt<Explanation>],
        held: &[Held],
        scores: Vec<Attempt<FeatureScores>>,
    ) -> Vec<Outcome> {
        let mut eligible = explanations.iter().zip(held).zip(scores);
        let Walked { walk, summaries, kurtosis } = walked;
        let mut outcomes = Vec::with_capacity(walk.walked.len());
        for walked in &walk.walked {
            let mut line = self.line(pair, control, &summaries[walked.feature]);
            line.kurtosis = kurtosis.get(&walked.feature).copied().flatten();
            let mut outcome = Outcome { line, tokens_repeating: None };
            match walked.skipped {
                Some(reason) => {
                    outcome.line.status = ScoreStatus::Skipped;
                    outcome.line.reason = Some(reason.name().into());
                }
                None => {
                    if let Some(((explanation, held), score)) = eligible.next() {
                        outcome.line.explanation =
                            explanation.done().map(|text| text.text(&|id| self.text(id)));
                        outcome.line.n_top = held.top().len();
                        outcome.line.n_random = held.random().len();
                        outcome.complete(score);
                    }
                }
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn line(&self, pair: &Pair, control: Option<&str>, summary: &FeatureSummary) -> ScoreLine {
        ScoreLine {
            hook: self.dictionary.info().hook.to_string(),
            method: self.method.to_string(),
            training: self.training,
            feature: summary.feature,
            protocol: self.suite.protocol.name.clone(),
            explainer: pair.explainer.name().into(),
            simulator: pair.simulator.name().into(),
            control: control.map(Into::into),
            status: ScoreStatus::Scored,
            reason: None,
            explanation: None,
            scores: Default::default(),
            score_reasons: Default::default(),
            density: Some(summary.density()),
            max_activation: Some(f64::from(summary.max_activation)),
            kurtosis: None,
            n_top: 0,
            n_random: 0,
            tokens_untold: None,
        }
    }
}

impl Outcome {
    fn complete(&mut self, score: Attempt<FeatureScores>) {
        let missing = match score {
            Attempt::Done(scores) => {
                let missing = scores.missing();
                self.tokens_repeating = scores.tokens_repeating;
                self.line.tokens_untold = Some(scores.tokens_untold).filter(|&untold| untold > 0);
                self.line.scores = scores.values;
                self.line.score_reasons = scores.reasons;
                missing
            }
            Attempt::Missing(missing) => Some(missing),
        };
        let Some(missing) = missing else { return };
        self.line.status = match missing {
            Missing::Skipped(_) => ScoreStatus::Skipped,
            Missing::Undefined(_) => ScoreStatus::Undefined,
            Missing::Failed(_) => ScoreStatus::Failed,
        };
        self.line.reason = Some(missing.reason().into());
    }

    /// Why something that was tried on this feature did not come out: all of it, or one of its scores.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        let line = &self.line;
        let whole = line.reason.as_deref().filter(|_| line.status == ScoreStatus::Failed);
        let of_scores = line.score_reasons.values().map(String::as_str);
        let constant = ScoreOutcome::ConstantPrediction.reason();
        let failed = of_scores.filter(move |why| NoScore::parse(why).is_none() && Some(*why) != constant);
        whole.into_iter().chain(failed)
    }
}
