//! The max-t bootstrap: degenerate rows, agreement with SciPy, coverage by simulation.

use proptest::prelude::*;
use rayon::prelude::*;

use super::coverage_tests::{Population, beta, populations};
use super::normal::normal_quantile;
use super::*;
use crate::base::Stream;

fn plan(resamples: usize) -> MaxT {
    MaxT { confidence: 0.95, resamples, seed: 7, stream: "test".into() }
}

fn row(name: &str, strata: Vec<Vec<f64>>) -> Row {
    Row { name: name.into(), strata: strata.into_iter().map(|values| vec![values]).collect() }
}

/// `n` quantiles of a normal distribution: a sample without chance.
fn normal_values(n: usize, mean: f64, sd: f64) -> Vec<f64> {
    (0..n).map(|i| mean + sd * normal_quantile((i as f64 + 0.5) / n as f64)).collect()
}

#[test]
fn the_mean_weights_strata_and_groups_equally() {
    let strata = vec![vec![vec![0.0, 1.0], vec![3.0, 3.5, 4.0, 3.5]], vec![vec![10.0, 20.0, 30.0]]];
    let found = plan(400).compare(&[Row { name: "a".into(), strata }]);
    // Groups of the first stratum: 0.5 and 3.5, mean 2; second stratum: 20.
    assert_eq!(found.rows[0].mean, Ok(11.0));
    let (low, high) = found.rows[0].interval.expect("an interval");
    assert!(low < 11.0 && (low + high - 22.0).abs() < 1e-9);
    assert_eq!((found.critical_pair, &found.separated), (None, &vec![vec![false]]));
}

#[test]
fn rows_that_cannot_be_compared_have_a_reason_and_disturb_nothing() {
    let good = [row("a", vec![normal_values(40, 0.5, 0.2)]), row("b", vec![normal_values(40, 0.1, 0.2)])];
    let alone = plan(1000).compare(&good);
    assert!(alone.separated[0][1] && alone.separated[1][0] && !alone.separated[0][0]);
    let mut rows = good.to_vec();
    rows.push(row("constant", vec![vec![0.0; 40]]));
    rows.push(row("one value", vec![vec![0.3, 0.4], vec![0.5]]));
    rows.push(row("empty", vec![vec![0.3, 0.4], vec![]]));
    rows.push(row("nan", vec![vec![0.3, f64::NAN]]));
    rows.push(row("nothing", vec![]));
    let mut sparse = vec![0.0; 38];
    sparse.extend([0.4, 0.7]);
    rows.push(row("sparse", vec![sparse]));
    let found = plan(1000).compare(&rows);
    assert_eq!(found.rows[..2], alone.rows[..]);
    assert_eq!(found.critical_pair, alone.critical_pair);
    let too_few = |got| Undefined::TooFew { need: 2, got };
    assert_eq!(found.rows[2], RowMean { mean: Ok(0.0), interval: Err(Undefined::TooFewDistinct) });
    assert_eq!(found.rows[3].interval, Err(too_few(1)));
    assert!((found.rows[3].mean.expect("a mean") - 0.425).abs() < 1e-12);
    let empty = Undefined::TooFew { need: 1, got: 0 };
    assert_eq!(found.rows[4], RowMean { mean: Err(empty), interval: Err(empty) });
    assert_eq!(found.rows[5].mean, Err(Undefined::NotFinite { index: 1 }));
    assert_eq!(found.rows[6].mean, Err(empty));
    // Two of forty values differ from the rest: 13 % of the resamples would have no spread.
    assert_eq!(found.rows[7].interval, Err(Undefined::TooFewDistinct));
    for other in 2..8 {
        assert!(found.separated[other].iter().all(|apart| !apart), "{other}");
    }
    let none = plan(1000).compare(&rows[2..3]);
    assert!(none.critical_means.is_empty() && none.critical_pair.is_none());
    assert_eq!(plan(1000).compare(&[]).rows, []);
}

/// One row with a heavy tail must not widen the intervals of the others: their critical values stay near that of
/// normal rows (2.6 for six), while its own is far above.
#[test]
fn a_skewed_row_widens_its_own_interval_alone() {
    let mut rows: Vec<Row> =
        (0..5).map(|nth| row(&format!("{nth}"), vec![normal_values(40, 0.0, 1.0)])).collect();
    let mut skewed = vec![0.0; 28];
    skewed.extend((0..12).map(|nth| f64::from(nth).powi(3)));
    rows.push(row("skewed", vec![skewed]));
    let found = plan(8000).compare(&rows);
    let (last, others) = found.critical_means.split_last().expect("six rows");
    assert!(*last > 4.0 && others.iter().all(|critical| (2.5..3.1).contains(critical)), "{found:?}");
    // All hold together in at least 95 % of the resamples, by construction; with few resamples, one value for all.
    let few = plan(60).compare(&rows).critical_means;
    assert!(few.iter().all(|critical| *critical == few[0]), "{few:?}");
}

#[test]
fn with_too_few_resamples_there_is_no_interval() {
    let rows = [row("a", vec![normal_values(40, 0.5, 0.2)])];
    let of = |plan: MaxT| plan.compare(&rows).rows[0];
    let few = of(plan(18));
    assert!((few.mean.expect("a mean") - 0.5).abs() < 1e-12);
    let error = few.interval.expect_err("one of 19 is more than 5 %");
    assert_eq!(error.to_string(), "`resamples` must be at least 1 / (1 − confidence), got 18");
    assert!(of(plan(19)).interval.is_ok());
    assert!(of(MaxT { confidence: 1.0, ..plan(100) }).interval.is_err());
}

#[test]
fn groups_that_differ_widen_the_interval() {
    let values = normal_values(40, 0.4, 0.2);
    let moved: Vec<f64> = values.iter().map(|value| value + 0.3).collect();
    let width = |groups: Vec<Vec<f64>>| {
        let found = plan(1000).compare(&[Row { name: "a".into(), strata: vec![groups] }]);
        let (low, high) = found.rows[0].interval.expect("an interval");
        high - low
    };
    let same = width(vec![values.clone(); 4]);
    assert!(width(vec![values.clone(), moved.clone(), values.clone(), moved]) > 3.0 * same);
    // An empty group is no group.
    assert_eq!(width(vec![values.clone(), vec![]]), width(vec![values]));
}

#[test]
fn neither_threads_nor_the_order_of_rows_change_anything() {
    let mut stream = Stream::new(2, "rows");
    let mut values = |mean: f64| (0..25).map(|_| mean + 0.2 * stream.normal()).collect::<Vec<f64>>();
    let rows: Vec<Row> = (0..5u8)
        .map(|nth| row(&format!("row {nth}"), vec![values(0.1 * f64::from(nth)), values(0.2)]))
        .collect();
    let with = |threads, rows: &[Row]| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| plan(1200).compare(rows))
    };
    let found = with(1, &rows);
    assert_eq!(found, with(3, &rows));
    let order = [3, 0, 4, 2, 1];
    let moved = with(2, &order.map(|nth| rows[nth].clone()));
    assert_eq!(found.critical_pair, moved.critical_pair);
    for (a, &of_a) in order.iter().enumerate() {
        assert_eq!(moved.rows[a], found.rows[of_a]);
        for (b, &of_b) in order.iter().enumerate() {
            assert_eq!(moved.separated[a][b], found.separated[of_a][of_b]);
        }
    }
}

/// For large normal samples the critical values are those of the maximum of J independent |z| and of Tukey's range:
/// `scipy.stats.norm.ppf((1 + 0.95 ** (1 / J)) / 2)` and `scipy.stats.studentized_range.ppf(0.95, J, inf) / sqrt(2)`.
#[test]
fn critical_values_of_normal_samples_are_tukeys() {
    let table = [
        (2, 2.2364766445577895, 1.9599639845400534),
        (3, 2.387737887070818, 2.343700586378409),
        (6, 2.6310382845367792, 2.8497054196100016),
        (12, 2.8578426239489363, 3.268003924466142),
    ];
    for (j, of_means, of_pairs) in table {
        let rows: Vec<Row> =
            (0..j).map(|nth| row(&format!("{j}, {nth}"), vec![normal_values(300, 0.0, 1.0)])).collect();
        let found = plan(8000).compare(&rows);
        // Monte Carlo error √(0.05 · 0.95 / 8,000) / density, with a density of 0.1 or more at the quantile: 0.024.
        let near = |found: f64, expected: f64| (found - expected).abs() < 0.1;
        let of_rows = found.critical_means.iter().sum::<f64>() / j as f64;
        let of_pair = found.critical_pair.expect("pairs");
        assert!(near(of_rows, of_means) && near(of_pair, of_pairs), "{j}: {found:?}");
    }
}

/// Decisions of `scipy.stats.tukey_hsd` on five samples of 300 normal quantiles,
/// `mean + 0.5 * norm.ppf((np.arange(300) + 0.5) / 300)`: p is 0.103 for the first two, 0.027 for the second and the
/// third, 0.737 for the last two, and below 0.00001 for all other pairs.
#[test]
fn separated_pairs_are_those_of_tukeys_test() {
    let means = [0.0, 0.1, 0.22, 0.45, 0.5];
    let rows = means.map(|mean| row(&format!("{mean}"), vec![normal_values(300, mean, 0.5)]));
    let found = plan(4000).compare(&rows);
    for a in 0..5 {
        for b in 0..a {
            let together = [(1, 0), (4, 3)].contains(&(a, b));
            assert_eq!(found.separated[a][b], !together, "{a} {b}");
        }
    }
}

/// Share of `trials` in which all 95 % intervals hold their means.
fn simultaneous_coverage(rows: &[Population], n: usize, strata: usize, trials: usize) -> f64 {
    let trial = |index: usize| {
        let sample = |population: &Population| {
            let name = format!("{} {n} {index}", population.name);
            let mut stream = Stream::new(4, &name);
            let values = |_| (0..n).map(|_| (population.draw)(&mut stream)).collect::<Vec<f64>>();
            row(&name, (0..strata).map(values).collect())
        };
        let sampled: Vec<Row> = rows.iter().map(sample).collect();
        let found = MaxT { seed: index as u64, ..plan(600) }.compare(&sampled);
        let mut held = found.rows.iter().zip(rows).filter_map(|(row, population)| {
            let (low, high) = row.interval.ok()?;
            Some(low <= population.mean && population.mean <= high)
        });
        usize::from(held.all(|held| held))
    };
    (0..trials).into_par_iter().map(trial).sum::<usize>() as f64 / trials as f64
}

/// Share of `trials` in which rows of equal means and unequal, skewed spread are separated.
fn false_separations(n: usize, trials: usize) -> f64 {
    let trial = |index: usize| {
        let mut stream = Stream::new(5, &format!("separated {n} {index}"));
        let mut values =
            |scale: f64| (0..n).map(|_| scale * (beta(&mut stream, 1, 6) - 1.0 / 7.0)).collect::<Vec<f64>>();
        let rows: Vec<Row> = [3.0, 1.0, 1.0, 1.0]
            .iter()
            .enumerate()
            .map(|(nth, &s)| row(&format!("{nth}"), vec![values(s)]))
            .collect();
        let found = MaxT { seed: index as u64, ..plan(600) }.compare(&rows);
        usize::from(found.separated.concat().contains(&true))
    };
    (0..trials).into_par_iter().map(trial).sum::<usize>() as f64 / trials as f64
}

/// Four binomial standard errors of 600 trials around 95 %, and 1.5 % for samples of this size (`results/README.md`).
#[test]
fn simultaneous_intervals_cover_together_and_equal_means_stay_together() {
    let tolerance = 4.0 * (0.95 * 0.05 / 600.0f64).sqrt() + 0.015;
    for strata in [1, 3] {
        let covered = simultaneous_coverage(&populations(), 40, strata, 600);
        assert!((covered - 0.95).abs() < tolerance, "{strata} strata: {covered}");
    }
    let separated = false_separations(40, 600);
    assert!((separated - 0.05).abs() < tolerance, "{separated}");
}

/// The tables of `results/README.md`. Takes minutes: run it by name with `--ignored --nocapture`.
#[test]
#[ignore = "minutes of simulation; its figures are in results/README.md"]
fn full_simultaneous_table() {
    for (n, strata, trials) in [(12, 1, 10_000), (40, 1, 10_000), (40, 4, 5000), (150, 1, 5000)] {
        let covered = simultaneous_coverage(&populations(), n, strata, trials);
        println!("n = {n}, {strata} strata: {:.1} %", 100.0 * covered);
        assert!(covered > 0.9);
    }
    for n in [12, 40] {
        let separated = false_separations(n, 10_000);
        println!("equal means, n = {n}: separated in {:.1} %", 100.0 * separated);
        assert!(separated < 0.1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shifting_and_scaling_all_rows_changes_no_decision(
        seed in 0u64..10_000, shift in -2.0..2.0f64, scale in 0.1..10.0f64,
    ) {
        let mut stream = Stream::new(seed, "shifted");
        let samples: Vec<Vec<f64>> = (0..4)
            .map(|nth| (0..20).map(|_| 0.15 * f64::from(nth) + 0.3 * stream.normal()).collect())
            .collect();
        let rows = |change: &dyn Fn(f64) -> f64| -> Vec<Row> {
            let changed = |values: &Vec<f64>| values.iter().map(|value| change(*value)).collect();
            samples.iter().enumerate().map(|(nth, values)| row(&nth.to_string(), vec![changed(values)])).collect()
        };
        let before = plan(300).compare(&rows(&|value| value));
        let after = plan(300).compare(&rows(&|value| shift + scale * value));
        let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
        prop_assert!(before.critical_means.iter().zip(&after.critical_means).all(|(a, b)| near(*a, *b)));
        prop_assert!(near(before.critical_pair.expect("pairs"), after.critical_pair.expect("pairs")));
        for (one, other) in before.rows.iter().zip(&after.rows) {
            let ((low, high), (moved_low, moved_high)) = (one.interval.expect("one"), other.interval.expect("one"));
            prop_assert!((shift + scale * low - moved_low).abs() < 1e-6);
            prop_assert!((shift + scale * high - moved_high).abs() < 1e-6);
        }
    }
}
