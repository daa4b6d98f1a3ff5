use std::sync::atomic::{AtomicU32, Ordering};

use super::half_panels::{HalfPanels, has_half_products};
use super::panels::{add_chosen, has_wide_vectors};
use super::select::Reaching;

/// The rows of a matrix `[n, d]` for sums `x · row + bias` of which only large ones are wanted. They are looked for by
/// products of bf16, whose error is bounded, and those that may be large are computed in f32: the same numbers, to the
/// bit, that [`Panels`](super::Panels) gives, in less time.
#[derive(Debug, Default)]
pub struct Screen {
    half: HalfPanels,
    largest_bias: f32,
    /// Whether it pays.
    pub worth: Worth,
}

/// Whether this processor has what a [`Screen`] needs.
pub fn has_screens() -> bool {
    has_half_products() && has_wide_vectors()
}

impl Screen {
    /// Takes rows of width `d` and their biases, in place of those that were there. Panics where `d` is 0 or cuts a row.
    pub fn fill(&mut self, rows: &[f32], d: usize, biases: &[f32]) {
        self.half.fill(rows, d);
        self.largest_bias = biases.iter().fold(0.0, |most, bias| bias.abs().max(most));
    }

    /// `out ≈ x · rowsᵀ + bias`, on the calling thread: see [`HalfPanels::multiply`].
    pub fn multiply(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        self.half.multiply(x, bias, out);
    }

    /// How far what [`Screen::multiply`] gives for one row `x` is from the sums in f32, at most.
    pub fn margin(&self, x: &[f32]) -> f32 {
        self.half.margin(x, self.largest_bias)
    }

    /// What an entry of [`Screen::multiply`] must reach where its sum may be one of the `k` largest above zero. `kept` are
    /// the k largest entries above zero, or all where there are fewer; `margin` is that of the row.
    #[inline(always)]
    pub fn bar_of_largest(kept: &[(f32, u32)], k: usize, margin: f32) -> f32 {
        if kept.len() < k {
            return -margin;
        }
        // k sums are at least the last entry kept less a margin: what is less than that is not among the largest.
        let last = kept.iter().fold(f32::INFINITY, |least, &(entry, _)| least.min(entry));
        (last - 2.0 * margin).max(-margin)
    }
}

/// Sums of one row of `x` that were computed in f32.
#[derive(Debug, Default)]
pub struct Exact {
    near: Reaching,
    sums: Vec<f32>,
}

impl Exact {
    /// Computes those sums `x · row + bias` whose entry in `near` is `bar` or more. Panics where shapes disagree or
    /// [`has_screens`] is false.
    #[inline(always)]
    pub fn of_reaching(&mut self, near: &[f32], bar: f32, x: &[f32], rows: &[f32], bias: &[f32]) {
        self.near.find(near, bar);
        let (chosen, _) = self.near.parts();
        self.sums.clear();
        self.sums.extend(chosen.iter().map(|&row| bias[row as usize]));
        add_chosen(x, rows, chosen, &mut self.sums);
    }

    /// The sums, with the rows they are of, which rise.
    pub fn sums(&self) -> impl Iterator<Item = (f32, u32)> {
        self.sums.iter().copied().zip(self.near.parts().0.iter().copied())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.sums.len()
    }
}

/// Share of sums computed one by one above which products of f32 would have been faster.
const MOST: f64 = 0.05;
/// Batches after which a screen that did not pay is tried again.
const PAUSE: u32 = 100;

/// Remembers whether screening pays. It decides how long things take and never what comes out.
#[derive(Debug, Default)]
pub struct Worth {
    /// Batches for which it is left out.
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

    /// Notes how many of the sums of a batch had to be computed.
    pub fn note(&self, computed: usize, of: usize) {
        if computed as f64 > MOST * of as f64 {
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
    fn what_is_computed_has_the_bits_of_the_whole_product_and_nothing_large_is_left_out() {
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
    fn a_screen_that_does_not_pay_rests() {
        let worth = Worth::default();
        worth.note(4, 100);
        assert!(worth.now());
        worth.note(6, 100);
        assert_eq!((0..200).position(|_| worth.now()), Some(PAUSE as usize));
    }
}
