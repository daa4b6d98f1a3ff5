//! What a page says about a feature besides its fragments: scores, explanations, verdicts, profile and neighbours.

use std::collections::HashMap;

use super::budget::Tokens;
use super::context::{Context, Explainer, Feature};
use super::data::{
    ExplainerData, FeatureData, HistogramData, JudgedData, LineData, NeighbourData, ProfileData,
    QuestionData, RecordData, SteeringData,
};
use super::glance::Rest;
use super::joint::joints;
use crate::report::escape::{shortened, visible};
use crate::report::label::Label;
use crate::report::layout::Place;
use crate::report::list::Numbering;
use crate::report::pages::evidence::{
    Effect, Evidence, Histogram, Judged, Neighbour, Neighbours, Profile, Record,
};
use crate::report::pages::packed::{base64, varints};
use crate::report::scores::FeatureLine;
use crate::report::standing::CellScores;
use crate::report::steering::{EditedText, Steering, WrittenText};
use crate::report::view::{Pairing, RowKey};
use crate::report::written::AnsweredQuestion;

/// A control whose lines carry the explanation of another feature.
const SHUFFLED: &str = "shuffled";

/// Longest reason or note, in characters.
pub const NOTE_CHARACTERS: usize = 300;

/// Longest steered text, in characters.
const TEXT_CHARACTERS: usize = 1_000;

/// What the features of a page share.
pub struct Page<'a> {
    pub context: &'a Context<'a>,
    pub place: &'a Place,
    pub explainers: &'a [Explainer<'a>],
    pub evidence: &'a Evidence,
    pub tokens: Tokens<'a>,
    pub reasons: Numbering<&'a str>,
    /// The dictionaries of neighbours.
    pub dictionaries: Numbering<&'a str>,
    /// Scores of cells, by scorer.
    pub cells: HashMap<(Pairing<'a>, RowKey<'a>, usize), CellScores>,
}

impl<'a> Page<'a> {
    /// The scores at a glance, by index, each with its place in its cell or the reason why it has none.
    pub fn standings(&mut self, line: &'a FeatureLine) -> Vec<(usize, String)> {
        let Some(scores) = self.context.scores else { return Vec::new() };
        let pairing = Pairing { protocol: &line.protocol, ..line.pairing() };
        let row = RowKey { control: line.control.as_deref(), ..RowKey::of(&line.hook, &line.method) };
        let standing = |&(nth, scorer, higher): &(usize, &str, bool)| {
            let cell = self.cells.entry((pairing, row, nth)).or_insert_with(|| {
                CellScores::new(scores.of(pairing, row).filter_map(|other| other.entering(scorer)), higher)
            });
            (nth, visible(&line.all_scores().standing(scorer, cell)))
        };
        self.context.glance_scorers.iter().map(standing).collect()
    }

    /// A feature without fragments, its explanations cut to `most` characters.
    pub fn describe(&mut self, feature: &Feature<'a>, most: usize) -> FeatureData {
        let lines = feature.lines.iter().filter_map(|line| self.line(line, most)).collect();
        let first = feature.lines.iter().find(|line| line.control == self.place.control).copied();
        let rest = first.map(|line| Rest::of(line, most)).unwrap_or_default();
        let judged = self.evidence.judged.of(feature.feature);
        let judged = judged.iter().filter_map(|judged| self.judged(judged)).collect();
        let questions = self.questions(feature.feature);
        let profile = self.evidence.profiles.of(feature.feature).last();
        let profile = profile.map(|profile| profile_data(profile, &mut self.tokens));
        let neighbours = self.evidence.neighbours.of(feature.feature).last();
        let known = |of_record: fn(&Record) -> Option<f64>, of_line: fn(&FeatureLine) -> Option<f64>| {
            let of_lines = || feature.lines.iter().find_map(|line| of_line(line));
            feature.record.and_then(of_record).or_else(of_lines).and_then(rounded)
        };
        FeatureData {
            feature: feature.feature,
            density: known(|record| record.density, |line| line.density),
            max_activation: known(|record| record.max_activation, |line| line.max_activation),
            record: feature.record.map(|record| self.record(feature, record)),
            lines,
            standings: first.map(|line| self.standings(line)).unwrap_or_default(),
            more: rest.more,
            rules: rest.rules,
            judged,
            questions,
            profile,
            neighbours: neighbours.map(|neighbours| self.neighbours(neighbours)),
            trace: self.traced(feature.feature),
            shown: Vec::new(),
        }
    }

    /// Features of controls are not traced.
    fn traced(&self, feature: usize) -> Option<String> {
        let place = Some(self.place).filter(|place| place.control.is_none())?;
        self.context.layout.traced(place, feature)
    }

    fn record(&self, feature: &Feature<'_>, record: &Record) -> RecordData {
        let step = feature.bytes.step;
        RecordData {
            n_tokens: record.n_tokens,
            firing_tokens: record.firing_tokens,
            firing_fragments: record.firing_fragments,
            firing_documents: record.firing_documents,
            first_scored: record.first_scored,
            // Seven digits, because a value is up to 255 steps.
            scale: (feature.bytes.zero, format!("{step:.6e}").parse().unwrap_or(step)),
            n_fragments: feature.candidates.len(),
            n_quantiles: record.quantiles.len(),
            joint: joints(self.explainers, feature, record),
        }
    }

    fn line(&mut self, line: &'a FeatureLine, most: usize) -> Option<LineData> {
        let explainer = self.explainers.iter().position(|one| one.pairing == line.pairing())?;
        let control = line.control.as_ref().filter(|control| self.place.control.as_ref() != Some(control));
        let is_own = control.is_none_or(|control| control != SHUFFLED);
        let own_text = line.explanation.as_ref().filter(|_| is_own);
        let text = own_text.map(|text| shortened(text, most));
        let scorers = self.context.scorers.iter().enumerate();
        let why = scorers.filter_map(|(nth, scorer)| {
            let reason = line.score_reasons.get(*scorer)?;
            Some((nth, self.reasons.number(reason)))
        });
        let why = why.collect();
        let score = |scorer: &&str| line.scores.get(*scorer).copied().flatten().and_then(rounded);
        Some(LineData {
            explainer,
            control: control.map(|control| visible(control)),
            status: line.status,
            reason: line.reason.as_ref().map(|reason| self.reasons.number(reason)),
            cut: text.as_ref().is_some_and(|(_, cut)| *cut),
            text: text.map(|(text, _)| text),
            label: own_text.and_then(|text| Label::folded(text, most)),
            scores: self.context.scorers.iter().map(score).collect(),
            why,
        })
    }

    fn judged(&mut self, judged: &'a Judged) -> Option<JudgedData> {
        let explainer = self.explainers.iter().position(|one| one.pairing.explainer == judged.explainer)?;
        let of = |fires: bool| judged.verdicts.iter().filter(move |verdict| verdict.fires == fires);
        let said =
            |fires: bool| (of(fires).count(), of(fires).filter(|verdict| verdict.says == Some(true)).count());
        let gain = |fires: bool| {
            let gains: Vec<f64> = of(fires).filter_map(|verdict| verdict.gain_nats).collect();
            if gains.is_empty() { None } else { rounded(gains.iter().sum::<f64>() / gains.len() as f64) }
        };
        let has_gains = judged.verdicts.iter().any(|verdict| verdict.gain_nats.is_some());
        Some(JudgedData {
            explainer,
            judging: visible(&judged.judging),
            reason: judged.reason.as_ref().map(|reason| self.reasons.number(reason)),
            said: [true, false].map(said),
            gain: has_gains.then(|| [true, false].map(gain)),
            grades: grades(judged),
            choices: (!judged.choices.is_empty()).then(|| {
                [Some(true), Some(false), None]
                    .map(|right| judged.choices.iter().filter(|one| one.is_right() == right).count())
            }),
        })
    }

    /// The first pairs of texts that judges told apart, with the answers under each explainer.
    fn questions(&self, feature: usize) -> Vec<QuestionData> {
        let Some(written) = self.evidence.continuations.of(feature).last() else { return Vec::new() };
        let text = |text: &str| shortened(text, TEXT_CHARACTERS).0;
        let question = |asked: AnsweredQuestion| QuestionData {
            prompt: text(&asked.texts.prompt),
            steered: text(&asked.texts.steered),
            other: text(&asked.texts.other),
            control: visible(&asked.control),
            answers: Vec::new(),
        };
        let mut questions: Vec<QuestionData> = written.questions(&[]).into_iter().map(question).collect();
        for judged in self.evidence.judged.of(feature).iter().filter(|judged| !judged.choices.is_empty()) {
            let is_its = |one: &Explainer<'_>| one.pairing.explainer == judged.explainer;
            let Some(explainer) = self.explainers.iter().position(is_its) else { continue };
            for (question, asked) in questions.iter_mut().zip(written.questions(&judged.choices)) {
                question.answers.push((explainer, asked.right));
            }
        }
        questions
    }

    fn neighbours(&mut self, found: &'a Neighbours) -> [Vec<NeighbourData>; 2] {
        [&found.same, &found.others]
            .map(|list| list.iter().filter_map(|neighbour| self.neighbour(neighbour)).collect())
    }

    fn neighbour(&mut self, neighbour: &'a Neighbour) -> Option<NeighbourData> {
        let dictionary = neighbour.dictionary.as_deref().unwrap_or(&self.place.dictionary);
        let place = Place { dictionary: dictionary.to_string(), ..self.place.clone() };
        let walked = self.context.walked.get(&place);
        let is_on_page = walked.is_some_and(|features| features.contains(&neighbour.feature));
        let cosine = rounded(neighbour.cosine);
        Some((self.dictionaries.number(dictionary), neighbour.feature, cosine?, u8::from(is_on_page)))
    }
}

/// Counts of grades by interval of activation, up to the strongest interval with a fragment; empty without grades.
fn grades(judged: &Judged) -> Vec<[usize; 4]> {
    let mut counts: Vec<[usize; 4]> = Vec::new();
    for verdict in &judged.verdicts {
        let Some((interval, grade)) = verdict.interval.zip(verdict.grade) else { continue };
        // Suites allow 20 intervals.
        if interval >= 100 || usize::from(grade) >= 4 {
            continue;
        }
        counts.resize(counts.len().max(interval + 1), [0; 4]);
        counts[interval][usize::from(grade)] += 1;
    }
    counts
}

/// Four significant digits; none for NaN and infinity.
fn rounded(value: f64) -> Option<f64> {
    if value.is_finite() { format!("{value:.3e}").parse().ok() } else { None }
}

/// An explainer with the digests of its prompts.
pub fn explainer_data(context: &Context<'_>, explainer: &Explainer<'_>) -> ExplainerData {
    let pairing = explainer.pairing;
    let prompts = context.manifest.map_or(&[][..], |manifest| &manifest.prompts);
    let prompt = |name: &str| prompts.iter().find(|(whose, _)| whose == name);
    let mut prompts: Vec<_> = [pairing.explainer, pairing.simulator].into_iter().filter_map(prompt).collect();
    prompts.dedup();
    ExplainerData {
        name: visible(pairing.explainer),
        simulator: visible(pairing.simulator),
        label: visible(&pairing.label()),
        ten_point: explainer.ten_point,
        prompts: prompts.into_iter().map(|(whose, digest)| (visible(whose), visible(digest))).collect(),
    }
}

fn profile_data(profile: &Profile, tokens: &mut Tokens<'_>) -> ProfileData {
    let mut effects = |list: &[Effect]| -> Vec<(usize, f64)> {
        list.iter().filter_map(|one| Some((tokens.number(one.token), rounded(one.effect)?))).collect()
    };
    let logits = profile.logits.as_ref();
    let raised = logits.map(|logits| effects(&logits.raised)).unwrap_or_default();
    let lowered = logits.map(|logits| effects(&logits.lowered)).unwrap_or_default();
    let ablation = profile.ablation.as_ref();
    ProfileData {
        n_tokens: profile.n_tokens,
        kurtosis: profile.kurtosis.and_then(rounded),
        histogram: profile.histogram.as_ref().and_then(|histogram| histogram_data(histogram, tokens)),
        raised,
        lowered,
        logits_note: profile.logits_note.as_deref().map(|note| shortened(note, NOTE_CHARACTERS).0),
        ablation: ablation
            .and_then(|found| Some((rounded(found.loss_change_nats)?, found.n_tokens, found.n_fragments))),
        steering: profile.steering.as_ref().and_then(|steering| steering_data(steering, tokens)),
    }
}

/// The first sample.
fn steering_data(steering: &Steering, tokens: &mut Tokens<'_>) -> Option<SteeringData> {
    let sample = steering.samples.first()?;
    let text = |written: &WrittenText, edit: Option<f64>| {
        let shown = shortened(&written.text, TEXT_CHARACTERS).0;
        (shown, written.perplexity.and_then(rounded), edit.and_then(rounded))
    };
    let edited = |edited: &EditedText| text(&edited.written, Some(edited.edit.prompt));
    Some(SteeringData {
        prompt: visible(&steering.prompt),
        change: rounded(steering.change.value)?,
        times_max: steering.change.times_max.and_then(rounded),
        seed: sample.seed,
        kl: rounded(steering.next_token.kl),
        raised: steering.next_token.raised.iter().map(|token| tokens.number(token.token)).collect(),
        texts: [text(&sample.unsteered, None), edited(&sample.steered), edited(&sample.random_direction)],
    })
}

fn histogram_data(histogram: &Histogram, tokens: &mut Tokens<'_>) -> Option<HistogramData> {
    let bins = histogram.rest.len();
    let is_whole = histogram.tokens.iter().all(|one| one.counts.len() == bins);
    if bins == 0 || !is_whole || !histogram.low.is_finite() || !histogram.high.is_finite() {
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
