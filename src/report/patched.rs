//! Patching on a task, indexed for reading, and its numbers as text.

use super::escape::visible;
use super::number::{DASH, count, fixed};
use super::patching::{
    PatchCurve, PatchPoint, PatchedDictionary, PatchedDifference, PatchedNumber, TaskPatching,
};
use super::schema::Summary;
use crate::base::distinct;

/// The order of the leading charts, of tables on a terminal and on a page, and of the verdict.
pub const MAIN_ORDER: &str = "attribution";
/// Control: features drawn at random, as many as of the order.
pub const RANDOM_FEATURES: &str = "random_features";
/// Control: random directions with the norms of the edits.
pub const RANDOM_DIRECTIONS: &str = "random_directions";

/// Names of the two numbers of a curve that methods are compared in.
pub const HALF: &str = "half";
/// See [`HALF`].
pub const AREA: &str = "area";

/// A task's patching with its hook points and orders in order of appearance, the main order first.
#[derive(Clone)]
pub struct Patched<'a> {
    pub task: &'a TaskPatching,
    pub hooks: Vec<&'a str>,
    pub orders: Vec<&'a str>,
    /// The controls of curves: `random_features`, `random_directions`.
    pub controls: Vec<&'a str>,
    /// The suite's reference method, if it was patched.
    pub reference: Option<&'a str>,
}

/// A method against the reference in one number: the method's minus the reference's. Lower is better in both numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Against {
    pub difference: Option<f64>,
    pub interval: Option<(f64, f64)>,
    pub p_adjusted: Option<f64>,
    pub verdict: Apart,
}

/// What the adjusted test says of a method's number against the reference's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    Lower,
    Higher,
    NotSeparated,
}

impl<'a> Patched<'a> {
    /// None if the run has no task.
    pub fn of(summary: &'a Summary) -> Option<Self> {
        let task = summary.patching.as_ref()?;
        let curves = || task.dictionaries.iter().flat_map(|dictionary| &dictionary.curves);
        let names = |is_control: bool| {
            let named = curves().filter(move |curve| curve.is_control == is_control);
            distinct(named.map(|curve| curve.order.as_str()))
        };
        let mut orders = names(false);
        orders.sort_by_key(|order| *order != MAIN_ORDER);
        let is_patched = |method: &&str| task.dictionaries.iter().any(|one| one.is_method(method));
        Some(Self {
            task,
            hooks: distinct(task.dictionaries.iter().map(|dictionary| dictionary.hook.as_str())),
            orders,
            controls: names(true),
            reference: summary.reference.as_deref().filter(is_patched),
        })
    }

    /// The dictionaries of a hook point, in the order of the summary.
    pub fn at(&self, hook: &str) -> impl Iterator<Item = &'a PatchedDictionary> {
        self.task.dictionaries.iter().filter(move |dictionary| dictionary.hook == hook)
    }

    /// A method's own dictionary.
    pub fn dictionary(&self, hook: &str, method: &str) -> Option<&'a PatchedDictionary> {
        self.at(hook).find(|dictionary| dictionary.is_method(method))
    }

    /// Methods, controls left out, in order of appearance.
    pub fn methods(&self) -> Vec<&'a str> {
        let own = self.task.dictionaries.iter().filter(|dictionary| dictionary.control.is_none());
        distinct(own.map(|dictionary| dictionary.method.as_str()))
    }

    /// Share of base prompts on which the subject prefers the right answer; none without pairs.
    pub fn right(&self) -> Option<f64> {
        (self.task.n_pairs > 0).then(|| self.task.n_right as f64 / self.task.n_pairs as f64)
    }

    /// A method against the reference; none where the two were not compared.
    pub fn against(&self, hook: &str, order: &str, number: &str, method: &str) -> Option<Against> {
        let reference = self.reference?;
        let rows = self.task.differences.iter();
        let mut here = rows.filter(|row| row.hook == hook && row.order == order && row.number == number);
        let (row, sign) = here.find_map(|row| match (row.method_a.as_str(), row.method_b.as_str()) {
            (a, b) if a == method && b == reference => Some((row, 1.0)),
            (a, b) if a == reference && b == method => Some((row, -1.0)),
            _ => None,
        })?;
        Some(Against::of(row, sign))
    }

    /// `KL(patched ‖ target)`.
    pub fn divergence(&self) -> &'static str {
        match self.task.divergence.as_str() {
            "target_patched" => "KL(target ‖ patched)",
            _ => "KL(patched ‖ target)",
        }
    }
}

impl Against {
    fn of(row: &PatchedDifference, sign: f64) -> Self {
        let ends = row.ci_low.zip(row.ci_high).map(|(low, high)| (sign * low, sign * high));
        let verdict = match (row.verdict.as_str(), sign > 0.0) {
            ("higher", true) | ("lower", false) => Apart::Higher,
            ("lower", true) | ("higher", false) => Apart::Lower,
            _ => Apart::NotSeparated,
        };
        Self {
            difference: row.difference.map(|difference| sign * difference),
            interval: ends.map(|(a, b)| (a.min(b), a.max(b))),
            p_adjusted: row.p_adjusted,
            verdict,
        }
    }
}

impl PatchedDictionary {
    /// Whether it is the method's own dictionary, and no control.
    pub fn is_method(&self, method: &str) -> bool {
        self.control.is_none() && self.method == method
    }

    /// The curve of an order, or of a control.
    pub fn curve(&self, order: &str) -> Option<&PatchCurve> {
        self.curves.iter().find(|curve| curve.order == order)
    }

    /// `topk`, or `topk (control: random_weights)`.
    pub fn label(&self) -> String {
        match &self.control {
            Some(control) => format!("{} (control: {control})", self.method),
            None => self.method.clone(),
        }
    }
}

impl PatchCurve {
    /// The point of exactly so many features.
    pub fn at(&self, n_features: usize) -> Option<&PatchPoint> {
        self.points.iter().find(|point| point.n_features == n_features)
    }

    /// ‖x′ − x‖ at [`PatchCurve::half`], interpolated in log2(1 + features); none where that is undefined.
    pub fn edit_at_half(&self) -> Option<f64> {
        let half = self.half.known()?;
        let place = |point: &PatchPoint| (point.n_features as f64).ln_1p();
        let at = half.ln_1p();
        let pair = self.points.windows(2).find(|pair| place(&pair[0]) <= at && at <= place(&pair[1]))?;
        let (from, to) = (pair[0].edit_size.known()?, pair[1].edit_size.known()?);
        let width = place(&pair[1]) - place(&pair[0]);
        let share = if width > 0.0 { (at - place(&pair[0])) / width } else { 0.0 };
        Some(from + share * (to - from))
    }
}

impl PatchedNumber {
    /// The number, if it is finite.
    pub fn known(&self) -> Option<f64> {
        self.value.filter(|value| value.is_finite())
    }

    /// Both ends of the interval, if they are finite.
    pub fn interval(&self) -> Option<(f64, f64)> {
        self.ci_low.zip(self.ci_high).filter(|(low, high)| low.is_finite() && high.is_finite())
    }

    /// `9 [6, 14]`; a dash where it is undefined.
    pub fn text(&self, print: impl Fn(f64) -> String) -> String {
        match (self.known(), self.interval()) {
            (Some(value), Some((low, high))) => {
                format!("{} [{}, {}]", print(value), print(low), print(high))
            }
            (Some(value), None) => print(value),
            (None, _) => DASH.to_string(),
        }
    }

    /// The same with the reason where it is undefined: `— (the divergence stays above half)`.
    pub fn text_or_reason(&self, print: impl Fn(f64) -> String) -> String {
        match (&self.reason, self.known()) {
            (Some(reason), None) => format!("{DASH} ({})", visible(reason)),
            _ => self.text(print),
        }
    }
}

/// A number of features, which may be interpolated: one decimal below 10.
pub fn features_text(value: f64) -> String {
    if value.abs() >= 9.95 {
        return count(value.round().max(0.0) as usize);
    }
    let text = fixed(Some(value), 1);
    text.strip_suffix(".0").map_or(text.clone(), str::to_string)
}

/// A divergence in nats: three decimals.
pub fn nats_text(value: f64) -> String {
    fixed(Some(value), 3)
}

/// An edit size: two decimals below 10.
pub fn edit_text(value: f64) -> String {
    fixed(Some(value), if value.abs() < 9.995 { 2 } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::patching_fixture as fixture;

    #[test]
    fn a_difference_is_the_methods_minus_the_references_whichever_is_first() {
        let mut summary = fixture::summary(1);
        let hook = fixture::hook(0);
        let found = |summary: &Summary| {
            Patched::of(summary).and_then(|patched| patched.against(&hook, MAIN_ORDER, HALF, "pca"))
        };
        let before = found(&summary).expect("compared");
        assert_eq!(before.verdict, Apart::Higher);
        assert!(before.difference.is_some_and(|difference| (difference - 51.0).abs() < 1e-9), "{before:?}");
        for row in &mut summary.patching.as_mut().expect("a task").differences {
            std::mem::swap(&mut row.method_a, &mut row.method_b);
            row.difference = row.difference.map(|difference| -difference);
            (row.ci_low, row.ci_high) = (row.ci_high.map(|high| -high), row.ci_low.map(|low| -low));
            row.verdict = match row.verdict.as_str() {
                "lower" => "higher".into(),
                "higher" => "lower".into(),
                other => other.into(),
            };
        }
        assert_eq!(found(&summary), Some(before));
        summary.reference = None;
        assert_eq!(found(&summary), None);
    }

    #[test]
    fn the_edit_at_half_lies_between_the_points_around_it() {
        let summary = fixture::summary(1);
        let patched = Patched::of(&summary).expect("a task");
        let curve = |method: &str| {
            patched.dictionary(&fixture::hook(0), method).and_then(|one| one.curve(MAIN_ORDER))
        };
        let topk = curve("topk").expect("a curve");
        let at = |n: usize| topk.at(n).and_then(|point| point.edit_size.known()).expect("an edit size");
        let edit = topk.edit_at_half().expect("defined");
        // Half is at 9 features, between the points at 8 and at 16.
        assert!(at(8) < edit && edit < at(16), "{} {edit} {}", at(8), at(16));
        assert_eq!(curve("neuron").expect("a curve").edit_at_half(), None);
    }

    #[test]
    fn numbers_are_printed_as_counts_and_undefined_ones_with_their_reason() {
        let number = |value: Option<f64>, reason: Option<&str>| PatchedNumber {
            value,
            ci_low: value.map(|value| 0.5 * value),
            ci_high: value.map(|value| 1.5 * value),
            reason: reason.map(String::from),
        };
        assert_eq!(number(Some(9.0), None).text(features_text), "9 [4.5, 14]");
        assert_eq!(number(Some(1234.4), None).text(features_text), "1,234 [617, 1,852]");
        assert_eq!(number(None, Some("never")).text_or_reason(features_text), "— (never)");
        assert_eq!(number(None, Some("never")).text(features_text), "—");
        assert_eq!(number(Some(f64::NAN), None).text(nats_text), "—");
    }
}
