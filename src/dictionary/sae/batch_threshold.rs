//! The smallest code that BatchTopK keeps in a batch: the n-th largest of `[R, F]`, found without sorting.

use rayon::prelude::*;

use crate::linalg::{Vectorised, for_each_at_least, vectorised};

use super::selection::TILE;

/// Smallest positive f32.
pub const LEAST: f32 = f32::from_bits(1);
/// The search first looks at codes above this share of the last batch's threshold.
const GUESS: f32 = 0.8;

/// The n-th largest positive code of a batch and its rank; the smallest positive code where there are fewer, infinity
/// where there are none. `last` is the result for the batch before: it changes the time taken, not the result.
pub fn batch_threshold(codes: &[f32], features: usize, n: usize, last: f32) -> (f32, u64) {
    let reaching = |bar: f32| -> Vec<u64> {
        let tiles = codes.par_chunks(TILE * features).enumerate();
        let found = tiles.map(|(tile, codes)| {
            let mut ranks = Vec::new();
            vectorised(RanksReaching { codes, bar, first: tile * TILE * features, ranks: &mut ranks });
            ranks
        });
        found.collect::<Vec<_>>().concat()
    };
    let mut ranks = if last > 0.0 { reaching(GUESS * last) } else { Vec::new() };
    if ranks.len() < n {
        ranks = reaching(LEAST);
    }
    let rank = match ranks.len() {
        found if found <= n => ranks.iter().copied().min().unwrap_or(u64::MAX),
        _ => *ranks.select_nth_unstable_by(n - 1, |a, b| b.cmp(a)).1,
    };
    let value = if rank == u64::MAX { f32::INFINITY } else { f32::from_bits((rank >> 32) as u32) };
    (value, rank)
}

/// Orders positive codes by value, equal ones by position in the batch: earlier is larger.
#[inline(always)]
pub fn rank_of(code: f32, position: usize) -> u64 {
    u64::from(code.to_bits()) << 32 | u64::from(!(position as u32))
}

struct RanksReaching<'a> {
    codes: &'a [f32],
    bar: f32,
    /// Position of the first code in the batch.
    first: usize,
    ranks: &'a mut Vec<u64>,
}

impl Vectorised for RanksReaching<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for_each_at_least(self.codes, self.bar, |at, code| {
            self.ranks.push(rank_of(code, self.first + at as usize));
        });
    }
}
