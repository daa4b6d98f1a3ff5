//! Schedules the rows of a subject's hook points: every method is fitted, and each dictionary is evaluated.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::{Digest, HookPoint, ListedFile, Stopwatch, write_atomic};
use crate::dictionary::{FitReport, Recipe};
use crate::llm::ClientKind;
use crate::run::evaluate::probes::Probes;
use crate::run::evaluate::{Evaluated, Evaluation};
use crate::run::inputs::harvest::HookActivations;
use crate::run::inputs::outliers::{Outlier, outliers};
use crate::run::inputs::prepare::check_ids;
use crate::run::parallel::{Done, do_all};
use crate::run::rows::fit::{FittedRow, Fitter, Reference};
use crate::run::rows::key::row_key;
use crate::run::rows::proof::{LoadProof, Prover};
use crate::run::rows::quality::{LossMeter, Measured};
use crate::run::rows::turns::Turns;
use crate::run::{Event, Outcome, RunError, SubjectPass, Tell};
use crate::suite::{MethodSpec, Pair, QualityPass, Suite};

/// Maximum number and total memory of autoencoders trained together on the same batches.
const MAX_TOGETHER: usize = 8;
const TOGETHER_BYTES: usize = 1 << 30;

/// Stored result of one row.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct RowResult {
    pub name: String,
    /// Measurements for the quality table.
    pub measured: Measured,
    /// One outcome per walked feature and explainer.
    pub outcomes: Vec<Outcome>,
    /// Explained features, in walk order.
    pub explained: Vec<usize>,
    pub dictionary: StoredDictionary,
}

/// Record of a dictionary for the manifest.
#[derive(serde::Serialize, serde::Deserialize)]
pub struct StoredDictionary {
    pub digest: Digest,
    /// Digest of the activations that it was fitted on.
    pub fitted_on: Digest,
    /// Number of fitted tokens.
    pub rows: usize,
    /// Number of tokens excluded from fitting because of their norm.
    pub rows_left_out: usize,
    /// The excluded tokens, most frequent first.
    pub outliers: Vec<Outlier>,
    pub report: FitReport,
    /// For a dictionary trained elsewhere: what it explains here and around.
    #[serde(default)]
    pub proof: Option<LoadProof>,
    /// Wall-clock seconds of the evaluation, while other rows run in parallel.
    pub evaluate_seconds: f64,
}

/// A unit of work at one hook point. Rows are independent, except that a matched method waits for the fit of its
/// reference.
struct Job<'a> {
    /// Index of the hook point.
    hook: usize,
    method: &'a MethodSpec,
    step: Step<'a>,
}

enum Step<'a> {
    Fit(Option<Reference>),
    /// The method and others that train on the same batches.
    FitTogether(Vec<&'a MethodSpec>),
    /// The row's index in the table, and the fitted row.
    Score(usize, FittedRow),
}

/// Index of the hook point, index of the row, result.
type Placed = (usize, usize, RowResult);

/// The rows of one hook point.
pub struct HookRows {
    pub hook: HookPoint,
    /// One entry per row in the suite's order; none where a result is missing.
    pub stored: Vec<Option<RowResult>>,
    /// Activations, present if a row is missing.
    pub activations: Option<HookActivations>,
}

impl HookRows {
    /// Whether every row has a result.
    pub fn is_complete(&self) -> bool {
        self.stored.iter().all(Option::is_some)
    }

    /// Returns the rows and deletes the stored activations.
    pub fn finished(self) -> (HookPoint, Vec<RowResult>) {
        if let Some(activations) = self.activations {
            activations.remove();
        }
        (self.hook, self.stored.into_iter().flatten().collect())
    }
}

/// Evaluates one dictionary, stage by stage.
pub type Evaluate = dyn Fn(&Evaluation<'_>) -> Result<Evaluated, RunError> + Sync;

/// State that all jobs of one hook point share.
struct HookWork<'a> {
    pass: &'a SubjectPass<'a>,
    evaluate: &'a Evaluate,
    turns: &'a dyn Turns,
    nth: usize,
    hook: HookPoint,
    activations: &'a HookActivations,
    fitter: Fitter<'a>,
    /// None if no quality is measured.
    meter: Option<LossMeter<'a>>,
    /// For each row of the table: whether its result is missing and this process wants it.
    missing: Vec<bool>,
    scored: AtomicU64,
}

/// Failures that depend on the feature alone, so that another answer of a model cannot repair them.
const FEATURE_FAILURES: [&str; 2] = ["no_positive_activation", "explanation_is_no_sentence"];

/// Whether a repeated request could repair a failure. An endpoint may answer differently next time; a local model
/// gives the same answer each time.
fn may_be_repaired(suite: &Suite, outcome: &Outcome) -> bool {
    let line = &outcome.line;
    let asked = |pair: &&Pair| {
        (pair.explainer.name(), pair.simulator.name()) == (line.explainer.as_str(), line.simulator.as_str())
    };
    let mut models = suite.pairs.iter().filter(asked).flat_map(Pair::models);
    models.any(|llm| llm.client != ClientKind::Local)
        && outcome.failures().any(|reason| !FEATURE_FAILURES.contains(&reason))
}

/// The stored rows of a hook point that `turns` wants. Damaged ones are told to `on` and count as missing.
pub fn stored_rows(
    pass: &SubjectPass<'_>,
    hook: HookPoint,
    turns: &dyn Turns,
    on: &dyn Fn(Event),
) -> HookRows {
    let load = |method: &MethodSpec, row: &String| {
        let stored = pass.run.store.load(&row_key(pass, hook, method, row), on);
        if stored.is_some() {
            on(Event::Reused(format!("{hook}/{row}{}", pass.label())));
        }
        stored
    };
    let of_method = |method: &MethodSpec| {
        let names = method.row_names();
        if !turns.wants(hook, method) {
            return names.iter().map(|_| None).collect();
        }
        let rows: Vec<Option<RowResult>> = names.iter().map(|row| load(method, row)).collect();
        if rows.iter().all(Option::is_some) {
            on(Event::Reused(format!("fit {hook}/{}{}", method.name, pass.label())));
        }
        rows
    };
    let stored = pass.methods_at(hook).flat_map(of_method).collect();
    HookRows { hook, stored, activations: None }
}

/// Assigns harvested activations to the incomplete hook points, in order. A hook point with unusable activations is
/// dropped with a warning. Returns the first such failure.
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

/// Fits and evaluates the missing rows of the hook points that have activations.
pub fn complete(
    pass: &SubjectPass<'_>,
    hooks: &mut [HookRows],
    evaluate: &Evaluate,
    turns: &dyn Turns,
    on: &dyn Fn(Event),
) -> Result<(), RunError> {
    for HookRows { stored, activations, .. } in &mut *hooks {
        let Some(activations) = activations else { continue };
        // Stored rows of other activations are not comparable with these.
        for row in stored.iter_mut() {
            row.take_if(|row| row.dictionary.fitted_on != activations.fit.digest());
        }
        on(pass.run.rows.add(stored.iter().flatten().count()));
    }
    let work = hooks.iter().enumerate().filter_map(|(nth, hook)| {
        hook.activations
            .as_ref()
            .map(|activations| HookWork::new(pass, (evaluate, turns), nth, hook, activations))
    });
    let work = work.collect::<Result<Vec<HookWork<'_>>, RunError>>()?;
    let first = work.iter().flat_map(HookWork::first_jobs).collect();
    let scored = do_all(
        first,
        |job: &Job<'_>| job.hook,
        on,
        |job, tell| {
            let work = &work[work.partition_point(|work| work.nth < job.hook)];
            work.run(job, tell)
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
        (evaluate, turns): (&'a Evaluate, &'a dyn Turns),
        nth: usize,
        rows: &HookRows,
        activations: &'a HookActivations,
    ) -> Result<Self, RunError> {
        let hook = rows.hook;
        let fragments = &pass.run.tokens.evaluate;
        let of_method = |method: &MethodSpec| vec![turns.wants(hook, method); method.row_names().len()];
        let wanted = pass.methods_at(hook).flat_map(of_method);
        let measures = pass.methods_at(hook).any(|method| method.quality != QualityPass::Off);
        Ok(Self {
            pass,
            evaluate,
            turns,
            nth,
            hook,
            activations,
            fitter: Fitter { pass, hook },
            meter: if measures {
                Some(LossMeter::new(pass.subject, hook, fragments, activations.fit.mean())?)
            } else {
                None
            },
            missing: rows.stored.iter().zip(wanted).map(|(row, wanted)| wanted && row.is_none()).collect(),
            scored: AtomicU64::new(0),
        })
    }

    /// Indices of a method's rows in the table.
    fn places(&self, method: &MethodSpec) -> std::ops::Range<usize> {
        let before = self.pass.methods_at(self.hook).take_while(|other| other.name != method.name);
        let start = before.map(|other| other.row_names().len()).sum();
        start..start + method.row_names().len()
    }

    /// Methods with a missing row.
    fn wanted(&self) -> Vec<&'a MethodSpec> {
        let missing = |method: &MethodSpec| self.missing[self.places(method)].contains(&true);
        self.pass.methods_at(self.hook).filter(|method| missing(method)).collect()
    }

    /// Whether this process does rows of a method.
    fn begins(&self, method: &MethodSpec) -> bool {
        self.wanted().iter().any(|other| other.name == method.name) && self.turns.begins(self.hook, method)
    }

    /// Whether a fit is needed here: for rows of its method, or of one that is matched to it.
    fn is_needed(&self, method: &MethodSpec) -> bool {
        let matched = |other: &&MethodSpec| other.params.matched() == Some(&method.name);
        self.begins(method) || self.wanted().iter().any(|other| matched(other) && self.begins(other))
    }

    /// Fits without dependencies: the methods with missing rows, and the references that matched methods need. A
    /// control's list of methods may lack the reference.
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

    /// Groups methods of one sweep, or trainings of one method, that can train on the same batches. Groups are
    /// small enough to keep every thread busy.
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
            // Seven f32 per weight: weights, unit rows and Adam moments, of encoder and decoder.
            let bytes = recipe.map_or(1, |recipe| 28 * recipe.features * width);
            let fits = (TOGETHER_BYTES / bytes.max(1)).clamp(1, MAX_TOGETHER);
            let fair = members.len().div_ceil(rayon::current_num_threads());
            parts.extend(members.chunks(fits.min(fair)).map(<[&MethodSpec]>::to_vec));
        }
        parts
    }

    fn job(&self, method: &'a MethodSpec, step: Step<'a>) -> Job<'a> {
        Job { hook: self.nth, method, step }
    }

    fn run(&self, job: Job<'a>, tell: &Tell<'_>) -> Result<Done<Job<'a>, Placed>, RunError> {
        let set = &self.activations.fit;
        let fitted: Vec<(&MethodSpec, Vec<FittedRow>)> = match job.step {
            Step::Score(place, row) => return self.score(job.method, place, &row, tell),
            Step::Fit(reference) if self.is_needed(job.method) => {
                vec![(job.method, self.fitter.fit(job.method, reference, set, tell)?)]
            }
            Step::Fit(_) => Vec::new(),
            Step::FitTogether(mut methods) => {
                methods.retain(|method| self.is_needed(method));
                let rows = self.fitter.fit_together(&methods, set, tell)?;
                methods.into_iter().zip(rows).collect()
            }
        };
        let mut next = Vec::new();
        for (method, rows) in fitted {
            next.extend(self.after_fit(method, rows)?);
        }
        Ok(Done { next, result: None })
    }

    /// Jobs that needed a method's rows: their evaluation, and fits of methods matched to it.
    fn after_fit(&self, method: &'a MethodSpec, rows: Vec<FittedRow>) -> Result<Vec<Job<'a>>, RunError> {
        let set = &self.activations.fit;
        let mut waiting = self.wanted();
        waiting.retain(|other| other.params.matched() == Some(&method.name));
        // One pass over the fit split gives the reference of all matched methods.
        let reference = match waiting.is_empty() {
            true => None,
            false => Some(self.fitter.reference(&rows[0], set)?),
        };
        let mut next: Vec<Job<'_>> =
            waiting.into_iter().map(|method| self.job(method, Step::Fit(reference))).collect();
        if self.begins(method) {
            for (place, row) in self.places(method).zip(rows).filter(|(place, _)| self.missing[*place]) {
                check_ids(method, &row.name, self.hook, row.dictionary.info().n_features)?;
                next.push(self.job(method, Step::Score(place, row)));
            }
        }
        Ok(next)
    }

    /// The load proof of a dictionary trained elsewhere, and its report with the proof's doubts.
    fn proof(
        &self,
        method: &MethodSpec,
        row: &FittedRow,
    ) -> Result<(Option<LoadProof>, FitReport), RunError> {
        let mut report = row.report.clone();
        let Some(read) = report.read.as_deref() else { return Ok((None, report)) };
        let prover =
            Prover { subject: self.pass.subject, fragments: &self.pass.run.tokens.evaluate, hook: self.hook };
        let proof = match method.params.wants_proof() {
            true => Some(prover.prove(row.dictionary.as_affine(), read)?),
            false => None,
        };
        let doubts = proof.iter().flat_map(|proof| proof.looks_like.iter().chain(&proof.doubts));
        report.warnings.extend(doubts.cloned());
        let card = serde_json::json!({"read": read, "proof": &proof});
        write_atomic(&self.card(&row.name), format!("{card:#}\n").as_bytes())?;
        Ok((proof, report))
    }

    /// File with what a dictionary trained elsewhere says of itself.
    fn card(&self, row: &str) -> PathBuf {
        self.pass.dictionary_folder(self.hook, row).join("card.json")
    }

    /// Stores a result with the files that belong to it. Not if a repeated request could repair a failure: the same
    /// command then asks again. Cached answers are kept.
    fn keep(
        &self,
        method: &MethodSpec,
        mut files: Vec<ListedFile>,
        result: &RowResult,
    ) -> Result<(), RunError> {
        let (run, name) = (self.pass.run, &result.name);
        if result.outcomes.iter().any(|outcome| may_be_repaired(run.suite, outcome)) {
            return Ok(());
        }
        files.extend(self.fitter.dictionary_files(name)?);
        if result.dictionary.report.read.is_some() {
            files.push(run.store.listed(&self.card(name))?);
        }
        Ok(run.store.save(&row_key(self.pass, self.hook, method, name), files, result)?)
    }

    /// Evaluates one dictionary and stores the result.
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
            spec: method,
            method: &method.row_methods()[place - self.places(method).start],
            training: method.training.as_ref().map(|training| training.nth),
            dictionary,
            activations: self.activations,
            labels: if pass.has_oracle() { run.tokens.labels.as_ref() } else { None },
            probes: &probes,
            tell,
        };
        let Evaluated { outcomes, quality, explained, files } = (self.evaluate)(&evaluation)?;
        let measured = match self.meter.as_ref().zip(quality) {
            Some((meter, quality)) => meter.measure(dictionary, quality)?,
            None => Measured::nothing(dictionary),
        };
        let (proof, report) = self.proof(method, row)?;
        let info = dictionary.info();
        let record = StoredDictionary {
            digest: info.digest,
            fitted_on: info.fitted_on,
            rows: self.activations.fit.rows(),
            rows_left_out: self.activations.fit.left_out().len(),
            outliers: outliers(&self.activations.fit, run.tokens),
            report,
            proof,
            evaluate_seconds: started.seconds(),
        };
        let result = RowResult { name: row.name.clone(), measured, outcomes, explained, dictionary: record };
        self.keep(method, files, &result)?;
        let stage = format!("score {}{}", self.hook, pass.label());
        let done = self.scored.fetch_add(1, Ordering::Relaxed) as usize + 1;
        let total = self.missing.iter().filter(|missing| **missing).count();
        tell(Event::work(stage, done, total, "methods"));
        tell(run.rows.add(1));
        Ok(Done { next: Vec::new(), result: Some((self.nth, place, result)) })
    }
}
