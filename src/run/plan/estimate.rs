//! Estimates time, memory, disk and cost of a run: its work counted from the suite, its speed measured on this machine.

use serde::Serialize;

use crate::base::{HookPoint, Stopwatch, peak_memory_bytes};
use crate::nn::open_device;
use crate::run::inputs::dictionaries::planned_downloads;
use crate::run::inputs::prepare::{SAMPLE_FRAGMENTS, expand_hooks, run_with_prefix, sample_corpus};
use crate::run::inputs::stored::open_stored;
use crate::run::parts::planned::{PlannedShares, shares};
use crate::run::plan::calibrate::{Calibration, calibrate};
use crate::run::plan::headers::{Headers, read_headers};
use crate::run::plan::notes;
use crate::run::plan::pieces::{RunWork, Speed, Work, work};
use crate::run::plan::planned::{planned, remarks, walked};
use crate::run::plan::schedule::Cores;
use crate::run::plan::shape::Shape;
use crate::run::plan::sizes::{check_sizes, memory};
use crate::run::{OpenSubject, Places, Planned, RunError, open_subject};
use crate::stats::smallest_detectable_difference;
use crate::subject::{LoadedSubject, Prefix, SubjectError, WithPrefix};
use crate::suite::Suite;

/// Standard deviation of feature scores assumed for the smallest detectable difference. It was measured on the
/// embedded model.
const SCORE_SD: f64 = 0.25;

/// Bytes of the program without a model.
const PROGRAM: f64 = 6e7;

/// Estimate of a run.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Estimate {
    /// The suite's name.
    pub suite: String,
    /// The model's name.
    pub subject: String,
    /// Prefix of every context, fragment and probe.
    pub bos: Prefix,
    /// Hook points, in order.
    pub hooks: Vec<String>,
    /// Names of the rows at each hook point.
    pub rows: Vec<String>,
    /// Tokens of the fit split.
    pub fit_tokens: usize,
    /// Tokens of the evaluation fragments.
    pub evaluate_tokens: usize,
    /// Features to score: the sum over rows and hook points of the features of each, without controls on permuted weights.
    pub features: usize,
    /// Lines of `scores.jsonl`, over explainers and controls, if every walked feature is eligible.
    pub score_lines: usize,
    /// Most lines of `scores.jsonl`: features that are not eligible have lines too, and others are walked in their place.
    pub score_lines_most: usize,
    /// Maximum number of requests to language models.
    pub llm_requests: u64,
    /// Input tokens of language models.
    pub llm_tokens_in: u64,
    /// Output tokens of language models.
    pub llm_tokens_out: u64,
    /// Cost in dollars of the language models with known prices.
    pub usd: f64,
    /// The same by explainer, simulator and judge.
    pub llm: Vec<Planned>,
    /// Disk for activations held at the same time, in GB. They are removed when they are no longer needed.
    pub disk_gb: f64,
    /// Disk for the run folder, in GB.
    pub run_folder_gb: f64,
    /// Rough peak memory, in GB.
    pub memory_gb: f64,
    /// Duration in minutes with all of `threads` free, language models included; null where it could not be measured.
    pub minutes: Option<f64>,
    /// Duration in minutes if the machine stays as busy as during the plan.
    pub minutes_at_present_load: Option<f64>,
    /// Share of the processor time that the plan got while it measured; null where the system does not tell.
    pub cpu_share: Option<f64>,
    /// Threads of the run.
    pub threads: usize,
    /// Device of the subject model and of training.
    pub device: String,
    /// The duration by kind of work, in seconds with all threads busy. Jobs may leave threads idle, so the sum can be less
    /// than `minutes`.
    pub parts: Vec<PlannedPart>,
    /// Smallest difference of means between two cells that is detected with 80 % power at p < 0.05, for scores with
    /// a standard deviation of 0.25.
    pub smallest_difference: Option<f64>,
    /// Remarks for the reader.
    pub notes: Vec<String>,
    /// Shares of the parts, if the run is to be done in parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shares: Option<PlannedShares>,
}

/// The time of one kind of work.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct PlannedPart {
    /// The work.
    pub work: Work,
    /// Seconds.
    pub seconds: f64,
}

/// Estimates a run, in so many parts if a number is given. The model is opened, and every stage is timed on a little text.
pub fn estimate(suite: &Suite, places: &Places, parts: Option<usize>) -> Result<Estimate, RunError> {
    let headers = read_headers(suite, places).checked()?;
    let opening = Stopwatch::start();
    let subject = open(suite, places)?;
    let opened = opening.seconds();
    let prefix = subject.loaded.prefix(suite.subject.bos)?;
    let mut suite = run_with_prefix(&subject.loaded, &prefix, suite);
    headers.mark(&mut suite.methods);
    let suite = &suite;
    let model = &WithPrefix::new(subject.loaded.model(), &prefix.ids);
    let hooks = expand_hooks(suite, subject.loaded.model())?;
    let shape = Shape::of(suite, model, &hooks, prefix.ids.len(), places)?;
    let placed: Vec<(HookPoint, usize)> = shape.hooks.iter().map(|at| (at.hook, at.width)).collect();
    let problems = check_sizes(suite, &placed, memory());
    Headers { problems, ..Headers::default() }.checked()?;
    let groups = shape.hooks_at_once(suite.limits.disk_gb * 1e9);
    let of_process = peak_memory_bytes().map_or(PROGRAM + 4.0 * shape.model.weights(), |bytes| bytes as f64);
    let (llm, mut remarks) = language_models(suite, &subject.loaded, hooks.len(), places)?;
    let measured = calibrate(&shape, &subject.loaded, &prefix, places, opened);
    let duration = Duration::of(&shape, &work(&shape, &groups), &llm, measured.as_ref().ok());
    remarks.extend(subject.note.clone());
    remarks.extend(headers.warnings);
    remarks.extend(planned_downloads(suite, places)?);
    remarks.push(format!("smallest difference is for a score spread (SD) of {SCORE_SD}"));
    remarks.extend(notes::all(&shape, places, &measured));
    let disk = shape.disk(&groups);
    let (score_lines, score_lines_most) = score_lines(&shape);
    let speed = measured.as_ref().ok().map(|measured| &measured.speed);
    let shares = parts.map(|parts| shares(&shape, &llm, speed, parts));
    Ok(Estimate {
        suite: suite.name.clone(),
        subject: subject.loaded.model().info().name.clone(),
        bos: prefix,
        hooks: hooks.iter().map(HookPoint::to_string).collect(),
        rows: suite.methods.iter().flat_map(|method| method.row_names()).collect(),
        fit_tokens: suite.corpus.fit_tokens,
        evaluate_tokens: shape.evaluate_tokens(),
        features: features(&shape),
        score_lines,
        score_lines_most,
        llm_requests: llm.iter().map(|planned| planned.requests).sum(),
        llm_tokens_in: llm.iter().map(|planned| planned.tokens_in).sum(),
        llm_tokens_out: llm.iter().map(|planned| planned.tokens_out).sum(),
        // An empty sum is −0.
        usd: llm.iter().filter_map(|planned| planned.dollars).sum::<f64>() + 0.0,
        llm,
        disk_gb: disk.scratch / 1e9,
        run_folder_gb: disk.run_folder / 1e9,
        memory_gb: shape.memory(of_process, &groups) / 1e9,
        minutes: duration.free,
        minutes_at_present_load: duration.now,
        cpu_share: measured.as_ref().ok().and_then(|measured| measured.share),
        threads: shape.threads,
        device: places.device.to_string(),
        parts: duration.parts,
        smallest_difference: smallest_detectable_difference(SCORE_SD, suite.per_cell, suite.per_cell, 1, 0.8),
        notes: remarks,
        shares,
    })
}

/// Opens the subject. A plan does not hash stored activations, which takes a pass over them.
fn open(suite: &Suite, places: &Places) -> Result<OpenSubject, RunError> {
    let Some(loaded) = open_stored(&suite.subject, places, false)? else {
        return open_subject(&suite.subject, places);
    };
    let device = open_device(places.device).map_err(SubjectError::from)?;
    Ok(OpenSubject { loaded: loaded.on_device(&device)?, revision: None, note: None })
}

/// How long a run takes, in minutes.
struct Duration {
    free: Option<f64>,
    now: Option<f64>,
    parts: Vec<PlannedPart>,
}

impl Duration {
    fn of(shape: &Shape<'_>, work: &RunWork, llm: &[Planned], measured: Option<&Calibration>) -> Self {
        let answers = llm.iter().map(|planned| planned.minutes).sum::<f64>() + 0.0;
        let Some(measured) = measured else { return Self { free: None, now: None, parts: Vec::new() } };
        let (workers, share) = shape.workers();
        let cores = Cores { threads: shape.threads, workers, share };
        let seconds = cores.seconds(work, &measured.speed);
        let mut parts = parts(work, &measured.speed, shape.threads);
        if answers > 0.0 {
            parts.push(PlannedPart { work: Work::LanguageModels, seconds: answers * 60.0 });
        }
        Self {
            free: Some(seconds / 60.0 + answers),
            now: measured.share.map(|share| seconds / share / 60.0 + answers),
            parts,
        }
    }
}

/// Seconds of each kind of work, with all threads busy.
fn parts(work: &RunWork, speed: &Speed, threads: usize) -> Vec<PlannedPart> {
    let mut sums: std::collections::BTreeMap<Work, f64> = std::collections::BTreeMap::new();
    for part in work.pieces().flat_map(|piece| &piece.parts) {
        let seconds = part.seconds * speed.of(part.work, part.method.as_deref());
        *sums.entry(part.work).or_default() += seconds / threads.max(1) as f64;
    }
    sums.into_iter().map(|(work, seconds)| PlannedPart { work, seconds }).collect()
}

/// Features to score on the real subject.
fn features(shape: &Shape<'_>) -> usize {
    let real = shape.passes.iter().filter(|pass| pass.control.is_none());
    let rows = real.flat_map(|pass| shape.fits(pass).flat_map(|(at, method)| shape.rows(at, method)));
    rows.map(|row| row.scored).sum()
}

/// Lines of `scores.jsonl`: if every walked feature is eligible, and at most.
fn score_lines(shape: &Shape<'_>) -> (usize, usize) {
    let (mut lines, mut most) = (0, 0);
    for pass in &shape.passes {
        for row in shape.fits(pass).flat_map(|(at, method)| shape.rows(at, method)) {
            lines += row.scored * shape.lines(pass);
            most += row.walked_at_most * shape.lines(pass);
        }
    }
    (lines, most)
}

/// Planned use of language models, with remarks.
fn language_models(
    suite: &Suite,
    subject: &LoadedSubject,
    n_hooks: usize,
    places: &Places,
) -> Result<(Vec<Planned>, Vec<String>), RunError> {
    let mut notes = Vec::new();
    if suite.pairs.iter().all(|pair| pair.models().next().is_none()) {
        return Ok((Vec::new(), notes));
    }
    let few = [suite.corpus.ctx_tokens, SAMPLE_FRAGMENTS];
    let (sample, stands_in) = sample_corpus(suite, subject, places, few)?;
    let tokenizer = subject.tokenizer()?;
    let texts = |id: u32| tokenizer.token_texts(&[id]).swap_remove(0);
    let llm = planned(suite, walked(suite, n_hooks), &sample.evaluate, &texts, &places.suite_folder)?;
    notes.extend(remarks(&llm));
    if stands_in {
        notes.push("questions were rendered on the embedded corpus: a plan fetches no data set".into());
    }
    Ok((llm, notes))
}
