//! Runs of the subject with patched features: which features differ, and what a set of them does to the output.

use std::ops::Range;

use rayon::prelude::*;

use super::changes::{Changes, Set, differences};
use super::output::{self, Output};
use super::pairs::{batch_of, batches, rounds};
use super::steps::{Step, Watch};
use super::{Attributed, Divergence, PatchParams, TaskPairs};
use crate::base::{HookPoint, Matrix, Stream};
use crate::causal::direction::norm;
use crate::causal::{CausalError, Writer};
use crate::nn::{NnError, PrefixCache};
use crate::subject::{SubjectError, SubjectModel, Wanted};

/// The output of one patched pair.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Measured {
    pub kl: f64,
    pub difference: f64,
    pub edit_size: f64,
}

/// Mean divergence over pairs, in nats.
pub(super) fn mean_kl(measured: &[Measured]) -> f64 {
    measured.iter().map(|one| one.kl).sum::<f64>() / measured.len().max(1) as f64
}

/// One pass: a pair and the features that are patched in it.
#[derive(Clone, Copy)]
pub(super) struct Job<'s> {
    pub pair: usize,
    pub set: &'s Set,
    /// Replaces the edit of each position by the pair's random direction there, at the same norm.
    pub is_random: bool,
}

/// One pair, made ready.
struct Ready {
    /// Activations of the base run at the hook point that is written `[positions, width]`.
    rows: Matrix,
    /// The part of every pass before the first position that can be changed; none if the subject shares none.
    past: Option<PrefixCache>,
    /// Positions in `past`, tokens of the pair alone.
    shared: usize,
    /// Positions are counted from `shared` on.
    changes: Changes,
    /// The target run's output.
    target: Output,
    answers: [u32; 2],
    /// A Gaussian direction per position from `shared` on; no rows without controls.
    random: Matrix,
}

impl Ready {
    /// Positions that a pass runs.
    fn positions(&self) -> usize {
        self.rows.rows() - self.shared
    }
}

/// A task and a dictionary, made ready.
pub(super) struct Patcher<'a> {
    subject: &'a dyn SubjectModel,
    prompts: &'a [Vec<u32>],
    hook: HookPoint,
    width: usize,
    metric: (Attributed, Divergence),
    ready: Vec<Ready>,
    /// One per active feature.
    directions: Vec<&'a [f32]>,
}

impl<'a> Patcher<'a> {
    /// Runs both prompts of every pair. Differences of codes at the tokens that both prompts begin with are rounding,
    /// because attention is causal: they are left out, and passes share the keys and values there.
    pub fn new(
        (subject, writer): (&'a dyn SubjectModel, &Writer<'a>),
        pairs: &'a TaskPairs,
        params: &PatchParams,
        (seed, place): (u64, &str),
        watch: &Watch<'_>,
    ) -> Result<Self, CausalError> {
        let hook = writer.writes();
        let width = subject.width(hook)?;
        let (vocab, read) = (subject.info().vocab, subject.width(writer.reads())?);
        let mut found = Vec::with_capacity(pairs.base.len());
        let lengths = pairs.base.iter().map(Vec::len);
        for (length, batch) in batches(lengths, |length| 4 * (length * (2 * read + width) + vocab)) {
            watch.check()?;
            found.extend(read_pairs((subject, writer), pairs, (length, &batch))?);
        }
        found.sort_by_key(|one| one.pair);
        let mut active: Vec<usize> =
            found.iter().flat_map(|one| one.entries.iter().map(|entry| entry.0 as usize)).collect();
        active.sort_unstable();
        active.dedup();
        let all = active.iter().map(|&feature| writer.direction(feature));
        let (directions, factors): (Vec<_>, Vec<_>) = all.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let ready = found.into_iter().map(|one| Ready {
            changes: Changes::new(&one.entries, &active, &factors),
            random: match params.controls {
                true => gaussian(one.shared..one.rows.rows(), width, seed, place, one.pair),
                false => Matrix::zeros(0, width),
            },
            rows: one.rows,
            past: one.past,
            shared: one.shared,
            target: one.target,
            answers: pairs.answers[one.pair],
        });
        let (ready, metric) = (ready.collect(), (params.attributed, params.divergence));
        Ok(Self { subject, prompts: &pairs.base, hook, width, metric, ready, directions })
    }

    /// Pairs of prompts.
    pub fn n_pairs(&self) -> usize {
        self.ready.len()
    }

    /// Active features: those whose codes differ in some pair.
    pub fn n_slots(&self) -> usize {
        self.directions.len()
    }

    /// Pairs in which patching the set changes anything.
    pub fn touched(&self, set: &Set) -> Vec<usize> {
        (0..self.n_pairs()).filter(|&pair| self.ready[pair].changes.touch(set)).collect()
    }

    /// logit(target answer) − logit(base answer) of the target run, per pair.
    pub fn target_differences(&self) -> Vec<f64> {
        self.ready.iter().map(|one| one.target.difference(one.answers)).collect()
    }

    /// The outputs of passes, in the order of `jobs`. `step` is told for progress.
    pub fn run(
        &self,
        jobs: &[Job<'_>],
        watch: &Watch<'_>,
        step: Option<Step>,
    ) -> Result<Vec<Measured>, CausalError> {
        let mut found = vec![Measured::default(); jobs.len()];
        let vocab = self.subject.info().vocab;
        let lengths = jobs.iter().map(|job| self.ready[job.pair].positions());
        let (mut done, on_cpu) = (0, self.subject.device().is_cpu());
        for round in rounds(lengths, |length| 4 * (length * self.width + vocab)) {
            watch.check()?;
            let of_batch = |(length, batch): &(usize, Vec<usize>)| {
                let of_batch: Vec<Job<'_>> = batch.iter().map(|&nth| jobs[nth]).collect();
                self.run_batch(&of_batch, *length)
            };
            // Prompts have many lengths, so few are in a batch, too few for all threads.
            let at_once = round.par_iter().with_min_len(if on_cpu { 1 } else { round.len() });
            let measured = at_once.map(of_batch).collect::<Result<Vec<_>, CausalError>>()?;
            let of_round = round.iter().flat_map(|(_, batch)| batch);
            of_round.zip(measured.into_iter().flatten()).for_each(|(&nth, one)| found[nth] = one);
            let passes: usize = round.iter().map(|(_, batch)| batch.len()).sum();
            done += passes;
            watch.passes.set(watch.passes.get() + passes);
            if let Some(step) = step {
                watch.tell(step, done, jobs.len());
            }
        }
        Ok(found)
    }

    fn run_batch(&self, jobs: &[Job<'_>], length: usize) -> Result<Vec<Measured>, CausalError> {
        let mut rows = Matrix::zeros(jobs.len() * length, self.width);
        let parts = rows.data_mut().par_chunks_exact_mut(length * self.width).zip(jobs);
        let sizes: Vec<f64> = parts.map(|(rows, job)| self.edit(job, rows)).collect();
        let prompts = jobs.iter().map(|job| &self.prompts[job.pair][self.ready[job.pair].shared..]);
        let tokens = batch_of(length, prompts)?;
        let past: Vec<&PrefixCache> =
            jobs.iter().filter_map(|job| self.ready[job.pair].past.as_ref()).collect();
        let logits = self.subject.given_behind(&past, &tokens, (self.hook, &rows), Wanted::LastLogits)?;
        let measured = jobs.par_iter().zip(sizes).enumerate().map(|(nth, (job, edit_size))| {
            let (ready, logits) = (&self.ready[job.pair], logits.row(nth));
            Measured {
                kl: ready.target.divergence(logits, self.metric.1),
                difference: output::difference(logits, ready.answers),
                edit_size,
            }
        });
        Ok(measured.collect())
    }

    /// Writes the patched activations to `rows`, which are zeros. Returns ‖x′ − x‖.
    fn edit(&self, job: &Job<'_>, rows: &mut [f32]) -> f64 {
        let ready = &self.ready[job.pair];
        ready.changes.add(job.set, &self.directions, self.width, rows);
        if job.is_random {
            let turned = rows.chunks_exact_mut(self.width).zip(ready.random.iter_rows());
            turned.for_each(|(row, direction)| turn(row, direction));
        }
        let size = norm(rows);
        let base = &ready.rows.data()[ready.shared * self.width..];
        rows.iter_mut().zip(base).for_each(|(x, base)| *x += base);
        size
    }

    /// Attribution of each slot, the mean over pairs of Σ_positions amount · (gradient · direction), with the gradient
    /// at the base run. The larger, the more patching helps, to first order.
    pub fn attribution(&self, watch: &Watch<'_>) -> Result<Vec<f64>, CausalError> {
        let mut total = vec![0.0; self.n_slots()];
        let (mut reaches, mut done) = (false, 0);
        let vocab = self.subject.info().vocab;
        let lengths = self.ready.iter().map(|one| one.rows.rows());
        for (length, batch) in batches(lengths, |length| 4 * (length * 2 * self.width + 2 * vocab)) {
            watch.check()?;
            let gradient = self.gradient(&batch, length)?;
            reaches |= gradient.data().iter().any(|&g| g != 0.0);
            let parts = gradient.data().par_chunks_exact(length * self.width).zip(&batch);
            let effects: Vec<Vec<(usize, f64)>> = parts
                .map(|(rows, &pair)| {
                    let ready = &self.ready[pair];
                    ready.changes.effects(&self.directions, self.width, &rows[ready.shared * self.width..])
                })
                .collect();
            effects.into_iter().flatten().for_each(|(slot, effect)| total[slot] += effect);
            done += batch.len();
            watch.tell(Step::Attribution, done, self.n_pairs());
        }
        if !reaches {
            return Err(CausalError::NoEffect { hook: self.hook });
        }
        total.iter_mut().for_each(|effect| *effect /= self.n_pairs() as f64);
        Ok(total)
    }

    /// Gradient of the metric at the base runs of some pairs, `[pairs · positions, width]`.
    fn gradient(&self, batch: &[usize], length: usize) -> Result<Matrix, CausalError> {
        let entries: Vec<f32> =
            batch.iter().flat_map(|&pair| self.ready[pair].rows.data()).copied().collect();
        let rows = Matrix::from_vec(batch.len() * length, self.width, entries);
        let rows = rows.unwrap_or_else(|| Matrix::zeros(0, self.width));
        let weights = |first: usize, logits: &Matrix| {
            let mut weights = Matrix::zeros(logits.rows(), logits.cols());
            for row in 0..logits.rows() {
                let ready = &self.ready[batch[first + row]];
                let slope = ready.target.gradient(logits.row(row), ready.answers, self.metric);
                weights.row_mut(row).copy_from_slice(&slope);
            }
            weights
        };
        let tokens = batch_of(length, batch.iter().map(|&pair| &*self.prompts[pair]))?;
        match self.subject.pullback(&tokens, (self.hook, &rows), Wanted::LastLogits, &weights) {
            Ok(found) => Ok(found.gradient),
            Err(SubjectError::Nn(NnError::NoGradient { hook })) => Err(CausalError::NoEffect { hook }),
            Err(other) => Err(other.into()),
        }
    }
}

/// One pair, read: its place in the task, and entries that are not yet restricted to active features.
struct Read {
    pair: usize,
    rows: Matrix,
    past: Option<PrefixCache>,
    shared: usize,
    entries: Vec<(u32, u32, f32)>,
    target: Output,
}

fn read_pairs(
    (subject, writer): (&dyn SubjectModel, &Writer<'_>),
    pairs: &TaskPairs,
    (length, batch): (usize, &[usize]),
) -> Result<Vec<Read>, CausalError> {
    let base = batch_of(length, batch.iter().map(|&pair| &*pairs.base[pair]))?;
    let target = batch_of(length, batch.iter().map(|&pair| &*pairs.target[pair]))?;
    let inputs = subject.activations(&base, &[writer.reads()])?.swap_remove(0);
    let others = subject.activations(&target, &[writer.reads()])?.swap_remove(0);
    let dictionary = writer.dictionary();
    let (codes, targets) = (dictionary.encode_sparse(&inputs)?, dictionary.encode_sparse(&others)?);
    let factors = writer.row_factors(&inputs);
    let rows = match writer.writes() == writer.reads() {
        true => inputs,
        false => subject.activations(&base, &[writer.writes()])?.swap_remove(0),
    };
    let logits = subject.edited(&target, &[], Wanted::LastLogits)?;
    let common = |&pair: &usize| {
        let both = pairs.base[pair].iter().zip(&pairs.target[pair]);
        both.take_while(|(a, b)| a == b).count()
    };
    let common: Vec<usize> = batch.iter().map(common).collect();
    // The last position is run: its output is measured.
    let kept: Vec<usize> = common.iter().map(|&common| common.min(length - 1)).collect();
    let past = subject.prefix_caches(&base, (writer.writes(), &rows), &kept)?;
    let mut past = past.map(Vec::into_iter);
    let read = batch.iter().enumerate().map(|(place, &pair)| {
        let past = past.as_mut().and_then(Iterator::next);
        let shared = if past.is_some() { kept[place] } else { 0 };
        let mut entries = differences((&codes, &targets), (place, length, common[place]), &factors);
        entries.iter_mut().for_each(|entry| entry.1 -= shared as u32);
        let own: Vec<usize> = (place * length..(place + 1) * length).collect();
        Read {
            pair,
            rows: rows.select_rows(&own),
            past,
            shared,
            entries,
            target: Output::new(logits.row(place)),
        }
    });
    Ok(read.collect())
}

/// A Gaussian direction for some positions of a pair. Those before them are drawn, too.
fn gaussian(positions: Range<usize>, width: usize, seed: u64, place: &str, pair: usize) -> Matrix {
    let mut stream = Stream::named(seed, &["patching", place, "random directions", &pair.to_string()]);
    (0..positions.start * width).for_each(|_| {
        stream.normal();
    });
    Matrix::from_fn(positions.len(), width, |_, _| stream.normal() as f32)
}

/// Gives a row another direction and leaves its norm.
fn turn(row: &mut [f32], direction: &[f32]) {
    let (size, unit) = (norm(row), norm(direction));
    let factor = if unit > 0.0 { size / unit } else { 0.0 };
    row.iter_mut().zip(direction).for_each(|(value, &d)| *value = (f64::from(d) * factor) as f32);
}
