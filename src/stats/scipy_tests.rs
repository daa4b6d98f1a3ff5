//! Agreement with SciPy and NumPy on small samples (`tests/fixtures/stats/make_scipy.py`).

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Fixture {
    bootstrap: Vec<BootstrapCase>,
    permutation: Vec<PermutationCase>,
    paired: Vec<PairedCase>,
    quantiles: Vec<QuantileCase>,
    describe: DescribeCase,
    correlation: CorrelationCase,
}

#[derive(Deserialize)]
struct BootstrapCase {
    name: String,
    samples: Vec<Vec<f64>>,
    statistic: String,
    confidence: f64,
    point: f64,
    distribution: Vec<f64>,
    bca: (f64, f64),
    percentile: (f64, f64),
}

#[derive(Deserialize)]
struct PermutationCase {
    name: String,
    a: Vec<f64>,
    b: Vec<f64>,
    t: f64,
    p: f64,
}

#[derive(Deserialize)]
struct PairedCase {
    name: String,
    a: Vec<f64>,
    b: Vec<f64>,
    p: f64,
}

#[derive(Deserialize)]
struct QuantileCase {
    values: Vec<f64>,
    p: f64,
    quantile: f64,
}

#[derive(Deserialize)]
struct DescribeCase {
    values: Vec<f64>,
    mean: f64,
    sd: f64,
}

#[derive(Deserialize)]
struct CorrelationCase {
    x: Vec<f64>,
    y: Vec<f64>,
    weights: Vec<f64>,
    pearson: f64,
    weighted: f64,
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/stats/scipy.json");
    let text = crate::base::read_to_string(path.as_ref()).expect("the fixture");
    serde_json::from_str(&text).expect("the fixture's fields")
}

/// The statistic of one sample, or the difference of means of two.
fn statistic(case: &BootstrapCase, samples: &[Vec<f64>]) -> f64 {
    match case.statistic.as_str() {
        "mean" => mean(&samples[0]).expect("a mean"),
        "median" => quantile(&samples[0], 0.5).expect("a median"),
        "variance" => sd(&samples[0]).expect("a deviation").powi(2),
        "difference_of_means" => mean(&samples[0]).expect("a mean") - mean(&samples[1]).expect("a mean"),
        other => panic!("unknown statistic `{other}`"),
    }
}

/// Jackknife influences: each value of each sample is left out in turn.
fn influences(case: &BootstrapCase) -> Vec<Vec<f64>> {
    let of = |sample: usize| {
        let n = case.samples[sample].len();
        let without = |i: usize| {
            let mut samples = case.samples.clone();
            samples[sample].remove(i);
            statistic(case, &samples)
        };
        let values: Vec<f64> = (0..n).map(without).collect();
        let centre = values.iter().sum::<f64>() / n as f64;
        values.iter().map(|value| (n as f64 - 1.0) * (centre - value)).collect()
    };
    (0..case.samples.len()).map(of).collect()
}

fn assert_close(what: &str, got: (f64, f64), expected: (f64, f64)) {
    let apart = (got.0 - expected.0).abs().max((got.1 - expected.1).abs());
    assert!(apart <= 1e-12, "{what}: {got:?} against {expected:?}, {apart:e} apart");
}

#[test]
fn endpoints_from_the_same_distribution_agree() {
    for case in fixture().bootstrap {
        let sorted = describe::sorted(&case.distribution);
        assert!((statistic(&case, &case.samples) - case.point).abs() < 1e-14, "{}", case.name);
        assert_close(&case.name, percentile_endpoints(&sorted, case.confidence), case.percentile);
        let influences = influences(&case);
        let slices: Vec<&[f64]> = influences.iter().map(Vec::as_slice).collect();
        let bca = bca_endpoints(&sorted, case.point, acceleration(&slices), case.confidence);
        assert_close(&case.name, bca.expect("not degenerate"), case.bca);
    }
}

#[test]
fn own_resampling_agrees_with_scipy() {
    for case in fixture().bootstrap {
        let plan = Bootstrap {
            method: IntervalMethod::Bca,
            confidence: case.confidence,
            resamples: 10_000,
            seed: 1,
            stream: case.name.clone(),
        };
        let interval = match case.statistic.as_str() {
            "mean" => plan.mean(&case.samples[0]).expect("defined").interval,
            "difference_of_means" => {
                let test = DifferenceTest { bootstrap: plan, permutations: 100 };
                test.unpaired(&case.samples[0], &case.samples[1]).expect("defined").interval
            }
            _ => {
                plan.statistic(&case.samples[0], |values| statistic(&case, &[values.to_vec()]))
                    .expect("defined")
                    .interval
            }
        };
        assert_eq!(interval.method, IntervalMethod::Bca, "{}", case.name);
        // SciPy's endpoints rest on 400–999 resamples: their Monte Carlo error is several percent of the
        // width.
        let width = case.bca.1 - case.bca.0;
        assert!(
            (interval.low - case.bca.0).abs() < 0.15 * width,
            "{}: {interval:?} {:?}",
            case.name,
            case.bca
        );
        assert!(
            (interval.high - case.bca.1).abs() < 0.15 * width,
            "{}: {interval:?} {:?}",
            case.name,
            case.bca
        );
    }
}

/// Five standard errors of the difference of two Monte Carlo p-values.
fn tolerance(p: f64, permutations: usize) -> f64 {
    5.0 * (2.0 * p * (1.0 - p) / permutations as f64).sqrt() + 1e-12
}

#[test]
fn permutation_tests_agree_within_monte_carlo_error() {
    for case in fixture().permutation {
        let t = welch_t(&case.a, &case.b).expect("defined").expect("varies");
        assert!((t - case.t).abs() < 1e-10, "{}: t {t} against {}", case.name, case.t);
        let p = welch_permutation_p(&case.a, &case.b, 99_999, 3, &case.name).expect("defined");
        assert!((p - case.p).abs() < tolerance(case.p, 99_999), "{}: p {p} against {}", case.name, case.p);
    }
    for case in fixture().paired {
        let differences: Vec<f64> = case.a.iter().zip(&case.b).map(|(a, b)| a - b).collect();
        let p = sign_flip_p(&differences, 99_999, 3, &case.name).expect("defined");
        assert!((p - case.p).abs() < tolerance(case.p, 99_999), "{}: p {p} against {}", case.name, case.p);
    }
}

#[test]
fn descriptions_agree_with_numpy() {
    let fixture = fixture();
    for case in fixture.quantiles {
        let quantile = quantile(&case.values, case.p).expect("defined");
        assert!((quantile - case.quantile).abs() < 1e-15, "p = {}", case.p);
    }
    let summary = describe(&fixture.describe.values).expect("defined");
    assert!((summary.mean - fixture.describe.mean).abs() < 1e-15);
    assert!((summary.sd.expect("many values") - fixture.describe.sd).abs() < 1e-15);
    let case = fixture.correlation;
    assert!((pearson(&case.x, &case.y).expect("defined") - case.pearson).abs() < 1e-14);
    let weighted = weighted_pearson(&case.x, &case.y, &case.weights).expect("defined");
    assert!((weighted - case.weighted).abs() < 1e-14);
}
