//! Orders of features: by attribution, by exact effects, and by removal.

use super::changes::Set;
use super::patcher::{Job, Measured, Patcher, mean_kl};
use super::steps::{Step, Watch};
use crate::base::Stream;
use crate::causal::CausalError;

/// Exponents of ten of the least and the largest threshold of the ACDC order, in nats.
const EXPONENTS: [f64; 2] = [-5.0, 0.0];

/// A number of patched features, and the outputs of all pairs with them.
pub(super) type Left = (usize, Vec<Measured>);

/// Slots by falling value; equal ones by index.
pub(super) fn by_value(values: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    order
}

/// The first `n` slots of an order.
pub(super) fn prefix(order: &[usize], n: usize) -> Set {
    let mut set = vec![false; order.len()];
    order[..n.min(order.len())].iter().for_each(|&slot| set[slot] = true);
    set
}

/// The exact order: the first `n_exact` slots of the attribution order by the drop of the mean divergence when one is
/// patched alone; equal ones and the others in the attribution order. A pair in which a feature's codes agree keeps the
/// base run's output and is not run. At most pairs · `n_exact` passes.
pub(super) fn exact(
    patcher: &Patcher<'_>,
    attribution: &[usize],
    (n_exact, nothing): (usize, &[Measured]),
    watch: &Watch<'_>,
) -> Result<Vec<usize>, CausalError> {
    let (tried, others) = attribution.split_at(n_exact.min(attribution.len()));
    let sets: Vec<Set> =
        tried.iter().map(|&slot| (0..attribution.len()).map(|other| other == slot).collect()).collect();
    let of_sets = measure(patcher, &sets, (nothing, false), watch, Step::Exact)?;
    let drops: Vec<f64> = of_sets.iter().map(|measured| mean_kl(nothing) - mean_kl(measured)).collect();
    Ok(by_value(&drops).into_iter().map(|nth| tried[nth]).chain(others.iter().copied()).collect())
}

/// The outputs of all pairs with each set patched. Pairs that a set does not change are not run: their output is that of
/// `nothing`. With `is_random`, directions are random.
pub(super) fn measure(
    patcher: &Patcher<'_>,
    sets: &[Set],
    (nothing, is_random): (&[Measured], bool),
    watch: &Watch<'_>,
    step: Step,
) -> Result<Vec<Vec<Measured>>, CausalError> {
    let mut jobs = Vec::new();
    for set in sets {
        jobs.extend(patcher.touched(set).into_iter().map(|pair| Job { pair, set, is_random }));
    }
    let mut found = patcher.run(&jobs, watch, Some(step))?.into_iter();
    let mut all = Vec::with_capacity(sets.len());
    for set in sets {
        let mut measured = nothing.to_vec();
        patcher.touched(set).into_iter().zip(&mut found).for_each(|(pair, one)| measured[pair] = one);
        all.push(measured);
    }
    Ok(all)
}

/// Features that the ACDC order drops together, and the rise of the mean divergence when that was last tried.
struct Unit {
    slots: Vec<usize>,
    rise: f64,
}

/// The ACDC order (Conmy et al. 2023, arXiv 2304.14997, on single features as in Cunningham et al. 2023): from all
/// features on, for each threshold τ, ascending, a unit is dropped if the mean divergence then rises by less than τ.
///
/// Units are the first `n_exact` slots of the attribution order, one each, in an order drawn anew for every threshold;
/// before them the others in blocks, those with the least attribution first. A unit whose last rise was τ or more is
/// kept without a new try, and so are pairs that a unit does not change. So there are at most
/// pairs · thresholds · (`n_exact` + blocks) passes.
///
/// Returns the numbers that the thresholds leave, descending, each once, from all to none.
pub(super) fn acdc(
    patcher: &Patcher<'_>,
    attribution: &[usize],
    (n_exact, thresholds): (usize, usize),
    (nothing, everything): (&[Measured], &[Measured]),
    stream: &dyn Fn(usize) -> Stream,
    watch: &Watch<'_>,
) -> Result<Vec<Left>, CausalError> {
    let (tried, others) = attribution.split_at(n_exact.min(attribution.len()));
    let unit = |slots: &[usize]| Unit { slots: slots.to_vec(), rise: f64::NEG_INFINITY };
    let blocks = blocks(others, tried.len());
    let mut units: Vec<Unit> = blocks.into_iter().chain(tried.chunks(1)).map(unit).collect();
    let n_blocks = units.len() - tried.len();
    let (mut set, mut current) = (vec![true; attribution.len()], everything.to_vec());
    let mut left = attribution.len();
    let mut points = vec![(left, current.clone())];
    for (nth, threshold) in spaced(thresholds).enumerate() {
        let singles = stream(nth).permutation(tried.len()).into_iter().map(|single| n_blocks + single);
        for at in (0..n_blocks).chain(singles) {
            if units[at].rise >= threshold {
                continue;
            }
            let slots = &units[at].slots;
            slots.iter().for_each(|&slot| set[slot] = false);
            let without = remeasured(patcher, &set, slots, &current, watch)?;
            let rise = mean_kl(&without) - mean_kl(&current);
            if rise < threshold {
                left -= slots.len();
                current = without;
                // A dropped unit is never visited again.
                units[at].rise = f64::INFINITY;
            } else {
                slots.iter().for_each(|&slot| set[slot] = true);
                units[at].rise = rise;
            }
        }
        points.push((left, current.clone()));
        watch.tell(Step::Acdc, nth + 1, thresholds);
    }
    points.push((0, nothing.to_vec()));
    points.dedup_by_key(|point| point.0);
    Ok(points)
}

/// The outputs with the set patched, given those before `slots` left it: only pairs that these change are run.
fn remeasured(
    patcher: &Patcher<'_>,
    set: &Set,
    slots: &[usize],
    current: &[Measured],
    watch: &Watch<'_>,
) -> Result<Vec<Measured>, CausalError> {
    let mut gone = vec![false; set.len()];
    slots.iter().for_each(|&slot| gone[slot] = true);
    let pairs = patcher.touched(&gone);
    let jobs: Vec<Job<'_>> = pairs.iter().map(|&pair| Job { pair, set, is_random: false }).collect();
    let mut all = current.to_vec();
    let found = patcher.run(&jobs, watch, None)?;
    pairs.into_iter().zip(found).for_each(|(pair, one)| all[pair] = one);
    Ok(all)
}

/// Blocks of an order, the last first: near the front they have a quarter of `tried` slots, and each further one has
/// twice as many as the one before.
fn blocks(others: &[usize], tried: usize) -> Vec<&[usize]> {
    let (mut rest, mut size) = (others, (tried / 4).max(1));
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (block, after) = rest.split_at(size.min(rest.len()));
        found.push(block);
        (rest, size) = (after, size * 2);
    }
    found.reverse();
    found
}

/// Thresholds in nats, ascending, spaced evenly in the logarithm.
fn spaced(count: usize) -> impl Iterator<Item = f64> {
    let step = (EXPONENTS[1] - EXPONENTS[0]) / count.saturating_sub(1).max(1) as f64;
    (0..count).map(move |nth| 10f64.powf(EXPONENTS[0] + step * nth as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_break_ties_by_index() {
        assert_eq!(by_value(&[0.0, 2.0, -1.0, 2.0, 0.0]), [1, 3, 0, 4, 2]);
        assert_eq!(prefix(&[2, 0, 1], 2), [true, false, true]);
    }

    #[test]
    fn blocks_double_and_thresholds_are_even_in_the_logarithm() {
        let others: Vec<usize> = (0..20).collect();
        let sizes: Vec<usize> = blocks(&others, 12).iter().map(|block| block.len()).collect();
        assert_eq!(sizes, [11, 6, 3]);
        assert_eq!(blocks(&others, 12)[2], [0, 1, 2]);
        assert!(blocks(&[], 12).is_empty());
        let found: Vec<f64> = spaced(6).collect();
        assert!(
            found.iter().zip([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]).all(|(a, b)| (a / b - 1.0).abs() < 1e-12)
        );
        assert_eq!(spaced(1).count(), 1);
    }
}
