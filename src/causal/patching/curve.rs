//! Curves: the output against the number of patched features.

use std::collections::HashMap;

use super::changes::Set;
use super::order::{Left, acdc, by_value, exact, measure, prefix};
use super::patcher::{Measured, Patcher};
use super::steps::{Step, Watch};
use super::{MeasuredCurve, MeasuredPoint, Order, PatchParams};
use crate::base::Stream;
use crate::causal::CausalError;
use crate::report::{RANDOM_DIRECTIONS, RANDOM_FEATURES};

/// Measures the curves of one dictionary.
pub(super) struct Curves<'p, 'a> {
    pub patcher: &'p Patcher<'a>,
    pub params: &'p PatchParams,
    pub seed: (u64, &'p str),
    pub watch: &'p Watch<'p>,
    /// Outputs with nothing patched.
    pub nothing: Vec<Measured>,
}

impl Curves<'_, '_> {
    /// One curve per order, then the controls.
    pub fn all(&self) -> Result<Vec<MeasuredCurve>, CausalError> {
        let n = self.patcher.n_slots();
        let mut known = HashMap::from([(vec![false; n], self.nothing.clone())]);
        let attribution = by_value(&self.patcher.attribution(self.watch)?);
        let everything = vec![true; n];
        let measured = self.measured(std::slice::from_ref(&everything), Step::AllFeatures)?;
        known.extend(std::iter::once(everything.clone()).zip(measured));
        let mut curves = Vec::new();
        for &order in &self.params.orders {
            let points = match order {
                Order::Attribution => self.along(&attribution, &mut known, Step::AttributionCurve)?,
                Order::Exact => {
                    let tried = (self.params.max_exact, &*self.nothing);
                    let order = exact(self.patcher, &attribution, tried, self.watch)?;
                    self.along(&order, &mut known, Step::ExactCurve)?
                }
                Order::Acdc => self.by_removal(&attribution, &known[&everything])?,
            };
            curves.push(MeasuredCurve { order: order.to_string(), is_control: false, points });
        }
        if self.params.controls {
            let random = self.stream(&["random features"]).permutation(n);
            let points = self.along(&random, &mut known, Step::RandomFeatures)?;
            curves.push(MeasuredCurve { order: RANDOM_FEATURES.to_string(), is_control: true, points });
            let points = self.in_random_directions(&attribution)?;
            curves.push(MeasuredCurve { order: RANDOM_DIRECTIONS.to_string(), is_control: true, points });
        }
        Ok(curves)
    }

    fn stream(&self, name: &[&str]) -> Stream {
        Stream::named(self.seed.0, &[&["patching", self.seed.1], name].concat())
    }

    fn counts(&self) -> Vec<usize> {
        counts(self.patcher.n_slots(), self.params.max_features)
    }

    fn measured(&self, sets: &[Set], step: Step) -> Result<Vec<Vec<Measured>>, CausalError> {
        measure(self.patcher, sets, (&self.nothing, false), self.watch, step)
    }

    /// Points of the prefixes of an order. Sets that are `known` are not run again, and new ones become known.
    fn along(
        &self,
        order: &[usize],
        known: &mut HashMap<Set, Vec<Measured>>,
        step: Step,
    ) -> Result<Vec<MeasuredPoint>, CausalError> {
        let sets: Vec<Set> = self.counts().into_iter().map(|n| prefix(order, n)).collect();
        let new: Vec<Set> = sets.iter().filter(|&set| !known.contains_key(set)).cloned().collect();
        let measured = self.measured(&new, step)?;
        known.extend(new.into_iter().zip(measured));
        Ok(self.counts().into_iter().zip(sets).map(|(n, set)| point(n, &known[&set])).collect())
    }

    fn by_removal(
        &self,
        attribution: &[usize],
        everything: &[Measured],
    ) -> Result<Vec<MeasuredPoint>, CausalError> {
        let sizes = (self.params.max_exact, self.params.thresholds);
        let stream = |nth: usize| self.stream(&["acdc", &nth.to_string()]);
        let ends = (&*self.nothing, everything);
        let points: Vec<Left> = acdc(self.patcher, attribution, sizes, ends, &stream, self.watch)?;
        Ok(points.iter().rev().map(|(n, measured)| point(*n, measured)).collect())
    }

    fn in_random_directions(&self, attribution: &[usize]) -> Result<Vec<MeasuredPoint>, CausalError> {
        let sets: Vec<Set> = self.counts().into_iter().map(|n| prefix(attribution, n)).collect();
        let random = (&*self.nothing, true);
        let measured = measure(self.patcher, &sets, random, self.watch, Step::RandomDirections)?;
        Ok(self.counts().into_iter().zip(measured).map(|(n, measured)| point(n, &measured)).collect())
    }
}

/// Numbers of patched features on a curve: 0, powers of two up to `most`, `most`, and all `n`.
fn counts(n: usize, most: usize) -> Vec<usize> {
    let last = most.min(n);
    let powers = std::iter::successors(Some(1usize), |power| power.checked_mul(2));
    let mut counts: Vec<usize> = std::iter::once(0).chain(powers.take_while(|&power| power < last)).collect();
    counts.extend([last, n]);
    counts.dedup();
    counts
}

fn point(n_features: usize, measured: &[Measured]) -> MeasuredPoint {
    MeasuredPoint {
        n_features,
        kl: measured.iter().map(|one| one.kl).collect(),
        difference: measured.iter().map(|one| one.difference).collect(),
        edit_size: measured.iter().map(|one| one.edit_size).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::counts;

    #[test]
    fn counts_are_powers_of_two_the_largest_and_all() {
        assert_eq!(counts(1, 512), [0, 1]);
        assert_eq!(counts(8, 512), [0, 1, 2, 4, 8]);
        assert_eq!(counts(20, 8), [0, 1, 2, 4, 8, 20]);
        assert_eq!(counts(20, 10), [0, 1, 2, 4, 8, 10, 20]);
    }
}
