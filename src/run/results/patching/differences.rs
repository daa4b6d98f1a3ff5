//! Differences of the reference method from every other method, over the same pairs of prompts.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::curve::{Comparable, half};
use crate::report::PatchedDifference;
use crate::stats::{Resampled, Resamples, Undefined, holm, sign_flip_p, swap_p};
use crate::suite::{Suite, TaskSpec};

/// Level of the adjusted p.
const LEVEL: f64 = 0.05;

/// Most permutations of the test of `half`, whose statistic is slow.
const MOST_PERMUTATIONS: usize = 10_000;

/// The numbers of a curve that are compared.
const NUMBERS: [&str; 2] = ["area", "half"];

/// Verdict where one of the two numbers is undefined.
const UNDEFINED: &str = "undefined";

/// The curves of a dictionary.
pub struct Compared {
    pub hook: String,
    pub method: String,
    pub curves: Vec<Comparable>,
}

/// All differences, by hook point, method, order and number.
pub fn differences(
    suite: &Suite,
    spec: &TaskSpec,
    resamples: &Resamples,
    compared: &[Compared],
) -> Vec<PatchedDifference> {
    let mut tests = Vec::new();
    for a in compared.iter().filter(|one| one.method == suite.statistics.reference) {
        for b in compared.iter().filter(|b| b.hook == a.hook && b.method != a.method) {
            for order in spec.patching.orders.iter().map(ToString::to_string) {
                let of = |one: &'_ Compared| one.curves.iter().position(|curve| curve.order == order);
                if let (Some(nth), Some(other)) = (of(a), of(b)) {
                    let pair = [&a.curves[nth], &b.curves[other]];
                    tests.extend(NUMBERS.map(|number| Test { suite, resamples, a, b, pair, number }));
                }
            }
        }
    }
    let mut rows: Vec<PatchedDifference> = tests.par_iter().map(Test::row).collect();
    adjust(&mut rows);
    rows
}

/// Adjusts p within each number and order, and gives verdicts.
fn adjust(rows: &mut [PatchedDifference]) {
    let mut families: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (nth, row) in rows.iter().enumerate().filter(|(_, row)| row.p.is_some()) {
        families.entry((row.number.clone(), row.order.clone())).or_default().push(nth);
    }
    for members in families.values() {
        let p: Vec<f64> = members.iter().filter_map(|&nth| rows[nth].p).collect();
        for (&nth, adjusted) in members.iter().zip(holm(&p)) {
            let row = &mut rows[nth];
            row.p_adjusted = Some(adjusted);
            row.verdict = match row.difference {
                Some(_) if adjusted >= LEVEL => "no difference detected",
                Some(difference) if difference > 0.0 => "higher",
                Some(_) => "lower",
                None => UNDEFINED,
            }
            .into();
        }
    }
}

/// One comparison.
struct Test<'a> {
    suite: &'a Suite,
    resamples: &'a Resamples,
    a: &'a Compared,
    b: &'a Compared,
    pair: [&'a Comparable; 2],
    number: &'static str,
}

impl Test<'_> {
    fn row(&self) -> PatchedDifference {
        let [a, b] = self.pair;
        let mut row = PatchedDifference {
            hook: self.a.hook.clone(),
            order: a.order.clone(),
            number: self.number.into(),
            method_a: self.a.method.clone(),
            method_b: self.b.method.clone(),
            difference: None,
            ci_low: None,
            ci_high: None,
            p: None,
            p_adjusted: None,
            verdict: UNDEFINED.into(),
        };
        let is_area = self.number == NUMBERS[0];
        let numbers = if is_area { [&a.area, &b.area] } else { [&a.half, &b.half] };
        let difference = Resampled::of(&numbers, |numbers| numbers[0] - numbers[1]);
        if !difference.point.is_finite() {
            return row;
        }
        let interval = self.resamples.interval(&difference);
        row.difference = Some(difference.point);
        [row.ci_low, row.ci_high] = [interval.low, interval.high].map(|end| end.is_finite().then_some(end));
        row.p = if is_area { self.p_of_area() } else { self.p_of_half() }.ok();
        row
    }

    fn stream(&self) -> String {
        let (hook, order) = (&self.a.hook, &self.pair[0].order);
        format!("patching/{hook}/{order}/{}/{} against {}", self.number, self.a.method, self.b.method)
    }

    /// An area is a mean over pairs, so that pairs can be compared one by one.
    fn p_of_area(&self) -> Result<f64, Undefined> {
        let [a, b] = self.pair;
        let differences: Vec<f64> = a.areas.iter().zip(&b.areas).map(|(a, b)| a - b).collect();
        let statistics = &self.suite.statistics;
        sign_flip_p(&differences, statistics.permutations, self.suite.seed, &self.stream())
    }

    /// `half` is one of mean curves: curves are swapped within pairs, and compared by log2(1 + half). A curve that does not
    /// reach half counts as all features.
    fn p_of_half(&self) -> Result<f64, Undefined> {
        let mut x: Vec<f64> = self.pair.iter().flat_map(|curve| curve.x.iter().copied()).collect();
        x.sort_unstable_by(f64::total_cmp);
        x.dedup();
        let most = x.last().copied().unwrap_or(0.0);
        let [a, b] = self.pair.map(|curve| at_places(curve, &x));
        let place = |curve: &[f64]| half(&x, curve).map_or(most, |half| (1.0 + half).log2());
        let statistics = &self.suite.statistics;
        let permutations = statistics.permutations.min(MOST_PERMUTATIONS);
        let compared = |one: &[f64], other: &[f64]| place(one) - place(other);
        swap_p(&a, &b, permutations, self.suite.seed, &self.stream(), compared)
    }
}

/// The curve of each pair at these places: linear between points, constant outside.
fn at_places(curve: &Comparable, places: &[f64]) -> Vec<Vec<f64>> {
    let at = |place: &f64| {
        let behind = curve.x.partition_point(|x| x < place).min(curve.x.len() - 1);
        let before = behind.saturating_sub(1);
        let (low, high) = (curve.x[before], curve.x[behind]);
        let share = if high > low { ((place - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
        let pairs = curve.kl[before].iter().zip(&curve.kl[behind]);
        pairs.map(|(low, high)| low + share * (high - low)).collect()
    };
    places.iter().map(at).collect()
}
