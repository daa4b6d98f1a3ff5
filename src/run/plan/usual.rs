//! Usual times of the pieces of a run, in seconds of one core of one machine (AMD EPYC 7003, AVX2). Their proportions
//! are what matters: a plan corrects each by what it measures here, a run by what has been done so far.
//!
//!   seconds = Σ counts × seconds per count: of a multiply-add, of a code that is not 0, of a file's bytes …

use crate::causal::effects::{Effect, EffectSettings};
use crate::run::evaluate::ablation::ABLATED_FRAGMENTS;
use crate::run::inputs::erasure::N_CONCEPTS;
use crate::run::plan::shape::{HookShape, ModelShape, RowShape, Shape};
use crate::run::rows::quality::LOSS_FRAGMENTS;

/// A floating-point operation of a product of large matrices; a multiply-add has two. Those of a model are larger.
const FLOP: f64 = 2.2e-11;
const PASS_FLOP: f64 = 1.75e-11;
/// An entry that is read or written in passing: norms, activations of neurons, scales.
const ENTRY: f64 = 1.0e-9;
/// The exponential of a softmax over the vocabulary.
const EXPONENTIAL: f64 = 2.0e-9;
/// An entry of an activation that is encoded, hashed, and written to a store.
const STORED_ENTRY: f64 = 2.5e-9;
/// A token of text that is made or read, encoded, and assigned to a split.
const TEXT_TOKEN: f64 = 2.2e-6;
/// A code that is not 0, with the statistics of its feature: among few, and among many.
const ACTIVE_CODE: f64 = 1.2e-8;
const DENSE_CODE: f64 = 2.0e-9;
/// An entry of the codes of all features, where they are compared or cleared.
const CODE: f64 = 3.0e-10;
/// How many times as long an operation takes that decodes few active codes.
const SPARSE: f64 = 4.0;
/// A token that one feature is recorded on.
const RECORDED_TOKEN: f64 = 6.0e-9;
/// Codes of a dictionary that are kept for the records, see `code_cache.rs`.
pub const KEPT_CODES: f64 = 4_194_304.0;
/// Tokens that neuron-to-graph runs for each fragment that a feature is explained on, in sequences of so many. Tokens
/// with which other sequences begin run once.
pub const PROBED_TOKENS: f64 = 16.0;
pub const PROBE_LENGTH: f64 = 16.0;
/// A held-out token under one explanation: simulated, scored and written.
const SCORED_TOKEN: f64 = 9.0e-8;
/// Tokens of a task's prompt.
pub const PROMPT_TOKENS: f64 = 16.0;
/// Tokens of a prompt of a concept.
const CONCEPT_TOKENS: f64 = 32.0;
/// One value in one resample.
const RESAMPLED: f64 = 1.0e-9;
/// A score line on the pages.
const SHOWN_LINE: f64 = 5.0e-4;
/// Charts, tables and the frame of the pages, and what each hook point adds.
const CHARTS: f64 = 2.2;
const CHARTS_OF_HOOK: f64 = 0.7;
/// A weight that is read from disk, checked and packed.
const WEIGHT: f64 = 6.0e-9;
/// Resamples of an exploratory comparison.
const EXPLORATORY: usize = 10_000;

impl ModelShape {
    /// Weights of a block, about.
    fn block(&self) -> f64 {
        let (d, mlp) = (self.d_model as f64, self.d_mlp as f64);
        4.0 * d * d + 2.0 * d * mlp
    }

    /// Weights of the model, about.
    pub fn weights(&self) -> f64 {
        self.layers as f64 * self.block() + 2.0 * (self.vocab * self.d_model) as f64
    }

    /// `tokens` through `blocks` blocks, in sequences of `positions` tokens.
    pub fn forward(&self, tokens: f64, blocks: f64, positions: f64) -> f64 {
        let d = self.d_model as f64;
        let flops = 2.0 * self.block() + 4.0 * positions * d;
        tokens * blocks * (flops * PASS_FLOP + (10.0 * d + 2.0 * self.d_mlp as f64) * ENTRY)
    }

    /// Losses of `tokens`, from the activations behind `depth` blocks on.
    pub fn losses(&self, tokens: f64, depth: usize, positions: f64) -> f64 {
        let vocab = self.vocab as f64;
        let after = self.layers.saturating_sub(depth) as f64;
        self.forward(tokens, after, positions)
            + tokens * vocab * (2.0 * self.d_model as f64 * PASS_FLOP + EXPONENTIAL)
    }
}

/// Seconds to read and pack the model.
pub fn open(model: &ModelShape) -> f64 {
    model.weights() * WEIGHT
}

/// Seconds to permute its weights, and to pack them again.
pub fn permute(model: &ModelShape) -> f64 {
    5.0 * model.weights() * WEIGHT
}

/// Seconds to read `tokens` of text.
pub fn text(tokens: f64) -> f64 {
    tokens * TEXT_TOKEN
}

/// Seconds to harvest `tokens` at all of `hooks`, in sequences of `positions`.
pub fn harvest(model: &ModelShape, hooks: &[HookShape], tokens: f64, positions: f64) -> f64 {
    let entries: usize = hooks.iter().map(|at| at.width).sum();
    let deepest = hooks.iter().map(|at| at.depth).max().unwrap_or(0);
    let passes = if model.runs { model.forward(tokens, deepest as f64, positions) } else { 0.0 };
    passes + tokens * entries as f64 * STORED_ENTRY
}

/// Seconds for `flops` floating-point operations of a fit.
pub fn fit(flops: f64) -> f64 {
    flops * FLOP
}

/// Seconds to read a dictionary with this many entries.
pub fn read_dictionary(entries: f64) -> f64 {
    entries * WEIGHT
}

/// Seconds to encode `tokens` and to note which features fire; with `decoded`, their reconstruction too.
pub fn encode(at: &HookShape, row: &RowShape, tokens: f64, decoded: bool) -> f64 {
    let (product, features) = (2.0 * at.width as f64 * FLOP, row.encoded as f64);
    let active = row.active * features / (row.features as f64).max(1.0);
    let noted = (active * ACTIVE_CODE).min(features * DENSE_CODE);
    let decode = if decoded { product * (SPARSE * row.active).min(features) } else { 0.0 };
    tokens * (product * features + features * CODE + noted + decode)
}

/// Seconds for codes of some features: those of all where a code depends on the others.
fn codes_of(at: &HookShape, row: &RowShape, features: f64, tokens: f64) -> f64 {
    let wanted = if row.couples { row.features as f64 } else { features };
    tokens * at.width as f64 * (wanted * 2.0 * FLOP + 2.0 * ENTRY)
}

/// Seconds for the records of `features` features on `tokens` tokens, and the distribution of their codes.
pub fn records(at: &HookShape, row: &RowShape, features: f64, tokens: f64) -> f64 {
    let kept = row.active * tokens <= KEPT_CODES;
    let codes = if kept { 0.0 } else { codes_of(at, row, features, tokens) };
    tokens * features * RECORDED_TOKEN + codes
}

/// Seconds for the means of `features` features by token type, on `tokens` tokens of the fit split.
pub fn means(at: &HookShape, row: &RowShape, features: f64, tokens: f64) -> f64 {
    codes_of(at, row, features, tokens) + tokens * features * 2.0 * ENTRY
}

/// Seconds of neuron-to-graph for one feature that is explained on `fragments` fragments.
pub fn probes(model: &ModelShape, at: &HookShape, fragments: f64) -> f64 {
    model.forward(fragments * PROBED_TOKENS, at.depth as f64, PROBE_LENGTH)
}

/// Seconds to simulate and score one feature on `tokens` held-out tokens under one explanation.
pub fn score(tokens: f64) -> f64 {
    tokens * SCORED_TOKEN
}

/// Seconds to run `features` features' fragments without each of them, and the effects on the logits.
pub fn ablate(shape: &Shape<'_>, at: &HookShape, features: f64) -> f64 {
    let tokens = features * 2.0 * (ABLATED_FRAGMENTS * shape.positions) as f64;
    let logits = features * (shape.model.vocab * shape.model.d_model) as f64 * 2.0 * FLOP;
    if shape.model.runs { shape.model.losses(tokens, at.depth, shape.positions as f64) + logits } else { 0.0 }
}

/// Seconds to measure the effects of `features` features, each `variants` times: once, or beside a random direction.
pub fn effects(shape: &Shape<'_>, at: &HookShape, features: f64, variants: f64) -> f64 {
    let tokens = features * variants * effect_tokens(shape);
    shape.model.losses(tokens, at.depth, shape.positions as f64)
}

/// Tokens that run for the effects of one feature.
pub fn effect_tokens(shape: &Shape<'_>) -> f64 {
    let Some(settings) = shape.suite.effects.as_ref().filter(|_| shape.model.runs) else { return 0.0 };
    let EffectSettings { fragments, prompts, prompt_tokens, bisections, .. } = settings;
    let wanted = shape.suite.effects();
    let of = |effect, tokens: usize| if wanted.contains(&effect) { tokens } else { 0 };
    // Each firing fragment runs twice, unchanged and changed.
    let tokens = of(Effect::Ablation, 2 * fragments * shape.positions)
        + of(Effect::Steering, prompts * prompt_tokens)
        + of(Effect::Agreement, prompts * prompt_tokens)
        + of(Effect::Damage, prompts * (prompt_tokens * (bisections + 2) + shape.positions));
    tokens as f64
}

/// Seconds to write the texts of `features` features for explainers of the output and for judges that compare texts.
pub fn written(shape: &Shape<'_>, features: f64) -> f64 {
    let Some(settings) = shape.suite.effects.as_ref().filter(|_| shape.model.runs) else { return 0.0 };
    let of = |is_wanted: bool, tokens: usize| if is_wanted { tokens } else { 0 };
    let EffectSettings { prompts, prompt_tokens, written_tokens, shown_texts, .. } = *settings;
    let pair = 2 * (prompt_tokens + written_tokens);
    let shown = prompts * prompt_tokens + shown_texts.min(prompts) * pair;
    let tokens =
        of(shape.suite.explains_output(), shown) + of(shape.suite.compares_written(), prompts * pair);
    // Every pass runs the whole model.
    shape.model.losses(features * tokens as f64, 0, (prompt_tokens + written_tokens) as f64)
}

/// Seconds of `passes` losses on the fragments of loss recovered.
pub fn losses(shape: &Shape<'_>, at: &HookShape, passes: f64) -> f64 {
    let tokens = (LOSS_FRAGMENTS.min(shape.fragments) * shape.positions) as f64;
    if shape.model.runs { passes * shape.model.losses(tokens, at.depth, shape.positions as f64) } else { 0.0 }
}

/// Seconds to find the nearest directions of the scored features of `rows`, among all of them.
pub fn neighbours(at: &HookShape, rows: &[RowShape]) -> f64 {
    let asked: usize = rows.iter().map(|row| row.scored).sum();
    let features: usize = rows.iter().map(|row| row.features).sum();
    let entries = (features * at.width) as f64;
    entries * (asked as f64 * 2.0 * FLOP + 3.0 * ENTRY * rows.len() as f64)
}

/// Seconds to patch features of a dictionary on the suite's task, with about a third of the passes that it can take: a
/// pass is left out where no patched feature's code differs.
pub fn patch(shape: &Shape<'_>, at: &HookShape, row: &RowShape) -> f64 {
    let Some(task) = &shape.suite.task else { return 0.0 };
    (task.pairs * task.most_passes(row.features)) as f64 * patched_pass(&shape.model, at) / 3.0
}

/// Seconds of a pass of a patched prompt, from the hook point on.
pub fn patched_pass(model: &ModelShape, at: &HookShape) -> f64 {
    let after = model.layers.saturating_sub(at.depth) as f64;
    let logits = model.vocab as f64 * (2.0 * model.d_model as f64 * PASS_FLOP + EXPONENTIAL);
    model.forward(PROMPT_TOKENS, after, PROMPT_TOKENS) + logits
}

/// Seconds to erase the suite's concepts with a dictionary.
pub fn erase(shape: &Shape<'_>, at: &HookShape) -> f64 {
    let Some(erasure) = &shape.suite.erasure else { return 0.0 };
    let (model, vocab) = (&shape.model, shape.model.vocab as f64);
    let after = model.layers.saturating_sub(at.depth) as f64;
    let logits = vocab * (2.0 * model.d_model as f64 * PASS_FLOP + EXPONENTIAL);
    let pass = model.forward(CONCEPT_TOKENS, after, CONCEPT_TOKENS) + logits;
    let read = model.forward(CONCEPT_TOKENS, at.depth as f64, CONCEPT_TOKENS);
    let prompts = (N_CONCEPTS * 2 * erasure.prompts) as f64;
    // A probe takes about ten products of a matrix of prompts with itself.
    let dims = (at.width as f64).min(prompts);
    let probes = erasure.most_passes() as f64 * prompts * 10.0 * dims * dims * 2.0 * FLOP;
    prompts * (read + erasure.test_share * erasure.most_passes() as f64 * pass) + probes
}

/// Seconds for the intervals of `cells` cells and the tests of `primary` and `other` comparisons, with `values` values each.
pub fn statistics(shape: &Shape<'_>, cells: f64, [primary, other]: [f64; 2], values: f64) -> f64 {
    let statistics = &shape.suite.statistics;
    let resamples = statistics.resamples as f64;
    let permutations =
        primary * statistics.permutations as f64 + other * statistics.permutations.min(EXPLORATORY) as f64;
    values * RESAMPLED * (resamples * (cells + 2.0 * (primary + other)) + 2.0 * permutations)
}

/// Seconds to compare the directions of every pair of `trainings` dictionaries.
pub fn between_trainings(at: &HookShape, features: f64, trainings: f64) -> f64 {
    trainings * (trainings - 1.0) * features * features * at.width as f64 * 2.0 * FLOP
}

/// Seconds to draw charts and pages of this many hook points and score lines.
pub fn report(hooks: f64, lines: f64) -> f64 {
    CHARTS + CHARTS_OF_HOOK * hooks + lines * SHOWN_LINE
}
