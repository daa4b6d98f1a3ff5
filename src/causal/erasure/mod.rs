//! Erasure of a concept with two labels. How well does a linear probe still read it when k features are removed, and how much
//! does that change the output? LEACE and the projection along the difference of class means stand beside it.
//!
//! ```text
//! x′ = x − Σ_{j ∈ Φ_k} c_j · d_j          Φ_k: the k features that separate the labels best, see `rank`
//! accuracy   of a probe that is trained on x′ of the training prompts, on x′ of held-out prompts, at the last position
//! kl         = KL(output of x ‖ output of x′) at the last position of a held-out prompt, in nats
//! edit size  = ‖x′ − x‖ over positions and dimensions
//! ```
//!
//! The probe is fitted anew for every edit, as LEACE's paper does (Belrose et al. 2023, arXiv 2306.03819, §5). Ranks, erasers
//! and probes see training prompts only. A pass runs one held-out prompt from the hook point to the output.

mod linear;
mod measured;
mod params;
mod probe;
mod rank;
mod reader;

#[cfg(test)]
mod tests;

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::divergence::kl;
use super::patching::changes::Set;
use super::patching::pairs::{batch_of, batches};
use super::{CausalError, Writer};
use crate::base::{Matrix, Stream};
use crate::report::RANDOM_FEATURES;
use crate::subject::{SubjectModel, Wanted};
use linear::Linear;
use probe::{Probe, majority};
use reader::Ready;

pub use measured::{ConceptPrompts, ErasedConcept, ErasedCurve, ErasedPoint};
pub use params::{ErasureParams, Positions};

/// The curve of ranked features.
pub const FEATURES: &str = "features";
/// The baseline LEACE.
pub const LEACE: &str = "leace";
/// The baseline that projects along the difference of class means.
pub const MEAN_PROJECTION: &str = "mean_projection";

/// Erases a concept with one dictionary.
///
/// `seed` is a seed and the place of this dictionary in the run, which names its draws. `on` gets the passes done and
/// their total. If `stop` is true, this returns [`CausalError::Stopped`]. Results do not depend on the number of threads.
/// All prompts' last activations, and those of held-out prompts at every position, are in memory.
pub fn erase(
    (subject, writer): (&dyn SubjectModel, &Writer<'_>),
    prompts: &ConceptPrompts,
    params: &ErasureParams,
    (seed, place): (u64, &str),
    on: &dyn Fn(usize, usize),
    stop: &dyn Fn() -> bool,
) -> Result<ErasedConcept, CausalError> {
    check(prompts)?;
    let ready = Ready::read((subject, writer), prompts, params, stop)?;
    let eraser = Eraser { subject, prompts, params, ready };
    let n = eraser.ready.order.len();
    let linear = eraser.linear()?;
    let mut counts = vec![0];
    counts.extend(params.features.iter().map(|&count| count.min(n)));
    counts.sort_unstable();
    counts.dedup();
    let mut orders = vec![(FEATURES, eraser.ready.order.clone())];
    if params.controls {
        let mut stream = Stream::named(seed, &["erasure", place, &prompts.name, "random features"]);
        let random = stream.permutation(n).into_iter().map(|nth| eraser.ready.order[nth]);
        orders.push((RANDOM_FEATURES, random.collect()));
    }
    let sets: Vec<Set> =
        orders.iter().flat_map(|(_, order)| counts.iter().map(|&count| first_of(order, count, n))).collect();
    let edits: Vec<Edit<'_>> =
        sets.iter().map(Edit::Features).chain(linear.iter().map(Edit::Linear)).collect();
    let (points, n_passes) = eraser.measure(&edits, on, stop)?;
    let moves = points.iter().any(|point| point.edit_size.iter().any(|size| *size > 0.0));
    if moves && points.iter().all(|point| point.kl.iter().all(|kl| *kl == 0.0)) {
        return Err(CausalError::NoEffect { hook: writer.writes() });
    }
    let mut points = points.into_iter();
    let mut curves = Vec::new();
    for (name, _) in &orders {
        let points = counts.iter().zip(points.by_ref());
        let points = points.map(|(&count, point)| ErasedPoint { n_features: Some(count), ..point });
        curves.push(ErasedCurve { eraser: name.to_string(), points: points.collect() });
    }
    let baselines = [LEACE, MEAN_PROJECTION].into_iter().zip(points);
    curves.extend(baselines.map(|(name, point)| ErasedCurve { eraser: name.into(), points: vec![point] }));
    let concept = prompts.name.clone();
    Ok(ErasedConcept { concept, n_features: n, n_passes, majority: eraser.majority(), curves })
}

/// The first features of an order as a set of slots.
fn first_of(order: &[usize], count: usize, n: usize) -> Set {
    let mut set = vec![false; n];
    order.iter().take(count).for_each(|&slot| set[slot] = true);
    set
}

/// Fails on prompts that leave nothing to train or to test on.
fn check(prompts: &ConceptPrompts) -> Result<(), CausalError> {
    let n = prompts.prompts.len();
    let of = |is_test: bool, class: bool| {
        (0..n).filter(|&at| prompts.is_test[at] == is_test && prompts.classes[at] == class).count()
    };
    let problem = match () {
        () if prompts.classes.len() != n || prompts.is_test.len() != n => {
            "its lists differ in length".to_string()
        }
        () if prompts.prompts.iter().any(|prompt| prompt.len() < 2) => {
            "a prompt has fewer than 2 tokens; give longer ones".to_string()
        }
        () if [false, true].iter().any(|&class| of(false, class) < 2 || of(true, class) < 1) => {
            "a label has fewer than 2 training prompts or no held-out one; give more prompts of each label"
                .to_string()
        }
        () => return Ok(()),
    };
    Err(CausalError::Concept { concept: prompts.name.clone(), problem })
}

/// A change of activations.
#[derive(Clone, Copy)]
enum Edit<'s> {
    Features(&'s Set),
    Linear(&'s Linear),
}

/// A concept and a dictionary, made ready.
struct Eraser<'a> {
    subject: &'a dyn SubjectModel,
    prompts: &'a ConceptPrompts,
    params: &'a ErasureParams,
    ready: Ready<'a>,
}

impl Eraser<'_> {
    /// LEACE and the mean projection, of the training prompts' last positions.
    fn linear(&self) -> Result<[Linear; 2], CausalError> {
        let training = self.prompts.places(false);
        let rows = self.last_rows(&training, None);
        let labels = self.labels(&training);
        Ok([Linear::leace(&rows, &labels)?, Linear::mean_projection(&rows, &labels)])
    }

    fn labels(&self, places: &[usize]) -> Vec<bool> {
        places.iter().map(|&place| self.prompts.classes[place]).collect()
    }

    /// Per held-out prompt: 1 if it has the label of most training prompts.
    fn majority(&self) -> Vec<f64> {
        let usual = majority(&self.labels(&self.prompts.places(false)));
        let held_out = self.labels(&self.prompts.places(true));
        held_out.into_iter().map(|label| f64::from(u8::from(label == usual))).collect()
    }

    /// Edited activations at the last position of some prompts `[prompts, width]`.
    fn last_rows(&self, places: &[usize], edit: Option<Edit<'_>>) -> DMatrix<f64> {
        let width = self.ready.width;
        let mut rows = DMatrix::zeros(places.len(), width);
        for (mut row, &place) in rows.row_iter_mut().zip(places) {
            let last = &self.ready.last[place];
            let delta = self.delta(edit, &last.row, |set, delta| {
                last.changes.add(set, &self.ready.directions, width, delta);
            });
            let values = last.row.iter().zip(delta);
            row.iter_mut().zip(values).for_each(|(to, (x, delta))| *to = f64::from(*x) + delta);
        }
        rows
    }

    /// x′ − x of rows `[n, width]`; `add` adds that of a set of features.
    fn delta(&self, edit: Option<Edit<'_>>, rows: &[f32], add: impl Fn(&Set, &mut [f32])) -> Vec<f64> {
        match edit {
            None => vec![0.0; rows.len()],
            Some(Edit::Features(set)) => {
                let mut delta = vec![0.0; rows.len()];
                add(set, &mut delta);
                delta.into_iter().map(f64::from).collect()
            }
            Some(Edit::Linear(linear)) => {
                let rows = rows.chunks_exact(self.ready.width.max(1));
                rows.flat_map(|row| linear.delta(row.iter().map(|x| f64::from(*x)))).collect()
            }
        }
    }

    /// A point of each edit, and the passes that were run.
    fn measure(
        &self,
        edits: &[Edit<'_>],
        on: &dyn Fn(usize, usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<(Vec<ErasedPoint>, usize), CausalError> {
        let (training, held_out) = (self.prompts.places(false), self.prompts.places(true));
        let frame = Frame::of(&self.last_rows(&training, None));
        let labels = [&training, &held_out].map(|places| self.labels(places));
        let right = |edit: &Edit<'_>| {
            let [rows, tests] =
                [&training, &held_out].map(|places| frame.place(self.last_rows(places, Some(*edit))));
            let probe = Probe::fit(&rows, &labels[0], self.params.penalty);
            let predicted = probe.predict(&tests).into_iter().zip(&labels[1]);
            predicted.map(|(label, truth)| f64::from(u8::from(label == *truth))).collect::<Vec<f64>>()
        };
        if stop() {
            return Err(CausalError::Stopped);
        }
        let right: Vec<Vec<f64>> = edits.par_iter().map(right).collect();
        let jobs: Vec<(usize, Edit<'_>)> =
            edits.iter().flat_map(|edit| (0..held_out.len()).map(|test| (test, *edit))).collect();
        let (outputs, n_passes) = self.outputs(&jobs, on, stop)?;
        let points = right.into_iter().zip(outputs.chunks(held_out.len().max(1))).map(|(right, outputs)| {
            let (kl, edit_size) = outputs.iter().copied().unzip();
            ErasedPoint { n_features: None, right, kl, edit_size }
        });
        Ok((points.collect(), n_passes))
    }

    /// Divergence and edit size of each job, a held-out prompt and an edit, and the passes that were run: where an edit
    /// changes nothing, there is none.
    fn outputs(
        &self,
        jobs: &[(usize, Edit<'_>)],
        on: &dyn Fn(usize, usize),
        stop: &dyn Fn() -> bool,
    ) -> Result<(Vec<(f64, f64)>, usize), CausalError> {
        let changes = |job: &(usize, Edit<'_>)| match job.1 {
            Edit::Features(set) => self.ready.held_out[job.0].changes.touch(set),
            Edit::Linear(_) => true,
        };
        let wanted: Vec<usize> = (0..jobs.len()).filter(|&nth| changes(&jobs[nth])).collect();
        let mut found = vec![(0.0, 0.0); jobs.len()];
        let (width, vocab) = (self.ready.width, self.subject.info().vocab);
        let lengths = wanted.iter().map(|&nth| self.ready.held_out[jobs[nth].0].rows.rows());
        let mut done = 0;
        for (length, batch) in batches(lengths, |length| 4 * (length * width + vocab)) {
            if stop() {
                return Err(CausalError::Stopped);
            }
            let batch: Vec<usize> = batch.into_iter().map(|nth| wanted[nth]).collect();
            let of_batch: Vec<(usize, Edit<'_>)> = batch.iter().map(|&nth| jobs[nth]).collect();
            let measured = self.run(&of_batch, length)?;
            batch.iter().zip(measured).for_each(|(&nth, one)| found[nth] = one);
            done += batch.len();
            on(done, wanted.len());
        }
        Ok((found, wanted.len()))
    }

    fn run(&self, jobs: &[(usize, Edit<'_>)], length: usize) -> Result<Vec<(f64, f64)>, CausalError> {
        let width = self.ready.width;
        let mut rows = Matrix::zeros(jobs.len() * length, width);
        let parts = rows.data_mut().par_chunks_exact_mut((length * width).max(1)).zip(jobs);
        let sizes: Vec<f64> = parts.map(|(rows, (test, edit))| self.edit(*test, *edit, rows)).collect();
        let prompts = jobs.iter().map(|(test, _)| self.ready.held_out[*test].place);
        let tokens = batch_of(length, prompts.map(|nth| self.prompts.prompts[nth].as_slice()))?;
        let logits = self.subject.given(&tokens, (self.ready.hook, &rows), Wanted::LastLogits)?;
        let outputs =
            jobs.par_iter().zip(sizes).enumerate().map(|(nth, ((test, _), size))| {
                (kl(&self.ready.held_out[*test].logits, logits.row(nth)), size)
            });
        Ok(outputs.collect())
    }

    /// Writes the edited activations of a held-out prompt to `rows`. Returns ‖x′ − x‖.
    fn edit(&self, test: usize, edit: Edit<'_>, rows: &mut [f32]) -> f64 {
        let (ready, width) = (&self.ready.held_out[test], self.ready.width);
        let mut delta = self.delta(Some(edit), ready.rows.data(), |set, delta| {
            ready.changes.add(set, &self.ready.directions, width, delta);
        });
        let edited = self.ready.first_edited(ready.rows.rows()) * width;
        delta[..edited].fill(0.0);
        let values = ready.rows.data().iter().zip(&delta);
        rows.iter_mut().zip(values).for_each(|(to, (x, delta))| *to = (f64::from(*x) + delta) as f32);
        delta.iter().map(|delta| delta * delta).sum::<f64>().sqrt()
    }
}

/// Centre and scale of unedited training activations, in which the probe sees all rows.
struct Frame {
    mean: nalgebra::RowDVector<f64>,
    /// Root of the mean variance over dimensions; 1 if there is none.
    scale: f64,
}

impl Frame {
    fn of(rows: &DMatrix<f64>) -> Self {
        let mean = rows.row_mean();
        let variance = rows.row_variance().mean();
        Self { mean, scale: if variance > 0.0 { variance.sqrt() } else { 1.0 } }
    }

    fn place(&self, mut rows: DMatrix<f64>) -> DMatrix<f64> {
        rows.row_iter_mut().for_each(|mut row| row -= &self.mean);
        rows / self.scale
    }
}
