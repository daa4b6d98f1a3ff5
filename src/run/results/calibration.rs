//! A fixed piece of arithmetic: how fast the machine is at the moment of a run.

use crate::base::{Matrix, Stopwatch};
use crate::linalg::matmul;

/// Rows and columns of the matrices multiplied.
const SIZE: usize = 768;

/// Rounds; the fastest counts, for others may use the machine too.
const ROUNDS: usize = 7;

/// Seconds of one product of two 768 x 768 matrices of f32 on all threads, the fastest of seven. Times of two runs are
/// compared in this unit, so that a slower machine is not taken for slower code.
pub fn calibration_seconds() -> f64 {
    let matrix = Matrix::from_fn(SIZE, SIZE, |row, col| ((row * SIZE + col) % 17) as f32 / 17.0 - 0.5);
    let round = |_| {
        let started = Stopwatch::start();
        std::hint::black_box(matmul(&matrix, &matrix));
        started.seconds()
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_takes_some_time() {
        let seconds = calibration_seconds();
        assert!(seconds > 0.0 && seconds.is_finite(), "{seconds}");
    }
}
