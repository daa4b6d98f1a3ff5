//! Times the evaluation of a dictionary, stage by stage, as [`pipeline`](crate::run) evaluates it.

use crate::activations::ActivationSet;
use crate::base::WorkClock;
use crate::dictionary::{AffineDictionary, Dictionary, Label};
use crate::features::Evidence;
use crate::run::evaluate::evidence::EvidenceFiles;
use crate::run::evaluate::fit_means::FitMeans;
use crate::run::evaluate::probes::Probes;
use crate::run::evaluate::{AllHeld, Evaluation, Walked};
use crate::run::inputs::harvest::HookActivations;
use crate::run::plan::pieces::Work;
use crate::run::plan::shape::{HookShape, RowShape, Shape};
use crate::run::plan::usual;
use crate::run::{RunError, SubjectPass};
use crate::suite::{MethodSpec, QualityPass};

use super::budget::Timed;

/// Rows on which codes are counted.
const COUNTED_ROWS: usize = 256;
/// A dictionary with more active codes than this multiple of what training would give is made sparse.
const TOO_MANY: f64 = 1.5;

/// A dictionary with about as many active codes as training would give it: after a few steps there are far more.
pub fn sparse(
    dictionary: Box<dyn Dictionary>,
    set: &ActivationSet,
    row: &RowShape,
) -> Result<Box<dyn Dictionary>, RunError> {
    let codes = dictionary.encode(&set.read(0, COUNTED_ROWS)?)?;
    let mut positive: Vec<f32> = codes.data().iter().copied().filter(|code| *code > 0.0).collect();
    let wanted = (row.active * codes.rows() as f64).round() as usize;
    let has_less = codes.data().len() as f64 > TOO_MANY * row.active * codes.rows() as f64;
    if !has_less || positive.len() as f64 <= TOO_MANY * wanted as f64 || wanted == 0 {
        return Ok(dictionary);
    }
    positive.sort_unstable_by(|a, b| b.total_cmp(a));
    let threshold = positive[wanted];
    let info = dictionary.info();
    let mut tensors = dictionary.as_affine().tensors().clone();
    tensors.encoder_bias.iter_mut().for_each(|bias| *bias -= threshold);
    let label = Label {
        method: info.method.clone(),
        kind: info.kind,
        hook: info.hook,
        fitted_on: info.fitted_on,
        is_reconstruction: info.is_reconstruction,
        output: info.output,
    };
    Ok(Box::new(AffineDictionary::new(label, tensors)))
}

/// One dictionary on the sample.
pub struct Trial<'a> {
    pub shape: &'a Shape<'a>,
    pub pass: &'a SubjectPass<'a>,
    pub at: &'a HookShape,
    pub activations: &'a HookActivations,
    pub spec: &'a MethodSpec,
    /// Threads of this worker.
    pub share: usize,
}

impl Trial<'_> {
    /// Evaluates the dictionary and times each stage.
    pub fn evaluate(
        &self,
        dictionary: &dyn Dictionary,
        mut shape: RowShape,
        timed: &mut Vec<Timed>,
    ) -> Result<(), RunError> {
        let run = self.pass.run;
        let probes = Probes::new(self.pass.subject, self.at.hook, run.fillers.lead)?;
        let name = shape.name.clone();
        let row = Evaluation {
            pass: self.pass,
            row: &name,
            spec: self.spec,
            method: &name,
            training: None,
            dictionary,
            activations: self.activations,
            labels: if self.pass.has_oracle() { run.tokens.labels.as_ref() } else { None },
            probes: &probes,
            tell: &|_| (),
        };
        let codes = dictionary.encode_sparse(&self.activations.evaluate.read(0, COUNTED_ROWS)?)?;
        shape.active = codes.n_entries() as f64 / codes.rows().max(1) as f64;
        let alone = shape.encoded < shape.features;
        shape.features = dictionary.info().n_features;
        let known = shape.encoded.min(self.spec.ids().map_or(shape.encoded, <[usize]>::len));
        shape.encoded = if alone { known } else { shape.features };
        shape.couples = dictionary.couples_features();
        let tokens = self.activations.evaluate.rows() as f64;
        let clock = WorkClock::start(self.shape.threads);
        let survey = row.survey()?;
        let decoded = self.spec.quality == QualityPass::Full;
        timed.push(self.timed(Work::Encode, usual::encode(self.at, &shape, tokens, decoded), &clock));
        let walk = row.walk(&survey.summaries);
        let features = walk.eligible().count() as f64;
        if features == 0.0 {
            return Ok(());
        }
        let clock = WorkClock::start(self.shape.threads);
        let (records, shapes) = row.records(&walk, &survey)?;
        let (evidence, held) = row.split(&records)?;
        timed.push(self.timed(Work::Records, usual::records(self.at, &shape, features, tokens), &clock));
        let clock = WorkClock::start(self.shape.threads);
        let effects = row.effects(&held, &survey)?;
        let usual = usual::effects(self.shape, self.at, features, 2.0);
        timed.extend((!effects.is_empty()).then(|| self.timed(Work::Effects, usual, &clock)));
        let clock = WorkClock::start(self.shape.threads);
        let profiles = shapes.map_or(Ok(Vec::new()), |shapes| row.profiles(&evidence, shapes, &effects))?;
        timed.push(self.timed(Work::Ablate, usual::ablate(self.shape, self.at, features), &clock));
        let clock = WorkClock::start(self.shape.threads);
        let means = row.fit_means(&evidence)?;
        if means.types.is_some() || means.labels.is_some() {
            let rows = self.activations.fit.rows() as f64;
            timed.push(self.timed(Work::Means, usual::means(self.at, &shape, features, rows), &clock));
        }
        let walked = Walked::new(&walk, &survey.summaries, &profiles, &effects);
        let mut files = EvidenceFiles::create(&row, true)?;
        files.records(&row, &records, (&evidence, &held))?;
        files.profiles(&profiles)?;
        self.explain(&row, &walked, (&evidence, &held), &means, files, timed)
    }

    /// Explains, simulates and scores, as for the rows of a run. Finding patterns is timed apart from the rest.
    fn explain(
        &self,
        row: &Evaluation<'_>,
        walked: &Walked<'_>,
        (evidence, held): (&[Evidence], &AllHeld),
        means: &FitMeans,
        mut files: EvidenceFiles,
        timed: &mut Vec<Timed>,
    ) -> Result<(), RunError> {
        let all = WorkClock::start(self.shape.threads);
        let (mut probing, mut scored_fragments) = (0.0, 0);
        row.with_inputs(evidence, means, |inputs| -> Result<(), RunError> {
            for pair in &row.pairs() {
                let (control, held) = (row.control_of(pair), held.of(pair));
                let clock = WorkClock::start(self.shape.threads);
                let explained = row.explain(pair, inputs)?;
                // Both kinds of neuron-to-graph share what the first one found.
                if pair.explainer.kind().probes() {
                    probing += clock.read().seconds;
                }
                files.explanations(row, pair, evidence, &explained)?;
                let explanations = &explained.explanations;
                let simulations = row.simulate(pair, held, explanations)?;
                files.simulations(pair, held, simulations.as_deref().unwrap_or_default())?;
                let scores = row.score(held, explanations, simulations.as_deref(), &Vec::new());
                row.outcomes(pair, control, walked, explanations, held, scores);
                let fragments: usize = held.iter().map(|held| held.fragments().len()).sum();
                scored_fragments += fragments;
                if let Some((others, scores)) = row.shuffled(pair, control, explanations, held)? {
                    row.outcomes(pair, Some("shuffled"), walked, &others, held, scores);
                    scored_fragments += fragments;
                }
            }
            files.commit()?;
            Ok(())
        })?;
        let taken = all.read();
        let on_one_core = taken.share.unwrap_or(1.0) * self.share as f64;
        if probing > 0.0 {
            let explained_on = self.pass.run.suite.protocol.explain;
            let fragments = (explained_on.top.n + explained_on.random.n) as f64;
            let usual = usual::probes(&self.shape.model, self.at, fragments) * evidence.len() as f64;
            timed.push(Timed { work: Work::Probes, usual, seconds: probing * on_one_core });
        }
        let usual = usual::score((scored_fragments * self.shape.positions) as f64);
        timed.push(Timed { work: Work::Score, usual, seconds: (taken.seconds - probing) * on_one_core });
        Ok(())
    }

    fn timed(&self, work: Work, usual: f64, clock: &WorkClock) -> Timed {
        Timed { work, usual, seconds: clock.read().undisturbed() * self.share as f64 }
    }
}
