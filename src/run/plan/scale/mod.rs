//! What a suite would take on machines that are not here: operations, bytes, requests and dollars by closed formulas, and
//! hours for each engine, on one part or on many that may fail.
//!
//! In: a suite, and headers of the model and of dictionaries. No weights are read, and nothing is allocated for a feature
//! or a token, so a suite of any size is answered at once.

mod cost;
mod count;
mod engine;
mod model;
mod questions;
pub mod shares;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::HookPoint;
use crate::run::inputs::prepare::{expand_hooks, no_such_layer};
use crate::run::inputs::shape::model_shape;
use crate::run::inputs::stored::open_stored;
use crate::run::plan::failures::{Failures, Repeated, repeated};
use crate::run::plan::headers::read_headers;
use crate::run::plan::pieces::Work;
use crate::run::plan::scale::count::{Counted, Stages, counted};
use crate::run::plan::scale::model::ModelSize;
use crate::run::plan::scale::questions::questions;
use crate::run::plan::scale::shares::{Load, Place};
use crate::run::plan::shape::{HookShape, ModelShape, RowShape, Shape};
use crate::run::{Places, Planned, RunError};
use crate::suite::Suite;

pub use cost::{Cost, Span};
pub use engine::{Around, DEVICES, Device, Engine, HERE, Precision};

/// Tokens that are taken to stand in front of each context and fragment: BOS.
const PREFIX: usize = 1;

/// What is asked about.
#[derive(Debug, Clone)]
pub struct ScaleAsk {
    /// The engines.
    pub engines: Vec<Engine>,
    /// How fast language models answer, all endpoints together; none if not known.
    pub answers: Option<AnswerRate>,
    /// Parts that share the run.
    pub parts: Option<usize>,
    /// How parts fail.
    pub failures: Option<Failures>,
}

/// How fast language models answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct AnswerRate {
    /// Tokens read per second.
    pub tokens_in: f64,
    /// Tokens written per second.
    pub tokens_out: f64,
    /// Dollars for an hour of the endpoint; null if not given.
    pub usd_per_hour: Option<f64>,
}

/// What a suite takes.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Scaled {
    /// The suite's name.
    pub suite: String,
    /// The model's name.
    pub subject: String,
    /// Weights of the model.
    pub parameters: f64,
    /// Hook points.
    pub hooks: usize,
    /// Dictionaries: rows of the tables over all hook points, controls on permuted weights included.
    pub dictionaries: usize,
    /// Most features of a dictionary.
    pub largest_dictionary: usize,
    /// Features to score, controls included.
    pub features: f64,
    /// Tokens of the fit split.
    pub fit_tokens: usize,
    /// Tokens of the evaluation fragments.
    pub evaluate_tokens: usize,
    /// What everything takes.
    pub total: Cost,
    /// The same by kind of work.
    pub stages: Vec<StageCost>,
    /// Bytes of the run folder.
    pub run_folder_bytes: f64,
    /// Bytes of activations that are held at the same time.
    pub activation_bytes: f64,
    /// Requests to language models, at most.
    pub llm_requests: u64,
    /// Tokens that they read.
    pub llm_tokens_in: u64,
    /// Tokens that they write.
    pub llm_tokens_out: u64,
    /// Dollars of the language models with known prices.
    pub llm_usd: f64,
    /// The same by explainer, simulator and judge.
    pub llm: Vec<Planned>,
    /// How fast they answer; null if not given.
    pub answer_rate: Option<AnswerRate>,
    /// Hours of their answers at that rate; without one, from the suite's limits and an assumed latency.
    pub llm_hours: f64,
    /// Dollars of these hours; null without a price.
    pub llm_hours_usd: Option<f64>,
    /// Each engine.
    pub engines: Vec<EngineTime>,
    /// Remarks for the reader.
    pub notes: Vec<String>,
}

/// What a kind of work takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct StageCost {
    /// The work.
    pub work: Work,
    /// What it takes.
    #[serde(flatten)]
    pub cost: Cost,
}

/// The time on an engine, without language models.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct EngineTime {
    /// The engine.
    pub engine: Engine,
    /// Hours on one of them.
    pub hours: Span,
    /// The same by kind of work.
    pub stages: Vec<StageHours>,
    /// Dollars; null without a price.
    pub usd: Option<Span>,
    /// On several of them; null if not asked for.
    pub parts: Option<PartsTime>,
}

/// The hours of a kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct StageHours {
    /// The work.
    pub work: Work,
    /// Hours on one engine.
    pub hours: Span,
}

/// The time on parts that share a run, each on one engine.
#[derive(Debug, Clone, PartialEq, Serialize, schemars::JsonSchema)]
pub struct PartsTime {
    /// Parts.
    pub parts: usize,
    /// Tasks that can be done at the same time: more parts do not help.
    pub tasks: usize,
    /// Hours that no division can go below.
    pub bound: Span,
    /// Hours, longest tasks first, without failures.
    pub hours: Span,
    /// One part's hours by these hours, at the upper ends.
    pub speed_up: f64,
    /// The same for fewer parts: 1, 2, 4, and so on.
    pub by_parts: Vec<ByParts>,
    /// Deaths per hour of a part; null if not asked for.
    pub failures_per_hour: Option<f64>,
    /// Hours until a dead part's work is taken over.
    pub patience_hours: Option<f64>,
    /// What failures cost where work takes the lower hours; null if not asked for or undefined.
    pub repeated_low: Option<Repeated>,
    /// The same at the upper hours.
    pub repeated_high: Option<Repeated>,
    /// Why one of them is undefined.
    pub repeated_reason: Option<String>,
}

/// The time on a number of parts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, schemars::JsonSchema)]
pub struct ByParts {
    /// Parts.
    pub parts: usize,
    /// Hours without failures.
    pub hours: Span,
    /// One part's hours by these hours, at the upper ends.
    pub speed_up: f64,
}

/// What a suite takes, from headers alone.
pub fn scale(suite: &Suite, places: &Places, ask: &ScaleAsk) -> Result<Scaled, RunError> {
    let headers = read_headers(suite, places).for_another_machine().checked()?;
    let mut suite = suite.clone();
    headers.mark(&mut suite.methods);
    let suite = &suite;
    let subject = Subject::of(suite, places)?;
    let shape = Shape::of_sizes(suite, subject.shape, subject.hooks, PREFIX, places);
    let groups = shape.hooks_at_once(suite.limits.disk_gb * 1e9);
    let counted = counted(&shape, &subject.size, &groups);
    let llm = questions(suite, shape.hooks.len(), places)?;
    let stages = by_work(&counted);
    let rows = rows(&shape);
    let sum = |count: fn(&Planned) -> u64| llm.iter().map(count).fold(0, u64::saturating_add);
    let tokens = [sum(|role| role.tokens_in), sum(|role| role.tokens_out)];
    let llm_hours = llm_hours(&llm, tokens, ask.answers);
    let disk = shape.disk(&groups);
    Ok(Scaled {
        suite: suite.name.clone(),
        subject: subject.name,
        parameters: subject.size.parameters,
        hooks: shape.hooks.len(),
        dictionaries: rows.len(),
        largest_dictionary: rows.iter().map(|row| row.features).max().unwrap_or(0),
        features: rows.iter().map(|row| row.scored as f64).sum::<f64>() + 0.0,
        fit_tokens: shape.fit_tokens,
        evaluate_tokens: shape.evaluate_tokens(),
        total: Cost::sum(stages.iter().map(|stage| stage.cost)),
        stages,
        run_folder_bytes: disk.run_folder,
        activation_bytes: disk.scratch,
        llm_requests: sum(|role| role.requests),
        llm_tokens_in: tokens[0],
        llm_tokens_out: tokens[1],
        llm_usd: llm.iter().filter_map(|role| role.dollars).sum::<f64>() + 0.0,
        answer_rate: ask.answers,
        llm_hours,
        llm_hours_usd: ask.answers.and_then(|rate| Some(rate.usd_per_hour? * llm_hours)),
        engines: ask.engines.iter().map(|engine| engine_time(engine, &counted, ask, suite.seed)).collect(),
        notes: notes(suite, ask, &llm, headers.warnings),
        llm,
    })
}

/// The rows of all hook points, controls included.
fn rows(shape: &Shape<'_>) -> Vec<RowShape> {
    let fits = shape.passes.iter().flat_map(|pass| shape.fits(pass));
    fits.flat_map(|(at, method)| shape.rows(at, method)).collect()
}

/// Hours of answers at a rate; without one, as a plan assumes them.
fn llm_hours(llm: &[Planned], [tokens_in, tokens_out]: [u64; 2], rate: Option<AnswerRate>) -> f64 {
    match rate {
        Some(rate) => (tokens_in as f64 / rate.tokens_in + tokens_out as f64 / rate.tokens_out) / 3600.0,
        None => llm.iter().map(|role| role.minutes).sum::<f64>() / 60.0 + 0.0,
    }
}

/// The subject by its header.
struct Subject {
    name: String,
    shape: ModelShape,
    size: ModelSize,
    hooks: Vec<HookShape>,
}

impl Subject {
    fn of(suite: &Suite, places: &Places) -> Result<Self, RunError> {
        if let Some(loaded) = open_stored(&suite.subject, places, false)? {
            let model = loaded.model();
            let info = model.info();
            let hooks = expand_hooks(suite, model)?.into_iter();
            let hooks = hooks.map(|hook| Ok(HookShape::new(hook, model.width(hook)?)));
            let (layers, d_model, d_mlp, vocab) = (info.n_layers, info.d_model, info.d_mlp, info.vocab);
            return Ok(Self {
                name: info.name.clone(),
                shape: ModelShape { layers, d_model, d_mlp, vocab, runs: false },
                size: ModelSize::default(),
                hooks: hooks.collect::<Result<_, RunError>>()?,
            });
        }
        let header = model_shape(&suite.subject.model, suite.subject.revision.as_deref(), places)?.header;
        let model = &header.architecture;
        let mut hooks: Vec<HookPoint> = Vec::new();
        for (text, selector) in &suite.hooks {
            let expanded = selector.expand(model.n_layers);
            let expanded = expanded.map_err(|layer| no_such_layer(text, layer, model.n_layers))?;
            expanded.into_iter().for_each(|hook| {
                if !hooks.contains(&hook) {
                    hooks.push(hook);
                }
            });
        }
        let hooks = hooks.into_iter().map(|hook| Ok(HookShape::new(hook, header.width(hook)?)));
        Ok(Self {
            hooks: hooks.collect::<Result<_, RunError>>()?,
            shape: ModelShape {
                layers: model.n_layers,
                d_model: model.d_model,
                d_mlp: model.d_mlp,
                vocab: model.vocab,
                runs: true,
            },
            size: ModelSize::of(model),
            name: header.name,
        })
    }
}

/// The cost of each kind of work, in the order of a run.
fn by_work(counted: &Counted) -> Vec<StageCost> {
    let mut sums: BTreeMap<Work, Cost> = BTreeMap::new();
    for (work, cost) in counted.stages() {
        let sum = sums.entry(*work).or_default();
        *sum = sum.plus(*cost);
    }
    sums.into_iter().map(|(work, cost)| StageCost { work, cost }).collect()
}

/// Hours of stages that follow one another, at least and at most.
fn hours(engine: &Engine, stages: &Stages) -> Span {
    stages.iter().map(|(_, cost)| engine.hours(cost)).fold(Span::default(), Span::plus)
}

/// The hours of tasks: those that work takes at least, and at most.
fn loads(engine: &Engine, counted: &Counted) -> [Load; 2] {
    let load = |end: fn(Span) -> f64| {
        let of = |stages: &Stages| end(hours(engine, stages));
        let places = counted
            .places
            .iter()
            .map(|place| Place { harvest: of(&place.harvest), tasks: place.tasks.iter().map(of).collect() });
        Load { before: of(&counted.before), places: places.collect(), after: of(&counted.after) }
    };
    [load(|span| span.low), load(|span| span.high)]
}

fn engine_time(engine: &Engine, counted: &Counted, ask: &ScaleAsk, seed: u64) -> EngineTime {
    let mut by_kind: BTreeMap<Work, Span> = BTreeMap::new();
    for (work, cost) in counted.stages() {
        let sum = by_kind.entry(*work).or_default();
        *sum = sum.plus(engine.hours(cost));
    }
    let hours = by_kind.values().copied().fold(Span::default(), Span::plus);
    EngineTime {
        engine: engine.clone(),
        hours,
        stages: by_kind.into_iter().map(|(work, hours)| StageHours { work, hours }).collect(),
        usd: engine.usd_per_hour.map(|price| hours.times(price)),
        parts: ask.parts.map(|parts| parts_time(&loads(engine, counted), parts, ask.failures, seed)),
    }
}

fn parts_time(loads: &[Load; 2], parts: usize, failures: Option<Failures>, seed: u64) -> PartsTime {
    let [low, high] = loads;
    let on = |parts: usize| ByParts {
        parts,
        hours: Span { low: low.hours(parts), high: high.hours(parts) },
        speed_up: ratio(high.hours(1), high.hours(parts)),
    };
    let all = on(parts);
    let fewer = std::iter::successors(Some(1), |parts| Some(2 * parts)).take_while(|fewer| *fewer < parts);
    let simulated =
        loads.each_ref().map(|load| failures.map(|failures| repeated(load, parts, failures, seed)));
    let reason = simulated.iter().flatten().find_map(|found| found.as_ref().err().cloned());
    let [repeated_low, repeated_high] = simulated.map(|found| found.and_then(Result::ok));
    PartsTime {
        parts,
        tasks: high.places.iter().map(|place| place.tasks.len().max(1)).sum(),
        bound: Span { low: low.bound(parts), high: high.bound(parts) },
        hours: all.hours,
        speed_up: all.speed_up,
        by_parts: fewer.map(on).collect(),
        failures_per_hour: failures.map(|failures| failures.per_hour),
        patience_hours: failures.map(|failures| failures.patience_hours),
        repeated_low,
        repeated_high,
        repeated_reason: reason,
    }
}

/// 1 where nothing is done.
fn ratio(one: f64, many: f64) -> f64 {
    if many > 0.0 { one / many } else { 1.0 }
}

fn notes(suite: &Suite, ask: &ScaleAsk, llm: &[Planned], warnings: Vec<String>) -> Vec<String> {
    let mut notes = warnings;
    notes.push(
        "counts are formulas of the sizes, and hours are bounds: work overlaps at least and adds up at most; nothing \
         was run"
            .into(),
    );
    if !llm.is_empty() {
        notes.push("questions were rendered on stand-in text with English words as tokens".into());
        if ask.answers.is_none() {
            notes.push(
                "the time of language models is assumed: give `--answer-rate IN,OUT` of your endpoint".into(),
            );
        }
        notes.push("language models answer while engines work: the hours of both overlap at least, and add up at most".into());
    }
    if suite.methods.iter().any(|method| method.params.path().is_some() && method.located.is_none()) {
        notes.push("dictionaries whose files are not here count as 8 features for each dimension".into());
    }
    notes
}

#[cfg(test)]
mod tests;
