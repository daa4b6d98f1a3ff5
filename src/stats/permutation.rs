//! Permutation tests of equal means, with p = (b + 1)/(B + 1): b of B permutations have a statistic at least
//! as extreme as the observed one (Phipson and Smyth 2010).
//!
//!   t = (ā − b̄) / √(s²_a/n_a + s²_b/n_b)      Welch's t, for independent samples
//!   |Σ ± d_i|                                  for paired differences d
//!
//! Studentising keeps the level correct when samples differ in spread and size (Chung and Romano 2013). The
//! largest |t| of the permutations are kept: `adjusted.rs` makes intervals of them.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::bootstrap::Draws;
use super::describe::mean_of_finite;
use super::exact::ExactValues;
use super::undefined::Undefined;

/// Significance level of the (adjusted) p-value.
pub(super) const LEVEL: f64 = 0.05;

/// Permutations per seed stream. Fixed, so that the draws do not depend on the threads.
const CHUNK: usize = 2500;

/// Relative difference up to which a statistic counts as equal to the observed one.
const TIE: f64 = 1e-12;

/// A within-group sum of squares below this share of the pooled one is rounding.
const NO_SPREAD: f64 = 1e-13;

/// Welch's t of two samples. None if neither sample varies.
#[cfg(test)]
pub fn welch_t(a: &[f64], b: &[f64]) -> Result<Option<f64>, Undefined> {
    let pool = Pool::new(a, b)?;
    let (gap, spread) = pool.welch(pool.first(a.len()), a.len());
    Ok((spread > 0.0).then(|| gap / spread.sqrt()))
}

/// The outcome of a permutation test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Permuted {
    /// Two-sided p.
    pub p: f64,
    /// Number of permutations.
    pub permutations: usize,
    /// Standard error of the observed difference: the denominator of its t.
    pub standard_error: f64,
    /// The largest |t| of the permutations, in descending order, as many as a test at 5 % needs. Infinite where
    /// a permutation has no spread.
    pub largest: Vec<f64>,
}

/// Two-sided p of [`welch_permutation`].
pub fn welch_permutation_p(
    a: &[f64],
    b: &[f64],
    permutations: usize,
    seed: u64,
    stream: &str,
) -> Result<f64, Undefined> {
    Ok(welch_permutation(a, b, permutations, seed, stream)?.p)
}

/// The studentised permutation test of equal means; each sample needs two values.
pub fn welch_permutation(
    a: &[f64],
    b: &[f64],
    permutations: usize,
    seed: u64,
    stream: &str,
) -> Result<Permuted, Undefined> {
    // The statistic is symmetric, so the smaller sample is drawn: this needs fewer draws.
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let pool = Pool::new(small, large)?;
    let observed = pool.welch(pool.first(small.len()), small.len());
    let at_least =
        |(gap, spread): (f64, f64)| gap * gap * observed.1 >= observed.0 * observed.0 * spread * (1.0 - TIE);
    let permute = |index: usize, length: usize| {
        let mut draws = Draws::new(seed, &[stream, "welch", &index.to_string()]);
        let mut pairs = pool.pairs.clone();
        let mut found = Extremes::default();
        for _ in 0..length {
            let drawn = pool.welch(draw_sample(&mut pairs, small.len(), &mut draws), small.len());
            found.reached += usize::from(at_least(drawn));
            found.largest.push(squared_t(drawn));
        }
        found
    };
    let found = Extremes::of(permutations, permute);
    Ok(found.into_permuted(permutations, observed.1.sqrt() * pool.scale, f64::sqrt))
}

/// Two-sided p of [`sign_flip`].
pub fn sign_flip_p(
    differences: &[f64],
    permutations: usize,
    seed: u64,
    stream: &str,
) -> Result<f64, Undefined> {
    Ok(sign_flip(differences, permutations, seed, stream)?.p)
}

/// The sign-flip test that the mean difference is zero; needs two differences.
///
/// The studentised statistic is a monotone function of |Σ±d|, so the sum is compared.
pub fn sign_flip(
    differences: &[f64],
    permutations: usize,
    seed: u64,
    stream: &str,
) -> Result<Permuted, Undefined> {
    Undefined::check_count(differences.len(), 2)?;
    Undefined::check_finite(differences)?;
    let exact = ExactValues::new(differences, differences.len());
    let observed = exact.total().abs() as f64 * (1.0 - TIE);
    let permute = |index: usize, length: usize| {
        let mut draws = Draws::new(seed, &[stream, "signs", &index.to_string()]);
        let mut found = Extremes::default();
        for _ in 0..length {
            let sum = flipped(exact.units(), &mut draws).abs() as f64;
            found.reached += usize::from(sum >= observed);
            found.largest.push(sum);
        }
        found
    };
    let found = Extremes::of(permutations, permute);
    let n = differences.len() as f64;
    let squares: f64 = exact.units().iter().map(|unit| (*unit as f64).powi(2)).sum();
    // Squared standard error of the mean of differences with this absolute sum, in units.
    let spread = |sum: f64| {
        let within = squares - sum * sum / n;
        if within > NO_SPREAD * squares { within / (n * (n - 1.0)) } else { 0.0 }
    };
    let standard_error = spread(exact.total() as f64).sqrt() * exact.value(1);
    Ok(found.into_permuted(permutations, standard_error, |sum| squared_t((sum / n, spread(sum))).sqrt()))
}

/// gap² / spread. Infinite without spread, as such permutations count as extreme.
fn squared_t((gap, spread): (f64, f64)) -> f64 {
    if spread > 0.0 { gap * gap / spread } else { f64::INFINITY }
}

/// The extreme ones among some permutations.
#[derive(Default)]
struct Extremes {
    /// How many are at least as extreme as the observed one.
    reached: usize,
    /// The largest of their statistics.
    largest: Vec<f64>,
}

impl Extremes {
    /// Runs `permute(chunk, length)` for all chunks. A test at level `LEVEL` needs no more statistics than are kept.
    fn of(permutations: usize, permute: impl Fn(usize, usize) -> Self + Sync) -> Self {
        let kept = (LEVEL * (permutations + 1) as f64) as usize + 2;
        let chunk = |index: usize| permute(index, CHUNK.min(permutations - index * CHUNK)).keep(kept);
        let chunks = (0..permutations.div_ceil(CHUNK)).into_par_iter().map(chunk);
        chunks.reduce(Self::default, |mut one, other| {
            one.largest.extend(other.largest);
            Self { reached: one.reached + other.reached, largest: one.largest }.keep(kept)
        })
    }

    fn keep(mut self, kept: usize) -> Self {
        if self.largest.len() > kept {
            self.largest.select_nth_unstable_by(kept, |a, b| b.total_cmp(a));
            self.largest.truncate(kept);
        }
        self
    }

    /// `t` turns a statistic into |t|.
    fn into_permuted(mut self, permutations: usize, standard_error: f64, t: impl Fn(f64) -> f64) -> Permuted {
        self.largest.sort_unstable_by(|a, b| b.total_cmp(a));
        Permuted {
            p: p_value(self.reached, permutations),
            permutations,
            standard_error,
            largest: self.largest.into_iter().map(t).collect(),
        }
    }
}

/// (b + 1)/(B + 1), if b of B permutations are at least as extreme as the observed one.
pub(super) fn p_value(reached: usize, permutations: usize) -> f64 {
    (reached + 1) as f64 / (permutations + 1) as f64
}

fn flipped(units: &[i64], draws: &mut Draws) -> i64 {
    let block = |block: &[i64]| {
        let bits = draws.bits();
        // A mask of ones negates in two's complement: (x ^ -1) + 1 = -x.
        let signed = |(i, unit): (usize, &i64)| {
            let mask = -((bits >> i & 1) as i64);
            (unit ^ mask) - mask
        };
        block.iter().enumerate().map(signed).sum::<i64>()
    };
    units.chunks(64).map(block).sum()
}

/// Both samples relative to the pooled mean, as exact (value, square) pairs, with the totals.
struct Pool {
    pairs: Vec<(i64, i64)>,
    values: ExactValues,
    squares: ExactValues,
    total: f64,
    total_squares: f64,
    /// Unit of the values: the largest distance from the mean.
    scale: f64,
}

impl Pool {
    fn new(a: &[f64], b: &[f64]) -> Result<Self, Undefined> {
        Undefined::check_count(a.len().min(b.len()), 2)?;
        let pooled: Vec<f64> = a.iter().chain(b).copied().collect();
        Undefined::check_finite(&pooled)?;
        let mean = mean_of_finite(&pooled);
        let largest = pooled.iter().fold(0.0f64, |largest, value| largest.max((value - mean).abs()));
        let scale = if largest > 0.0 { largest } else { 1.0 };
        let centred: Vec<f64> = pooled.iter().map(|value| (value - mean) / scale).collect();
        let squares: Vec<f64> = centred.iter().map(|value| value * value).collect();
        let values = ExactValues::new(&centred, centred.len());
        let squares = ExactValues::new(&squares, centred.len());
        let pairs = values.units().iter().copied().zip(squares.units().iter().copied()).collect();
        let (total, total_squares) = (values.value(values.total()), squares.value(squares.total()));
        Ok(Self { pairs, values, squares, total, total_squares, scale })
    }

    /// Sum and sum of squares of the first `n` pairs.
    fn first(&self, n: usize) -> (i64, i64) {
        self.pairs[..n].iter().fold((0, 0), |(sum, squares), card| (sum + card.0, squares + card.1))
    }

    /// Difference of means and its squared standard error; the first sample has `n` values with these sums.
    #[inline]
    fn welch(&self, (sum, squares): (i64, i64), n: usize) -> (f64, f64) {
        let (sum, squares) = (self.values.value(sum), self.squares.value(squares));
        let (n_a, n_b) = (n as f64, (self.pairs.len() - n) as f64);
        let rest = self.total - sum;
        let noise = NO_SPREAD * self.total_squares;
        let spread = |sum: f64, squares: f64, n: f64| {
            let within = squares - sum * sum / n;
            if within > noise { within / (n * (n - 1.0)) } else { 0.0 }
        };
        let spread = spread(sum, squares, n_a) + spread(rest, self.total_squares - squares, n_b);
        (sum / n_a - rest / n_b, spread)
    }
}

/// Draws `n` pairs to the front by a partial Fisher–Yates shuffle and sums them. The order left by earlier
/// draws is irrelevant: each draw is uniform from any start.
#[inline]
fn draw_sample(pairs: &mut [(i64, i64)], n: usize, draws: &mut Draws) -> (i64, i64) {
    let (mut sum, mut squares) = (0, 0);
    let total = pairs.len();
    for drawn in 0..n {
        let chosen = drawn + draws.below(total - drawn);
        pairs.swap(drawn, chosen);
        let (value, square) = pairs[drawn];
        sum += value;
        squares += square;
    }
    (sum, squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn welch_t_of_a_hand_worked_pair() {
        // Means 2 and 5, variances 1 and 4, n = 3 each: t = -3 / sqrt(5/3).
        let t = welch_t(&[1.0, 2.0, 3.0], &[3.0, 5.0, 7.0]).expect("defined").expect("varies");
        assert!((t + 3.0 / (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(welch_t(&[1.0, 1.0], &[1.0, 1.0]), Ok(None));
        assert_eq!(welch_t(&[1.0, 1.0], &[2.0, 2.0]), Ok(None));
    }

    #[test]
    fn every_deal_of_a_tiny_sample_is_equally_likely() {
        // {0, 1, 2} against {10, 11, 12}: 2 of the 20 deals are as extreme, so p is near 0.1.
        let p = welch_permutation_p(&[0.0, 1.0, 2.0], &[10.0, 11.0, 12.0], 20_000, 1, "t").expect("defined");
        assert!((p - 0.1).abs() < 0.01, "{p}");
    }

    #[test]
    fn equal_samples_show_nothing_and_constant_ones_everything_or_nothing() {
        let p = |a: &[f64], b: &[f64]| welch_permutation_p(a, b, 5000, 3, "t").expect("defined");
        assert_eq!(p(&[1.0; 5], &[1.0; 6]), 1.0);
        assert_eq!(p(&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]), 1.0);
        assert!(p(&[0.1; 20], &[0.2; 20]) < 0.001);
    }

    #[test]
    fn signs_of_a_tiny_sample() {
        // All of five differences positive: 2 of 32 sign patterns are as extreme.
        let p = sign_flip_p(&[1.0, 2.0, 0.5, 3.0, 0.1], 50_000, 2, "s").expect("defined");
        assert!((p - 2.0 / 32.0).abs() < 0.005, "{p}");
        assert_eq!(sign_flip_p(&[0.0, 0.0], 100, 2, "s"), Ok(1.0));
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let a: Vec<f64> = (0..40).map(|i| f64::from(i * 7 % 11)).collect();
        let b: Vec<f64> = (0..30).map(|i| f64::from(i * 5 % 13)).collect();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| welch_permutation_p(&a, &b, 10_000, 4, "t"))
        };
        assert_eq!(with(1), with(3));
    }
}
