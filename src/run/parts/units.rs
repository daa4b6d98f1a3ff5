//! The units of a run that parts share out, each with its usual time.

use std::collections::BTreeMap;

use crate::base::HookPoint;
use crate::run::Planned;
use crate::run::plan::pieces::{Piece, Work, work};
use crate::run::plan::shape::{HookShape, MethodShape, PassShape, Shape};
use crate::suite::QualityPass;

/// Passes over the evaluation split for losses, besides one for each dictionary: clean, zero and mean ablation.
const LOSS_PASSES: f64 = 3.0;

/// A subject and a hook point. The subject is the real one, or a control's.
pub type Place = (Option<&'static str>, HookPoint);

/// A method at a hook point of one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Unit {
    pub place: Place,
    pub method: String,
    /// The method whose fit comes first.
    pub matched: Option<String>,
    /// Rows of the table.
    pub rows: usize,
    /// Seconds of the fit on one core.
    pub fit: f64,
    /// Seconds of everything on one core.
    pub seconds: f64,
}

/// The work of a run.
#[derive(Debug, Default)]
pub struct Units {
    /// In the order of the tables.
    pub units: Vec<Unit>,
    /// Seconds on one core before the first unit of a place, mostly its activations.
    pub before: BTreeMap<Place, f64>,
}

impl Units {
    /// The units of a run. `seconds` times a piece of work; answers of language models are shared out equally.
    pub fn of(shape: &Shape<'_>, llm: &[Planned], seconds: &dyn Fn(&Piece) -> f64) -> Self {
        let each: Vec<Vec<HookShape>> = shape.hooks.iter().map(|&at| vec![at]).collect();
        let places = shape.passes.iter().flat_map(|pass| shape.hooks.iter().map(move |at| (pass, at)));
        let mut all = Self::default();
        for ((pass, at), work) in places.zip(work(shape, &each).passes) {
            let sum = |pieces: &[Piece]| pieces.iter().map(seconds).sum::<f64>();
            let losses = work.after.iter().filter(|piece| piece.main_work() == Some(Work::Losses));
            let quality = |method: &MethodShape<'_>| measured(shape, at, method);
            let measured: f64 = shape.methods_at(pass, at).map(quality).sum();
            let loss = losses.map(seconds).sum::<f64>() / (LOSS_PASSES + measured);
            all.before.insert((pass.control, at.hook), sum(&work.before) + LOSS_PASSES * loss);
            for (method, job) in shape.methods_at(pass, at).zip(work.jobs.iter().flatten()) {
                let patched = patches(shape, pass, at, method, &work.after);
                let fit = seconds(&job.fit);
                all.units.push(Unit {
                    place: (pass.control, at.hook),
                    method: job.method.clone(),
                    matched: job.matched.clone(),
                    rows: job.rows.len(),
                    fit,
                    seconds: fit
                        + job.rows.iter().map(|row| sum(row)).sum::<f64>()
                        + loss * quality(method)
                        + patched.map(seconds).sum::<f64>(),
                });
            }
        }
        all.add_answers(llm, shape.threads);
        all
    }

    /// Answers take wall-clock time, whatever the number of threads.
    fn add_answers(&mut self, llm: &[Planned], threads: usize) {
        let minutes: f64 = llm.iter().map(|planned| planned.minutes).sum();
        let rows: usize = self.units.iter().map(|unit| unit.rows).sum();
        let each = 60.0 * minutes * threads as f64 / rows.max(1) as f64;
        self.units.iter_mut().for_each(|unit| unit.seconds += each * unit.rows as f64);
    }
}

/// Rows of a method whose quality is measured.
fn measured(shape: &Shape<'_>, at: &HookShape, method: &MethodShape<'_>) -> f64 {
    shape.rows(at, method).iter().filter(|row| row.quality != QualityPass::Off).count() as f64
}

/// The patching of a method's rows, among the pieces that follow the rows of a hook point.
fn patches<'p>(
    shape: &Shape<'_>,
    pass: &PassShape<'_>,
    at: &HookShape,
    method: &MethodShape<'_>,
    after: &'p [Piece],
) -> impl Iterator<Item = &'p Piece> {
    let is_real = pass.control.is_none();
    let rows = shape.rows(at, method).into_iter().filter(move |_| is_real);
    let names: Vec<String> = rows.map(|row| format!("patch {} at {}", row.name, at.hook)).collect();
    after.iter().filter(move |piece| names.contains(&piece.name))
}
