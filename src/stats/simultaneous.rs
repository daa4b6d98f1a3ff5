//! Means of several rows with intervals that hold together, and the pairs of rows whose means differ: the
//! studentised max-t bootstrap (Romano and Wolf 2005; single step).
//!
//!   m_j = mean over strata of the stratum's mean           SE²_j = Σ over strata of its squared SE / strata²
//!   resample: units within each stratum, strata fixed; t*_j = (m*_j − m_j) / SE*_j
//!   interval m_j ± c_j · SE_j, balanced (Beran 1988): c_j is the quantile of |t*_j| at one level for all rows, the
//!   lowest at which at least 1 − α of the resamples have no |t*_j| above its c_j
//!   j and k are separated if |m_j − m_k| / SE_jk exceeds the (1 − α) quantile of the maximum over all pairs of
//!   |(m*_j − m*_k) − (m_j − m_k)| / SE*_jk, with SE²_jk = SE²_j + SE²_k: rows are resampled independently
//!
//! A stratum with one group has SE² = s²/n. With k groups (repetitions of the experiment), groups are resampled
//! first and units within each second, and SE² is the larger of s²/k of the group means and of what the units
//! alone give: two draws of one group must not look certain.
//!
//! A single critical value for all rows would let the most skewed row widen the intervals of all. Where the resamples
//! are too few for a level of their own in each row, it is taken all the same: the (1 − α) quantile of max |t*_j|.
//!
//! A quantile is an order statistic: with B resamples the ⌊α(B + 1)⌋-th largest, so the level holds for few
//! resamples too. Draws come from streams named by row and chunk: neither threads nor the order of rows matter.

use rayon::prelude::*;

use super::bootstrap::{Draws, check_confidence};
use super::describe::mean_of_finite;
use super::undefined::Undefined;

/// Resamples per seed stream. Fixed, so that the draws do not depend on the threads.
const CHUNK: usize = 500;

/// A sum of squared deviations below this share of the squares is rounding.
const NO_SPREAD: f64 = 1e-13;

/// The values of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name of its seed stream; differs between rows.
    pub name: String,
    /// Stratum, group, value. A group is a repetition of the experiment; empty groups do not count.
    pub strata: Vec<Vec<Vec<f64>>>,
}

/// The mean of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowMean {
    /// Mean over strata of the means over groups.
    pub mean: Result<f64, Undefined>,
    /// Ends of its simultaneous interval. A row without one takes no part in the comparison.
    pub interval: Result<(f64, f64), Undefined>,
}

/// The result of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Separation {
    /// In the order given.
    pub rows: Vec<RowMean>,
    /// Whether the means of two rows differ at the confidence; symmetric.
    pub separated: Vec<Vec<bool>>,
    /// Critical value of each interval, in the order of the rows that have one.
    pub critical_means: Vec<f64>,
    /// Critical value of the pairs; none with fewer than two rows.
    pub critical_pair: Option<f64>,
}

/// How to compare.
#[derive(Debug, Clone, PartialEq)]
pub struct MaxT {
    /// Probability that all intervals hold together, and that no two equal means are separated.
    pub confidence: f64,
    /// Number of resamples.
    pub resamples: usize,
    /// Seed; together with `stream` and the rows' names it fixes every draw.
    pub seed: u64,
    /// Name of the seed stream, one per use.
    pub stream: String,
}

impl MaxT {
    /// Compares the rows that can be compared.
    ///
    /// A row has no mean if a stratum is empty or a value is not finite. It has no interval if a stratum has one
    /// value alone, or if nearly all its values are equal: its resamples then often have no spread, and |t*| no
    /// bound. The limit, α / (2 · rows) of the resamples of each row, keeps the critical values finite. No row has
    /// an interval if a setting is out of range, or the resamples are too few for the confidence.
    pub fn compare(&self, rows: &[Row]) -> Separation {
        let candidates: Vec<Result<Prepared<'_>, Unprepared>> = rows.iter().map(Prepared::of).collect();
        let level = 1.0 - self.confidence;
        let allowed = level / (2 * candidates.iter().flatten().count().max(1)) as f64;
        let rank = self.rank();
        let testable = |row: &Prepared<'_>| match rank {
            Ok(_) if row.constant_share <= allowed => Ok(()),
            Ok(_) => Err(Undefined::TooFewDistinct),
            Err(why) => Err(why),
        };
        let tested: Vec<&Prepared<'_>> =
            candidates.iter().flatten().filter(|row| testable(row).is_ok()).collect();
        let (rows_t, pairs) = self.resample(&tested);
        let rank = rank.unwrap_or(1);
        let critical_means = balanced(&rows_t, rank);
        let critical_pair = (tested.len() > 1).then(|| nth_largest(pairs, rank));
        let mut critical = critical_means.iter().copied();
        let mut row_mean = |row: &Result<Prepared<'_>, Unprepared>| match row {
            Ok(row) => RowMean {
                mean: Ok(row.mean),
                interval: testable(row).and_then(|()| row.interval(critical.next().unwrap_or(f64::INFINITY))),
            },
            Err(Unprepared { mean, why }) => RowMean { mean: *mean, interval: Err(*why) },
        };
        let rows: Vec<RowMean> = candidates.iter().map(&mut row_mean).collect();
        let separated = |a: usize, b: usize| match (&candidates[a], &candidates[b], critical_pair) {
            (Ok(one), Ok(two), Some(q)) if rows[a].interval.is_ok() && rows[b].interval.is_ok() => {
                squared_t(one.mean - two.mean, one.squared_error + two.squared_error) > q * q
            }
            _ => false,
        };
        let separated = (0..rows.len()).map(|a| (0..rows.len()).map(|b| separated(a, b)).collect()).collect();
        Separation { rows, separated, critical_means, critical_pair }
    }

    /// The critical value is this largest of the maxima.
    fn rank(&self) -> Result<usize, Undefined> {
        check_confidence(self.confidence)?;
        // Rounding must not lower the rank: 0.05 · 2,000 is 100.
        let rank = ((1.0 - self.confidence) * (self.resamples + 1) as f64 + 1e-9) as usize;
        let (name, expected) = ("resamples", "at least 1 / (1 − confidence)");
        let got = self.resamples as f64;
        if rank > 0 { Ok(rank) } else { Err(Undefined::Setting { name, expected, got }) }
    }

    /// |t*| of each row, resample by resample, and the largest |t*| over pairs of rows for each resample.
    fn resample(&self, rows: &[&Prepared<'_>]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let chunk = |index: usize| {
            let length = CHUNK.min(self.resamples - index * CHUNK);
            // Resample by resample: (m* − m, SE*²) of every row.
            let mut drawn = vec![(0.0, 0.0); length * rows.len()];
            for (nth, row) in rows.iter().enumerate() {
                let mut draws = Draws::new(self.seed, &[&self.stream, "max-t", row.name, &index.to_string()]);
                for resample in 0..length {
                    drawn[resample * rows.len() + nth] = row.draw(&mut draws);
                }
            }
            let pairs = drawn.chunks(rows.len().max(1)).map(|of_all| largest_of_pairs(of_all).sqrt());
            let pairs: Vec<f64> = pairs.collect();
            (drawn.iter().map(|&(gap, error)| squared_t(gap, error).sqrt()).collect::<Vec<f64>>(), pairs)
        };
        let chunks = (0..self.resamples.div_ceil(CHUNK)).into_par_iter().map(chunk);
        let (all, pairs): (Vec<Vec<f64>>, Vec<Vec<f64>>) = chunks.unzip();
        let all = all.concat();
        let of_row = |nth: usize| all.iter().skip(nth).step_by(rows.len()).copied().collect();
        ((0..rows.len()).map(of_row).collect(), pairs.concat())
    }
}

/// The critical value of each row from its |t*|, see the top of this file. At most `rank` − 1 resamples have a |t*|
/// above one of them.
fn balanced(rows_t: &[Vec<f64>], rank: usize) -> Vec<f64> {
    let sorted: Vec<Vec<f64>> = rows_t
        .par_iter()
        .map(|of_row| {
            let mut of_row = of_row.clone();
            of_row.sort_unstable_by(f64::total_cmp);
            of_row
        })
        .collect();
    let resamples = sorted.first().map_or(0, Vec::len);
    // A value's place in its row, from 1; equal values have the highest of their places.
    let place =
        |row: usize, resample: usize| sorted[row].partition_point(|value| *value <= rows_t[row][resample]);
    let highest = |resample: usize| (0..sorted.len()).map(|row| place(row, resample)).max().unwrap_or(0);
    let mut highest: Vec<usize> = (0..resamples).into_par_iter().map(highest).collect();
    highest.sort_unstable_by(|a, b| b.cmp(a));
    match highest.get(rank - 1) {
        Some(&level) if level < resamples => sorted.iter().map(|of_row| of_row[level - 1]).collect(),
        _ => {
            let largest =
                |resample: usize| rows_t.iter().fold(0.0f64, |largest, of_row| largest.max(of_row[resample]));
            let single =
                (resamples >= rank).then(|| nth_largest((0..resamples).map(largest).collect(), rank));
            vec![single.unwrap_or(f64::INFINITY); rows_t.len()]
        }
    }
}

/// gap² / squared error; 0 without a gap, infinite with one that has no error.
fn squared_t(gap: f64, squared_error: f64) -> f64 {
    if gap == 0.0 { 0.0 } else { gap * gap / squared_error }
}

fn largest_of_pairs(drawn: &[(f64, f64)]) -> f64 {
    let mut largest = 0.0f64;
    for (nth, one) in drawn.iter().enumerate() {
        for other in &drawn[..nth] {
            largest = largest.max(squared_t(one.0 - other.0, one.1 + other.1));
        }
    }
    largest
}

/// `rank` counts from 1 and is at most the number of values.
fn nth_largest(mut values: Vec<f64>, rank: usize) -> f64 {
    let (_, nth, _) = values.select_nth_unstable_by(rank - 1, |a, b| b.total_cmp(a));
    *nth
}

/// A row that can be resampled.
struct Prepared<'a> {
    name: &'a str,
    mean: f64,
    squared_error: f64,
    /// Probability that a resample has no spread at all.
    constant_share: f64,
    strata: Vec<Stratum>,
}

/// Why a row cannot be resampled, and its mean where it has one.
struct Unprepared {
    mean: Result<f64, Undefined>,
    why: Undefined,
}

impl<'a> Prepared<'a> {
    fn of(row: &'a Row) -> Result<Self, Unprepared> {
        let no_mean = |why| Unprepared { mean: Err(why), why };
        let filled = |groups: &'a Vec<Vec<f64>>| -> Vec<&'a [f64]> {
            groups.iter().map(Vec::as_slice).filter(|group| !group.is_empty()).collect()
        };
        let strata: Vec<Vec<&[f64]>> = row.strata.iter().map(filled).collect();
        Undefined::check_count(strata.len(), 1).map_err(no_mean)?;
        for group in &strata {
            Undefined::check_count(group.len(), 1).map_err(no_mean)?;
            group.iter().try_for_each(|group| Undefined::check_finite(group)).map_err(no_mean)?;
        }
        let means: Vec<f64> = strata.iter().map(|groups| mean_of_groups(groups)).collect();
        let mean = mean_of_finite(&means);
        for groups in &strata {
            let n = groups.iter().map(|group| group.len()).sum();
            Undefined::check_count(n, 2).map_err(|why| Unprepared { mean: Ok(mean), why })?;
        }
        let constant_share = strata.iter().map(|groups| constant_share(groups)).product();
        let strata: Vec<Stratum> =
            strata.iter().zip(means).map(|(groups, mean)| Stratum::new(groups, mean)).collect();
        let squared_error = strata.iter().map(Stratum::squared_error).sum::<f64>() / square(strata.len());
        Ok(Self { name: &row.name, mean, squared_error, constant_share, strata })
    }

    /// Of one resample: its mean minus the row's, and its squared standard error.
    fn draw(&self, draws: &mut Draws) -> (f64, f64) {
        let mut total = (0.0, 0.0);
        for stratum in &self.strata {
            let (gap, squared_error) = stratum.draw(draws);
            total = (total.0 + gap, total.1 + squared_error);
        }
        (total.0 / self.strata.len() as f64, total.1 / square(self.strata.len()))
    }

    fn interval(&self, critical: f64) -> Result<(f64, f64), Undefined> {
        let reach = critical * self.squared_error.sqrt();
        if reach.is_finite() {
            Ok((self.mean - reach, self.mean + reach))
        } else {
            Err(Undefined::TooFewDistinct)
        }
    }
}

fn square(n: usize) -> f64 {
    (n * n) as f64
}

fn mean_of_groups(groups: &[&[f64]]) -> f64 {
    mean_of_finite(&groups.iter().map(|group| mean_of_finite(group)).collect::<Vec<f64>>())
}

/// Probability that all values of a resample are equal: Σ over values of (mean over k groups of (share of the
/// value)ⁿ)ᵏ.
fn constant_share(groups: &[&[f64]]) -> f64 {
    let mut values: Vec<f64> = groups.concat();
    values.sort_unstable_by(f64::total_cmp);
    values.dedup();
    let alone = |value: f64| {
        let of_group = |group: &&[f64]| {
            let share = group.iter().filter(|other| **other == value).count() as f64 / group.len() as f64;
            share.powi(group.len() as i32)
        };
        groups.iter().map(of_group).sum::<f64>() / groups.len() as f64
    };
    values.into_iter().map(|value| alone(value).powi(groups.len() as i32)).sum()
}

/// The groups of one stratum.
struct Stratum {
    /// Each value minus the stratum's mean, with its square.
    groups: Vec<Vec<(f64, f64)>>,
}

impl Stratum {
    fn new(groups: &[&[f64]], mean: f64) -> Self {
        let centred = |value: &f64| (value - mean, (value - mean).powi(2));
        Self { groups: groups.iter().map(|group| group.iter().map(centred).collect()).collect() }
    }

    /// The squared standard error of the observed mean.
    fn squared_error(&self) -> f64 {
        let mut sums = GroupSums::default();
        for group in &self.groups {
            sums.add(
                group.len(),
                group.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1)),
            );
        }
        sums.squared_error(self.groups.len())
    }

    fn draw(&self, draws: &mut Draws) -> (f64, f64) {
        let k = self.groups.len();
        let mut sums = GroupSums::default();
        for nth in 0..k {
            let group = &self.groups[if k == 1 { nth } else { draws.below(k) }];
            let mut sum = (0.0, 0.0);
            for _ in 0..group.len() {
                let (value, square) = group[draws.below(group.len())];
                sum = (sum.0 + value, sum.1 + square);
            }
            sums.add(group.len(), sum);
        }
        (sums.means / k as f64, sums.squared_error(k))
    }
}

/// Sums over groups of their means, the squares of these, and their squared standard errors.
#[derive(Default)]
struct GroupSums {
    means: f64,
    squares: f64,
    errors: f64,
}

impl GroupSums {
    /// Adds a group of `n` values with these sums of values and squares. One value has no error of its own.
    fn add(&mut self, n: usize, (sum, squares): (f64, f64)) {
        let n = n as f64;
        self.means += sum / n;
        self.squares += (sum / n).powi(2);
        self.errors += spread(sum, squares, n) / n;
    }

    fn squared_error(&self, k: usize) -> f64 {
        let k = k as f64;
        let between = if k > 1.0 { spread(self.means, self.squares, k) / k } else { 0.0 };
        between.max(self.errors / (k * k))
    }
}

/// Variance (n − 1) of `n` values with these sums; 0 for one value.
fn spread(sum: f64, squares: f64, n: f64) -> f64 {
    let within = squares - sum * sum / n;
    if n > 1.0 && within > NO_SPREAD * squares { within / (n - 1.0) } else { 0.0 }
}
