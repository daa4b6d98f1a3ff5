//! Exact selection of large pre-activations, screened in bf16.
//!
//!   s = w x + b      w [n, d], x [d]; only the large entries of s are wanted
//!
//! 1. Compute all of s with bf16 products, whose error is bounded ([`HalfPanels::margin`]).
//! 2. Recompute in f32 the entries that may be large, given the bound.
//!
//! The recomputed sums have the same bits as those of [`Panels`](super::Panels); screening only saves time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::half_panels::{HalfPanels, has_bf16_products};
use super::panels::{add_selected_products, has_avx512};
use super::select::AboveThreshold;

/// The matrix `w` `[n, d]` in bf16 and the largest bias, for screening products.
#[derive(Debug, Default)]
pub struct Screen {
    half: HalfPanels,
    largest_bias: f32,
    /// Whether screening currently saves time.
    pub worth: Worth,
}

/// Whether this processor can screen: fast bf16 products, and AVX-512 for the exact sums.
pub fn has_screens() -> bool {
    has_bf16_products() && has_avx512()
}

impl Screen {
    /// Replaces `w` by `rows` `[n, d]`. Panics if `d` is 0 or the last row is incomplete.
    pub fn fill(&mut self, rows: &[f32], d: usize, biases: &[f32]) {
        self.half.fill(rows, d);
        self.largest_bias = biases.iter().fold(0.0, |most, bias| bias.abs().max(most));
    }

    /// Approximate `out = x · wᵀ + bias`; see [`HalfPanels::multiply`].
    pub fn multiply(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        self.half.multiply(x, bias, out);
    }

    /// Error bound of [`Screen::multiply`] for one row `x`, against the sums in f32.
    pub fn margin(&self, x: &[f32]) -> f32 {
        self.half.margin(x, self.largest_bias)
    }

    /// Threshold on approximate entries: an entry below it is not among the `k` largest positive sums.
    ///
    /// `kept` holds the at most k largest positive approximate entries; `margin` is that of the row.
    #[inline(always)]
    pub fn bar_of_largest(kept: &[(f32, u32)], k: usize, margin: f32) -> f32 {
        if kept.len() < k {
            return -margin;
        }
        // At least k sums reach (smallest kept − margin), and an entry is off by at most `margin` more.
        let last = kept.iter().fold(f32::INFINITY, |least, &(entry, _)| least.min(entry));
        (last - 2.0 * margin).max(-margin)
    }
}

/// Sums of one row `x` that were recomputed in f32.
#[derive(Debug, Default)]
pub struct Exact {
    near: AboveThreshold,
    sums: Vec<f32>,
}

impl Exact {
    /// Recomputes the sums whose entry in `near` is at least `bar`. Requires [`has_screens`].
    #[inline(always)]
    pub fn of_reaching(&mut self, near: &[f32], bar: f32, x: &[f32], rows: &[f32], bias: &[f32]) {
        self.near.find(near, bar);
        let (selected, _) = self.near.parts();
        self.sums.clear();
        self.sums.extend(selected.iter().map(|&row| bias[row as usize]));
        add_selected_products(x, rows, selected, &mut self.sums);
    }

    /// (sum, index of its row of `w`), ascending by index.
    pub fn sums(&self) -> impl Iterator<Item = (f32, u32)> {
        self.sums.iter().copied().zip(self.near.parts().0.iter().copied())
    }

    /// Number of recomputed sums.
    pub fn count(&self) -> usize {
        self.sums.len()
    }
}

/// Above this share of recomputed sums, plain f32 products are faster.
const MAX_SHARE: f64 = 0.05;
/// Batches to skip before screening is tried again.
const PAUSE: u32 = 100;

/// Tracks whether screening saves time. It affects speed only, never results.
#[derive(Debug, Default)]
pub struct Worth {
    /// Batches still to skip.
    pause: AtomicU32,
}

impl Worth {
    /// Whether to screen the next batch.
    pub fn now(&self) -> bool {
        let left = self.pause.load(Ordering::Relaxed);
        if left > 0 {
            self.pause.store(left - 1, Ordering::Relaxed);
        }
        left == 0
    }

    /// Records how many of a batch's sums had to be recomputed.
    pub fn note(&self, computed: usize, of: usize) {
        if computed as f64 > MAX_SHARE * of as f64 {
            self.pause.store(PAUSE, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;
    use crate::linalg::Panels;

    #[test]
    fn recomputed_sums_equal_the_full_product_and_no_large_sum_is_missed() {
        if !has_screens() {
            println!("skipped: this processor has no products of bf16");
            return;
        }
        let mut stream = Stream::new(6, "screen");
        for (m, n, d) in [(1, 1, 1), (7, 40, 3), (33, 170, 50), (64, 300, 129), (5, 1000, 512)] {
            let mut draw = |count: usize, size: f64| -> Vec<f32> {
                (0..count).map(|_| (size * stream.normal()) as f32).collect()
            };
            let (rows, x, bias) = (draw(n * d, 0.3), draw(m * d, 2.0), draw(n, 1.0));
            let (mut panels, mut screen) = (Panels::default(), Screen::default());
            panels.fill(&rows, d);
            screen.fill(&rows, d, &bias);
            let (mut whole, mut near) = (vec![0.0; m * n], vec![0.0; m * n]);
            panels.multiply(&x, &bias, &mut whole);
            screen.multiply(&x, &bias, &mut near);
            let mut exact = Exact::default();
            for (row, (whole, near)) in whole.chunks_exact(n).zip(near.chunks_exact(n)).enumerate() {
                let x = &x[row * d..][..d];
                let margin = screen.margin(x);
                let bar = 0.7 * whole.iter().fold(f32::MIN, |most, &sum| most.max(sum));
                exact.of_reaching(near, bar - margin, x, &rows, &bias);
                let mut found = vec![f32::NEG_INFINITY; n];
                exact.sums().for_each(|(sum, row)| found[row as usize] = sum);
                for (col, (&whole, &near)) in whole.iter().zip(near).enumerate() {
                    assert!(
                        (whole - near).abs() <= margin,
                        "{n} {d} at {row} {col}: {whole} {near} {margin}"
                    );
                    assert!(found[col] == whole || (whole < bar && found[col] == f32::NEG_INFINITY));
                }
                assert!(d < 100 || exact.count() < n / 4, "{} of {n} computed", exact.count());
            }
        }
    }

    #[test]
    fn screening_pauses_when_it_saves_no_time() {
        let worth = Worth::default();
        worth.note(4, 100);
        assert!(worth.now());
        worth.note(6, 100);
        assert_eq!((0..200).position(|_| worth.now()), Some(PAUSE as usize));
    }
}
