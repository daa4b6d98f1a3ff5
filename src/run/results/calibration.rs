//! Measures the speed of the machine during a run.

use crate::base::{Matrix, Stopwatch};
use crate::linalg::matmul;

/// Rows and columns of the matrices.
const SIZE: usize = 768;

/// Number of repetitions. The fastest counts, because other programs may use the machine.
const ROUNDS: usize = 7;

/// Seconds of one 768 × 768 f32 matrix product on all threads, the fastest of seven. Run times are compared in this
/// unit, so that a slow machine is not mistaken for slow code.
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
