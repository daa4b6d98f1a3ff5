//! Times patching: pairs of the suite's task, with the basis of the activations in the place of a dictionary.

use crate::base::WorkClock;
use crate::causal::{Order, PatchParams, Writer, patch};
use crate::dictionary::basis;
use crate::nn::Tokenizer;
use crate::run::inputs::task::open_task;
use crate::run::plan::pieces::{Speed, Work};
use crate::run::plan::shape::Shape;
use crate::run::plan::usual;
use crate::run::{Places, RunError};
use crate::subject::SubjectModel;
use crate::suite::TaskSpec;

use super::budget::Budget;
use super::subject::Harvested;

/// Share of the time that passes may take, and about how many of each pair are run.
const SHARE_OF_PATCHES: f64 = 0.1;
const PASSES: f64 = 36.0;
/// Features that are patched alone, in a short and in a long measurement. The difference is free of what is done once for
/// each dictionary, such as the backward pass: a few passes among hundreds.
const TRIED: [usize; 2] = [1, 17];
/// Fewest pairs.
const LEAST_PAIRS: usize = 2;

/// Patches a few features at one hook point, one at a time on all pairs. Returns why that failed, if it did: it need not
/// fail in a run.
pub fn time(
    shape: &Shape<'_>,
    places: &Places,
    (model, tokenizer): (&dyn SubjectModel, &Tokenizer),
    harvested: Option<&Harvested>,
    budget: &Budget,
    speed: &mut Speed,
) -> Option<String> {
    let (task, harvested) = (shape.suite.task.as_ref().filter(|_| shape.model.runs)?, harvested?);
    timed(shape, places, (model, tokenizer), (task, harvested), budget, speed)
        .err()
        .map(|why| format!("patching: {why}"))
}

fn timed(
    shape: &Shape<'_>,
    places: &Places,
    (model, tokenizer): (&dyn SubjectModel, &Tokenizer),
    (task, Harvested { at, activations }): (&TaskSpec, &Harvested),
    budget: &Budget,
    speed: &mut Speed,
) -> Result<(), RunError> {
    let pass = usual::patched_pass(&shape.model, at);
    let room = SHARE_OF_PATCHES * budget.seconds * shape.threads as f64 / (PASSES * pass).max(1e-9);
    let pairs = (room as usize).clamp(LEAST_PAIRS, task.pairs.max(LEAST_PAIRS));
    let mut suite = shape.suite.clone();
    suite.task = Some(TaskSpec { pairs, ..task.clone() });
    let Some(task) = open_task(&suite, places, model, tokenizer)? else { return Ok(()) };
    // Every code differs between two prompts.
    let basis = basis(&activations.fit);
    let writer = Writer::new(&basis)?;
    let measured = |max_exact: usize| {
        let orders = vec![Order::Exact];
        let params =
            PatchParams { orders, max_exact, max_features: 1, controls: false, ..PatchParams::default() };
        let clock = WorkClock::start(shape.threads);
        let seed = (suite.seed, "plan");
        let found = patch(model, &writer, &task.pairs, &params, seed, &|_, _| (), &|| false)?;
        Ok::<_, RunError>((found.n_passes as f64, clock.read().undisturbed() * shape.threads as f64))
    };
    let [short, long] = [measured(TRIED[0])?, measured(TRIED[1])?];
    let (passes, taken) = (long.0 - short.0, long.1 - short.1);
    if passes > 0.0 && taken > 0.0 {
        speed.add(Work::Patch, None, passes * pass, taken);
    }
    Ok(())
}
