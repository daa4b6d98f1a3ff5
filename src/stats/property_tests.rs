use proptest::prelude::*;

use super::*;

fn plan(method: IntervalMethod, resamples: usize) -> Bootstrap {
    Bootstrap { method, confidence: 0.95, resamples, seed: 5, stream: "property".into() }
}

fn sample(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1.0..1.0f64, n)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn means_and_intervals_stay_inside_the_sample(values in sample(2..30)) {
        let (low, high) = describe::range(&values);
        for method in [IntervalMethod::Bca, IntervalMethod::Percentile] {
            let estimate = plan(method, 400).mean(&values).expect("defined");
            prop_assert!(low <= estimate.point && estimate.point <= high);
            prop_assert!(low <= estimate.interval.low && estimate.interval.high <= high + 1e-15);
            prop_assert!(estimate.interval.low <= estimate.interval.high);
        }
        let group = plan(IntervalMethod::Bca, 400).mean_by_group(&[values.clone(), values.clone()]);
        prop_assert!((group.expect("defined").point - mean(&values).expect("defined")).abs() < 1e-12);
    }

    #[test]
    fn the_order_of_the_sample_does_not_move_its_mean(values in sample(2..40)) {
        let backwards: Vec<f64> = values.iter().rev().copied().collect();
        prop_assert_eq!(mean(&values), mean(&backwards));
        let (forth, back) = (describe(&values).expect("defined"), describe(&backwards).expect("defined"));
        prop_assert_eq!((forth.median, forth.q25, forth.max), (back.median, back.q25, back.max));
    }

    #[test]
    fn correlations_are_bounded_symmetric_and_blind_to_order_and_scale(
        pairs in prop::collection::vec((-1.0..1.0f64, -1.0..1.0f64, 0.01..1.0f64), 3..40),
        scale in 0.001..1000.0f64,
    ) {
        let column = |pick: fn(&(f64, f64, f64)) -> f64| pairs.iter().map(pick).collect::<Vec<f64>>();
        let (x, y, w) = (column(|p| p.0), column(|p| p.1), column(|p| p.2));
        let r = weighted_pearson(&x, &y, &w).expect("defined");
        prop_assert!((-1.0..=1.0).contains(&r));
        prop_assert!((weighted_pearson(&y, &x, &w).expect("defined") - r).abs() < 1e-12);
        let scaled: Vec<f64> = y.iter().map(|value| 3.0 - value * scale).collect();
        prop_assert!((weighted_pearson(&x, &scaled, &w).expect("defined") + r).abs() < 1e-9);
        let back = |column: &[f64]| column.iter().rev().copied().collect::<Vec<f64>>();
        let backwards = weighted_pearson(&back(&x), &back(&y), &back(&w)).expect("defined");
        prop_assert!((backwards - r).abs() < 1e-12);
    }

    #[test]
    fn p_values_are_probabilities_and_holm_never_lowers_them(a in sample(2..12), b in sample(2..12)) {
        let p = welch_permutation_p(&a, &b, 200, 1, "property").expect("defined");
        prop_assert!(p > 0.0 && p <= 1.0);
        let bare = [p, 0.5 * p, 0.9];
        let adjusted = holm(&bare);
        prop_assert!(adjusted.iter().zip(bare).all(|(adjusted, bare)| *adjusted >= bare && *adjusted <= 1.0));
    }

    #[test]
    fn shifting_and_scaling_the_sample_shifts_and_scales_the_interval(
        values in sample(5..30), shift in -2.0..2.0f64, scale in 0.1..10.0f64,
    ) {
        let moved: Vec<f64> = values.iter().map(|value| shift + scale * value).collect();
        let plan = plan(IntervalMethod::Bca, 300);
        let (before, after) = (plan.mean(&values).expect("defined"), plan.mean(&moved).expect("defined"));
        prop_assert!((after.interval.low - (shift + scale * before.interval.low)).abs() < 1e-9);
        prop_assert!((after.interval.high - (shift + scale * before.interval.high)).abs() < 1e-9);
    }
}

#[test]
fn the_width_shrinks_with_the_square_root_of_n() {
    let width = |n: usize| {
        let values: Vec<f64> = (0..n).map(|i| f64::from(u32::try_from(i % 10).expect("small"))).collect();
        let interval = plan(IntervalMethod::Bca, 4000).mean(&values).expect("defined").interval;
        interval.high - interval.low
    };
    let ratio = width(50) / width(800);
    assert!((ratio - 4.0).abs() < 0.3, "{ratio}");
}
