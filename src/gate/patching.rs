//! Patching on a task in two runs, and in accepted runs: the two numbers of every curve, with their intervals.

use schemars::JsonSchema;
use serde::Serialize;

use super::curve::{CurveNumber, kind_of, numbers};
use super::quantities::{Kind, Quantity};
use super::series::RunNumbers;
use crate::base::distinct;
use crate::report::{PatchedNumber, Summary};
use crate::stats::RunSeries;

/// Standard errors in half of a 95 % interval.
const HALF_INTERVAL: f64 = 1.96;

/// One number of one curve in both runs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct PatchingChange {
    /// Hook point.
    pub hook: String,
    /// Method.
    pub method: String,
    /// Order of the features.
    pub order: String,
    /// `area`, in nats, or `half`, in features. Lower is better.
    pub number: String,
    /// The number in the first run.
    pub a: PatchedNumber,
    /// The number in the second run.
    pub b: PatchedNumber,
    /// Second minus first.
    pub difference: Option<f64>,
    /// Lower end of its interval, from the intervals of both numbers as if the runs were independent.
    pub ci_low: Option<f64>,
    /// Upper end.
    pub ci_high: Option<f64>,
    /// Whether both numbers agree to the last digit.
    pub identical: bool,
    /// `higher` or `lower` if the interval excludes 0, else `no difference detected`; null without a difference.
    pub verdict: Option<String>,
}

/// The changes of the curves that both runs have, and why the others are not compared.
pub fn patching_changes(a: &Summary, b: &Summary) -> (Vec<PatchingChange>, Vec<String>) {
    let (task_a, task_b) = match (&a.patching, &b.patching) {
        (None, None) => return (Vec::new(), Vec::new()),
        (Some(_), None) => return (Vec::new(), vec!["patching on a task: only in the first run".into()]),
        (None, Some(_)) => return (Vec::new(), vec!["patching on a task: only in the second run".into()]),
        (Some(task_a), Some(task_b)) => (task_a, task_b),
    };
    if kind_of(task_a) != kind_of(task_b) {
        let why = format!(
            "patching on a task: {} in the first run, {} in the second",
            kind_of(task_a),
            kind_of(task_b)
        );
        return (Vec::new(), vec![why]);
    }
    let (of_a, of_b) = (numbers(task_a), numbers(task_b));
    let both = of_b.iter().filter_map(|(key, number_b)| {
        let (_, number_a) = of_a.iter().find(|(other, _)| other == key)?;
        Some(change(*key, number_a, number_b))
    });
    let only =
        |these: &[([&str; 4], &PatchedNumber)], others: &[([&str; 4], &PatchedNumber)], which: &str| {
            let gone = these.iter().filter(|(key, _)| others.iter().all(|(other, _)| other != key));
            let lines = gone.map(|([hook, method, order, _], _)| {
                format!("patching with {method} at {hook}, order {order}: only in the {which} run")
            });
            distinct(lines)
        };
    let not_compared = [only(&of_a, &of_b, "first"), only(&of_b, &of_a, "second")].concat();
    (both.collect(), not_compared)
}

/// The difference of two independent numbers. Its interval follows from theirs (Zou and Donner 2008, *Construction of
/// confidence limits about effect measures*, section 2).
fn change([hook, method, order, number]: [&str; 4], a: &PatchedNumber, b: &PatchedNumber) -> PatchingChange {
    let difference = a.value.zip(b.value).map(|(a, b)| b - a);
    let ends = |number: &PatchedNumber| number.value.zip(number.ci_low.zip(number.ci_high));
    let interval = ends(a).zip(ends(b)).map(|((a, (a_low, a_high)), (b, (b_low, b_high)))| {
        (b - a - (b - b_low).hypot(a_high - a), b - a + (b_high - b).hypot(a - a_low))
    });
    let identical = a == b;
    let verdict = difference.map(|_| match interval {
        Some((low, _)) if low > 0.0 => "higher",
        Some((_, high)) if high < 0.0 => "lower",
        _ => "no difference detected",
    });
    PatchingChange {
        hook: hook.into(),
        method: method.into(),
        order: order.into(),
        number: number.into(),
        a: a.clone(),
        b: b.clone(),
        difference,
        ci_low: interval.map(|(low, _)| low),
        ci_high: interval.map(|(_, high)| high),
        identical,
        verdict: verdict.map(String::from),
    }
}

/// Where a number belongs, in words.
fn subject(number: &CurveNumber) -> String {
    format!("{} at {}, order {}", number.method, number.hook, number.order)
}

fn is_same(a: &CurveNumber, b: &CurveNumber) -> bool {
    let key =
        |one: &CurveNumber| [&one.task, &one.hook, &one.method, &one.order, &one.number].map(String::clone);
    key(a) == key(b)
}

/// The same number of a run, if it is defined there.
fn of_run<'r>(run: &'r RunNumbers, wanted: &CurveNumber) -> Option<&'r CurveNumber> {
    run.patching.iter().find(|other| is_same(other, wanted)).filter(|other| other.value.is_some())
}

/// Numbers that every accepted run has.
fn of_all(accepted: &[RunNumbers]) -> impl Iterator<Item = &CurveNumber> {
    let first = accepted.first().map_or(&[][..], |run| &run.patching);
    first.iter().filter(|number| accepted.iter().all(|run| of_run(run, number).is_some()))
}

/// Numbers that every accepted run has and the new one has not.
pub(super) fn missing(accepted: &[RunNumbers], now: &RunNumbers) -> Vec<String> {
    let gone = of_all(accepted).filter(|number| of_run(now, number).is_none());
    gone.map(|number| {
        format!("{} has no `{}` of patching: every accepted run has", subject(number), number.number)
    })
    .collect()
}

/// Each number at each hook point, for every method and order; changes are ratios.
pub(super) fn kinds(accepted: &[RunNumbers], now: &RunNumbers, margins: [f64; 2]) -> Vec<Kind> {
    let kind = |(name, margin): (&str, f64)| {
        let quantity = |number: &CurveNumber| {
            let former: Option<Vec<&CurveNumber>> = accepted.iter().map(|run| of_run(run, number)).collect();
            let (former, now) = (former?, of_run(now, number)?);
            let within: Option<Vec<f64>> = former.iter().map(|one| variance_of_log(one)).collect();
            let series = RunSeries {
                former: former.iter().filter_map(|one| one.value).collect(),
                now: now.value?,
                within_former: within.map(|within| within.iter().sum::<f64>() / within.len() as f64),
                within_now: variance_of_log(now),
            };
            Some(Quantity { subject: subject(number), n_hooks: 1, n_features: None, series })
        };
        let quantities = of_all(accepted).filter(|one| one.number == name).filter_map(quantity).collect();
        Kind::new(name, false, true, margin, quantities)
    };
    [("area", margins[0]), ("half", margins[1])].map(kind).into()
}

/// Variance of the logarithm of a number, from its interval; none without a positive one.
fn variance_of_log(number: &CurveNumber) -> Option<f64> {
    let (low, high) =
        number.ci_low.zip(number.ci_high).filter(|(low, high)| *low > 0.0 && high.is_finite())?;
    let error = (high / low).ln() / (2.0 * HALF_INTERVAL);
    Some(error * error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::patching_fixture;

    fn number(value: f64, half: f64) -> PatchedNumber {
        PatchedNumber {
            value: Some(value),
            ci_low: Some(value - half),
            ci_high: Some(value + half),
            reason: None,
        }
    }

    #[test]
    fn a_change_beyond_both_intervals_is_said() {
        let key = ["hook", "topk", "attribution", "half"];
        let found = change(key, &number(10.0, 3.0), &number(18.0, 4.0));
        // √(3² + 4²) = 5 to each side of 8.
        assert_eq!((found.difference, found.ci_low, found.ci_high), (Some(8.0), Some(3.0), Some(13.0)));
        assert_eq!(found.verdict.as_deref(), Some("higher"));
        assert_eq!(change(key, &number(18.0, 4.0), &number(10.0, 3.0)).verdict.as_deref(), Some("lower"));
        let close = change(key, &number(10.0, 3.0), &number(14.0, 4.0));
        assert_eq!(close.verdict.as_deref(), Some("no difference detected"));
        let never = PatchedNumber { reason: Some("never".into()), ..PatchedNumber::default() };
        let undefined = change(key, &number(10.0, 3.0), &never);
        assert_eq!((undefined.difference, undefined.verdict), (None, None));
    }

    #[test]
    fn runs_without_the_same_task_are_not_compared() {
        let with = patching_fixture::summary(1);
        let without = Summary { patching: None, ..with.clone() };
        let (none, why) = patching_changes(&without, &without);
        assert!(none.is_empty() && why.is_empty());
        assert_eq!(patching_changes(&with, &without).1, ["patching on a task: only in the first run"]);
        let mut other = with.clone();
        other.patching.as_mut().expect("a task").divergence = "target_patched".into();
        let (none, why) = patching_changes(&with, &other);
        assert!(
            none.is_empty() && why[0].contains("ioi (embedded), target_patched in the second"),
            "{why:?}"
        );
        let (all, why) = patching_changes(&with, &with);
        // Four methods with curves, three orders, two numbers.
        assert_eq!(all.len(), 4 * 3 * 2);
        assert!(why.is_empty() && all.iter().all(|one| one.identical));
    }
}
