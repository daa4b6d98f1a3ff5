//! Permutation test of a statistic of mean curves: two curves are swapped within units.
//!
//!   ā' = (ā + b̄)/2 + mean of s_i (a_i − b_i)/2,   b̄' with − in place of +,   s_i = ±1 with equal chance
//!   p = (reached + 1)/(permutations + 1), reached: |statistic(ā', b̄')| ≥ |statistic(ā, b̄)|

use rayon::prelude::*;

use super::bootstrap::Draws;
use super::describe::mean_of_finite;
use super::permutation::p_value;
use super::undefined::Undefined;

/// Permutations per seed stream. Fixed, so that the draws do not depend on the threads.
const CHUNK: usize = 500;

/// Relative difference up to which a statistic counts as equal to the observed one.
const TIE: f64 = 1e-12;

/// Two-sided p of the test that two curves are exchangeable within units. `a` and `b` hold for each point of the curves one
/// value per unit. `statistic` compares two mean curves; it changes its sign when they are swapped.
pub fn swap_p(
    a: &[Vec<f64>],
    b: &[Vec<f64>],
    permutations: usize,
    seed: u64,
    stream: &str,
    statistic: impl Fn(&[f64], &[f64]) -> f64 + Sync,
) -> Result<f64, Undefined> {
    Undefined::check_lengths(a.len(), b.len())?;
    let n = a.first().map_or(0, Vec::len);
    Undefined::check_count(n, 2)?;
    for list in a.iter().chain(b) {
        Undefined::check_lengths(n, list.len())?;
        Undefined::check_finite(list)?;
    }
    let pairs = || a.iter().zip(b);
    let middle: Vec<f64> = pairs().map(|(a, b)| (mean_of_finite(a) + mean_of_finite(b)) / 2.0).collect();
    let halves: Vec<Vec<f64>> =
        pairs().map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a - b) / (2 * n) as f64).collect()).collect();
    let compared = |signs: &[f64]| {
        let moves = halves.iter().map(|half| half.iter().zip(signs).map(|(x, sign)| x * sign).sum::<f64>());
        let (one, other): (Vec<f64>, Vec<f64>) =
            moves.zip(&middle).map(|(by, middle)| (middle + by, middle - by)).unzip();
        statistic(&one, &other).abs()
    };
    let observed = compared(&vec![1.0; n]);
    Undefined::check_finite(&[observed])?;
    let least = observed * (1.0 - TIE);
    let chunk = |index: usize| {
        let mut draws = Draws::new(seed, &[stream, "swap", &index.to_string()]);
        let length = CHUNK.min(permutations - index * CHUNK);
        let mut signs = vec![1.0; n];
        let reached = (0..length).filter(|_| {
            for block in signs.chunks_mut(64) {
                let bits = draws.bits();
                let sign = |nth: usize| if bits >> nth & 1 == 1 { -1.0 } else { 1.0 };
                block.iter_mut().enumerate().for_each(|(nth, value)| *value = sign(nth));
            }
            compared(&signs) >= least
        });
        reached.count()
    };
    let reached = (0..permutations.div_ceil(CHUNK)).into_par_iter().map(chunk).sum();
    Ok(p_value(reached, permutations))
}

#[cfg(test)]
mod tests {
    use super::super::permutation::sign_flip_p;
    use super::*;

    fn gap(one: &[f64], other: &[f64]) -> f64 {
        one[0] - other[0]
    }

    #[test]
    fn a_difference_of_means_is_tested_as_by_sign_flips() {
        let a: Vec<f64> = (0..20).map(|i| f64::from(i * 7 % 13)).collect();
        let b: Vec<f64> = a.iter().enumerate().map(|(i, x)| x - f64::from(i as u32 % 3) + 0.8).collect();
        let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| a - b).collect();
        let swapped =
            swap_p(std::slice::from_ref(&a), std::slice::from_ref(&b), 20_000, 1, "t", gap).expect("defined");
        let flipped = sign_flip_p(&differences, 20_000, 1, "t").expect("defined");
        assert!((swapped - flipped).abs() < 0.02, "{swapped} {flipped}");
        let turned = swap_p(&[b], &[a], 20_000, 1, "t", gap).expect("defined");
        assert_eq!(swapped, turned);
    }

    #[test]
    fn equal_curves_show_nothing_and_threads_change_nothing() {
        let curve = vec![vec![1.0, 2.0, 3.0], vec![0.5, 0.5, 0.1]];
        assert_eq!(swap_p(&curve, &curve, 1000, 1, "t", gap), Ok(1.0));
        let other = vec![vec![1.5, 2.5, 3.1], vec![0.4, 0.5, 0.2]];
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| swap_p(&curve, &other, 3000, 1, "t", gap).expect("defined"))
        };
        assert_eq!(with(1), with(3));
        assert_eq!(
            swap_p(&curve, &other[..1], 9, 1, "t", gap),
            Err(Undefined::LengthMismatch { first: 2, second: 1 })
        );
    }
}
