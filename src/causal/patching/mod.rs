//! Patching of features from a target run into a base run, on a task whose prompts come in pairs (Cunningham et al.
//! 2023, arXiv 2309.08600, §4; attribution as in Marks et al. 2024, arXiv 2403.19647).
//!
//! ```text
//! x, c: base prompt    c′: target prompt    Φ: patched features
//! x′ = x + Σ_{j ∈ Φ} (c′_j − c_j) · d_j       at every position
//! kl         = KL(output of x′ ‖ output of the target prompt) at the last position, or the reverse
//! difference = logit(target answer) − logit(base answer) there
//! edit size  = ‖x′ − x‖ over positions and dimensions
//! ```
//!
//! Orders of Φ are in `order`, divergences in `output`. A pass runs one pair from the hook point to the output, at
//! the positions from the first token on at which its prompts differ: what precedes it is the same in every pass. The
//! number of passes is at most
//!
//! ```text
//! P pairs    T thresholds    M = `max_exact`    n active features
//! B = ⌈log2(4 (n − M) / M + 1)⌉ blocks    C = ⌈log2 `max_features`⌉ + 3 points of a curve
//! P · (2 + M + T · (M + B) + C · (curves without ACDC))      and one backward pass per pair
//! ```
//!
//! The middle terms are those of the exact and the ACDC order. A pass of a pair is left out where no patched feature's
//! code differs, so sparse dictionaries take fewer.

pub(super) mod changes;
mod curve;
mod measured;
mod order;
mod output;
pub(super) mod pairs;
mod params;
mod patcher;
mod steps;

#[cfg(test)]
pub(super) mod tests;

use super::{CausalError, Writer};
use crate::subject::SubjectModel;
use curve::Curves;
use patcher::{Job, Patcher};
use steps::Watch;

pub use measured::{MeasuredCurve, MeasuredPoint, NO_FEATURE_DIFFERS, PatchedPairs, TaskPairs};
pub use params::{Attributed, Divergence, Order, PatchParams};

/// Patches features of one dictionary and measures the output of every pair.
///
/// `seed` is a seed and the place of this dictionary in the run, which names its draws. `on` gets about how many
/// passes of each pair are done, and their total. If `stop` is true, this returns [`CausalError::Stopped`]. Batches hold
/// at most 64 MB of activations and logits. The base activations of all pairs are in memory too, with keys and values of the
/// tokens that both prompts of a pair begin with. Results do not depend on the number of threads.
pub fn patch(
    subject: &dyn SubjectModel,
    writer: &Writer<'_>,
    pairs: &TaskPairs,
    params: &PatchParams,
    seed: (u64, &str),
    on: &dyn Fn(usize, usize),
    stop: &dyn Fn() -> bool,
) -> Result<PatchedPairs, CausalError> {
    pairs::check(subject, pairs)?;
    let watch = Watch::new(params, on, stop);
    let patcher = Patcher::new((subject, writer), pairs, params, seed, &watch)?;
    let n = patcher.n_slots();
    let none = vec![false; n];
    let jobs: Vec<Job<'_>> =
        (0..patcher.n_pairs()).map(|pair| Job { pair, set: &none, is_random: false }).collect();
    let nothing = patcher.run(&jobs, &watch, None)?;
    let base_difference = nothing.iter().map(|one| one.difference).collect();
    let (curves, note) = match n {
        0 => (Vec::new(), Some(NO_FEATURE_DIFFERS.to_string())),
        _ => (Curves { patcher: &patcher, params, seed, watch: &watch, nothing }.all()?, None),
    };
    watch.finish();
    let tries = params.orders.iter().any(|&order| order != Order::Attribution);
    Ok(PatchedPairs {
        n_features: n,
        n_exact: if tries { params.max_exact.min(n) } else { 0 },
        n_passes: watch.passes.get(),
        base_difference,
        target_difference: patcher.target_differences(),
        curves,
        note,
    })
}
