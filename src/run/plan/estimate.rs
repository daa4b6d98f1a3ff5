//! Estimates time, memory, disk and cost of a run from the suite and the model's shape. The machine's speed is
//! measured on a small matrix product.

use serde::Serialize;

use crate::base::{HookPoint, Matrix, Stopwatch};
use crate::linalg::matmul_bt;
use crate::run::evaluate::ablation::ABLATED_FRAGMENTS;
use crate::run::inputs::dictionaries::planned_downloads;
use crate::run::inputs::prepare::{expand_hooks, run_with_prefix, sample_fragments};
use crate::run::inputs::stored::open_stored;
use crate::run::plan::headers::{Headers, read_headers};
use crate::run::plan::planned::{n_features, planned, remarks, walked};
use crate::run::plan::sizes::{check_sizes, largest_need, memory};
use crate::run::rows::quality::LOSS_FRAGMENTS;
use crate::run::{OpenSubject, Places, Planned, RunError, open_subject};
use crate::stats::smallest_detectable_difference;
use crate::subject::{LoadedSubject, Prefix, SubjectModel};
use crate::suite::{MethodSpec, Suite};

/// Standard deviation of feature scores assumed for the smallest detectable difference. It was measured on the
/// embedded model.
const SCORE_SD: f64 = 0.25;

/// Efficiency of forward passes and encoding, relative to the measured matrix product. This and the next two
/// constants were fitted so that plans for SmolLM2-135M and Gemma 3 270M are within a factor of two.
const PASS_EFFICIENCY: f64 = 0.9;

/// Efficiency of dictionary fits. It exceeds 1 because some products use bf16 and some solvers stop early.
const TRAINING_EFFICIENCY: f64 = 1.2;

/// Tokens that neuron-to-graph runs per seed, from the explanation times of those runs.
const PROBE_TOKENS: f64 = 40.0;

/// Loss passes per hook point besides those per dictionary: clean, zero ablation, mean ablation.
const LOSSES: f64 = 3.0;

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
    /// Features to score: the sum over rows and hook points of the features of each.
    pub features: usize,
    /// Score lines, over explainers and controls.
    pub score_lines: usize,
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
    /// Disk for activations held at the same time, in GB.
    pub disk_gb: f64,
    /// Rough peak memory, in GB.
    pub memory_gb: f64,
    /// Rough duration in minutes, language models included.
    pub minutes: f64,
    /// Smallest difference of means between two cells that is detected with 80 % power at p < 0.05, for scores with
    /// a standard deviation of 0.25.
    pub smallest_difference: Option<f64>,
    /// Remarks for the reader.
    pub notes: Vec<String>,
}

/// Estimates a run. The model is opened; nothing is computed with it.
pub fn estimate(suite: &Suite, places: &Places) -> Result<Estimate, RunError> {
    let warnings = read_headers(suite, places).checked()?.warnings;
    // A plan does not hash stored activations, which takes a pass over them.
    let subject = match open_stored(&suite.subject, places, false)? {
        Some(loaded) => OpenSubject { loaded, revision: None, note: None },
        None => open_subject(&suite.subject, places)?,
    };
    let bos = subject.loaded.prefix(suite.subject.bos)?;
    let suite = &run_with_prefix(&subject.loaded, &bos, suite);
    let model = subject.loaded.model();
    let hooks = expand_hooks(suite, model)?;
    let rows: Vec<String> = suite.methods.iter().flat_map(|method| method.row_names()).collect();
    let controls = 1 + usize::from(suite.controls.shuffled);
    let evaluate_tokens = suite.corpus.eval_fragments * suite.protocol.fragment_tokens;
    let features = n_features(suite, &suite.methods) * hooks.len();
    let widths = hooks.iter().map(|&hook| model.width(hook)).collect::<Result<Vec<_>, _>>()?;
    let placed: Vec<(HookPoint, usize)> = hooks.iter().copied().zip(widths.iter().copied()).collect();
    let problems = check_sizes(suite, &placed, memory());
    Headers { problems, ..Headers::default() }.checked()?;
    let bytes: Vec<f64> = widths
        .iter()
        .map(|&width| {
            suite.corpus.fit_tokens as f64 * (2 * width + 4) as f64
                + evaluate_tokens as f64 * (4 * width + 4) as f64
        })
        .collect();
    let together = bytes.iter().sum::<f64>().min(suite.limits.disk_gb * 1e9);
    let (llm, mut notes) = language_models(suite, &subject.loaded, hooks.len(), places)?;
    notes.extend(subject.note.clone());
    notes.extend(warnings);
    notes.extend(planned_downloads(suite, places)?);
    notes.push(format!("smallest difference is for a score spread (SD) of {SCORE_SD}"));
    notes.extend(chosen_features(suite));
    if suite.corpus.source.starts_with("hub:") {
        notes.push(
            "hub data sets are read as text or JSONL (plain, .gz, .zst); parquet is not, convert it first"
                .into(),
        );
    }
    let work = work(suite, model, &hooks, &widths);
    let largest = widths.iter().copied().max().unwrap_or(0) as f64;
    Ok(Estimate {
        suite: suite.name.clone(),
        subject: model.info().name.clone(),
        bos,
        hooks: hooks.iter().map(HookPoint::to_string).collect(),
        features,
        score_lines: features * (suite.pairs.len() * controls + usize::from(suite.controls.oracle)),
        rows,
        fit_tokens: suite.corpus.fit_tokens,
        evaluate_tokens,
        llm_requests: llm.iter().map(|planned| planned.requests).sum(),
        llm_tokens_in: llm.iter().map(|planned| planned.tokens_in).sum(),
        llm_tokens_out: llm.iter().map(|planned| planned.tokens_out).sum(),
        // An empty sum is −0.
        usd: llm.iter().filter_map(|planned| planned.dollars).sum::<f64>() + 0.0,
        disk_gb: together / 1e9,
        memory_gb: 0.3 + (largest * 4.0 * 64.0 * 1024.0 / 1e9 * 4.0).max(largest_need(suite, &placed) / 1e9),
        minutes: (work.passes / PASS_EFFICIENCY + work.training / TRAINING_EFFICIENCY)
            / product_speed()
            / 60.0
            + llm.iter().map(|planned| planned.minutes).sum::<f64>(),
        llm,
        smallest_difference: smallest_detectable_difference(SCORE_SD, suite.per_cell, suite.per_cell, 1, 0.8),
        notes,
    })
}

/// The methods whose features are chosen, in words.
fn chosen_features(suite: &Suite) -> Option<String> {
    let chosen =
        suite.methods.iter().filter_map(|method| Some(format!("{} {}", method.name, method.ids()?.len())));
    let chosen: Vec<String> = chosen.collect();
    let note = "chosen features, not a sample of the dictionary";
    (!chosen.is_empty()).then(|| format!("{note}: {}", chosen.join(", ")))
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
        notes.push("offline explainers and simulators: no request, no dollar".to_string());
        return Ok((Vec::new(), notes));
    }
    let (fragments, stands_in) = sample_fragments(suite, subject, places)?;
    let tokenizer = subject.tokenizer()?;
    let texts = |id: u32| tokenizer.token_texts(&[id]).swap_remove(0);
    let llm = planned(suite, walked(suite, n_hooks), &fragments, &texts, &places.suite_folder)?;
    notes.extend(remarks(&llm));
    if stands_in {
        notes.push("questions were rendered on the embedded corpus: a plan fetches no data set".into());
    }
    Ok((llm, notes))
}

/// Floating-point operations of a run, to an order of magnitude.
struct Work {
    /// Forward passes and encoding.
    passes: f64,
    /// Dictionary fits.
    training: f64,
}

fn work(suite: &Suite, model: &dyn SubjectModel, hooks: &[HookPoint], widths: &[usize]) -> Work {
    let info = model.info();
    // Stored activations cost no forward pass.
    let runs = model.without_model().is_none();
    let (d, layers) = if runs { (info.d_model as f64, info.n_layers as f64) } else { (0.0, 0.0) };
    let layer = 2.0 * (4.0 * d * d + 2.0 * d * info.d_mlp as f64);
    let unembedding = 2.0 * d * info.vocab as f64;
    let fragment = suite.protocol.fragment_tokens as f64;
    let tokens = suite.corpus.fit_tokens as f64 + suite.corpus.eval_fragments as f64 * fragment;
    let permuted = suite.on_permuted_weights().map(|(_, methods)| methods);
    // The methods of the subject, then those of each control subject.
    let subjects: Vec<Vec<&MethodSpec>> =
        std::iter::once(suite.methods.iter().collect()).chain(permuted).collect();
    let rows =
        |methods: &[&MethodSpec]| methods.iter().map(|method| method.row_names().len()).sum::<usize>() as f64;
    let of_probes = if suite.pairs.iter().any(|pair| pair.explainer.kind().probes()) {
        let seeds = suite.protocol.explain.top.n + suite.protocol.explain.random.n;
        seeds as f64 * PROBE_TOKENS
    } else {
        0.0
    };
    let before = |hook: &HookPoint| match hook {
        HookPoint::Embed => 0.0,
        HookPoint::Block { layer, .. } => *layer as f64 + 1.0,
    };
    let deepest = hooks.iter().map(before).fold(0.0, f64::max);
    let mut work = Work { passes: subjects.len() as f64 * tokens * deepest * layer, training: 0.0 };
    for (hook, &width) in hooks.iter().zip(widths) {
        let before = before(hook);
        let after = (layers - before).max(0.0) * layer + unembedding;
        let fits = subjects.iter().flatten().map(|method| {
            method.params.check().map_or(0.0, |fit| fit.work(suite.corpus.fit_tokens as f64, width))
        });
        work.training += fits.sum::<f64>();
        let (width, features) = (width as f64, 4.0 * width as f64);
        for rows in subjects.iter().map(|methods| rows(methods)) {
            work.passes += 2.0 * rows * tokens * width * features;
            work.passes += (LOSSES + rows) * LOSS_FRAGMENTS as f64 * fragment * after;
        }
        for methods in &subjects {
            let explained = n_features(suite, methods.iter().copied()) as f64;
            work.passes += explained * of_probes * before * layer;
        }
        // Ablation of each feature.
        let ablated = n_features(suite, &suite.methods) as f64;
        work.passes += ablated * 2.0 * ABLATED_FRAGMENTS as f64 * fragment * after;
    }
    work
}

/// Measured speed in floating-point operations per second, on a product that fits in the cache.
fn product_speed() -> f64 {
    let (n, k) = (1024, 256);
    let a = Matrix::from_fn(n, k, |row, col| ((row * 31 + col * 17) % 13) as f32);
    let b = Matrix::from_fn(n, k, |row, col| ((row * 7 + col * 3) % 11) as f32);
    let best = (0..4)
        .map(|_| {
            let started = Stopwatch::start();
            std::hint::black_box(matmul_bt(&a, &b));
            started.seconds()
        })
        .fold(f64::INFINITY, f64::min);
    2.0 * (n * n * k) as f64 / best.max(1e-9)
}
