//! What each stage of a suite computes, reads and writes: closed formulas of the sizes alone. Nothing is allocated for a
//! feature or a token. `results/README.md` lists the formulas.

use crate::run::evaluate::ablation::ABLATED_FRAGMENTS;
use crate::run::plan::needs::DICTIONARY_ENTRY;
use crate::run::plan::pieces::{Piece, Work, work};
use crate::run::plan::scale::cost::{Cost, Span};
use crate::run::plan::scale::model::ModelSize;
use crate::run::plan::shape::{HookShape, MethodShape, PassShape, RowShape, Shape};
use crate::run::plan::usual;
use crate::run::rows::quality::LOSS_FRAGMENTS;
use crate::suite::QualityPass;

/// Bytes of an entry of a stored activation to fit on, and to score on; and of a token's id.
const FIT_ENTRY: f64 = 2.0;
const SCORE_ENTRY: f64 = 4.0;
const TOKEN: f64 = 4.0;

/// Bytes of an entry in memory.
const BYTES: f64 = 4.0;

/// Bytes of a weight in a model's files.
const WEIGHT: f64 = 2.0;

/// Kinds of work with what each takes.
pub type Stages = Vec<(Work, Cost)>;

/// A run, divided as parts could share it.
#[derive(Debug, Default)]
pub struct Counted {
    /// What each part does first.
    pub before: Stages,
    /// Hook points that are harvested together, of each subject.
    pub places: Vec<CountedPlace>,
    /// What is done in the end.
    pub after: Stages,
}

/// Hook points that are harvested together.
#[derive(Debug, Default)]
pub struct CountedPlace {
    /// The harvest, and permuted weights before it.
    pub harvest: Stages,
    /// Dictionaries, each from its fit to its scores, and what is measured of all dictionaries of a hook point.
    pub tasks: Vec<Stages>,
}

impl Counted {
    /// Every stage.
    pub fn stages(&self) -> impl Iterator<Item = &(Work, Cost)> {
        let places = self.places.iter().flat_map(CountedPlace::stages);
        self.before.iter().chain(places).chain(&self.after)
    }
}

impl CountedPlace {
    fn stages(&self) -> impl Iterator<Item = &(Work, Cost)> {
        self.harvest.iter().chain(self.tasks.iter().flatten())
    }
}

/// Counts the work of a suite. `groups`: hook points that are harvested together.
pub fn counted(shape: &Shape<'_>, model: &ModelSize, groups: &[Vec<HookShape>]) -> Counted {
    let counter = Counter { shape, model };
    let usual = work(shape, groups);
    let open = Cost { read_bytes: WEIGHT * model.parameters, ..Cost::default() };
    let before = std::iter::once((Work::Open, open));
    let text = of_cores(&usual.before).into_iter().filter(|(work, _)| *work == Work::Text);
    let mut places = Vec::new();
    for pass in &shape.passes {
        for (nth, hooks) in groups.iter().enumerate() {
            places.push(counter.place(pass, hooks, nth == 0));
        }
    }
    Counted { before: before.chain(text).collect(), places, after: of_cores(&usual.after) }
}

/// Work of processor cores, in the usual times of a plan.
fn of_cores(pieces: &[Piece]) -> Stages {
    let parts = pieces.iter().flat_map(|piece| &piece.parts);
    parts.map(|part| (part.work, Cost::of_cores(part.seconds))).collect()
}

struct Counter<'a> {
    shape: &'a Shape<'a>,
    model: &'a ModelSize,
}

impl Counter<'_> {
    fn fit_tokens(&self) -> f64 {
        self.shape.fit_tokens as f64
    }

    fn evaluate_tokens(&self) -> f64 {
        self.shape.evaluate_tokens() as f64
    }

    fn place(&self, pass: &PassShape<'_>, hooks: &[HookShape], is_first: bool) -> CountedPlace {
        let mut harvest = vec![(Work::Harvest, self.harvest(hooks))];
        if pass.control.is_some() && is_first {
            let seconds = usual::permute(&self.shape.model);
            harvest.push((Work::Permute, Cost::of_cores(seconds)));
        }
        let mut tasks = Vec::new();
        for at in hooks {
            let methods: Vec<&MethodShape<'_>> = self.shape.methods_at(pass, at).collect();
            tasks.extend(methods.iter().map(|method| self.method(pass, at, method)));
            let rows: Vec<RowShape> = methods.iter().flat_map(|method| self.shape.rows(at, method)).collect();
            tasks.push(self.of_hook(pass, at, &rows));
        }
        CountedPlace { harvest, tasks }
    }

    /// Both splits through the blocks below the deepest hook point, and the activations in the store.
    fn harvest(&self, hooks: &[HookShape]) -> Cost {
        let (shape, model) = (self.shape, self.model);
        let deepest = hooks.iter().map(|at| at.depth).max().unwrap_or(0);
        let splits = [(self.fit_tokens(), shape.context), (self.evaluate_tokens(), shape.positions)];
        let passes = splits.map(|(tokens, length)| {
            let with_prefix = (length + shape.prefix) as f64;
            model.forward(tokens * with_prefix / (length as f64).max(1.0), 0..deepest, with_prefix)
        });
        let written = hooks.iter().map(|at| shape.activation_bytes(at)).sum();
        Cost { written_bytes: written, ..Cost::sum(passes) }
    }

    /// The fit of a method with the evaluation of its rows.
    fn method(&self, pass: &PassShape<'_>, at: &HookShape, method: &MethodShape<'_>) -> Stages {
        let (shape, spec) = (self.shape, method.spec);
        let rows = shape.rows(at, method);
        let width = at.width as f64;
        let saved: f64 = rows.iter().map(|row| DICTIONARY_ENTRY * row.features as f64 * width).sum();
        let mut stages = Vec::new();
        if let Some(fit) = &method.fit {
            let cost = fit.cost(self.fit_tokens(), at.width);
            let is_training = method.is_trained_here(at.width);
            let is_read = spec.params.path().is_some();
            stages.push((
                if is_training { Work::Steps } else { Work::Fit },
                Cost {
                    flops: Span::from(cost.flops),
                    memory_bytes: Span::from(cost.moved),
                    read_bytes: cost.rows_read * self.fit_row(at) + if is_read { saved } else { 0.0 },
                    written_bytes: saved,
                    core_seconds: 0.0,
                },
            ));
        }
        let is_reference = shape.suite.methods.iter().any(|other| other.params.matched() == Some(&spec.name));
        if let Some(row) = rows.first().filter(|_| is_reference) {
            stages.push((
                Work::Encode,
                self.codes(at, row.encoded as f64, self.fit_tokens(), self.fit_row(at)),
            ));
        }
        rows.iter().for_each(|row| stages.extend(self.row(pass, at, row)));
        stages
    }

    /// Bytes of a row of the fit split, and of one of the evaluation split.
    fn fit_row(&self, at: &HookShape) -> f64 {
        FIT_ENTRY * at.width as f64 + TOKEN
    }

    fn score_row(&self, at: &HookShape) -> f64 {
        SCORE_ENTRY * at.width as f64 + TOKEN
    }

    /// Codes of `features` features on `tokens` tokens, which are `row` bytes each in the store. Codes may stay in the
    /// processor's cache, or are written and read.
    fn codes(&self, at: &HookShape, features: f64, tokens: f64, row: f64) -> Cost {
        let (product, inputs) = (2.0 * features * at.width as f64, BYTES * at.width as f64);
        Cost {
            flops: Span::exactly(tokens * product),
            memory_bytes: Span { low: tokens * inputs, high: tokens * (inputs + 2.0 * BYTES * features) },
            read_bytes: tokens * row,
            ..Cost::default()
        }
    }

    /// The evaluation of a dictionary.
    fn row(&self, pass: &PassShape<'_>, at: &HookShape, row: &RowShape) -> Stages {
        let (shape, model) = (self.shape, self.model);
        let (tokens, scored) = (self.evaluate_tokens(), row.scored as f64);
        let real = pass.control.is_none();
        let positions = shape.positions as f64;
        let mut encode = self.codes(at, row.encoded as f64, tokens, self.score_row(at));
        if row.quality == QualityPass::Full {
            let product = 2.0 * tokens * at.width as f64;
            encode.flops =
                encode.flops.plus(Span { low: product * row.active, high: product * row.features as f64 });
        }
        let mut stages = vec![(Work::Encode, encode), (Work::Records, self.records(pass, at, row))];
        if shape.suite.effects.is_some() {
            let run = scored * if real { 2.0 } else { 1.0 } * usual::effect_tokens(shape);
            stages.push((Work::Effects, model.losses(run, at.depth, positions)));
        }
        if real && shape.model.runs {
            let run = scored * 2.0 * ABLATED_FRAGMENTS as f64 * positions;
            stages.push((Work::Ablate, model.losses(run, at.depth, positions).plus(model.logits(scored))));
        }
        let pairs = shape.pairs(pass);
        let reads_fit = pairs.iter().any(|pair| pair.explainer.kind().reads_fit());
        if reads_fit || (real && shape.suite.controls.oracle) {
            let wanted = if row.couples { row.features as f64 } else { scored };
            stages.push((Work::Means, self.codes(at, wanted, self.fit_tokens(), self.fit_row(at))));
        }
        if pairs.iter().any(|pair| pair.explainer.kind().probes()) {
            let run = scored * shape.explained_on() as f64 * usual::PROBED_TOKENS;
            stages.push((Work::Probes, model.forward(run, 0..at.depth, usual::PROBE_LENGTH)));
        }
        let offline = pairs.iter().filter(|pair| pair.simulator.model().is_none()).count() as f64;
        let again = shape.lines(pass) as f64 / pairs.len().max(1) as f64;
        let tokens_each = shape.held_fragments() as f64 * positions;
        let seconds = scored * offline * again * usual::score(tokens_each);
        stages.push((Work::Score, Cost::of_cores(seconds)));
        stages
    }

    /// Records of the scored features: codes once more where they were not kept, and what is written of each feature.
    fn records(&self, pass: &PassShape<'_>, at: &HookShape, row: &RowShape) -> Cost {
        let (tokens, scored) = (self.evaluate_tokens(), row.scored as f64);
        let kept = row.active * tokens <= usual::KEPT_CODES;
        let wanted = if row.couples { row.features as f64 } else { scored };
        let codes = if kept { Cost::default() } else { self.codes(at, wanted, tokens, self.score_row(at)) };
        Cost { written_bytes: scored * self.shape.bytes_of_feature(pass), ..codes }
    }

    /// What is measured of all dictionaries of a hook point.
    fn of_hook(&self, pass: &PassShape<'_>, at: &HookShape, rows: &[RowShape]) -> Stages {
        let (shape, model) = (self.shape, self.model);
        let mut stages = Vec::new();
        let measured = rows.iter().filter(|row| row.quality != QualityPass::Off).count() as f64;
        if measured > 0.0 && shape.model.runs {
            let run = (LOSS_FRAGMENTS.min(shape.fragments) * shape.positions) as f64;
            // Clean, zero and mean ablation, and one for each dictionary.
            let once = model.losses(run, at.depth, shape.positions as f64);
            stages.push((Work::Losses, once.times(3.0 + measured)));
        }
        if pass.control.is_some() {
            return stages;
        }
        let asked: f64 = rows.iter().map(|row| row.scored as f64).sum();
        let entries: f64 = rows.iter().map(|row| row.features as f64 * at.width as f64).sum();
        stages.push((Work::Neighbours, Cost::computed(2.0 * asked * entries, BYTES * entries)));
        if let Some(task) = &shape.suite.task {
            let passes: f64 = shape
                .patched(at, pass)
                .map(|row| task.pairs as f64 * task.most_passes(row.features) as f64)
                .sum();
            let once = model.losses(usual::PROMPT_TOKENS, at.depth, usual::PROMPT_TOKENS);
            let all = once.times(passes);
            // A pass is left out where no patched feature's code differs: about two of three.
            let low = all.times(1.0 / 3.0);
            stages.push((
                Work::Patch,
                Cost {
                    flops: Span { low: low.flops.low, high: all.flops.high },
                    memory_bytes: Span { low: low.memory_bytes.low, high: all.memory_bytes.high },
                    ..all
                },
            ));
        }
        stages
    }
}
