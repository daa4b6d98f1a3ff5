//! Times fits and evaluations: as many at the same time, on as many threads each, as in a run.

use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use crate::activations::{ActivationSet, ActivationWriter};
use crate::base::{FileName, WorkClock};
use crate::dictionary::{DictionaryFit, FitContext, Fitted};
use crate::run::inputs::harvest::FIT_PRECISION;
use crate::run::parallel::{Done, do_all};
use crate::run::plan::pieces::{Speed, Work};
use crate::run::plan::shape::{HookShape, MethodShape, Shape};
use crate::run::plan::usual;
use crate::run::rows::fit::text_input;
use crate::run::{RunContext, RunError, Stop, SubjectPass};
use crate::subject::{LoadedSubject, Prefix, WithPrefix};

use super::budget::{Budget, Timed};
use super::evaluation::{Trial, sparse};
use super::sample::Sample;
use super::subject::Harvested;

/// Steps of the shorter of two fits, and steps that the longer one has more, by the seconds that the shorter one took.
const SHORT_STEPS: usize = 2;
const MORE_STEPS: [(f64, usize); 3] = [(0.2, 24), (1.0, 8), (f64::INFINITY, 3)];
/// A fit that usually takes more than this share of the time for all measurements is not timed.
const MOST_OF_TIME: f64 = 0.3;
/// A set that is fitted on has at least so many batches.
const BATCHES: usize = 4;

/// The measurements themselves are short, and nobody stops them.
static STOP: AtomicBool = AtomicBool::new(false);

/// A method whose fit is timed. Others have the same parameters.
struct Job<'a> {
    at: usize,
    method: &'a MethodShape<'a>,
    /// Methods whose fits take as long.
    alike: Vec<&'a str>,
    /// Methods whose dictionaries take as long to evaluate; empty if another job is evaluated for them.
    evaluated_for: Vec<&'a str>,
}

/// Times the fit of every method, and the evaluation of one dictionary of each kind and size. Returns what could not be
/// timed, and why.
pub fn time(
    shape: &Shape<'_>,
    sample: &Sample,
    (subject, prefix): (&LoadedSubject, &Prefix),
    harvested: Vec<Harvested>,
    budget: &Budget,
    speed: &mut Speed,
) -> Result<Vec<String>, RunError> {
    let model = &WithPrefix::new(subject.model(), &prefix.ids);
    let tokenizer = subject.tokenizer()?;
    let hooks: Vec<_> = harvested.iter().map(|one| one.at.hook).collect();
    let stop = (true, Stop(&STOP));
    let run =
        RunContext::new(&sample.suite, &sample.places, (model, tokenizer), &sample.tokens, &hooks, stop)?;
    let methods = sample.suite.methods.iter().collect();
    let pass = SubjectPass { run: &run, subject: model, methods, control: None };
    let (workers, share) = shape.workers();
    let pools = (0..workers).map(|_| rayon::ThreadPoolBuilder::new().num_threads(share).build());
    let pools = Mutex::new(pools.filter_map(Result::ok).collect::<Vec<_>>());
    let measure = Measure { shape, pass: &pass, harvested: &harvested, budget, share };
    let speed = Mutex::new(speed);
    do_all(
        measure.jobs(),
        |_| 0,
        &|_| (),
        |job: Job<'_>, _| {
            // In a run the last job has all threads. Here it keeps its share, so that seconds of one core are known.
            let pool = pools.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let timed = match &pool {
                Some(pool) => pool.install(|| measure.time(&job)),
                None => measure.time(&job),
            };
            pools.lock().unwrap_or_else(PoisonError::into_inner).extend(pool);
            // What fails on a little text need not fail in a run.
            let (timed, failed) = match timed {
                Ok(timed) => (timed, None),
                Err(why) => (Vec::new(), Some(format!("{}: {why}", job.method.spec.name))),
            };
            let mut speed = speed.lock().unwrap_or_else(PoisonError::into_inner);
            for Timed { work, usual, seconds } in timed {
                let names = if is_of_fit(work) { &job.alike } else { &job.evaluated_for };
                names.iter().for_each(|name| speed.add(work, Some(name), usual, seconds));
            }
            Ok(Done { next: Vec::new(), result: failed })
        },
    )
}

fn is_of_fit(work: Work) -> bool {
    matches!(work, Work::Fit | Work::Steps)
}

struct Measure<'a> {
    shape: &'a Shape<'a>,
    pass: &'a SubjectPass<'a>,
    harvested: &'a [Harvested],
    budget: &'a Budget,
    /// Threads of a job.
    share: usize,
}

impl<'a> Measure<'a> {
    /// One job for each width and different fit, those first that take most of the run.
    fn jobs(&self) -> Vec<Job<'a>> {
        let mut jobs: Vec<(f64, Job<'a>)> = Vec::new();
        let real = &self.shape.passes[0];
        for (nth, Harvested { at, .. }) in self.harvested.iter().enumerate() {
            let methods: Vec<&MethodShape<'_>> = real.methods.iter().collect();
            let mut seen: Vec<usize> = Vec::new();
            for (place, method) in methods.iter().enumerate() {
                let same = |other: &MethodShape<'_>| params(other) == params(method);
                if methods[..place].iter().any(|earlier| same(earlier)) {
                    continue;
                }
                let alike: Vec<&str> = methods
                    .iter()
                    .filter(|other| same(other))
                    .map(|other| other.spec.name.as_str())
                    .collect();
                seen.push(place);
                let fit = method.fit.as_ref().map(|fit| fit.work(self.shape.fit_tokens as f64, at.width));
                let order = fit.map_or(0.0, |fit| fit.before + fit.step * fit.steps) * alike.len() as f64;
                jobs.push((order, Job { at: nth, method, alike, evaluated_for: Vec::new() }));
            }
            self.choose_evaluated(at, nth, &methods, &mut jobs);
        }
        jobs.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        jobs.into_iter().map(|(_, job)| job).collect()
    }

    /// Of all methods of one kind with equally many features, the middle one is evaluated.
    fn choose_evaluated(
        &self,
        at: &HookShape,
        nth: usize,
        methods: &[&'a MethodShape<'a>],
        jobs: &mut [(f64, Job<'a>)],
    ) {
        let size = |method: &MethodShape<'_>| -> (String, Vec<usize>) {
            let rows = self.shape.rows(at, method);
            (method.spec.params.kind().to_string(), rows.iter().map(|row| row.features).collect())
        };
        let mine =
            |job: &Job<'a>, size_of: &(String, Vec<usize>)| job.at == nth && size(job.method) == *size_of;
        let mut sizes: Vec<(String, Vec<usize>)> = methods.iter().map(|method| size(method)).collect();
        sizes.sort();
        sizes.dedup();
        for size_of in sizes {
            let names: Vec<&str> = methods
                .iter()
                .filter(|method| size(method) == size_of)
                .map(|method| method.spec.name.as_str())
                .collect();
            let n = jobs.iter().filter(|(_, job)| mine(job, &size_of)).count();
            let middle = jobs.iter_mut().filter(|(_, job)| mine(job, &size_of)).nth(n / 2);
            if let Some((_, job)) = middle {
                job.evaluated_for = names;
            }
        }
    }

    /// Times a fit, then the evaluation of its dictionaries.
    fn time(&self, job: &Job<'_>) -> Result<Vec<Timed>, RunError> {
        let Harvested { at, activations } = &self.harvested[job.at];
        let mut timed = Vec::new();
        let Some(fitted) = self.fit(job, at, &activations.fit, &mut timed)? else { return Ok(timed) };
        if job.evaluated_for.is_empty() || self.budget.is_spent() {
            return Ok(timed);
        }
        let spec = self.pass.run.suite.methods.iter().find(|spec| spec.name == job.method.spec.name);
        let Some(spec) = spec else { return Ok(timed) };
        let rows = self.shape.rows(at, job.method);
        let n = rows.len();
        for ((row, fitted), nth) in rows.into_iter().zip(fitted).zip(0..) {
            // The first and the last variant stand for all.
            if (nth > 0 && nth + 1 < n) || self.budget.is_spent() {
                continue;
            }
            let dictionary = sparse(fitted.dictionary, &activations.evaluate, &row)?;
            let trial =
                Trial { shape: self.shape, pass: self.pass, at, activations, spec, share: self.share };
            trial.evaluate(dictionary.as_ref(), row, &mut timed)?;
        }
        Ok(timed)
    }

    /// Fits twice, where there are steps; none if there is no time, or if the files are not here.
    fn fit(
        &self,
        job: &Job<'_>,
        at: &HookShape,
        set: &ActivationSet,
        timed: &mut Vec<Timed>,
    ) -> Result<Option<Vec<Fitted>>, RunError> {
        let Some(fit) = &job.method.fit else { return Ok(None) };
        let is_elsewhere = job.method.spec.params.path().is_some();
        if is_elsewhere && self.shape.rows(at, job.method).iter().any(|row| !row.is_exact) {
            return Ok(None);
        }
        let batch = fit.recipe(at.width, "").and_then(Result::ok).map_or(0, |recipe| recipe.batch);
        let longer = self.repeated(set, BATCHES * batch, job)?;
        let set = longer.as_ref().unwrap_or(set);
        let work = fit.work(set.rows() as f64, at.width);
        let most = MOST_OF_TIME * self.budget.seconds * self.share as f64;
        let at_least = usual::fit(work.before + SHORT_STEPS as f64 * work.first_step);
        if at_least > most || self.budget.is_spent() {
            return Ok(None);
        }
        let run =
            |steps: usize| self.run(fit.shortened(steps).as_deref().unwrap_or(fit.as_ref()), job, at, set);
        let (fitted, seconds) = run(SHORT_STEPS)?;
        if fit.shortened(SHORT_STEPS).is_none() {
            let entries: usize =
                self.shape.rows(at, job.method).iter().map(|row| 2 * row.features * at.width).sum();
            let read = if is_elsewhere { usual::read_dictionary(entries as f64) } else { 0.0 };
            timed.push(Timed { work: Work::Fit, usual: usual::fit(work.before) + read, seconds });
            return Ok(Some(fitted));
        }
        let more = MORE_STEPS.iter().find(|(most, _)| seconds < *most).map_or(1, |(_, more)| *more);
        let (fitted, longer) = run(SHORT_STEPS + more)?;
        let step = ((longer - seconds) / more as f64).max(0.0);
        let usual_step = usual::fit(work.first_step);
        timed.push(Timed { work: Work::Steps, usual: more as f64 * usual_step, seconds: more as f64 * step });
        let before = (seconds - SHORT_STEPS as f64 * step).max(0.0);
        timed.push(Timed { work: Work::Fit, usual: usual::fit(work.before), seconds: before });
        Ok(Some(fitted))
    }

    /// Fits once, in seconds of one core.
    fn run(
        &self,
        fit: &dyn DictionaryFit,
        job: &Job<'_>,
        at: &HookShape,
        set: &ActivationSet,
    ) -> Result<(Vec<Fitted>, f64), RunError> {
        let l0 = self.shape.rows(at, job.method).last().map(|row| row.active);
        let spec = job.method.spec;
        let mut context = FitContext {
            method: &spec.name,
            seed: self.pass.run.suite.seed,
            training: 0,
            input: text_input(self.pass),
            only: None,
            device: self.pass.subject.device(),
            progress: &mut |_| (),
        };
        let clock = WorkClock::start(self.shape.threads);
        let fitted = fit.fit_variants(set, &mut context, spec.variants(), l0);
        let seconds = clock.read().undisturbed() * self.share as f64;
        let failed = |source| RunError::Fit { method: spec.name.clone(), hook: at.hook.to_string(), source };
        Ok((fitted.map_err(failed)?, seconds))
    }

    /// The rows of a set again and again, until there are at least so many; none if there are.
    fn repeated(
        &self,
        set: &ActivationSet,
        rows: usize,
        job: &Job<'_>,
    ) -> Result<Option<ActivationSet>, RunError> {
        if set.rows() >= rows {
            return Ok(None);
        }
        let name = format!("{}-{}.act", job.at, FileName::of(&job.method.spec.name));
        let path = self.pass.run.places.cache.join(name);
        let mut writer = ActivationWriter::create(&path, set.hook(), set.width(), FIT_PRECISION)?;
        let (all, ids) = (set.read(0, set.rows())?, set.tokens(0, set.rows())?);
        for _ in 0..rows.div_ceil(set.rows().max(1)) {
            writer.push(all.data(), &ids)?;
        }
        Ok(Some(writer.finish()?))
    }
}

/// What decides the fit of a method.
fn params(method: &MethodShape<'_>) -> String {
    serde_json::to_string(&method.spec.params).unwrap_or_default()
}
