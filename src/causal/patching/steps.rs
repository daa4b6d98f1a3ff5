//! The steps of patching, and how far they are.

use std::cell::Cell;

use super::{Order, PatchParams};
use crate::causal::CausalError;

/// A part of patching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Attribution,
    AllFeatures,
    AttributionCurve,
    Exact,
    ExactCurve,
    Acdc,
    RandomFeatures,
    RandomDirections,
}

/// The steps in order, each with about how many passes of each pair it takes.
fn planned(params: &PatchParams) -> Vec<(Step, usize)> {
    let curve = params.max_features.max(1).ilog2() as usize + 3;
    let mut steps = vec![(Step::Attribution, 3), (Step::AllFeatures, 1)];
    for order in &params.orders {
        match order {
            Order::Attribution => steps.push((Step::AttributionCurve, curve)),
            Order::Exact => steps.extend([(Step::Exact, params.max_exact), (Step::ExactCurve, curve)]),
            Order::Acdc => steps.push((Step::Acdc, 3 * params.max_exact)),
        }
    }
    if params.controls {
        steps.extend([(Step::RandomFeatures, curve), (Step::RandomDirections, curve)]);
    }
    steps
}

/// Tells about progress, asks whether to stop, and counts passes.
pub(super) struct Watch<'a> {
    on: &'a dyn Fn(usize, usize),
    stop: &'a dyn Fn() -> bool,
    steps: Vec<(Step, usize)>,
    pub passes: Cell<usize>,
}

impl<'a> Watch<'a> {
    pub fn new(params: &PatchParams, on: &'a dyn Fn(usize, usize), stop: &'a dyn Fn() -> bool) -> Self {
        Self { on, stop, steps: planned(params), passes: Cell::new(0) }
    }

    /// Fails if a stop was asked for.
    pub fn check(&self) -> Result<(), CausalError> {
        if (self.stop)() { Err(CausalError::Stopped) } else { Ok(()) }
    }

    /// Tells that `done` of `total` units of a step are done.
    pub fn tell(&self, step: Step, done: usize, total: usize) {
        let before = self.steps.iter().take_while(|(other, _)| *other != step).map(|(_, passes)| passes);
        let own = self.steps.iter().find(|(other, _)| *other == step).map_or(0, |(_, passes)| *passes);
        (self.on)(before.sum::<usize>() + own * done / total.max(1), self.total());
    }

    /// Tells that everything is done.
    pub fn finish(&self) {
        (self.on)(self.total(), self.total());
    }

    fn total(&self) -> usize {
        self.steps.iter().map(|(_, passes)| passes).sum()
    }
}
