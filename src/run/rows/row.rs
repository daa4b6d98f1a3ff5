//! The rows of one subject's hook points: every method is fitted, each dictionary is measured, its features are scored.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::{Digest, HookPoint, Stopwatch};
use crate::dictionary::{FitReport, Recipe};
use crate::llm::{ClientKind, READER_VERSION};
use crate::run::context::SubjectPass;
use crate::run::evaluate::models::prompt_digests;
use crate::run::evaluate::outcomes::Outcome;
use crate::run::evaluate::probes::Probes;
use crate::run::evaluate::{Evaluated, Evaluation};
use crate::run::inputs::harvest::HookActivations;
use crate::run::inputs::outliers::{Outlier, outliers};
use crate::run::parallel::{Done, Tell, do_all};
use crate::run::rows::fit::{FittedRow, Fitter, Reference};
use crate::run::rows::quality::{LossMeter, Measured};
use crate::run::stage::StageKey;
use crate::run::{Event, RunError};
use crate::suite::{Controls, MethodSpec, Pair, Suite};

/// Version of what is measured of a dictionary; raised when the same inputs give other numbers.
const QUALITY_VERSION: u32 = 1;

/// Version of records, explanations, simulations, scores and profiles together.
const EVALUATE_VERSION: u32 = 5;

/// Autoencoders trained on the same batches at once, at most, and the memory they may take.
const MOST_TOGETHER: usize = 8;
const TOGETHER_BYTES: usize = 1 << 30;

/// One row's stored result.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct RowResult {
    /// Name of the row.
    pub name: String,
    /// What the quality table shows.
    pub measured: Measured,
    /// Every feature walked, under every explainer.
    pub outcomes: Vec<Outcome>,
    /// The features that were explained, in the order walked.
    pub explained: Vec<usize>,
    /// The dictionary.
    pub dictionary: StoredDictionary,
}

/// What the manifest says of a dictionary.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct StoredDictionary {
    /// Digest of the dictionary.
    pub digest: Digest,
    /// Digest of the activations it was fitted on.
    pub fitted_on: Digest,
    /// Tokens fitted on.
    pub rows: usize,
    /// Tokens left out for their norm.
    pub rows_left_out: usize,
    /// Which those were, the most frequent first.
    pub outliers: Vec<Outlier>,
    /// How the fit went.
    pub report: FitReport,
    /// Wall-clock seconds of everything after the fit, other rows running beside it.
    pub evaluate_seconds: f64,
}

/// A piece of a hook point's work. Rows do not need each other, save that a method which is matched
/// to another waits for that one's fit.
struct Job<'a> {
    /// Which of the hook points at work.
    hook: usize,
    method: &'a MethodSpec,
    step: Step<'a>,
}

enum Step<'a> {
    Fit(Option<Reference>),
    /// The method with others that can be trained on the same batches.
    FitTogether(Vec<&'a MethodSpec>),
    /// A row, and where it stands in the table.
    Score(usize, FittedRow),
}

/// A row's result, by hook point and place.
type Placed = (usize, usize, RowResult);

/// The rows of one hook point.
pub struct HookRows {
    /// Where.
    pub hook: HookPoint,
    /// The rows in the suite's order, none where there is no result yet.
    pub stored: Vec<Option<RowResult>>,
    /// What the methods are fitted and scored on, where a row is missing.
    pub activations: Option<HookActivations>,
}

impl HookRows {
    /// Whether no row is missing.
    pub fn is_complete(&self) -> bool {
        self.stored.iter().all(Option::is_some)
    }

    /// The rows; frees the activations.
    pub fn finished(self) -> (HookPoint, Vec<RowResult>) {
        if let Some(activations) = self.activations {
            activations.remove();
        }
        (self.hook, self.stored.into_iter().flatten().collect())
    }
}

/// Evaluates one dictionary, stage by stage.
pub type Evaluate = dyn Fn(&Evaluation<'_>) -> Result<Evaluated, RunError> + Sync;

/// What all jobs of one hook point share.
struct HookWork<'a> {
    pass: &'a SubjectPass<'a>,
    evaluate: &'a Evaluate,
    nth: usize,
    hook: HookPoint,
    activations: &'a HookActivations,
    fitter: Fitter<'a>,
    meter: LossMeter<'a>,
    /// Whether a row, by its place in the table, has to be scored.
    missing: Vec<bool>,
    scored: AtomicU64,
}

/// Failures of a feature under a language model that are the feature's own, whatever a model answers.
const OF_THE_FEATURE: [&str; 2] = ["no_positive_activation", "explanation_is_no_sentence"];

/// What decides one row's result. Rows are independent, except that a method depends on the one it is matched to, so
/// a suite that gains a method repeats no other.
fn row_key(pass: &SubjectPass<'_>, hook: HookPoint, method: &MethodSpec, row: &str) -> StageKey {
    let suite = pass.run.suite;
    let matched = method.params.matched();
    let reference = suite.methods.iter().find(|other| Some(other.name.as_str()) == matched);
    let key = StageKey::new("row", EVALUATE_VERSION)
        .word(&hook.to_string())
        .word(pass.control.unwrap_or("real"))
        .word(row)
        .input(pass.subject.info().weights_digest)
        .input(pass.run.tokens.digest)
        .params(&(method, reference, &suite.protocol, suite.per_cell, &suite.pairs))
        .params(&(&suite.scorers, suite.controls.shuffled, suite.seed, QUALITY_VERSION))
        .params(&pass.run.fillers)
        .params(&(prompt_digests(suite), READER_VERSION));
    if pass.has_oracle() { key.word(Controls::ORACLE) } else { key }
}

/// Whether another try could mend a failure. An endpoint may answer another time; a model in this process gives the
/// same answer each time.
fn may_be_mended(suite: &Suite, outcome: &Outcome) -> bool {
    let line = &outcome.line;
    let asked = |pair: &&Pair| {
        (pair.explainer.name(), pair.simulator.name()) == (line.explainer.as_str(), line.simulator.as_str())
    };
    let mut models = suite.pairs.iter().filter(asked).flat_map(Pair::models);
    models.any(|llm| llm.client != ClientKind::Local)
        && outcome.failures().any(|reason| !OF_THE_FEATURE.contains(&reason))
}

/// The rows of a hook point that an earlier run left.
pub fn stored_rows(pass: &SubjectPass<'_>, hook: HookPoint) -> HookRows {
    let load = |method: &&MethodSpec, row: &String| pass.run.store.load(&row_key(pass, hook, method, row));
    let of_method = |method: &&MethodSpec| {
        method.row_names().iter().map(|row| load(method, row)).collect::<Vec<Option<RowResult>>>()
    };
    let stored = pass.methods.iter().flat_map(of_method).collect();
    HookRows { hook, stored, activations: None }
}

/// Gives incomplete hook points their activations, in order. One whose activations cannot be used is dropped with a
/// warning; returns the first such failure.
pub fn take_activations(
    rows: &mut Vec<HookRows>,
    harvested: Vec<Result<HookActivations, RunError>>,
    on: &dyn Fn(Event),
) -> Option<RunError> {
    let mut unusable = None;
    for (one, activations) in rows.iter_mut().filter(|one| !one.is_complete()).zip(harvested) {
        match activations {
            Ok(activations) => one.activations = Some(activations),
            Err(error) => {
                on(Event::Warning(format!("{error}; the other hook points go on")));
                unusable.get_or_insert(error);
            }
        }
    }
    rows.retain(|one| one.is_complete() || one.activations.is_some());
    unusable
}

/// Fits and scores the missing rows of those hook points that have activations.
pub fn complete(
    pass: &SubjectPass<'_>,
    hooks: &mut [HookRows],
    evaluate: &Evaluate,
    on: &dyn Fn(Event),
) -> Result<(), RunError> {
    for HookRows { stored, activations, .. } in &mut *hooks {
        let Some(activations) = activations else { continue };
        // Results of other activations cannot stand in one table with these.
        for row in stored.iter_mut() {
            row.take_if(|row| row.dictionary.fitted_on != activations.fit.digest());
        }
        on(pass.run.rows.add(stored.iter().flatten().count()));
    }
    let work = hooks.iter().enumerate().filter_map(|(nth, hook)| {
        hook.activations.as_ref().map(|activations| HookWork::new(pass, evaluate, nth, hook, activations))
    });
    let work = work.collect::<Result<Vec<HookWork<'_>>, RunError>>()?;
    let first = work.iter().flat_map(HookWork::first_jobs).collect();
    let scored = do_all(
        first,
        |job: &Job<'_>| job.hook,
        on,
        |job, tell| {
            let work = &work[work.partition_point(|work| work.nth < job.hook)];
            match job.step {
                Step::Fit(reference) => work.fit(job.method, reference, tell),
                Step::FitTogether(methods) => work.fit_together(&methods, tell),
                Step::Score(place, row) => work.score(job.method, place, &row, tell),
            }
        },
    )?;
    drop(work);
    for (hook, place, result) in scored {
        hooks[hook].stored[place] = Some(result);
    }
    Ok(())
}

impl<'a> HookWork<'a> {
    fn new(
        pass: &'a SubjectPass<'a>,
        evaluate: &'a Evaluate,
        nth: usize,
        rows: &HookRows,
        activations: &'a HookActivations,
    ) -> Result<Self, RunError> {
        let hook = rows.hook;
        let fragments = &pass.run.tokens.evaluate;
        Ok(Self {
            pass,
            evaluate,
            nth,
            hook,
            activations,
            fitter: Fitter { pass, hook },
            meter: LossMeter::new(pass.subject, hook, fragments, activations.fit.mean())?,
            missing: rows.stored.iter().map(Option::is_none).collect(),
            scored: AtomicU64::new(0),
        })
    }

    /// Where a method's rows stand in the table.
    fn places(&self, method: &MethodSpec) -> std::ops::Range<usize> {
        let before = self.pass.methods.iter().take_while(|other| other.name != method.name);
        let start = before.map(|other| other.row_names().len()).sum();
        start..start + method.row_names().len()
    }

    /// Methods of which a row is missing.
    fn wanted(&self) -> Vec<&'a MethodSpec> {
        let missing = |method: &MethodSpec| self.missing[self.places(method)].contains(&true);
        self.pass.methods.iter().copied().filter(|method| missing(method)).collect()
    }

    /// Fits that wait for nothing: the wanted methods, and those that wanted ones are matched to,
    /// which the suite may not list for this subject.
    fn first_jobs(&self) -> Vec<Job<'a>> {
        let (matched, mut first): (Vec<&MethodSpec>, Vec<&MethodSpec>) =
            self.wanted().into_iter().partition(|method| method.params.matched().is_some());
        for name in matched.iter().filter_map(|method| method.params.matched()) {
            if !first.iter().any(|method| method.name == name) {
                first.extend(self.pass.run.suite.methods.iter().find(|method| method.name == name));
            }
        }
        let mut jobs = Vec::new();
        for methods in self.groups(first) {
            match methods.as_slice() {
                [method] => jobs.push(self.job(method, Step::Fit(None))),
                [method, ..] => jobs.push(self.job(method, Step::FitTogether(methods.clone()))),
                [] => {}
            }
        }
        jobs
    }

    /// Methods of one sweep, or trainings of one method, that can share batches go together, few enough that
    /// there is work for every thread.
    fn groups(&self, methods: Vec<&'a MethodSpec>) -> Vec<Vec<&'a MethodSpec>> {
        let width = self.activations.fit.width();
        let recipe = |method: &MethodSpec| method.params.check().ok()?.recipe(width, &method.name)?.ok();
        let mut groups: Vec<(Option<Recipe>, Vec<&MethodSpec>)> = Vec::new();
        for method in methods {
            let many = method.sweep.is_some() || method.training.is_some();
            let recipe = if many { recipe(method) } else { None };
            let same = groups.iter_mut().find(|(other, _)| match (other, &recipe) {
                (Some(other), Some(recipe)) => other.shares_batches_with(recipe),
                _ => false,
            });
            match same {
                Some((_, members)) => members.push(method),
                None => groups.push((recipe, vec![method])),
            }
        }
        let mut parts = Vec::new();
        for (recipe, members) in groups {
            // Weights, their unit rows and Adam's moments, for encoder and decoder: seven numbers each.
            let bytes = recipe.map_or(1, |recipe| 28 * recipe.features * width);
            let fits = (TOGETHER_BYTES / bytes.max(1)).clamp(1, MOST_TOGETHER);
            let fair = members.len().div_ceil(rayon::current_num_threads());
            parts.extend(members.chunks(fits.min(fair)).map(<[&MethodSpec]>::to_vec));
        }
        parts
    }

    fn job(&self, method: &'a MethodSpec, step: Step<'a>) -> Job<'a> {
        Job { hook: self.nth, method, step }
    }

    fn fit(
        &self,
        method: &'a MethodSpec,
        reference: Option<Reference>,
        tell: &Tell<'_>,
    ) -> Result<Done<Job<'a>, Placed>, RunError> {
        let rows = self.fitter.fit(method, reference, &self.activations.fit, tell)?;
        Ok(Done { next: self.after_fit(method, rows)?, result: None })
    }

    fn fit_together(
        &self,
        methods: &[&'a MethodSpec],
        tell: &Tell<'_>,
    ) -> Result<Done<Job<'a>, Placed>, RunError> {
        let all = self.fitter.fit_together(methods, &self.activations.fit, tell)?;
        let mut next = Vec::new();
        for (method, rows) in methods.iter().zip(all) {
            next.extend(self.after_fit(method, rows)?);
        }
        Ok(Done { next, result: None })
    }

    /// What waited for a method's rows: their scores, and methods that are matched to it.
    fn after_fit(&self, method: &'a MethodSpec, rows: Vec<FittedRow>) -> Result<Vec<Job<'a>>, RunError> {
        let set = &self.activations.fit;
        let mut waiting = self.wanted();
        waiting.retain(|other| other.params.matched() == Some(&method.name));
        // One pass over the fit split serves all that are matched to this method.
        let reference = match waiting.is_empty() {
            true => None,
            false => Some(self.fitter.reference(&rows[0], set)?),
        };
        let mut next: Vec<Job<'_>> =
            waiting.into_iter().map(|method| self.job(method, Step::Fit(reference))).collect();
        if self.pass.methods.iter().any(|listed| listed.name == method.name) {
            for (place, row) in self.places(method).zip(rows).filter(|(place, _)| self.missing[*place]) {
                next.push(self.job(method, Step::Score(place, row)));
            }
        }
        Ok(next)
    }

    /// Everything that is measured of one dictionary, stored.
    fn score(
        &self,
        method: &MethodSpec,
        place: usize,
        row: &FittedRow,
        tell: &Tell<'_>,
    ) -> Result<Done<Job<'a>, Placed>, RunError> {
        let (pass, run) = (self.pass, self.pass.run);
        run.stop.check()?;
        let started = Stopwatch::start();
        let dictionary = row.dictionary.as_ref();
        let probes = Probes::new(pass.subject, self.hook, run.fillers.lead)?;
        let evaluation = Evaluation {
            pass,
            row: &row.name,
            method: &method.row_methods()[place - self.places(method).start],
            training: method.training.as_ref().map(|training| training.nth),
            dictionary,
            activations: self.activations,
            labels: if pass.has_oracle() { run.tokens.labels.as_ref() } else { None },
            probes: &probes,
            tell,
        };
        let Evaluated { outcomes, quality, explained } = (self.evaluate)(&evaluation)?;
        let measured = self.meter.measure(dictionary, quality)?;
        let info = dictionary.info();
        let record = StoredDictionary {
            digest: info.digest,
            fitted_on: info.fitted_on,
            rows: self.activations.fit.rows(),
            rows_left_out: self.activations.fit.left_out().len(),
            outliers: outliers(&self.activations.fit, run.tokens),
            report: row.report.clone(),
            evaluate_seconds: started.seconds(),
        };
        let result = RowResult { name: row.name.clone(), measured, outcomes, explained, dictionary: record };
        // What an endpoint may answer next time is asked again by the same command; answers are kept.
        if !result.outcomes.iter().any(|outcome| may_be_mended(run.suite, outcome)) {
            run.store.save(&row_key(pass, self.hook, method, &row.name), &result)?;
        }
        let stage = format!("score {}{}", self.hook, pass.label());
        let done = self.scored.fetch_add(1, Ordering::Relaxed) as usize + 1;
        let total = self.missing.iter().filter(|missing| **missing).count();
        tell(Event::work(stage, done, total, "methods"));
        tell(run.rows.add(1));
        Ok(Done { next: Vec::new(), result: Some((self.nth, place, result)) })
    }
}
