//! The flow, top to bottom: subject, tokens, activations, dictionaries, quality, features,
//! explanations, simulations, scores, estimates, report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::evaluate::{Evaluation, Outcome};
use super::fit::{FittedRow, Fitter};
use super::harvest::{Harvester, HookActivations};
use super::manifest::{DictionaryRecord, FillerRecord, METRIC_VERSIONS, Machine, Manifest, StageClock};
use super::prepare::{CorpusRecord, Fillers, expand_hooks, fillers, open_corpus, open_subject};
use super::probes::Probes;
use super::quality::{LossMeter, Measured};
use super::stage::{StageKey, StageStore};
use super::summary::{QualityInput, summarise};
use super::{Event, Places, RunError, Stop};
use crate::base::{Digest, HookPoint, write_atomic};
use crate::corpus::TokenSets;
use crate::report;
use crate::report::{ScoreStatus, Summary};
use crate::subject::{LoadedSubject, SubjectModel};
use crate::suite::{Limits, MethodSpec, Suite};

/// Version of what is measured of a dictionary; raised when the same inputs give other numbers.
const QUALITY_VERSION: u32 = 1;

/// Version of records, explanations, simulations and scores together.
const EVALUATE_VERSION: u32 = 1;

/// Name of the control that repeats methods on permuted weights.
const RANDOM_WEIGHTS: &str = "random_weights";

/// How a run ended.
#[derive(Debug)]
pub struct Finished {
    /// What tables and charts are drawn from.
    pub summary: Summary,
    /// The run folder.
    pub folder: PathBuf,
    /// What the reader of the results must know.
    pub warnings: Vec<String>,
    /// Features walked, and how many of them failed.
    pub failed: (usize, usize),
    /// Files that the report wrote.
    pub report_files: Vec<PathBuf>,
}

/// Everything that both the real subject and the control are run with.
struct Context<'a> {
    suite: &'a Suite,
    places: &'a Places,
    tokens: &'a TokenSets,
    documents: Vec<usize>,
    fillers: Fillers,
    token_texts: Vec<String>,
    store: StageStore,
    on: &'a dyn Fn(Event),
    stop: Stop,
}

/// What came of it, gathered over hook points.
#[derive(Default)]
struct Gathered {
    outcomes: Vec<Outcome>,
    quality: Vec<QualityInput>,
    dictionaries: BTreeMap<String, DictionaryRecord>,
    warnings: Vec<String>,
    clock: StageClock,
}

/// Runs a suite into `places.out`, reusing every stage whose key is there unless `fresh`.
pub fn run(
    suite: &Suite,
    places: &Places,
    fresh: bool,
    on: &dyn Fn(Event),
    stop: Stop,
) -> Result<Finished, RunError> {
    let mut gathered = Gathered::default();
    let subject = open_subject(&suite.subject, places)?;
    let model = subject.loaded.model();
    let hooks = expand_hooks(suite, model)?;
    on(Event::Note(format!(
        "subject {} · {} hook points · {} methods",
        model.info().name,
        hooks.len(),
        suite.methods.len()
    )));
    let corpus = gathered
        .clock
        .time("corpus", || Ok::<_, RunError>((open_corpus(suite, &subject.loaded, places)?, false)))?;
    stop.check()?;
    let tokens = &corpus.tokens;
    let fillers = fillers(&subject.loaded, &tokens.fit)?;
    let tokenizer = subject.loaded.tokenizer()?;
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
    let context = Context {
        suite,
        places,
        tokens,
        documents: tokens.fragment_documents.iter().map(|&document| document as usize).collect(),
        fillers: fillers.clone(),
        token_texts: tokenizer.token_texts(&ids),
        store: StageStore::new(&places.out, fresh),
        on,
        stop,
    };
    // The evidence names tokens by id; this gives every id its text.
    let texts = serde_json::to_vec(&context.token_texts).unwrap_or_default();
    write_atomic(&places.out.join("records/tokens.json"), &texts)?;
    let all: Vec<&MethodSpec> = suite.methods.iter().collect();
    context.subject_pass(model, &hooks, &all, None, &mut gathered)?;
    if !suite.controls.random_weights.is_empty() {
        let chosen =
            suite.methods.iter().filter(|method| suite.controls.random_weights.contains(&method.name));
        let permuted: LoadedSubject = subject.loaded.with_permuted_weights(suite.seed)?;
        context.subject_pass(
            permuted.model(),
            &hooks,
            &chosen.collect::<Vec<_>>(),
            Some(RANDOM_WEIGHTS),
            &mut gathered,
        )?;
    }
    let run = run_digest(suite, model.info().weights_digest, tokens.digest);
    let record = CorpusRecord {
        digest: tokens.digest,
        counts: corpus.tokens.counts.clone(),
        revision: corpus.revision,
    };
    let filler_record = FillerRecord {
        lead_text: fillers.lead.map(|id| context.token_texts[id as usize].clone()),
        pad_text: context.token_texts[fillers.pad as usize].clone(),
        ids: fillers,
    };
    finish(suite, places, gathered, run, model, &record, filler_record)
}

/// Digest of what decides the numbers: suite, model and tokens; no time, no path of this machine.
/// Model and text count by what they hold, wherever they lie, and limits decide no number.
fn run_digest(suite: &Suite, subject: Digest, tokens: Digest) -> Digest {
    let mut suite = suite.clone();
    suite.subject.model.clear();
    suite.corpus.source.clear();
    suite.limits = Limits { failed_allowed: 0.0, disk_gb: 0.0 };
    StageKey::new("run", EVALUATE_VERSION)
        .params(&suite)
        .params(&METRIC_VERSIONS)
        .input(subject)
        .input(tokens)
        .digest()
}

impl Context<'_> {
    /// All hook points of one subject, real or permuted.
    fn subject_pass(
        &self,
        subject: &dyn SubjectModel,
        hooks: &[HookPoint],
        methods: &[&MethodSpec],
        control: Option<&str>,
        gathered: &mut Gathered,
    ) -> Result<(), RunError> {
        let label = if control.is_some() { " (random weights)" } else { "" };
        let harvester = Harvester {
            subject,
            tokens: self.tokens,
            folder: self.places.cache.join("activations"),
            disk: self.suite.limits.disk_gb * 1e9,
            label,
            on: self.on,
            stop: self.stop,
        };
        for group in harvester.groups(hooks)? {
            let stored: Vec<Option<HookResult>> = group
                .iter()
                .map(|&hook| self.store.load(&self.hook_key(subject, hook, methods, control)))
                .collect();
            let missing: Vec<HookPoint> = group
                .iter()
                .zip(&stored)
                .filter(|(_, found)| found.is_none())
                .map(|(hook, _)| *hook)
                .collect();
            let name = format!("harvest{label}");
            let harvested = match missing.is_empty() {
                true => Vec::new(),
                false => {
                    gathered.clock.time(&name, || Ok::<_, RunError>((harvester.harvest(&missing)?, false)))?
                }
            };
            let mut harvested = harvested.into_iter();
            for (hook, stored) in group.iter().zip(stored) {
                let result = match stored {
                    Some(result) => {
                        gathered.clock.time(&format!("{hook}{label}"), || Ok::<_, RunError>(((), true)))?;
                        result
                    }
                    None => match harvested.next() {
                        Some(activations) => {
                            self.hook_pass(subject, *hook, methods, control, activations, gathered)?
                        }
                        None => continue,
                    },
                };
                result.gather(control, gathered);
            }
        }
        Ok(())
    }

    fn hook_key(
        &self,
        subject: &dyn SubjectModel,
        hook: HookPoint,
        methods: &[&MethodSpec],
        control: Option<&str>,
    ) -> StageKey {
        StageKey::new("hook", EVALUATE_VERSION)
            .word(&hook.to_string())
            .word(control.unwrap_or("real"))
            .input(subject.info().weights_digest)
            .input(self.tokens.digest)
            .params(&(methods, &self.suite.protocol, self.suite.per_cell, &self.suite.pairs))
            .params(&(&self.suite.scorers, self.suite.controls.shuffled, self.suite.seed, QUALITY_VERSION))
            .params(&self.fillers)
    }

    /// One hook point: fits every method, measures each dictionary, scores its features.
    fn hook_pass(
        &self,
        subject: &dyn SubjectModel,
        hook: HookPoint,
        methods: &[&MethodSpec],
        control: Option<&str>,
        activations: HookActivations,
        gathered: &mut Gathered,
    ) -> Result<HookResult, RunError> {
        let label = if control.is_some() { " (random weights)" } else { "" };
        let base = match control {
            Some(control) => self.places.out.join("controls").join(control),
            None => self.places.out.clone(),
        };
        let fitter = Fitter {
            suite: self.suite,
            hook,
            control,
            folder: base.join("dictionaries").join(hook.to_string()),
            subject: subject.info().weights_digest,
            tokens: self.tokens.digest,
            store: &self.store,
            on: self.on,
            stop: self.stop,
        };
        let rows =
            gathered.clock.time(&format!("fit {hook}{label}"), || fitter.fit(methods, &activations.fit))?;
        let meter = LossMeter::new(subject, hook, &self.tokens.evaluate, activations.fit.mean())?;
        let mut result = HookResult { hook, rows: Vec::new() };
        let total = rows.len() as u64;
        for (done, row) in rows.iter().enumerate() {
            self.stop.check()?;
            (self.on)(Event::Work {
                stage: format!("score {hook}{label}"),
                done: done as u64,
                total,
                unit: "methods",
            });
            let key = self
                .hook_key(subject, hook, methods, control)
                .word("row")
                .word(&row.name)
                .input(row.dictionary.info().digest);
            let name = format!("score {hook}/{}{label}", row.name);
            let probes = Probes::new(subject, hook, self.fillers.lead)?;
            let scored = gathered
                .clock
                .time(&name, || self.row_pass(&key, row, control, &base, &activations, &meter, &probes))?;
            result.rows.push(scored);
        }
        (self.on)(Event::Work { stage: format!("score {hook}{label}"), done: total, total, unit: "methods" });
        self.store.save(&self.hook_key(subject, hook, methods, control), &result)?;
        activations.remove();
        Ok(result)
    }

    #[expect(clippy::too_many_arguments, reason = "the pieces of one hook point meet here and nowhere else")]
    fn row_pass(
        &self,
        key: &StageKey,
        row: &FittedRow,
        control: Option<&str>,
        base: &Path,
        activations: &HookActivations,
        meter: &LossMeter<'_>,
        probes: &Probes<'_>,
    ) -> Result<(RowResult, bool), RunError> {
        if let Some(stored) = self.store.load(key) {
            return Ok((stored, true));
        }
        let dictionary = row.dictionary.as_ref();
        let evaluation = Evaluation {
            suite: self.suite,
            row: &row.name,
            control,
            dictionary,
            fit: &activations.fit,
            evaluate: &activations.evaluate,
            tokens: self.tokens,
            documents: &self.documents,
            probes,
            fillers: &self.fillers,
            token_texts: &self.token_texts,
            stop: &self.stop,
        };
        let (outcomes, quality) = evaluation.run(base)?;
        let measured = meter.measure(dictionary, quality)?;
        let info = dictionary.info();
        let record = StoredDictionary {
            digest: info.digest,
            fitted_on: info.fitted_on,
            rows: activations.fit.rows(),
            rows_left_out: activations.fit.left_out(),
            report: row.report.clone(),
        };
        let result = RowResult { name: row.name.clone(), measured, outcomes, dictionary: record };
        self.store.save(key, &result)?;
        Ok((result, false))
    }
}

/// One hook point's stored result.
#[derive(serde::Serialize, serde::Deserialize)]
struct HookResult {
    hook: HookPoint,
    rows: Vec<RowResult>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct RowResult {
    name: String,
    measured: Measured,
    outcomes: Vec<Outcome>,
    dictionary: StoredDictionary,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct StoredDictionary {
    digest: Digest,
    fitted_on: Digest,
    rows: usize,
    rows_left_out: usize,
    report: crate::dictionary::FitReport,
}

impl HookResult {
    fn gather(self, control: Option<&str>, gathered: &mut Gathered) {
        let place = control.map_or(String::new(), |control| format!(" ({control})"));
        for row in self.rows {
            let name = format!("{}/{}", self.hook, row.name);
            if row.dictionary.report.converged == Some(false) {
                gathered.warnings.push(format!("{name}{place}: the fit did not converge"));
            }
            for note in &row.dictionary.report.notes {
                gathered.warnings.push(format!("{name}{place}: {note}"));
            }
            gathered.quality.push(QualityInput {
                hook: self.hook.to_string(),
                method: row.name,
                control: control.map(Into::into),
                measured: row.measured,
                report: row.dictionary.report.clone(),
            });
            let record = DictionaryRecord {
                digest: row.dictionary.digest,
                fitted_on: row.dictionary.fitted_on,
                rows_left_out: row.dictionary.rows_left_out,
                rows: row.dictionary.rows,
                report: row.dictionary.report,
            };
            gathered.dictionaries.insert(format!("{name}{place}"), record);
            gathered.outcomes.extend(row.outcomes);
        }
    }
}

/// Estimates, files and report.
fn finish(
    suite: &Suite,
    places: &Places,
    gathered: Gathered,
    run: Digest,
    subject: &dyn SubjectModel,
    corpus: &CorpusRecord,
    fillers: FillerRecord,
) -> Result<Finished, RunError> {
    let Gathered { outcomes, quality, dictionaries, mut warnings, mut clock } = gathered;
    let summary = clock
        .time("statistics", || Ok::<_, RunError>((summarise(suite, run, &outcomes, &quality), false)))?;
    let (walked, failed) = failures(&outcomes);
    if failed > 0 {
        warnings.push(format!(
            "{failed} of {walked} walked features failed; the tally of each cell has the reasons"
        ));
    }
    let mut lines = String::new();
    for outcome in &outcomes {
        lines.push_str(&outcome.line.to_json_line()?);
    }
    write_atomic(&places.out.join("scores.jsonl"), lines.as_bytes())?;
    write_atomic(&places.out.join("summary.json"), summary.to_json()?.as_bytes())?;
    let manifest = Manifest {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        run,
        suite_name: &suite.name,
        suite,
        seed: suite.seed,
        subject: subject.info(),
        corpus,
        fillers,
        dictionaries,
        metric_versions: METRIC_VERSIONS.into_iter().collect(),
        stages: clock.stages.clone(),
        warnings: warnings.clone(),
        machine: Machine::here(),
        llm_usage: BTreeMap::new(),
    };
    let path = places.out.join("manifest.json");
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| crate::base::FileError {
        action: "write",
        path: path.clone(),
        source: error.into(),
    })?;
    write_atomic(&path, &json)?;
    let report_files = report::render(&places.out)?;
    Ok(Finished { summary, folder: places.out.clone(), warnings, failed: (walked, failed), report_files })
}

/// Lines without a control, and how many of them failed.
fn failures(outcomes: &[Outcome]) -> (usize, usize) {
    let real = outcomes.iter().filter(|outcome| outcome.line.control.is_none());
    let failed = real.clone().filter(|outcome| outcome.line.status == ScoreStatus::Failed).count();
    (real.count(), failed)
}
