//! Coverage of the intervals, by simulation.

use rayon::prelude::*;

use super::*;
use crate::base::Stream;

/// A population similar to scores, with its true mean.
pub(super) struct Population {
    pub(super) name: &'static str,
    pub(super) mean: f64,
    pub(super) draw: fn(&mut Stream) -> f64,
}

/// Normal values outside −1..1 are drawn again.
fn truncated_normal(stream: &mut Stream) -> f64 {
    loop {
        let value = 0.25 + 0.25 * stream.normal();
        if value.abs() <= 1.0 {
            return value;
        }
    }
}

/// The `k`-th smallest of `n` uniform values: Beta(k, n + 1 − k).
pub(super) fn beta(stream: &mut Stream, k: usize, n: usize) -> f64 {
    let mut values: Vec<f64> = (0..n).map(|_| stream.unit()).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[k - 1]
}

pub(super) fn populations() -> [Population; 4] {
    // The truncation at −1 and 1 is five and three deviations off: φ(3) = 0.00443185, φ(5) = 1.487e-6.
    let cut = 0.25 * (1.486_72e-6 - 0.004_431_848) / (0.998_650_102 - 2.866_5e-7);
    [
        Population { name: "normal cut to -1..1 (0.25, 0.25)", mean: 0.25 + cut, draw: truncated_normal },
        Population { name: "Beta(2, 5)", mean: 2.0 / 7.0, draw: |stream| beta(stream, 2, 6) },
        Population { name: "Beta(1, 6), skew 1.3", mean: 1.0 / 7.0, draw: |stream| beta(stream, 1, 6) },
        Population {
            name: "40 % zeros, else Beta(2, 4)",
            mean: 0.6 / 3.0,
            draw: |stream| if stream.chance(0.4) { 0.0 } else { beta(stream, 2, 5) },
        },
    ]
}

/// Share of `trials` whose 95 % interval contains the mean, and the shares that miss it above and below.
fn coverage(
    population: &Population,
    method: IntervalMethod,
    n: usize,
    trials: usize,
    resamples: usize,
) -> (f64, f64, f64) {
    let trial = |index: usize| {
        let name = format!("{} {n} {index}", population.name);
        let mut stream = Stream::new(1, &name);
        let values: Vec<f64> = (0..n).map(|_| (population.draw)(&mut stream)).collect();
        let plan = Bootstrap { method, confidence: 0.95, resamples, seed: 2, stream: name };
        let interval = plan.mean(&values).expect("defined").interval;
        (usize::from(population.mean < interval.low), usize::from(population.mean > interval.high))
    };
    let add = |a: (usize, usize), b: (usize, usize)| (a.0 + b.0, a.1 + b.1);
    let (above, below) = (0..trials).into_par_iter().map(trial).reduce(|| (0, 0), add);
    let share = |count: usize| count as f64 / trials as f64;
    (1.0 - share(above + below), share(above), share(below))
}

#[test]
fn populations_have_the_means_they_claim() {
    for population in populations() {
        let mut stream = Stream::new(3, population.name);
        let draws: Vec<f64> = (0..200_000).map(|_| (population.draw)(&mut stream)).collect();
        let error = sd(&draws).expect("many") / (draws.len() as f64).sqrt();
        let apart = (mean(&draws).expect("many") - population.mean).abs();
        assert!(apart < 4.0 * error, "{}: {apart} with standard error {error}", population.name);
    }
}

/// The bounds are three standard errors (0.7 % for 1,000 trials) around the results of `full_coverage_table`.
#[test]
fn the_bca_interval_covers() {
    for population in populations() {
        for (n, low, high) in [(40, 0.915, 0.965), (150, 0.925, 0.970)] {
            let (covered, above, below) = coverage(&population, IntervalMethod::Bca, n, 1000, 1000);
            let what = format!("{}, n = {n}: {covered} ({above} above, {below} below)", population.name);
            assert!((low..=high).contains(&covered), "{what}");
        }
    }
}

/// The table of `results/README.md`. Takes minutes: run it by name with `--ignored --nocapture`.
#[test]
#[ignore = "minutes of simulation; its table is in results/README.md"]
fn full_coverage_table() {
    println!("| population | n | method | covered | interval too high | interval too low |");
    for population in populations() {
        for n in [40, 150] {
            for method in [IntervalMethod::Bca, IntervalMethod::Percentile, IntervalMethod::Normal] {
                let (covered, above, below) = coverage(&population, method, n, 20_000, 2000);
                let percent = |share: f64| format!("{:.1} %", 100.0 * share);
                let (covered_text, above, below) = (percent(covered), percent(above), percent(below));
                println!("| {} | {n} | {method:?} | {covered_text} | {above} | {below} |", population.name);
                assert!(covered > 0.9, "{}, n = {n}, {method:?}: {covered}", population.name);
            }
        }
    }
}

/// Groups whose means have standard deviation 0.05 around 0.3; each has 40 values with standard deviation
/// 0.25.
fn seeded_coverage(n_seeds: usize, trials: usize) -> f64 {
    let trial = |index: usize| {
        let name = format!("seeds {n_seeds} {index}");
        let mut stream = Stream::new(1, &name);
        let group = |stream: &mut Stream| {
            let centre = 0.3 + 0.05 * stream.normal();
            (0..40).map(|_| centre + 0.25 * stream.normal()).collect::<Vec<f64>>()
        };
        let groups: Vec<Vec<f64>> = (0..n_seeds).map(|_| group(&mut stream)).collect();
        let method = IntervalMethod::Bca;
        let plan = Bootstrap { method, confidence: 0.95, resamples: 1000, seed: 2, stream: name };
        let interval = plan.mean_by_group(&groups).expect("defined").interval;
        usize::from((interval.low..=interval.high).contains(&0.3))
    };
    (0..trials).into_par_iter().map(trial).sum::<usize>() as f64 / trials as f64
}

/// Share of `trials` with equal means and p below 5 %; the smaller sample has three times the spread.
fn false_alarms(n_a: usize, n_b: usize, trials: usize, permutations: usize) -> f64 {
    let trial = |index: usize| {
        let name = format!("level {n_a} {n_b} {index}");
        let mut stream = Stream::new(1, &name);
        let a: Vec<f64> = (0..n_a).map(|_| 0.3 * (beta(&mut stream, 1, 3) - 0.25)).collect();
        let b: Vec<f64> = (0..n_b).map(|_| 0.1 * (beta(&mut stream, 1, 3) - 0.25)).collect();
        usize::from(welch_permutation_p(&a, &b, permutations, 2, &name).expect("defined") < 0.05)
    };
    (0..trials).into_par_iter().map(trial).sum::<usize>() as f64 / trials as f64
}

#[test]
fn the_permutation_test_keeps_its_level_under_unequal_spread_and_size() {
    let rate = false_alarms(25, 40, 1000, 500);
    // A permutation test of the plain difference gives 12 % here.
    assert!((0.03..0.08).contains(&rate), "{rate}");
}

#[test]
#[ignore = "minutes of simulation; its figures are in results/README.md"]
fn full_seed_and_level_table() {
    for n_seeds in [2, 3, 5, 10] {
        let covered = seeded_coverage(n_seeds, 5000);
        println!("{n_seeds} seeds: {:.1} %", 100.0 * covered);
        assert!(covered > 0.5);
    }
    for (n_a, n_b) in [(25, 40), (40, 40), (40, 150)] {
        let rate = false_alarms(n_a, n_b, 10_000, 1000);
        println!("level at {n_a} and {n_b}: {:.1} %", 100.0 * rate);
        assert!(rate < 0.1);
    }
}
