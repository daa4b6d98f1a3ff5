//! Everything that is done to one subject, hook point by hook point: every method fitted, each
//! dictionary measured, its features scored.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::evaluate::{Evaluated, Evaluation, Outcome};
use super::fit::{FittedRow, Fitter, Reference};
use super::harvest::HookActivations;
use super::models::{Models, prompt_digests};
use super::outliers::{Outlier, outliers};
use super::parallel::{Done, Tell, do_all};
use super::prepare::Fillers;
use super::probes::Probes;
use super::quality::{LossMeter, Measured};
use super::stage::{StageKey, StageStore};
use super::{Event, RowCount, RunError, Stop};
use crate::base::{Digest, HookPoint, Stopwatch};
use crate::corpus::TokenSets;
use crate::dictionary::{FitReport, Recipe};
use crate::llm::{ClientKind, READER_VERSION};
use crate::subject::SubjectModel;
use crate::suite::{Controls, MethodSpec, Pair, Suite};

/// Version of what is measured of a dictionary; raised when the same inputs give other numbers.
const QUALITY_VERSION: u32 = 1;

/// Version of records, explanations, simulations, scores and profiles together.
const EVALUATE_VERSION: u32 = 5;

/// A subject with what is done to it: the suite's methods on the real one, or a control.
pub struct SubjectPass<'a> {
    /// The suite.
    pub suite: &'a Suite,
    /// The run folder.
    pub out: &'a Path,
    /// Tokens of both splits.
    pub tokens: &'a TokenSets,
    /// Document of each fragment.
    pub documents: &'a [usize],
    /// Tokens that neuron-to-graph puts where text should be.
    pub fillers: &'a Fillers,
    /// Text of every token id.
    pub token_texts: &'a [String],
    /// Stored stages.
    pub store: &'a StageStore,
    /// The suite's language models, if it asks any.
    pub models: Option<&'a Models>,
    /// Rows done over all hook points and subjects.
    pub rows: &'a RowCount,
    /// Whether to go on.
    pub stop: Stop,
    /// The subject.
    pub subject: &'a dyn SubjectModel,
    /// The methods, in the suite's order.
    pub methods: &'a [&'a MethodSpec],
    /// Name of the control, if it is one.
    pub control: Option<&'a str>,
}

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

/// A hook point that is not done: its activations, and what an earlier run left of its rows.
pub struct Unfinished {
    /// Where.
    pub hook: HookPoint,
    /// The rows in the suite's order, none where there is no result yet.
    pub stored: Vec<Option<RowResult>>,
    /// What the methods are fitted and scored on.
    pub activations: HookActivations,
}

/// What all jobs of one hook point share.
struct HookWork<'a> {
    pass: &'a SubjectPass<'a>,
    nth: usize,
    hook: HookPoint,
    activations: &'a HookActivations,
    fitter: Fitter<'a>,
    meter: LossMeter<'a>,
    base: PathBuf,
    /// Whether a row, by its place in the table, has to be scored.
    missing: Vec<bool>,
    scored: AtomicU64,
}

/// Where the evidence of a subject is, in a run folder.
fn base_folder(out: &Path, control: Option<&str>) -> PathBuf {
    match control {
        Some(control) => out.join("controls").join(control),
        None => out.to_path_buf(),
    }
}

/// Where the dictionaries of a hook point are saved, each in a folder named by its row.
pub fn dictionary_folder(out: &Path, control: Option<&str>, hook: HookPoint) -> PathBuf {
    base_folder(out, control).join("dictionaries").join(hook.to_string())
}

/// Failures of a feature under a language model that are the feature's own, whatever a model answers.
const OF_THE_FEATURE: [&str; 2] = ["no_positive_activation", "explanation_is_no_sentence"];

impl SubjectPass<'_> {
    /// Tells the control's stages from the real ones.
    pub fn label(&self) -> String {
        self.control.map_or(String::new(), |control| format!(" ({})", control.replace('_', " ")))
    }

    /// What decides one row's result. Rows do not depend on each other, save on the method that they
    /// are matched to, so a suite that gains a method repeats no other.
    fn row_key(&self, hook: HookPoint, method: &MethodSpec, row: &str) -> StageKey {
        let matched = method.params.matched();
        let reference = self.suite.methods.iter().find(|other| Some(other.name.as_str()) == matched);
        let key = StageKey::new("row", EVALUATE_VERSION)
            .word(&hook.to_string())
            .word(self.control.unwrap_or("real"))
            .word(row)
            .input(self.subject.info().weights_digest)
            .input(self.tokens.digest)
            .params(&(method, reference, &self.suite.protocol, self.suite.per_cell, &self.suite.pairs))
            .params(&(&self.suite.scorers, self.suite.controls.shuffled, self.suite.seed, QUALITY_VERSION))
            .params(self.fillers)
            .params(&(prompt_digests(self.suite), READER_VERSION));
        if self.has_oracle() { key.word(Controls::ORACLE) } else { key }
    }

    /// Whether features are also explained by labelled concepts: those of the real subject alone.
    fn has_oracle(&self) -> bool {
        self.control.is_none() && self.suite.controls.oracle
    }

    /// Whether another try could mend a failure: an endpoint may answer another time, or be mended, while a model in
    /// this process says the same each time.
    fn may_be_mended(&self, outcome: &Outcome) -> bool {
        let line = &outcome.line;
        let asked = |pair: &&Pair| {
            (pair.explainer.name(), pair.simulator.name())
                == (line.explainer.as_str(), line.simulator.as_str())
        };
        let mut models = self.suite.pairs.iter().filter(asked).flat_map(Pair::models);
        models.any(|llm| llm.client != ClientKind::Local)
            && outcome.failures().any(|reason| !OF_THE_FEATURE.contains(&reason))
    }

    /// The results of an earlier run, row by row in the suite's order.
    pub fn stored_rows(&self, hook: HookPoint) -> Vec<Option<RowResult>> {
        let mut rows = Vec::new();
        for method in self.methods {
            for row in method.row_names() {
                rows.push(self.store.load(&self.row_key(hook, method, &row)));
            }
        }
        rows
    }

    /// Fits and scores what hook points have no result of, the rows of each in the suite's order, and
    /// frees the activations.
    pub fn complete(
        &self,
        mut hooks: Vec<Unfinished>,
        on: &dyn Fn(Event),
    ) -> Result<Vec<Vec<RowResult>>, RunError> {
        for Unfinished { stored, activations, .. } in &mut hooks {
            // Results of other activations cannot stand in one table with these.
            for row in stored.iter_mut() {
                row.take_if(|row| row.dictionary.fitted_on != activations.fit.digest());
            }
            on(self.rows.add(stored.iter().flatten().count()));
        }
        let work = hooks.iter().enumerate().map(|(nth, hook)| self.hook_work(nth, hook));
        let work = work.collect::<Result<Vec<HookWork<'_>>, RunError>>()?;
        let first = work.iter().flat_map(HookWork::first_jobs).collect();
        let scored = do_all(
            first,
            |job: &Job<'_>| job.hook,
            on,
            |job, tell| {
                let work = &work[job.hook];
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
        let finish = |hook: Unfinished| {
            hook.activations.remove();
            hook.stored.into_iter().flatten().collect()
        };
        Ok(hooks.into_iter().map(finish).collect())
    }

    fn hook_work<'a>(&'a self, nth: usize, unfinished: &'a Unfinished) -> Result<HookWork<'a>, RunError> {
        let Unfinished { hook, stored, activations } = unfinished;
        Ok(HookWork {
            pass: self,
            nth,
            hook: *hook,
            activations,
            fitter: Fitter {
                suite: self.suite,
                hook: *hook,
                control: self.control,
                label: self.label(),
                folder: dictionary_folder(self.out, self.control, *hook),
                subject: self.subject.info().weights_digest,
                tokens: self.tokens.digest,
                bos: !self.tokens.prefix.is_empty(),
                centred: self.subject.is_centred(),
                store: self.store,
                device: self.subject.device(),
                stop: self.stop,
            },
            meter: LossMeter::new(self.subject, *hook, &self.tokens.evaluate, activations.fit.mean())?,
            base: base_folder(self.out, self.control),
            missing: stored.iter().map(Option::is_none).collect(),
            scored: AtomicU64::new(0),
        })
    }
}

impl<'a> HookWork<'a> {
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
                first.extend(self.pass.suite.methods.iter().find(|method| method.name == name));
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
        let pass = self.pass;
        pass.stop.check()?;
        let started = Stopwatch::start();
        let dictionary = row.dictionary.as_ref();
        let probes = Probes::new(pass.subject, self.hook, pass.fillers.lead)?;
        let evaluation = Evaluation {
            suite: pass.suite,
            row: &row.name,
            method: &method.row_methods()[place - self.places(method).start],
            training: method.training.as_ref().map(|training| training.nth),
            control: pass.control,
            subject: pass.subject,
            dictionary,
            fit: &self.activations.fit,
            evaluate: &self.activations.evaluate,
            tokens: pass.tokens,
            labels: if pass.has_oracle() { pass.tokens.labels.as_ref() } else { None },
            documents: pass.documents,
            probes: &probes,
            fillers: pass.fillers,
            token_texts: pass.token_texts,
            models: pass.models,
            stop: &pass.stop,
            tell,
        };
        let Evaluated { outcomes, quality, explained } = evaluation.run(&self.base)?;
        let measured = self.meter.measure(dictionary, quality)?;
        let info = dictionary.info();
        let record = StoredDictionary {
            digest: info.digest,
            fitted_on: info.fitted_on,
            rows: self.activations.fit.rows(),
            rows_left_out: self.activations.fit.left_out().len(),
            outliers: outliers(&self.activations.fit, pass.tokens),
            report: row.report.clone(),
            evaluate_seconds: started.seconds(),
        };
        let result = RowResult { name: row.name.clone(), measured, outcomes, explained, dictionary: record };
        // What an endpoint may answer next time is asked again by the same command; answers are kept.
        if !result.outcomes.iter().any(|outcome| pass.may_be_mended(outcome)) {
            pass.store.save(&pass.row_key(self.hook, method, &row.name), &result)?;
        }
        tell(Event::Work {
            stage: format!("score {}{}", self.hook, pass.label()),
            done: self.scored.fetch_add(1, Ordering::Relaxed) + 1,
            total: self.missing.iter().filter(|missing| **missing).count() as u64,
            unit: "methods",
        });
        tell(pass.rows.add(1));
        Ok(Done { next: Vec::new(), result: Some((self.nth, place, result)) })
    }
}
