//! Moments for independent component analysis with the log-cosh contrast (Hyvärinen 1999).
//!
//!   y = W x                                 x [d], W [n, d], y [n]
//!   loss_i   = mean ln cosh y_i             [n]
//!   cross_ij = mean tanh(y_i) y_j           [n, n]
//!   slope_i  = mean (1 − tanh² y_i)         [n]
//!
//! Products and sums over 512 rows are in f32, sums of blocks in f64.

use crate::base::Matrix;
use rayon::prelude::*;

use super::product::{View, product_into};
use super::vector::{Vectorised, vectorised};

/// Rows summed in f32 before the sums are added in f64.
const BLOCK: usize = 512;
/// Blocks per task. Fixed, so that sums do not depend on the thread count.
const BLOCKS_PER_TASK: usize = 16;

/// Means over rows at one unmixing matrix.
#[derive(Debug, Clone)]
pub struct LogcoshSums {
    /// `[n]`: mean of `ln cosh y_i`.
    pub loss: Vec<f64>,
    /// `[n, n]`: mean of `tanh(y_i) · y_j`.
    pub cross: Vec<f64>,
    /// `[n]`: mean of `1 − tanh²(y_i)`.
    pub slope: Vec<f64>,
}

impl LogcoshSums {
    fn zeros(n: usize) -> Self {
        Self { loss: vec![0.0; n], cross: vec![0.0; n * n], slope: vec![0.0; n] }
    }

    fn add(&mut self, other: &Self) {
        let pairs =
            [(&mut self.loss, &other.loss), (&mut self.cross, &other.cross), (&mut self.slope, &other.slope)];
        for (mine, theirs) in pairs {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
    }

    fn scale(&mut self, by: f64) {
        for part in [&mut self.loss, &mut self.cross, &mut self.slope] {
            part.iter_mut().for_each(|value| *value *= by);
        }
    }
}

/// The means for `rows` `[N, d]` and an unmixing matrix W `[n, d]`.
pub fn logcosh_moments(rows: &Matrix, unmixing: &[f32], n: usize) -> LogcoshSums {
    let width = rows.cols();
    let task_rows = BLOCK * BLOCKS_PER_TASK;
    let parts: Vec<LogcoshSums> = rows
        .data()
        .par_chunks((task_rows * width).max(1))
        .map(|part| sums_of_part(part, width, unmixing, n))
        .collect();
    let mut sums = LogcoshSums::zeros(n);
    for part in &parts {
        sums.add(part);
    }
    sums.scale(1.0 / rows.rows().max(1) as f64);
    sums
}

fn sums_of_part(part: &[f32], width: usize, unmixing: &[f32], n: usize) -> LogcoshSums {
    let mut sums = LogcoshSums::zeros(n);
    let mut sources = vec![0.0f32; BLOCK * n];
    let mut scores = vec![0.0f32; BLOCK * n];
    let mut cross = vec![0.0f32; n * n];
    let unmixing = View::new(unmixing, n, width);
    for block in part.chunks(BLOCK * width) {
        let len = block.len() / width;
        let (sources, scores) = (&mut sources[..len * n], &mut scores[..len * n]);
        product_into(sources, View::new(block, len, width), unmixing.transposed(), false);
        let mut loss = vec![0.0f32; n];
        let mut slope = vec![0.0f32; n];
        vectorised(Scores { sources, scores, loss: &mut loss, slope: &mut slope });
        product_into(&mut cross, View::new(scores, len, n).transposed(), View::new(sources, len, n), false);
        for (sum, part) in [(&mut sums.loss, &loss), (&mut sums.slope, &slope), (&mut sums.cross, &cross)] {
            sum.iter_mut().zip(part).for_each(|(a, &b)| *a += f64::from(b));
        }
    }
    sums
}

/// For each row: `scores = tanh(sources)`, and column sums of ln cosh and of 1 − tanh².
struct Scores<'a> {
    sources: &'a [f32],
    scores: &'a mut [f32],
    loss: &'a mut [f32],
    slope: &'a mut [f32],
}

impl Vectorised for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let n = self.loss.len();
        for (scores, sources) in self.scores.chunks_exact_mut(n).zip(self.sources.chunks_exact(n)) {
            let columns = self.loss.iter_mut().zip(self.slope.iter_mut());
            for ((score, &source), (loss, slope)) in scores.iter_mut().zip(sources).zip(columns) {
                let (tanh, logcosh) = tanh_and_logcosh(source);
                *score = tanh;
                *loss += logcosh;
                *slope += 1.0 - tanh * tanh;
            }
        }
    }
}

/// (tanh y, ln cosh y) to about 2e-7, from one exponential and without branches, so that the loop vectorises:
/// e = exp(−2|y|), tanh|y| = (1 − e)/(1 + e), ln cosh y = |y| + ln(1 + e) − ln 2.
#[inline(always)]
fn tanh_and_logcosh(y: f32) -> (f32, f32) {
    // Adding 1.5 · 2²³ rounds to an integer, which then occupies the low bits.
    const MAGIC: f32 = 12_582_912.0;
    let size = y.abs();
    // 2⁻⁶⁰ is negligible beside 1.
    let doublings = -2.0 * std::f32::consts::LOG2_E * size;
    let doublings = if doublings < -60.0 { -60.0 } else { doublings };
    let shifted = doublings + MAGIC;
    let part = (doublings - (shifted - MAGIC)) * std::f32::consts::LN_2;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0f32.to_bits()));
    // exp on ±ln2/2: Taylor series to the sixth power.
    let e = 1.0
        + part
            * (1.0
                + part
                    * (0.5 + part * (1.0 / 6.0 + part * (1.0 / 24.0 + part * (1.0 / 120.0 + part / 720.0)))));
    let decay = e * power;
    let tanh = ((1.0 - decay) / (1.0 + decay)).copysign(y);
    // ln(1 + decay) = 2 artanh(decay / (2 + decay)).
    let s = decay / (2.0 + decay);
    let q = s * s;
    let log = 2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (0.2 + q * (1.0 / 7.0 + q * (1.0 / 9.0 + q / 11.0)))));
    (tanh, size + log - std::f32::consts::LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn tanh_and_logcosh_are_right_everywhere() {
        for step in -4000..=4000 {
            let y = step as f32 * 0.01;
            let (tanh, logcosh) = tanh_and_logcosh(y);
            let exact = f64::from(y);
            assert!((f64::from(tanh) - exact.tanh()).abs() < 3e-7, "tanh {y}");
            let exact = exact.abs() + (-2.0 * exact.abs()).exp().ln_1p() - std::f64::consts::LN_2;
            assert!((f64::from(logcosh) - exact).abs() < 5e-7 * (1.0 + exact), "logcosh {y}");
        }
        assert_eq!(tanh_and_logcosh(1e30).0, 1.0);
        assert_eq!(tanh_and_logcosh(-1e30).0, -1.0);
    }

    #[test]
    fn moments_match_plain_f64_sums() {
        let mut stream = Stream::new(6, "rows");
        let rows = Matrix::from_fn(9000, 3, |_, _| stream.normal() as f32);
        let unmixing = [0.5f32, -1.0, 0.2, 0.3, 0.9, -0.4];
        let got = logcosh_moments(&rows, &unmixing, 2);
        let mut cross = [0.0; 4];
        let mut loss = [0.0; 2];
        let mut slope = [0.0; 2];
        for row in rows.iter_rows() {
            let y: Vec<f64> = unmixing
                .chunks(3)
                .map(|w| w.iter().zip(row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum())
                .collect();
            for i in 0..2 {
                loss[i] += y[i].cosh().ln() / 9000.0;
                slope[i] += (1.0 - y[i].tanh().powi(2)) / 9000.0;
                for j in 0..2 {
                    cross[i * 2 + j] += y[i].tanh() * y[j] / 9000.0;
                }
            }
        }
        for (got, exact) in [(&got.cross[..], &cross[..]), (&got.loss, &loss), (&got.slope, &slope)] {
            for (a, b) in got.iter().zip(exact) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }
}
