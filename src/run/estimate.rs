//! What a run would take, before it is run: counted from the suite and the model's shape, with the
//! machine's speed measured on a small matrix product.

use serde::Serialize;

use super::prepare::{expand_hooks, open_subject};
use super::{Places, RunError};
use crate::base::{HookPoint, Matrix, Stopwatch};
use crate::explain::language_model::{Contrastive, Highlighted, TokenActivation};
use crate::features::Stride;
use crate::linalg::matmul_bt;
use crate::llm::LlmSpec;
use crate::stats::smallest_detectable_difference;
use crate::subject::SubjectModel;
use crate::suite::{ExplainerSpec, ModelExplainerKind, ModelSimulatorKind, Pair, SimulatorSpec, Suite};

/// Spread of feature scores that the smallest visible difference is worked out for, measured on the
/// embedded model; a run's own table has the real one.
const SCORE_SD: f64 = 0.25;

/// Forward passes, fits and probes together run at about this share of the machine's product speed.
const EFFICIENCY: f64 = 0.25;

/// Training steps times batch of a sparse autoencoder's fit, in rows, as the default recipes take.
const TRAINING_ROWS: f64 = 2.5e6;

/// Tokens of the instructions and worked examples of a question, as commonly counted.
const PROMPT_TOKENS: f64 = 1_100.0;

/// Tokens that one subject token takes in a question or an answer, with its number and its quotes.
const LISTED_TOKEN: f64 = 6.0;

/// Tokens of an explanation.
const EXPLANATION_TOKENS: f64 = 40.0;

/// What `run` would do.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// The suite's name.
    pub suite: String,
    /// The model's name.
    pub subject: String,
    /// Hook points, in order.
    pub hooks: Vec<String>,
    /// Rows of the table at each hook point.
    pub rows: Vec<String>,
    /// Tokens that dictionaries are fitted on.
    pub fit_tokens: usize,
    /// Tokens of the evaluation fragments.
    pub evaluate_tokens: usize,
    /// Features to score: rows × hook points × per cell.
    pub features: usize,
    /// Score lines, over explainers and controls.
    pub score_lines: usize,
    /// Requests to language models.
    pub llm_requests: usize,
    /// Tokens to language models.
    pub llm_tokens_in: usize,
    /// Tokens from language models.
    pub llm_tokens_out: usize,
    /// Dollars for language models.
    pub usd: f64,
    /// Disk for activations at once, in GB.
    pub disk_gb: f64,
    /// Peak memory, roughly, in GB.
    pub memory_gb: f64,
    /// Minutes, roughly.
    pub minutes: f64,
    /// Smallest difference of means that two cells would show with 80 % power at p < 0.05, for
    /// scores with a standard deviation of 0.25.
    pub smallest_difference: Option<f64>,
    /// What the reader should know.
    pub notes: Vec<String>,
}

/// Works out what a suite would take. The model is opened, nothing is run.
pub fn estimate(suite: &Suite, places: &Places) -> Result<Estimate, RunError> {
    let subject = open_subject(&suite.subject, places)?;
    let model = subject.loaded.model();
    let hooks = expand_hooks(suite, model)?;
    let rows: Vec<String> = suite.methods.iter().flat_map(|method| method.row_names()).collect();
    let controls = 1 + usize::from(suite.controls.shuffled);
    let evaluate_tokens = suite.corpus.eval_fragments * suite.protocol.fragment_tokens;
    let features = rows.len() * hooks.len() * suite.per_cell;
    let widths = hooks.iter().map(|&hook| model.width(hook)).collect::<Result<Vec<_>, _>>()?;
    let bytes: Vec<f64> = widths
        .iter()
        .map(|&width| {
            suite.corpus.fit_tokens as f64 * (2 * width + 4) as f64
                + evaluate_tokens as f64 * (4 * width + 4) as f64
        })
        .collect();
    let together = bytes.iter().sum::<f64>().min(suite.limits.disk_gb * 1e9);
    let random_rows: usize = suite
        .controls
        .on_permuted_weights()
        .flat_map(|(_, names)| suite.methods.iter().filter(|method| names.contains(&method.name)))
        .map(|method| method.row_names().len())
        .sum();
    let (mut asked, mut notes) = (Asked::default(), Vec::new());
    for pair in &suite.pairs {
        let control_features = random_rows * hooks.len() * suite.per_cell;
        asked.add(suite, pair, features as f64, control_features as f64, &mut notes);
    }
    if asked.requests == 0.0 {
        notes.push("offline explainers and simulators: no request, no dollar".to_string());
    }
    notes.push(format!("smallest difference is for a score spread (SD) of {SCORE_SD}"));
    if suite.corpus.source.starts_with("hub:") {
        notes.push(
            "hub data sets are read as text or JSONL (plain, .gz, .zst); parquet is not, convert it first"
                .into(),
        );
    }
    let largest = widths.iter().copied().max().unwrap_or(0) as f64;
    Ok(Estimate {
        suite: suite.name.clone(),
        subject: model.info().name.clone(),
        hooks: hooks.iter().map(HookPoint::to_string).collect(),
        features,
        score_lines: features * (suite.pairs.len() * controls + usize::from(suite.controls.oracle)),
        rows,
        fit_tokens: suite.corpus.fit_tokens,
        evaluate_tokens,
        llm_requests: asked.requests as usize,
        llm_tokens_in: asked.tokens_in as usize,
        llm_tokens_out: asked.tokens_out as usize,
        usd: asked.usd,
        disk_gb: together / 1e9,
        memory_gb: 0.3 + largest * 4.0 * 64.0 * 1024.0 / 1e9 * 4.0,
        minutes: work(suite, model, &widths) / (EFFICIENCY * product_speed()) / 60.0,
        smallest_difference: smallest_detectable_difference(SCORE_SD, suite.per_cell, suite.per_cell, 1, 0.8),
        notes,
    })
}

/// What language models would be asked at most: every feature eligible, no answer there already, no
/// question twice.
#[derive(Debug, Default)]
struct Asked {
    requests: f64,
    tokens_in: f64,
    tokens_out: f64,
    usd: f64,
}

impl Asked {
    /// Adds a pair's questions, with a line for each step. `shuffled` simulates once more; a control
    /// on permuted weights explains and simulates.
    fn add(
        &mut self,
        suite: &Suite,
        pair: &Pair,
        features: f64,
        control_features: f64,
        notes: &mut Vec<String>,
    ) {
        let fragment = suite.protocol.fragment_tokens as f64;
        if let ExplainerSpec::Model(spec) = &pair.explainer {
            let shown = match spec.kind {
                ModelExplainerKind::TokenActivation => TokenActivation::default().shown,
                ModelExplainerKind::Highlighted => Highlighted::default().shown,
                ModelExplainerKind::Contrastive => Contrastive::default().shown,
            };
            let shown = (shown.top + shown.random + shown.non_firing) as f64;
            let question = PROMPT_TOKENS + shown * fragment * LISTED_TOKEN;
            let requests = features + control_features;
            self.step(&spec.name, &spec.llm, requests, question, EXPLANATION_TOKENS, notes);
        }
        if let SimulatorSpec::Model(spec) = &pair.simulator {
            let score = &suite.protocol.score;
            let fragments = count(score.top) + count(score.random) + count(score.non_firing);
            let passes = features * (1.0 + f64::from(u8::from(suite.controls.shuffled))) + control_features;
            let question = PROMPT_TOKENS + fragment * LISTED_TOKEN;
            let (each, answer) = match spec.kind {
                ModelSimulatorKind::Generated | ModelSimulatorKind::GeneratedExpected => {
                    (1.0, fragment * LISTED_TOKEN)
                }
                ModelSimulatorKind::PromptLogprobs => (1.0, 1.0),
                ModelSimulatorKind::PerToken => (fragment, 1.0),
            };
            self.step(&spec.name, &spec.llm, passes * fragments * each, question, answer, notes);
        }
    }

    fn step(
        &mut self,
        name: &str,
        llm: &LlmSpec,
        requests: f64,
        tokens_in: f64,
        tokens_out: f64,
        notes: &mut Vec<String>,
    ) {
        let (tokens_in, tokens_out) = (requests * tokens_in, requests * tokens_out);
        let usd = match (llm.price_in, llm.price_out) {
            (Some(price_in), Some(price_out)) => Some((tokens_in * price_in + tokens_out * price_out) / 1e6),
            _ => None,
        };
        let cost = usd.map_or("prices not given".into(), |usd| format!("${usd:.2}"));
        notes.push(format!(
            "{name} by {}: at most {requests:.0} requests, about {:.1} M tokens in and {:.1} M out, {cost}",
            llm.model,
            tokens_in / 1e6,
            tokens_out / 1e6
        ));
        self.requests += requests;
        self.tokens_in += tokens_in;
        self.tokens_out += tokens_out;
        self.usd += usd.unwrap_or(0.0);
    }
}

fn count(stride: Stride) -> f64 {
    stride.n as f64
}

/// Floating-point operations of a run, to the nearest order: forward passes, fits, encoding.
fn work(suite: &Suite, model: &dyn SubjectModel, widths: &[usize]) -> f64 {
    let info = model.info();
    let (d, layers) = (info.d_model as f64, info.n_layers as f64);
    let forward = layers * 2.0 * (4.0 * d * d + 2.0 * d * info.d_mlp as f64);
    let tokens =
        (suite.corpus.fit_tokens + suite.corpus.eval_fragments * suite.protocol.fragment_tokens) as f64;
    let passes = 1.0 + suite.controls.on_permuted_weights().count() as f64;
    let per_hook: f64 = widths
        .iter()
        .map(|&width| {
            let width = width as f64;
            let features = 4.0 * width;
            let fits = suite.methods.len() as f64 * TRAINING_ROWS * 4.0 * width * features / 4.0;
            let rows: usize = suite.methods.iter().map(|method| method.row_names().len()).sum();
            fits + rows as f64 * tokens * 4.0 * width * features
        })
        .sum();
    passes * tokens * forward + per_hook
}

/// Multiply-adds a second of this machine, times two, on a product that fits the cache.
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
