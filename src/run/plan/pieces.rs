//! The pieces of a run, each with the time that it usually takes: the one place where a run's work is counted. A plan
//! corrects the times by what it measures ([`Speed`]), a run by what has been done so far
//! ([`Remaining`](crate::run::plan::remaining::Remaining)).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::run::plan::shape::{HookShape, MethodShape, PassShape, RowShape, Shape};
use crate::run::plan::usual;
use crate::run::{Planned, Step};
use crate::suite::QualityPass;

/// What a part of a run does. Parts of one kind have a common speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Reading the model.
    Open,
    /// Reading text and encoding it to tokens.
    Text,
    /// Permuting weights for controls.
    Permute,
    /// Running the model, and storing activations.
    Harvest,
    /// Fits, besides their steps: moments, eigenvectors, signs.
    Fit,
    /// Training steps, and iterations of solvers.
    Steps,
    /// Encoding all fragments with a dictionary, and the fit split for the L0 that others are matched to.
    Encode,
    /// Records of the scored features.
    Records,
    /// Means by token type over the fit split.
    Means,
    /// Running the model on parts of fragments, for neuron-to-graph.
    Probes,
    /// Simulating and scoring.
    Score,
    /// Running the model without each feature.
    Ablate,
    /// Running the model with each feature changed, for output scores.
    Effects,
    /// Losses with reconstructed activations.
    Losses,
    /// Nearest directions.
    Neighbours,
    /// Patching features on a task.
    Patch,
    /// Erasing concepts.
    Erase,
    /// Intervals and tests.
    Statistics,
    /// Tables, charts and pages.
    Report,
    /// Answers of language models.
    LanguageModels,
}

impl Work {
    /// Its name on the screen.
    pub fn words(self) -> &'static str {
        match self {
            Self::Open => "opening the model",
            Self::Text => "reading text",
            Self::Permute => "permuting weights",
            Self::Harvest => "harvesting",
            Self::Fit => "fitting",
            Self::Steps => "training",
            Self::Encode => "encoding",
            Self::Records => "recording",
            Self::Means => "means by token",
            Self::Probes => "probing",
            Self::Score => "scoring",
            Self::Ablate => "ablation",
            Self::Effects => "effects",
            Self::Losses => "losses",
            Self::Neighbours => "neighbours",
            Self::Patch => "patching",
            Self::Erase => "erasure",
            Self::Statistics => "statistics",
            Self::Report => "report",
            Self::LanguageModels => "language models",
        }
    }
}

/// A part of a piece of work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// What is done.
    pub work: Work,
    /// The method whose dictionary it is about.
    pub method: Option<String>,
    /// Seconds that it usually takes on one core.
    pub seconds: f64,
}

/// A piece of work with the name under which a run tells its progress.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Piece {
    /// The name, as of [`Event::Work`](crate::run::Event).
    pub name: String,
    /// Its parts.
    pub parts: Vec<Part>,
}

impl Piece {
    fn of(name: impl Into<String>, work: Work, seconds: f64) -> Self {
        Self { name: name.into(), parts: vec![Part { work, method: None, seconds }] }
    }

    /// What takes most of its usual time.
    pub fn main_work(&self) -> Option<Work> {
        self.parts.iter().max_by(|a, b| a.seconds.total_cmp(&b.seconds)).map(|part| part.work)
    }

    /// Its usual seconds on one core.
    pub fn usual_seconds(&self) -> f64 {
        self.parts.iter().map(|part| part.seconds).sum()
    }
}

/// A fit and the evaluations that follow it.
#[derive(Debug, Clone)]
pub struct Job {
    pub method: String,
    /// The method at the same hook point whose fit comes first.
    pub matched: Option<String>,
    pub fit: Piece,
    /// The pieces of each row.
    pub rows: Vec<Vec<Piece>>,
}

/// The work of one subject at hook points that are harvested together.
#[derive(Debug, Clone)]
pub struct PassWork {
    /// On all threads, one after the other.
    pub before: Vec<Piece>,
    /// At the same time, each on its share of the threads; by hook point.
    pub jobs: Vec<Vec<Job>>,
    pub after: Vec<Piece>,
}

/// The work of a run, in order.
#[derive(Debug, Clone)]
pub struct RunWork {
    pub before: Vec<Piece>,
    pub passes: Vec<PassWork>,
    pub after: Vec<Piece>,
}

impl RunWork {
    /// Every piece, in order.
    pub fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.before.iter().chain(self.passes.iter().flat_map(PassWork::pieces)).chain(&self.after)
    }
}

impl PassWork {
    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        let jobs = self.jobs.iter().flatten();
        let jobs = jobs.flat_map(|job| std::iter::once(&job.fit).chain(job.rows.iter().flatten()));
        self.before.iter().chain(jobs).chain(&self.after)
    }
}

/// How much slower than usual each kind of work is here, over all methods and for single ones.
#[derive(Debug, Clone, Default)]
pub struct Speed {
    measured: BTreeMap<(Work, Option<String>), (f64, f64)>,
}

impl Speed {
    /// Adds a measurement: the usual seconds of what was done, and the seconds it took on one core.
    pub fn add(&mut self, work: Work, method: Option<&str>, usual: f64, seconds: f64) {
        if usual <= 0.0 {
            return;
        }
        for method in [None, method.map(String::from)].into_iter().take(1 + usize::from(method.is_some())) {
            let sums = self.measured.entry((work, method)).or_default();
            *sums = (sums.0 + usual, sums.1 + seconds);
        }
    }

    /// Seconds per usual second of work on a method's dictionary. Where it was not measured, that of the same work for
    /// other methods counts; where that was not measured either, that of everything measured.
    pub fn of(&self, work: Work, method: Option<&str>) -> f64 {
        let named = method.map(|method| Some(method.to_string()));
        let found = named.and_then(|method| self.measured.get(&(work, method)));
        let known = found.or_else(|| self.measured.get(&(work, None))).copied();
        let (usual, seconds) = known.unwrap_or_else(|| {
            let all = self.measured.iter().filter(|((_, method), _)| method.is_none());
            all.fold((0.0, 0.0), |sums, (_, more)| (sums.0 + more.0, sums.1 + more.1))
        });
        if usual > 0.0 { seconds / usual } else { 1.0 }
    }

    /// Seconds of a piece of work on one core.
    pub fn seconds(&self, piece: &Piece) -> f64 {
        piece.parts.iter().map(|part| part.seconds * self.of(part.work, part.method.as_deref())).sum()
    }
}

/// All work of a run. `hooks_at_once`: hook points whose activations are harvested together, in order.
pub fn work(shape: &Shape<'_>, hooks_at_once: &[Vec<HookShape>]) -> RunWork {
    let model = &shape.model;
    let read = (shape.fit_tokens + shape.evaluate_tokens()) as f64;
    let before = vec![
        Piece::of("open", Work::Open, if model.runs { usual::open(model) } else { 0.0 }),
        Piece::of("read text", Work::Text, usual::text(read)),
    ];
    let of_pass = |pass| {
        hooks_at_once.iter().enumerate().map(move |(nth, hooks)| pass_work(shape, pass, hooks, nth == 0))
    };
    let passes = shape.passes.iter().flat_map(of_pass).collect();
    RunWork { before, passes, after: vec![statistics(shape), report(shape)] }
}

/// The work of one subject at hook points that are harvested together.
fn pass_work(shape: &Shape<'_>, pass: &PassShape<'_>, hooks: &[HookShape], is_first: bool) -> PassWork {
    let label = pass.label();
    let mut before = Vec::new();
    if pass.control.is_some() && is_first {
        before.push(Piece::of(format!("permute{label}"), Work::Permute, usual::permute(&shape.model)));
    }
    let splits =
        [("fit", shape.fit_tokens, shape.context), ("evaluate", shape.evaluate_tokens(), shape.positions)];
    for (split, tokens, length) in splits {
        // Tokens in front are run, too.
        let (length, tokens) = ((length + shape.prefix) as f64, tokens as f64);
        let tokens = tokens * length / (length - shape.prefix as f64).max(1.0);
        let seconds = usual::harvest(&shape.model, hooks, tokens, length);
        before.push(Piece::of(format!("harvest {split}{label}"), Work::Harvest, seconds));
    }
    let mut jobs: Vec<Vec<Job>> = Vec::new();
    let mut after = Vec::new();
    for at in hooks {
        let methods: Vec<&MethodShape<'_>> = shape.methods_at(pass, at).collect();
        let rows: Vec<RowShape> = methods.iter().flat_map(|method| shape.rows(at, method)).collect();
        jobs.push(methods.iter().map(|method| job(shape, pass, at, method)).collect());
        if rows.iter().any(|row| row.quality != QualityPass::Off) {
            let of_rows = rows.iter().filter(|row| row.quality != QualityPass::Off).count() as f64;
            // Clean, zero and mean ablation, and one for each dictionary.
            let seconds = usual::losses(shape, at, 3.0 + of_rows);
            after.push(Piece::of(format!("score {}{label}", at.hook), Work::Losses, seconds));
        }
        if pass.control.is_none() {
            let seconds = usual::neighbours(at, &rows);
            after.push(Piece::of(format!("neighbours {}", at.hook), Work::Neighbours, seconds));
            after.extend(shape.patched(at, pass).map(|row| {
                let seconds = usual::patch(shape, at, &row);
                Piece::of(format!("patch {} at {}", row.name, at.hook), Work::Patch, seconds)
            }));
            after.extend(shape.erased(at, pass).map(|row| {
                let seconds = usual::erase(shape, at);
                Piece::of(format!("erase {} at {}", row.name, at.hook), Work::Erase, seconds)
            }));
        }
    }
    PassWork { before, jobs, after }
}

fn job(shape: &Shape<'_>, pass: &PassShape<'_>, at: &HookShape, method: &MethodShape<'_>) -> Job {
    let (label, spec) = (pass.label(), method.spec);
    let name = &spec.name;
    let part = |work, seconds| Part { work, method: Some(name.clone()), seconds };
    let rows = shape.rows(at, method);
    let flops = method.fit.as_ref().map(|fit| fit.work(shape.fit_tokens as f64, at.width));
    let mut fit = Vec::new();
    if let Some(flops) = flops {
        fit.push(part(Work::Fit, usual::fit(flops.before)));
        fit.push(part(Work::Steps, usual::fit(flops.step * flops.steps)));
    }
    if spec.params.path().is_some() {
        let entries: usize = rows.iter().map(|row| 2 * row.features * at.width).sum();
        fit.push(part(Work::Fit, usual::read_dictionary(entries as f64)));
    }
    let is_reference = shape.suite.methods.iter().any(|other| other.params.matched() == Some(name));
    if let Some(row) = rows.first().filter(|_| is_reference) {
        fit.push(part(Work::Encode, usual::encode(at, row, shape.fit_tokens as f64, false)));
    }
    let fit = Piece { name: format!("fit {}/{name}{label}", at.hook), parts: fit };
    let pieces = |row: &RowShape| {
        let place = format!("{}/{}{label}", at.hook, row.name);
        row_pieces(shape, pass, at, row)
            .into_iter()
            .map(|(what, parts)| Piece {
                name: format!("{what} {place}"),
                parts: parts.into_iter().map(|(work, seconds)| part(work, seconds)).collect(),
            })
            .collect()
    };
    Job {
        method: name.clone(),
        matched: spec.params.matched().map(String::from),
        fit,
        rows: rows.iter().map(pieces).collect(),
    }
}

/// The stages of a row's evaluation, in order, each with its parts.
fn row_pieces(
    shape: &Shape<'_>,
    pass: &PassShape<'_>,
    at: &HookShape,
    row: &RowShape,
) -> Vec<(&'static str, Vec<(Work, f64)>)> {
    let (tokens, scored) = (shape.evaluate_tokens() as f64, row.scored as f64);
    let decoded = row.quality == QualityPass::Full;
    let encode = usual::encode(at, row, tokens, decoded);
    let records = usual::records(at, row, scored, tokens);
    let mut pieces =
        vec![("encode", vec![(Work::Encode, encode)]), ("records", vec![(Work::Records, records)])];
    let written = usual::written(shape, scored);
    if written > 0.0 {
        pieces.push(("write", vec![(Work::Effects, written)]));
    }
    if !shape.suite.effects().is_empty() {
        let variants = if pass.control.is_none() { 2.0 } else { 1.0 };
        pieces.push(("effects", vec![(Work::Effects, usual::effects(shape, at, scored, variants))]));
    }
    if pass.control.is_none() {
        pieces.push(("ablate", vec![(Work::Ablate, usual::ablate(shape, at, scored))]));
    }
    let pairs = shape.pairs(pass);
    let reads_fit = pairs.iter().any(|pair| pair.explainer.kind().reads_fit());
    let has_labels = pass.control.is_none() && shape.suite.controls.oracle;
    if reads_fit || has_labels {
        pieces.push(("means", vec![(Work::Means, usual::means(at, row, scored, shape.fit_tokens as f64))]));
    }
    let probes = if pairs.iter().any(|pair| pair.explainer.kind().probes()) {
        scored * usual::probes(&shape.model, at, shape.explained_on() as f64)
    } else {
        0.0
    };
    // Language models answer for themselves.
    let offline = pairs.iter().filter(|pair| pair.simulator.model().is_none()).count() as f64;
    let again = shape.lines(pass) as f64 / pairs.len().max(1) as f64;
    let tokens_each = (shape.held_fragments() * shape.positions) as f64;
    let score = scored * offline * again * usual::score(tokens_each);
    pieces.push(("explain", vec![(Work::Probes, probes), (Work::Score, score)]));
    pieces
}

impl Shape<'_> {
    /// Firing fragments that a feature is explained on.
    pub fn explained_on(&self) -> usize {
        self.suite.protocol.explain.top.n + self.suite.protocol.explain.random.n
    }

    /// Held-out fragments of a feature, if there are enough documents.
    pub fn held_fragments(&self) -> usize {
        let protocol = &self.suite.protocol;
        let more = protocol.n_beyond_token.min(self.fragments / 2);
        protocol.score.top.n + protocol.score.random.n + protocol.score.non_firing.n + more
    }
}

/// The answers of language models, in equal parts for each row among `pieces`. They take none of the threads.
pub fn answers(pieces: &[Piece], planned: &[Planned]) -> Vec<Piece> {
    let places: Vec<&str> = pieces.iter().filter_map(|piece| piece.name.strip_prefix("encode ")).collect();
    let threads = rayon::current_num_threads() as f64;
    let of_role = |planned: &Planned| {
        let seconds = 60.0 * planned.minutes * threads / places.len().max(1) as f64;
        let step = planned.who.step;
        let of_row = |place: &&str| Piece::of(asking(step, place), Work::LanguageModels, seconds);
        places.iter().map(of_row).collect::<Vec<_>>()
    };
    let mut all: Vec<Piece> = Vec::new();
    for piece in planned.iter().flat_map(of_role) {
        match all.iter_mut().find(|other| other.name == piece.name) {
            Some(other) => other.parts.extend(piece.parts),
            None => all.push(piece),
        }
    }
    all
}

/// Name of the stage in which language models are asked about a dictionary.
pub fn asking(step: Step, place: &str) -> String {
    format!("ask to {} {place}", step.name())
}

fn statistics(shape: &Shape<'_>) -> Piece {
    let scorers = shape.suite.scorers.len() as f64;
    let (mut cells, mut comparisons, mut between) = (0.0, 0.0, 0.0);
    for pass in &shape.passes {
        for at in &shape.hooks {
            let rows: usize = shape.methods_at(pass, at).map(|method| method.spec.row_methods().len()).sum();
            cells += (rows * shape.lines(pass)) as f64 * scorers;
            if pass.control.is_none() {
                comparisons += rows.saturating_sub(1) as f64 * scorers * shape.suite.pairs.len() as f64;
            }
            for method in shape.methods_at(pass, at).filter(|method| method.spec.nth_training() == 0) {
                let same = |other: &&MethodShape<'_>| other.spec.method() == method.spec.method();
                let trainings = shape.methods_at(pass, at).filter(same).count() as f64;
                let features = shape.rows(at, method).first().map_or(0, |row| row.features) as f64;
                between += usual::between_trainings(at, features, trainings);
            }
        }
    }
    let primary = comparisons / (scorers * shape.suite.pairs.len() as f64).max(1.0);
    let tests = [primary, comparisons - primary];
    let seconds = usual::statistics(shape, cells, tests, shape.suite.per_cell as f64);
    Piece::of("statistics", Work::Statistics, seconds + between)
}

fn report(shape: &Shape<'_>) -> Piece {
    let lines = |pass: &PassShape<'_>| -> usize {
        let rows = shape.fits(pass).flat_map(|(at, method)| shape.rows(at, method));
        rows.map(|row| row.scored * shape.lines(pass)).sum()
    };
    let lines: usize = shape.passes.iter().map(lines).sum();
    Piece::of("draw the report", Work::Report, usual::report(shape.hooks.len() as f64, lines as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_of_the_method_or_else_of_the_work_or_else_of_everything() {
        let mut speed = Speed::default();
        assert_eq!(speed.of(Work::Harvest, None), 1.0, "nothing was measured");
        speed.add(Work::Harvest, None, 2.0, 6.0);
        speed.add(Work::Steps, Some("topk"), 1.0, 2.0);
        speed.add(Work::Steps, Some("sae"), 3.0, 2.0);
        assert_eq!(speed.of(Work::Steps, Some("topk")), 2.0);
        assert_eq!(speed.of(Work::Steps, Some("other")), 1.0, "(2 + 2) / (1 + 3)");
        assert_eq!(speed.of(Work::Report, None), 10.0 / 6.0);
        let part = |work, method: &str, seconds| Part { work, method: Some(method.into()), seconds };
        let parts = vec![part(Work::Steps, "topk", 5.0), part(Work::Harvest, "topk", 1.0)];
        let piece = Piece { name: "fit x/topk".into(), parts };
        assert_eq!((speed.seconds(&piece), piece.usual_seconds()), (13.0, 6.0));
        assert_eq!(piece.main_work(), Some(Work::Steps));
    }
}
