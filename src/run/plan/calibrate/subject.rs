//! Times harvesting and losses.

use std::path::PathBuf;

use crate::activations::{ActivationError, ActivationSet, Keep, Precision, harvest};
use crate::base::{HookPoint, TokenBatch, WorkClock};
use crate::corpus::TokenSets;
use crate::run::RunError;
use crate::run::inputs::harvest::{EVALUATE_PRECISION, FIT_PRECISION, HookActivations};
use crate::run::plan::pieces::{Speed, Work};
use crate::run::plan::shape::{HookShape, Shape};
use crate::run::plan::usual;
use crate::run::rows::quality::{LOSS_FRAGMENTS, LossMeter};
use crate::subject::{LoadedSubject, Prefix, SubjectModel, WithPrefix};

use super::budget::Budget;
use super::sample::{Sample, Scratch};

/// Share of the time that losses may take, and fewest fragments for them.
const SHARE_OF_LOSSES: f64 = 0.05;
const LEAST_FRAGMENTS: usize = 4;
/// Tokens that a thread runs together: fewer keep one thread busy.
const TOKENS_AT_ONCE: usize = 512;

/// Activations of the sample at one hook point.
pub struct Harvested {
    pub at: HookShape,
    pub activations: HookActivations,
}

/// Runs the model on the sample at all hook points, and gives the activations of one hook point of each width.
pub fn harvested(
    shape: &Shape<'_>,
    sample: &Sample,
    (subject, prefix): (&LoadedSubject, &Prefix),
    scratch: &Scratch,
    budget: &Budget,
    speed: &mut Speed,
) -> Result<Vec<Harvested>, RunError> {
    let model = &WithPrefix::new(subject.model(), &prefix.ids);
    let tokens = &sample.tokens;
    let is_fitted = |place: usize| tokens.is_fitted(place);
    let pass = Pass { shape, model, scratch };
    // The first pass packs weights and fills caches.
    let first = TokenBatch::new(tokens.fit.row(0).to_vec(), tokens.fit.cols());
    if let Some(first) = first {
        let hooks: Vec<HookPoint> = shape.hooks.iter().map(|at| at.hook).collect();
        model.activations(&first, &hooks)?;
    }
    let fit = pass.run("fit", &tokens.fit, Keep::Fitting(&is_fitted), FIT_PRECISION, speed)?;
    let evaluate = pass.run("evaluate", &tokens.evaluate, Keep::Everything, EVALUATE_PRECISION, speed)?;
    let wanted = representatives(&shape.hooks);
    let mut all = Vec::new();
    for ((nth, fit), evaluate) in fit.into_iter().enumerate().zip(evaluate) {
        if wanted.contains(&nth) {
            let paths = [pass.path("fit", nth), pass.path("evaluate", nth)];
            let activations = HookActivations::new(fit?, evaluate?, paths);
            all.push(Harvested { at: shape.hooks[nth], activations });
        }
    }
    losses(shape, tokens, model, (&all, budget), speed)?;
    Ok(all)
}

struct Pass<'a> {
    shape: &'a Shape<'a>,
    model: &'a WithPrefix<'a>,
    scratch: &'a Scratch,
}

type Opened = Result<ActivationSet, ActivationError>;

impl Pass<'_> {
    fn path(&self, split: &str, nth: usize) -> PathBuf {
        self.scratch.path().join(format!("{split}-{nth}.act"))
    }

    fn run(
        &self,
        split: &str,
        tokens: &TokenBatch,
        keep: Keep<'_>,
        precision: Precision,
        speed: &mut Speed,
    ) -> Result<Vec<Opened>, RunError> {
        let hooks = &self.shape.hooks;
        let paths: Vec<PathBuf> = (0..hooks.len()).map(|nth| self.path(split, nth)).collect();
        let targets: Vec<_> = hooks.iter().zip(&paths).map(|(at, path)| (at.hook, path.as_path())).collect();
        let clock = WorkClock::start(self.shape.threads);
        let sets = harvest(self.model, tokens, &targets, keep, precision, &|_| true)?;
        let taken = clock.read().undisturbed();
        let length = tokens.cols() + self.shape.prefix;
        let usual = usual::harvest(&self.shape.model, hooks, (tokens.rows() * length) as f64, length as f64);
        speed.add(Work::Harvest, None, usual, taken * self.shape.threads as f64);
        Ok(sets)
    }
}

/// Of each width the hook point whose depth is nearest to the mean of all with that width: what takes longer behind more
/// blocks then takes its mean time.
fn representatives(hooks: &[HookShape]) -> Vec<usize> {
    let mut widths: Vec<usize> = hooks.iter().map(|at| at.width).collect();
    widths.sort_unstable();
    widths.dedup();
    let of_width = |width: usize| {
        let same: Vec<usize> = (0..hooks.len()).filter(|&nth| hooks[nth].width == width).collect();
        let mean = same.iter().map(|&nth| hooks[nth].depth as f64).sum::<f64>() / same.len().max(1) as f64;
        let distance = |nth: &usize| (hooks[*nth].depth as f64 - mean).abs();
        same.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
    };
    widths.into_iter().filter_map(of_width).collect()
}

/// Clean and ablated losses of a few fragments.
fn losses(
    shape: &Shape<'_>,
    tokens: &TokenSets,
    model: &WithPrefix<'_>,
    (harvested, budget): (&[Harvested], &Budget),
    speed: &mut Speed,
) -> Result<(), RunError> {
    let cols = tokens.evaluate.cols();
    let usual_of = |at: &HookShape, tokens: f64| {
        // Activations and clean losses begin at the embedding.
        let whole = shape.model.losses(tokens, 0, cols as f64);
        whole + 2.0 * shape.model.losses(tokens, at.depth, cols as f64)
    };
    for Harvested { at, activations } in harvested.iter().filter(|_| shape.model.runs && cols > 1) {
        let each = usual_of(at, (cols + shape.prefix) as f64);
        let room = SHARE_OF_LOSSES * budget.seconds * shape.threads as f64 / harvested.len() as f64;
        let n = ((room / each.max(1e-9)) as usize).clamp(LEAST_FRAGMENTS, LOSS_FRAGMENTS);
        let n = n.min(tokens.evaluate.rows());
        let Some(few) = TokenBatch::new(tokens.evaluate.ids()[..n * cols].to_vec(), cols) else { continue };
        let clock = WorkClock::start(shape.threads);
        LossMeter::new(model, at.hook, &few, activations.fit.mean())?;
        let taken = clock.read().undisturbed();
        let threads = (n * cols).div_ceil(TOKENS_AT_ONCE).min(shape.threads) as f64;
        speed.add(Work::Losses, None, n as f64 * each, taken * threads);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_hook_point_of_each_width_stands_for_all() {
        let at = |depth: usize, width: usize| HookShape { hook: HookPoint::Embed, width, depth };
        let hooks = [at(1, 8), at(2, 8), at(3, 8), at(4, 8), at(6, 8), at(2, 32)];
        assert_eq!(representatives(&hooks), [2, 5]);
        assert!(representatives(&[]).is_empty());
    }
}
