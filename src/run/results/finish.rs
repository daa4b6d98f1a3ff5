//! End of a run: estimates, files of the run folder, report.

use std::collections::BTreeMap;

use crate::base::{Digest, write_atomic};
use crate::report::{self, RenderOptions, ScoreStatus};
use crate::run::evaluate::models::{Models, by_model, prompt_digests};
use crate::run::inputs::erasure::Concepts;
use crate::run::inputs::prepare::CorpusRecord;
use crate::run::json_lines::unwritable;
use crate::run::plan::bill::beside;
use crate::run::results::erasure::erasure;
use crate::run::results::gather::Gathered;
use crate::run::results::grouped::score_facts;
use crate::run::results::manifest::{FillerRecord, Machine, metric_versions};
use crate::run::results::patching::patching;
use crate::run::results::summary::summarise;
use crate::run::{
    Event, Finished, LanguageModels, Manifest, Outcome, Planned, RunContext, RunError, StageKey,
};
use crate::subject::{Prefix, SubjectInfo};
use crate::suite::{Limits, Suite};

/// Version of the statistics behind `summary.json`.
const NUMBERS_VERSION: u32 = 3;

/// Special tokens listed on the screen. The manifest has all of them.
const SPECIAL_TOKENS_NAMED: usize = 5;

/// Data for the manifest that is not in [`RunContext`].
pub struct RunRecord<'a> {
    /// The real subject.
    pub subject: &'a SubjectInfo,
    /// Prefix of every text.
    pub prefix: Prefix,
    /// Commit of a hub data set.
    pub revision: Option<String>,
    /// Planned use of language models.
    pub planned: Vec<Planned>,
}

/// What the user should know of the text and of the task's prompts.
pub fn remarks(run: &RunContext<'_>) -> impl Iterator<Item = String> {
    let task = run.task.as_ref().zip(run.suite.task.as_ref()).map(|(task, spec)| task.note(spec));
    special_tokens(run).into_iter().chain(task).chain(run.concepts.as_ref().map(Concepts::note))
}

/// Describes the special tokens found in the corpus text, most frequent first.
fn special_tokens(run: &RunContext<'_>) -> Option<String> {
    let counts = run.tokens.counts.special_tokens.iter();
    let mut held: Vec<(usize, u32)> = counts.map(|(&id, &n)| (n, id)).collect();
    held.sort_unstable_by_key(|&(n, id)| (std::cmp::Reverse(n), id));
    let named = |&(n, id): &(usize, u32)| Some(format!("{:?} × {n}", run.token_texts.get(id as usize)?));
    let named: Vec<String> = held.iter().take(SPECIAL_TOKENS_NAMED).filter_map(named).collect();
    let total: usize = held.iter().map(|(n, _)| n).sum();
    (total > 0)
        .then(|| format!("the text holds {total} special tokens, which count as text: {}", named.join(", ")))
}

/// Digest of everything that determines the numbers: suite, model weights, tokens, the files of dictionaries trained
/// elsewhere and the prompts of the task and of the concepts. Paths and limits do not count.
pub fn run_digest(run: &RunContext<'_>, subject: Digest) -> Digest {
    let RunContext { suite, tokens, task, concepts, .. } = run;
    let mut suite: Suite = (*suite).clone();
    suite.methods = suite.methods.iter().map(|method| method.keyed().into_owned()).collect();
    suite.subject.model.clear();
    (suite.subject.activations, suite.subject.tokenizer) = (None, None);
    suite.corpus.source.clear();
    if let Some(task) = suite.task.as_mut().filter(|task| !task.is_embedded()) {
        task.prompts.clear();
    }
    if let Some(erasure) = suite.erasure.as_mut().filter(|erasure| !erasure.is_embedded()) {
        erasure.concepts.clear();
    }
    suite.limits = Limits { failed_allowed: 0.0, disk_gb: 0.0, ..Limits::default() };
    let key = StageKey::new("run", NUMBERS_VERSION)
        .params(&suite)
        .params(&metric_versions(&suite))
        .input(subject)
        .input(tokens.digest);
    let of_task = task.iter().flat_map(|task| [Some(task.digest), task.file]).flatten();
    let of_concepts = concepts.iter().flat_map(|all| [Some(all.digest), all.file]).flatten();
    of_task.chain(of_concepts).fold(key, StageKey::input).digest()
}

fn language_models(models: Option<&Models>, planned: &[Planned]) -> LanguageModels {
    let usage = models.map(Models::usage).unwrap_or_default();
    LanguageModels {
        usage: by_model(&usage),
        steps: beside(planned, &usage),
        warnings: models.map(Models::warnings).unwrap_or_default(),
        unanswered: models.and_then(Models::unanswered),
    }
}

/// Computes estimates, writes the files of the run folder and renders the report.
pub fn finish(
    run: &RunContext<'_>,
    record: RunRecord<'_>,
    mut gathered: Gathered,
    on: &dyn Fn(Event),
) -> Result<Finished, RunError> {
    let (suite, folder) = (run.suite, &run.places.out);
    let digest = run_digest(run, record.subject.weights_digest);
    let llm = language_models(run.models.as_ref(), &record.planned);
    let Gathered { outcomes, quality, patched, erased, clock, .. } = &mut gathered;
    let estimated = |done, total| on(Event::work("statistics", done, total, "cells"));
    let mut summary = clock
        .time("statistics", || Ok::<_, RunError>(summarise(suite, digest, outcomes, quality, &estimated)))?;
    if let (Some(spec), Some(task)) = (&suite.task, &run.task) {
        on(Event::work("patching statistics", 0, 1, "task"));
        let found =
            clock.time("patching statistics", || Ok::<_, RunError>(patching(suite, spec, task, patched)))?;
        summary.patching = Some(found);
        on(Event::work("patching statistics", 1, 1, "task"));
    }
    if let (Some(params), Some(concepts)) = (&suite.erasure, &run.concepts) {
        on(Event::work("erasure statistics", 0, 1, "concepts"));
        let found = clock
            .time("erasure statistics", || Ok::<_, RunError>(erasure(suite, params, concepts, erased)))?;
        summary.erasure = Some(found);
        on(Event::work("erasure statistics", 1, 1, "concepts"));
    }
    let failed = failures(&gathered.outcomes);
    let mut warnings = warnings(&gathered, &llm, failed);
    warnings.extend(run.task.iter().flat_map(|task| task.warnings.clone()));
    warnings.extend(run.concepts.iter().flat_map(|concepts| concepts.warnings.clone()));
    let lines = gathered.outcomes.iter().map(|outcome| outcome.line.to_json_line());
    let lines: String = lines.collect::<Result<_, _>>()?;
    write_atomic(&run.places.layout().scores(), lines.as_bytes())?;
    write_atomic(&run.places.layout().summary(), summary.to_json()?.as_bytes())?;
    write_manifest(run, digest, record, gathered, &warnings, &llm)?;
    on(Event::work("draw the report", 0, 1, "folder"));
    let report_files = report::render(folder, &RenderOptions::default())?;
    report::write_digests(folder)?;
    on(Event::work("draw the report", 1, 1, "folder"));
    let address = run.places.remote.as_ref().map(|remote| remote.address());
    Ok(Finished { summary, folder: folder.clone(), address, warnings, failed, llm, report_files })
}

/// Warnings for readers of the results. Causes of missing results come first.
fn warnings(gathered: &Gathered, llm: &LanguageModels, (walked, failed): (usize, usize)) -> Vec<String> {
    let mut warnings: Vec<String> = llm.warnings.iter().chain(&gathered.warnings).cloned().collect();
    if failed > 0 {
        warnings.push(format!(
            "{failed} of {walked} walked features failed; the tally of each cell has the reasons"
        ));
    }
    warnings.extend(nothing_scored(&gathered.outcomes));
    warnings
}

fn write_manifest(
    run: &RunContext<'_>,
    digest: Digest,
    record: RunRecord<'_>,
    gathered: Gathered,
    warnings: &[String],
    llm: &LanguageModels,
) -> Result<(), RunError> {
    let suite = run.suite;
    let text = |id: u32| run.token_texts[id as usize].clone();
    let counts = run.tokens.counts.clone();
    let manifest = Manifest {
        schema: 1,
        version: env!("CARGO_PKG_VERSION"),
        run: digest,
        suite_name: &suite.name,
        suite,
        seed: suite.seed,
        subject: record.subject,
        bos: record.prefix,
        corpus: &CorpusRecord { digest: run.tokens.digest, counts, revision: record.revision },
        fillers: FillerRecord {
            lead_text: run.fillers.lead.map(text),
            pad_text: text(run.fillers.pad),
            ids: run.fillers.clone(),
        },
        dictionaries: gathered.dictionaries,
        metric_versions: metric_versions(suite).into_iter().collect(),
        scores: score_facts(&suite.scorers),
        stages: gathered.clock.stages,
        warnings: warnings.to_vec(),
        machine: Machine::here(run.places.device),
        prompts: prompt_digests(suite),
        llm_usage: llm.usage.clone(),
        llm_steps: llm.steps.clone(),
    };
    let path = run.places.layout().manifest();
    let json = serde_json::to_vec_pretty(&manifest).map_err(unwritable(&path))?;
    Ok(write_atomic(&path, &json)?)
}

/// Warns if no feature has a score, with the most frequent reason. Lines of controls count only if there are no
/// others: controls fail for lack of real results and would hide the cause.
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

/// Number of lines without a control, and how many of them failed as a whole or under one scorer.
fn failures(outcomes: &[Outcome]) -> (usize, usize) {
    let real = outcomes.iter().filter(|outcome| outcome.line.control.is_none());
    let failed = real.clone().filter(|outcome| outcome.failures().next().is_some()).count();
    (real.count(), failed)
}
