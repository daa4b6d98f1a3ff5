use std::collections::BTreeMap;
use std::path::Path;

use super::curve::half;
use super::*;
use crate::base::Digester;
use crate::causal::{MeasuredPoint, TaskPairs};

const PAIRS: usize = 12;

/// A dictionary whose divergence falls by `factor` at each point, with some spread between pairs.
fn measured(factor: f64, contrast: f64) -> PatchedPairs {
    let spread = |pair: usize| 1.0 + 0.05 * (pair % 4) as f64;
    let list = |value: &dyn Fn(usize) -> f64| (0..PAIRS).map(value).collect::<Vec<f64>>();
    let point = |(step, n_features): (usize, usize)| MeasuredPoint {
        n_features,
        kl: list(&|pair| 2.0 * spread(pair) * factor.powi(step as i32)),
        difference: list(&|pair| -1.0 + contrast * spread(pair) * step as f64 / 3.0),
        edit_size: list(&|pair| spread(pair) * step as f64),
    };
    let curve = |order: &str, is_control, numbers: &[usize]| MeasuredCurve {
        order: order.into(),
        is_control,
        points: numbers.iter().copied().enumerate().map(point).collect(),
    };
    let mut acdc = curve("acdc", false, &[0, 1, 3, 7]);
    acdc.points.retain(|point| point.n_features != 1);
    PatchedPairs {
        n_features: 7,
        n_exact: 4,
        base_difference: list(&|_| -1.0),
        target_difference: list(&|pair| -1.0 + contrast * spread(pair)),
        curves: vec![
            curve("attribution", false, &[0, 1, 3, 7]),
            acdc,
            curve("random_features", true, &[0, 7]),
        ],
        ..PatchedPairs::default()
    }
}

fn found(second: Result<PatchedPairs, String>, contrast: f64) -> TaskPatching {
    let text = "hooks: [hook_embed]\nmethods: [{kind: topk, k: 4}, {kind: random}]\ntask: {kind: ioi, orders: [attribution, acdc]}\n\
                statistics: {resamples: 500, permutations: 500, reference: topk}\n";
    let suite = crate::suite::parse(text, Path::new("task.yaml"), &[]).expect("a valid suite");
    let spec = suite.task.clone().expect("a task");
    let row =
        |method: &str, measured| PatchedRow { hook: "hook_embed".into(), method: method.into(), measured };
    let task = Task {
        pairs: TaskPairs { base: vec![vec![1]; PAIRS], ..TaskPairs::default() },
        skipped: BTreeMap::from([("unequal_lengths".to_string(), 3)]),
        n_right: 11,
        digest: Digester::new("test").finish(),
        file: None,
        warnings: Vec::new(),
    };
    patching(&suite, &spec, &task, &[row("topk", Ok(measured(0.4, contrast))), row("random", second)])
}

#[test]
fn half_is_interpolated_in_the_logarithm_and_undefined_if_never_reached() {
    let x = [0.0, 1.0, 2.0];
    assert_eq!(half(&x, &[4.0, 3.0, 1.0]), Some(1.5f64.exp2() - 1.0));
    assert_eq!(half(&x, &[4.0, 2.0, 1.0]), Some(1.0));
    assert_eq!(half(&x, &[4.0, 3.9, 2.1]), None);
    assert_eq!(half(&x, &[0.0, 0.0, 0.0]), None);
}

#[test]
fn curves_have_numbers_with_intervals_and_the_better_method_is_lower() {
    let found = found(Ok(measured(0.7, 3.0)), 3.0);
    assert_eq!((found.n_pairs, found.n_right, found.skipped["unequal_lengths"]), (PAIRS, 11, 3));
    let topk = &found.dictionaries[0];
    let orders: Vec<&str> = topk.curves.iter().map(|curve| curve.order.as_str()).collect();
    assert_eq!(orders, ["attribution", "acdc", "random_features"]);
    for number in
        topk.curves[0].points.iter().flat_map(|point| [&point.kl, &point.edit_size, &point.logit_difference])
    {
        let (low, value, high) =
            (number.ci_low.expect("low"), number.value.expect("a value"), number.ci_high.expect("high"));
        assert!(low <= value + 1e-9 && value <= high + 1e-9 && number.reason.is_none(), "{number:?}");
    }
    let last = topk.curves[0].points.last().and_then(|point| point.logit_difference.value).expect("a ratio");
    assert!((last - 1.0).abs() < 1e-12, "all features give the target's answer: {last}");
    // x = 0, 1, 2, 3 and y = m (1, 0.4, 0.16, 0.064) with m = 2 · 1.075.
    let area = topk.curves[0].area.value.expect("an area");
    assert!((area - 2.15 * (0.5 + 0.4 + 0.16 + 0.032) / 3.0).abs() < 1e-12, "{area}");
    let half = topk.curves[0].half.value.expect("half");
    assert!((half - ((0.5f64 / 0.6).exp2() - 1.0)).abs() < 1e-9, "{half}");
    let row = |order: &str, number: &str| {
        let is = |row: &&crate::report::PatchedDifference| row.order == order && row.number == number;
        found.differences.iter().find(is).expect("a difference").clone()
    };
    assert_eq!(found.differences.len(), 4);
    for (order, number) in [("attribution", "area"), ("attribution", "half"), ("acdc", "area")] {
        let row = row(order, number);
        assert_eq!((row.method_a.as_str(), row.method_b.as_str()), ("topk", "random"));
        assert_eq!(row.verdict, "lower", "{row:?}");
        assert!(row.ci_high.expect("an end") < 0.0 && row.p_adjusted >= row.p, "{row:?}");
    }
}

#[test]
fn what_is_undefined_has_a_reason() {
    let slow = found(Ok(measured(0.99, 0.0)), 0.0);
    let curve = &slow.dictionaries[1].curves[0];
    assert_eq!(
        (curve.half.value, curve.half.reason.as_deref()),
        (None, Some("the divergence stays above half"))
    );
    let ratio = &curve.points[1].logit_difference;
    assert_eq!(
        (ratio.value, ratio.reason.as_deref()),
        (None, Some("target run and base run do not differ in the logits"))
    );
    let undefined = slow.differences.iter().find(|row| row.number == "half").expect("a row");
    assert_eq!((undefined.difference, undefined.p, undefined.verdict.as_str()), (None, None, "undefined"));
    let encodes = found(Err("it only encodes".into()), 3.0);
    assert_eq!(encodes.dictionaries[1].note.as_deref(), Some("it only encodes"));
    assert!(encodes.dictionaries[1].curves.is_empty() && encodes.differences.is_empty());
    let mut broken = measured(0.4, 3.0);
    broken.curves[0].points[1].kl[3] = f64::NAN;
    let broken = found(Ok(broken), 3.0);
    assert_eq!(
        broken.dictionaries[1].curves[0].area.reason.as_deref(),
        Some("value 3 is not a finite number")
    );
}
