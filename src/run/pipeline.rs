//! The flow, top to bottom: subject, tokens, activations, dictionaries, quality, features,
//! explanations, simulations, scores, estimates, report.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::bill::{Beside, Planned, beside};
use super::estimate::{remarks, walked};
use super::evaluate::Outcome;
use super::harvest::Harvester;
use super::manifest::{
    DictionaryRecord, FillerRecord, METRIC_VERSIONS, Machine, Manifest, OutlierRecord, StageClock,
};
use super::models::{Models, by_model, prompt_digests};
use super::neighbours::write_neighbours;
use super::outliers::Outlier;
use super::planned::{SAMPLE_FRAGMENTS, planned};
use super::prepare::{CorpusRecord, Fillers, behind, expand_hooks, fillers, open_corpus, open_subject};
use super::stage::{StageKey, StageStore};
use super::subject_pass::{RowResult, StoredDictionary, SubjectPass, Unfinished, dictionary_folder};
use super::summary::{QualityInput, summarise};
use super::{AllFailed, Event, Places, RowCount, RunError, Stop};
use crate::base::{Digest, HookPoint, TokenBatch, write_atomic};
use crate::corpus::{CorpusCounts, TokenSets};
use crate::dictionary::SignPolicy;
use crate::llm::Usage;
use crate::report;
use crate::report::{RenderOptions, ScoreStatus, Summary};
use crate::subject::{LoadedSubject, Prefix, SubjectInfo, SubjectModel, WithPrefix};
use crate::suite::{Controls, Limits, MethodSpec, Suite};

/// Version of what decides the numbers of `summary.json` beside the inputs.
const NUMBERS_VERSION: u32 = 2;

/// Special tokens of a text that are named on the screen; the manifest has all of them.
const SPECIAL_TOKENS_NAMED: usize = 5;

/// Outliers of a hook point that are named on the screen; the manifest lists more.
const OUTLIERS_NAMED: usize = 3;

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
    /// What language models were asked and what it cost.
    pub llm: LanguageModels,
    /// Files that the report wrote.
    pub report_files: Vec<PathBuf>,
}

/// What language models were asked and what it cost.
#[derive(Debug, Clone, Default)]
pub struct LanguageModels {
    /// By model.
    pub usage: BTreeMap<String, Usage>,
    /// By explainer, simulator and scorer, beside what was planned.
    pub steps: Vec<Beside>,
    /// How they had to be asked, and what failed.
    pub warnings: Vec<String>,
    /// A purpose for which an endpoint refused everything that it was asked.
    pub unanswered: Option<AllFailed>,
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
    models: Option<Models>,
    rows: RowCount,
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
    let prefix = subject.loaded.prefix(suite.subject.bos)?;
    let suite = &behind(&prefix, suite);
    let model = &WithPrefix::new(subject.loaded.model(), &prefix.ids);
    let hooks = expand_hooks(suite, model)?;
    on(Event::Note(format!(
        "subject {} · {} hook points · {} methods",
        model.info().name,
        hooks.len(),
        suite.methods.len()
    )));
    if !(prefix.is_empty() && prefix.setting.is_auto()) {
        on(Event::Note(format!("in front of every text: {prefix}")));
    }
    let read = |done: usize, total: usize| {
        on(Event::Work { stage: "read text".into(), done: done as u64, total: total as u64, unit: "tokens" });
    };
    let corpus = gathered.clock.time("corpus", || open_corpus(suite, &subject.loaded, places, &read))?;
    stop.check()?;
    let tokens = &corpus.tokens;
    let tokenizer = subject.loaded.tokenizer()?;
    gathered.warnings.extend_from_slice(tokenizer.notes());
    let fillers = fillers(model, tokenizer, &tokens.fit);
    let ids: Vec<u32> = (0..tokenizer.vocab_size() as u32).collect();
    let context = Context {
        suite,
        places,
        tokens,
        documents: tokens.fragment_documents.iter().map(|&document| document as usize).collect(),
        fillers: fillers.clone(),
        token_texts: tokenizer.token_texts(&ids),
        store: StageStore::new(&places.out, fresh, places.device),
        models: Models::connect(suite, places)?,
        rows: RowCount::new(hooks.len() * rows_of_all_subjects(suite)),
        stop,
    };
    // The evidence names tokens by id; this gives every id its text.
    let texts = serde_json::to_vec(&context.token_texts).unwrap_or_default();
    write_atomic(&places.out.join("records/tokens.json"), &texts)?;
    let all: Vec<&MethodSpec> = suite.methods.iter().collect();
    if let Some(held) = special_tokens(&tokens.counts, &context.token_texts) {
        on(Event::Note(held));
    }
    let planned = context.plan(hooks.len(), on)?;
    on(context.rows.add(0));
    context.subject_pass(model, &hooks, &all, None, on, &mut gathered)?;
    for (control, names) in suite.controls.on_permuted_weights() {
        let chosen = called(suite, names);
        let embeddings = control == Controls::RANDOM_WEIGHTS_AND_EMBEDDINGS;
        let permuted: LoadedSubject = subject.loaded.with_permuted_weights(suite.seed, embeddings)?;
        let permuted = WithPrefix::new(permuted.model(), &prefix.ids);
        context.subject_pass(&permuted, &hooks, &chosen, Some(control), on, &mut gathered)?;
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
    let usage = context.models.as_ref().map(Models::usage).unwrap_or_default();
    let llm = LanguageModels {
        usage: by_model(&usage),
        steps: beside(&planned, &usage),
        warnings: context.models.as_ref().map(Models::warnings).unwrap_or_default(),
        unanswered: context.models.as_ref().and_then(Models::unanswered),
    };
    let subject = subject.loaded.model().info();
    finish(suite, places, gathered, run, subject, prefix.clone(), &record, filler_record, llm, on)
}

/// Says which special tokens the text itself holds, the most frequent first.
fn special_tokens(counts: &CorpusCounts, texts: &[String]) -> Option<String> {
    let mut held: Vec<(usize, u32)> = counts.special_tokens.iter().map(|(&id, &n)| (n, id)).collect();
    held.sort_unstable_by_key(|&(n, id)| (std::cmp::Reverse(n), id));
    let named = |&(n, id): &(usize, u32)| Some(format!("{:?} × {n}", texts.get(id as usize)?));
    let named: Vec<String> = held.iter().take(SPECIAL_TOKENS_NAMED).filter_map(named).collect();
    let total: usize = held.iter().map(|(n, _)| n).sum();
    (total > 0)
        .then(|| format!("the text holds {total} special tokens, which count as text: {}", named.join(", ")))
}

/// The methods that go by these names.
fn called<'a>(suite: &'a Suite, names: &[String]) -> Vec<&'a MethodSpec> {
    suite.methods.iter().filter(|method| names.iter().any(|name| method.is_called(name))).collect()
}

/// Rows at each hook point: those of the real subject and of every control that is a subject.
fn rows_of_all_subjects(suite: &Suite) -> usize {
    let rows =
        |methods: Vec<&MethodSpec>| methods.iter().map(|method| method.row_names().len()).sum::<usize>();
    let permuted = suite.controls.on_permuted_weights();
    rows(suite.methods.iter().collect())
        + permuted.map(|(_, names)| rows(called(suite, names))).sum::<usize>()
}

/// Digest of what decides the numbers: suite, model and tokens; no time, no path of this machine.
/// Model and text count by what they hold, wherever they lie, and limits decide no number.
fn run_digest(suite: &Suite, subject: Digest, tokens: Digest) -> Digest {
    let mut suite = suite.clone();
    suite.subject.model.clear();
    suite.corpus.source.clear();
    suite.limits = Limits { failed_allowed: 0.0, disk_gb: 0.0 };
    StageKey::new("run", NUMBERS_VERSION)
        .params(&suite)
        .params(&METRIC_VERSIONS)
        .input(subject)
        .input(tokens)
        .digest()
}

impl Context<'_> {
    /// Says what language models will be asked at most, before any is.
    fn plan(&self, n_hooks: usize, on: &dyn Fn(Event)) -> Result<Vec<Planned>, RunError> {
        if self.models.is_none() {
            return Ok(Vec::new());
        }
        let evaluate = &self.tokens.evaluate;
        let n = evaluate.rows().min(SAMPLE_FRAGMENTS) * evaluate.cols();
        let sample = TokenBatch::new(evaluate.ids()[..n].to_vec(), evaluate.cols());
        let Some(sample) = sample else { return Ok(Vec::new()) };
        let texts = |id: u32| self.token_texts.get(id as usize).cloned().unwrap_or_default();
        let walked = walked(self.suite, n_hooks);
        let planned = planned(self.suite, walked, &sample, &texts, &self.places.suite_folder)?;
        for step in &planned {
            on(Event::Note(step.to_string()));
        }
        for remark in remarks(&planned) {
            on(Event::Note(remark));
        }
        Ok(planned)
    }

    /// All hook points of one subject, real or permuted. One whose activations cannot be used fails
    /// the run when the others are done, so that a run without it has nothing to repeat.
    fn subject_pass(
        &self,
        subject: &dyn SubjectModel,
        hooks: &[HookPoint],
        methods: &[&MethodSpec],
        control: Option<&str>,
        on: &dyn Fn(Event),
        gathered: &mut Gathered,
    ) -> Result<(), RunError> {
        let pass = SubjectPass {
            suite: self.suite,
            out: &self.places.out,
            tokens: self.tokens,
            documents: &self.documents,
            fillers: &self.fillers,
            token_texts: &self.token_texts,
            store: &self.store,
            models: self.models.as_ref(),
            rows: &self.rows,
            stop: self.stop,
            subject,
            methods,
            control,
        };
        let label = &pass.label();
        let harvester = Harvester {
            subject,
            tokens: self.tokens,
            folder: self.places.cache.join("activations"),
            device: self.places.device,
            disk: self.suite.limits.disk_gb * 1e9,
            label,
            on,
            stop: self.stop,
        };
        let mut unusable = None;
        for group in harvester.groups(hooks)? {
            let stored: Vec<Vec<Option<RowResult>>> =
                group.iter().map(|&hook| pass.stored_rows(hook)).collect();
            let incomplete = |rows: &[Option<RowResult>]| rows.iter().any(Option::is_none);
            let missing: Vec<HookPoint> = group
                .iter()
                .zip(&stored)
                .filter(|(_, rows)| incomplete(rows))
                .map(|(hook, _)| *hook)
                .collect();
            let mut harvested = match missing.is_empty() {
                true => Vec::new(),
                false => gathered.clock.time(&format!("harvest{label}"), || harvester.harvest(&missing))?,
            }
            .into_iter();
            let (mut finished, mut unfinished) = (Vec::new(), Vec::new());
            for (&hook, stored) in group.iter().zip(stored) {
                match if incomplete(&stored) { harvested.next() } else { None } {
                    Some(Ok(activations)) => unfinished.push(Unfinished { hook, stored, activations }),
                    Some(Err(error)) => {
                        on(Event::Warning(format!("{error}; the other hook points go on")));
                        unusable.get_or_insert(error);
                    }
                    None => {
                        gathered.clock.reused(format!("{hook}{label}"));
                        on(self.rows.add(stored.len()));
                        finished.push((hook, stored.into_iter().flatten().collect()));
                    }
                }
            }
            if !unfinished.is_empty() {
                let hooks: Vec<HookPoint> = unfinished.iter().map(|unfinished| unfinished.hook).collect();
                let name = format!("fit and score{label}");
                let rows = gathered.clock.time(&name, || pass.complete(unfinished, on))?;
                finished.extend(hooks.into_iter().zip(rows));
            }
            // In the suite's order, whether stored or new.
            finished.sort_by_key(|(hook, _)| group.iter().position(|other| other == hook));
            for (hook, rows) in finished {
                if control.is_none() {
                    gathered.clock.time(&format!("neighbours {hook}"), || {
                        write_neighbours(&self.store, &self.places.out, hook, &rows)
                    })?;
                }
                if let Some(left_out) = rows.first().and_then(|row| self.left_out(&row.dictionary)) {
                    on(Event::Note(format!("{hook}{label}: {left_out}")));
                }
                self.gather_rows(hook, rows, control, gathered)?;
            }
        }
        unusable.map_or(Ok(()), Err)
    }

    /// Says which rows were left out of fitting for their norm, if any were.
    fn left_out(&self, dictionary: &StoredDictionary) -> Option<String> {
        let named = dictionary.outliers.iter().take(OUTLIERS_NAMED).map(|outlier| {
            let OutlierRecord { position, text, count, .. } = self.outlier_record(outlier);
            format!("{text:?} at position {position} × {count}")
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let n = dictionary.rows_left_out;
        (n > 0).then(|| format!("{n} tokens of over 10 × the median norm are left out of fitting: {named}"))
    }

    fn outlier_record(&self, outlier: &Outlier) -> OutlierRecord {
        let &Outlier { position, token, count } = outlier;
        let text = self.token_texts.get(token as usize).cloned().unwrap_or_default();
        OutlierRecord { position, token, text, count }
    }

    fn gather_rows(
        &self,
        hook: HookPoint,
        rows: Vec<RowResult>,
        control: Option<&str>,
        gathered: &mut Gathered,
    ) -> Result<(), RunError> {
        let place = control.map_or(String::new(), |control| format!(" ({control})"));
        for row in rows {
            let name = format!("{hook}/{}", row.name);
            for warning in &row.dictionary.report.warnings {
                gathered.warnings.push(format!("{name}{place}: {warning}"));
            }
            let named = self.suite.methods.iter().find_map(|spec| {
                let nth = spec.row_names().iter().position(|other| *other == row.name)?;
                Some((spec, spec.row_methods().swap_remove(nth)))
            });
            let (spec, method) =
                named.map_or((None, row.name.clone()), |(spec, method)| (Some(spec), method));
            let directions = match spec.is_some_and(|spec| spec.training.is_some()) {
                true => {
                    let folder = dictionary_folder(&self.places.out, control, hook).join(&row.name);
                    let dictionary = crate::dictionary::load(&folder)?;
                    let signed = dictionary.info().sign == SignPolicy::Signed;
                    Some((dictionary.directions()?, signed))
                }
                false => None,
            };
            gathered.quality.push(QualityInput {
                hook: hook.to_string(),
                method,
                sweep: spec.and_then(|spec| spec.sweep.clone()),
                control: control.map(Into::into),
                measured: row.measured,
                report: row.dictionary.report.clone(),
                directions,
            });
            let record = DictionaryRecord {
                digest: row.dictionary.digest,
                fitted_on: row.dictionary.fitted_on,
                rows_left_out: row.dictionary.rows_left_out,
                outliers: row
                    .dictionary
                    .outliers
                    .iter()
                    .map(|outlier| self.outlier_record(outlier))
                    .collect(),
                rows: row.dictionary.rows,
                report: row.dictionary.report,
                evaluate_seconds: row.dictionary.evaluate_seconds,
            };
            gathered.dictionaries.insert(format!("{name}{place}"), record);
            gathered.outcomes.extend(row.outcomes);
        }
        Ok(())
    }
}

/// Estimates, files and report.
#[expect(clippy::too_many_arguments, reason = "everything that the manifest records comes together here")]
fn finish(
    suite: &Suite,
    places: &Places,
    gathered: Gathered,
    run: Digest,
    subject: &SubjectInfo,
    bos: Prefix,
    corpus: &CorpusRecord,
    fillers: FillerRecord,
    llm: LanguageModels,
    on: &dyn Fn(Event),
) -> Result<Finished, RunError> {
    let Gathered { outcomes, quality, dictionaries, mut warnings, mut clock } = gathered;
    let estimated = |done: usize, total: usize| {
        on(Event::Work { stage: "statistics".into(), done: done as u64, total: total as u64, unit: "cells" });
    };
    let summary = clock
        .time("statistics", || Ok::<_, RunError>(summarise(suite, run, &outcomes, &quality, &estimated)))?;
    // The cause of what is missing comes first.
    warnings.splice(0..0, llm.warnings.iter().cloned());
    let (walked, failed) = failures(&outcomes);
    if failed > 0 {
        warnings.push(format!(
            "{failed} of {walked} walked features failed; the tally of each cell has the reasons"
        ));
    }
    warnings.extend(nothing_scored(&outcomes));
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
        subject,
        bos,
        corpus,
        fillers,
        dictionaries,
        metric_versions: METRIC_VERSIONS.into_iter().collect(),
        stages: clock.stages.clone(),
        warnings: warnings.clone(),
        machine: Machine::here(places.device),
        prompts: prompt_digests(suite),
        llm_usage: llm.usage.clone(),
        llm_steps: llm.steps.clone(),
    };
    let path = places.out.join("manifest.json");
    let json = serde_json::to_vec_pretty(&manifest).map_err(|error| crate::base::FileError {
        action: "write",
        path: path.clone(),
        source: error.into(),
    })?;
    write_atomic(&path, &json)?;
    let drawn = |done| Event::Work { stage: "draw the report".into(), done, total: 1, unit: "folder" };
    on(drawn(0));
    let report_files = report::render(&places.out, &RenderOptions::default())?;
    on(drawn(1));
    Ok(Finished {
        summary,
        folder: places.out.clone(),
        warnings,
        failed: (walked, failed),
        llm,
        report_files,
    })
}

/// Says so where no feature at all has a score, with the reason that most of them have. Controls, which want what
/// they are made of, hide no cause: their lines count where there are no others.
fn nothing_scored(outcomes: &[Outcome]) -> Option<String> {
    if outcomes.is_empty() || outcomes.iter().any(|outcome| outcome.line.status == ScoreStatus::Scored) {
        return None;
    }
    let real = |outcome: &&Outcome| outcome.line.control.is_none();
    let any_real = outcomes.iter().any(|outcome| real(&outcome));
    let lines: Vec<&Outcome> = outcomes.iter().filter(|outcome| !any_real || real(outcome)).collect();
    let mut reasons: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for line in lines.iter().map(|outcome| &outcome.line) {
        if let Some(reason) = line.reason.as_deref() {
            *reasons.entry((reason, line.status == ScoreStatus::Skipped)).or_default() += 1;
        }
    }
    let ((reason, too_little), n) = reasons.into_iter().max_by_key(|(_, n)| *n)?;
    let more = if too_little { ": more text may help" } else { "" };
    Some(format!("no feature could be scored; {n} of {} lines say `{reason}`{more}", lines.len()))
}

/// Lines without a control, and how many of them failed, as a whole or under one of the scorers.
fn failures(outcomes: &[Outcome]) -> (usize, usize) {
    let real = outcomes.iter().filter(|outcome| outcome.line.control.is_none());
    let failed = real.clone().filter(|outcome| outcome.failures().next().is_some()).count();
    (real.count(), failed)
}
