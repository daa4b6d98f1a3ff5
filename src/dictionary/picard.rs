//! Picard-O (Ablin, Cardoso and Gramfort 2018, arXiv 1711.10873): maximum-likelihood ICA over rotations.
//!
//! ```text
//! y = R x                                       x [n] whitened, R [n, n] a rotation
//! loss = Σ_i s_i · mean ln cosh y_i             s_i = ±1: tails heavier or lighter than a Gaussian's
//! c_ij = mean tanh(y_i) y_j                     t_i = mean tanh′(y_i)
//! G_ij = (s_i c_ij − s_j c_ji) / 2              gradient by an antisymmetric step E
//! h_ij = (s_i (t_i − c_ii) + s_j (t_j − c_jj)) / 2     diagonal of the approximate Hessian
//! R ← (I − E/2)⁻¹ (I + E/2) R                   Cayley transform: R stays a rotation
//! ```
//!
//! E is the L-BFGS direction with h in its middle, halved until the loss falls. The fixed points are FastICA's
//! (Hyvärinen 1999).

use crate::base::{Matrix, Stream};
use crate::linalg::{LinalgError, LogcoshSums, logcosh_moments, orthogonalise};
use crate::nn::Device;

use super::{FitContext, FitError, FitProgress};

/// Largest number of iterations, if none is given.
pub(super) const MOST_ITERATIONS: usize = 200;
/// Past steps that L-BFGS uses.
const MEMORY_STEPS: usize = 7;
/// Smallest curvature used, because the approximate Hessian is not reliable below it.
const LEAST_CURVATURE: f64 = 0.01;
/// Relative difference of losses that can come from rounding in f32 sums. Then gradients are compared.
const ROUNDING: f64 = 1e-7;
/// The first stage uses every fourth row, if those are at least `COARSE_LEAST_ROWS`.
const COARSE_STRIDE: usize = 4;
const COARSE_LEAST_ROWS: usize = 10_000;
/// Factor on the tolerance in the first stage.
const COARSE_TOLERANCE: f64 = 5.0;
/// Halvings of a step before the L-BFGS memory is cleared.
const HALVINGS: usize = 10;

/// Where a search stops.
pub(super) struct Search {
    /// Largest gradient entry of a converged rotation.
    pub tolerance: f64,
    pub iterations: usize,
}

/// The result of a search.
pub struct Solved {
    /// `[n, n]`, orthogonal.
    pub rotation: Vec<f64>,
    /// Iterations taken.
    pub iterations: usize,
    /// Whether no gradient entry is larger than the tolerance.
    pub converged: bool,
    /// Largest gradient entry at the start and after each iteration.
    pub gradients: Vec<f64>,
}

/// Finds independent components of whitened rows `[N, n]`, from a random rotation.
pub fn rotate_to_independence(rows: &Matrix, tolerance: f64, seed: u64) -> Result<Solved, FitError> {
    let n = rows.cols();
    let mut stream = Stream::named(seed, &["ica"]);
    let start: Vec<f64> = (0..n * n).map(|_| stream.normal()).collect();
    let (input, device, progress) = (Default::default(), &Device::Cpu, &mut |_| {});
    let mut context = FitContext { method: "ica", seed, training: 0, input, only: None, device, progress };
    let search = Search { tolerance, iterations: MOST_ITERATIONS };
    Ok(search.run_coarse_to_fine(rows, orthogonalise(&start, n)?, &mut context)?)
}

/// Loss, signs, gradient and curvature at one rotation.
struct Point {
    rotation: Vec<f64>,
    loss: f64,
    signs: Vec<f64>,
    gradient: Vec<f64>,
    curvature: Vec<f64>,
}

impl Point {
    /// With the `signs` of another point, losses are comparable. None takes the signs of this point.
    fn at(rows: &Matrix, rotation: Vec<f64>, n: usize, signs: Option<&[f64]>) -> Self {
        let unmixing: Vec<f32> = rotation.iter().map(|&value| value as f32).collect();
        let LogcoshSums { loss, cross, slope } = logcosh_moments(rows, &unmixing, n);
        let own: Vec<f64> = (0..n).map(|i| if slope[i] >= cross[i * n + i] { 1.0 } else { -1.0 }).collect();
        let used = signs.unwrap_or(&own);
        let mut gradient = vec![0.0; n * n];
        let mut curvature = vec![0.0; n * n];
        let bend = |i: usize| used[i] * (slope[i] - cross[i * n + i]);
        for i in 0..n {
            for j in 0..n {
                gradient[i * n + j] = 0.5 * (used[i] * cross[i * n + j] - used[j] * cross[j * n + i]);
                curvature[i * n + j] = (0.5 * (bend(i) + bend(j))).max(LEAST_CURVATURE);
            }
        }
        let loss = loss.iter().zip(used).map(|(loss, sign)| loss * sign).sum();
        Self { rotation, loss, signs: own, gradient, curvature }
    }

    /// Largest gradient entry.
    fn steepness(&self) -> f64 {
        self.gradient.iter().fold(0.0, |largest, entry| largest.max(entry.abs()))
    }
}

/// Past steps and the gradient changes they made.
#[derive(Default)]
struct Memory(Vec<(Vec<f64>, Vec<f64>)>);

impl Memory {
    /// The L-BFGS direction (two-loop recursion).
    fn direction(&self, point: &Point) -> Vec<f64> {
        let mut q = point.gradient.clone();
        let mut weights = Vec::with_capacity(self.0.len());
        for (step, change) in self.0.iter().rev() {
            let weight = inner(step, &q) / inner(step, change);
            q.iter_mut().zip(change).for_each(|(q, y)| *q -= weight * y);
            weights.push(weight);
        }
        q.iter_mut().zip(&point.curvature).for_each(|(q, h)| *q /= h);
        for ((step, change), weight) in self.0.iter().zip(weights.iter().rev()) {
            let other = inner(change, &q) / inner(step, change);
            q.iter_mut().zip(step).for_each(|(q, s)| *q += (weight - other) * s);
        }
        q.iter_mut().for_each(|value| *value = -*value);
        q
    }

    fn push(&mut self, step: Vec<f64>, change: Vec<f64>) {
        if inner(&step, &change) > 0.0 {
            if self.0.len() == MEMORY_STEPS {
                self.0.remove(0);
            }
            self.0.push((step, change));
        }
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Search {
    /// Converges loosely on a part of the rows, then fully on all of them.
    pub fn run_coarse_to_fine(
        &self,
        rows: &Matrix,
        start: Vec<f64>,
        context: &mut FitContext<'_>,
    ) -> Result<Solved, LinalgError> {
        let part: Vec<usize> = (0..rows.rows()).step_by(COARSE_STRIDE).collect();
        if part.len() < COARSE_LEAST_ROWS {
            return self.run(rows, start, context);
        }
        let coarse = Self { tolerance: COARSE_TOLERANCE * self.tolerance, iterations: self.iterations };
        let first = coarse.run(&rows.select_rows(&part), start, context)?;
        let mut solved = self.run(rows, first.rotation, context)?;
        solved.iterations += first.iterations;
        solved.gradients = [first.gradients, solved.gradients].concat();
        Ok(solved)
    }

    pub fn run(
        &self,
        rows: &Matrix,
        start: Vec<f64>,
        context: &mut FitContext<'_>,
    ) -> Result<Solved, LinalgError> {
        let n = rows.cols();
        let mut point = Point::at(rows, start, n, None);
        let mut memory = Memory::default();
        let mut gradients = vec![point.steepness()];
        let mut iterations = 0;
        while iterations < self.iterations && point.steepness() > self.tolerance {
            let Some(next) = self.advance(rows, &point, &mut memory)? else {
                if memory.0.is_empty() {
                    break;
                }
                memory.0.clear();
                continue;
            };
            point = next;
            iterations += 1;
            gradients.push(point.steepness());
            let (steps, loss) = (self.iterations, point.steepness());
            (context.progress)(FitProgress { step: iterations, steps, loss, l0: None });
        }
        let converged = point.steepness() <= self.tolerance;
        Ok(Solved { rotation: point.rotation, iterations, converged, gradients })
    }

    /// The next point along the L-BFGS direction with a lower loss. None where no tried step length lowers it.
    fn advance(
        &self,
        rows: &Matrix,
        point: &Point,
        memory: &mut Memory,
    ) -> Result<Option<Point>, LinalgError> {
        let n = rows.cols();
        let mut direction = memory.direction(point);
        if inner(&direction, &point.gradient) >= 0.0 {
            memory.0.clear();
            direction = memory.direction(point);
        }
        let mut length = 1.0;
        for _ in 0..HALVINGS {
            let step: Vec<f64> = direction.iter().map(|entry| entry * length).collect();
            let rotation = rotate(&step, &point.rotation, n)?;
            let next = Point::at(rows, rotation, n, Some(&point.signs));
            let flat = next.loss - point.loss < ROUNDING * point.loss.abs().max(1.0);
            if next.loss < point.loss || (flat && next.steepness() < point.steepness()) {
                if next.signs == point.signs {
                    let change = next.gradient.iter().zip(&point.gradient).map(|(a, b)| a - b).collect();
                    memory.push(step, change);
                    return Ok(Some(next));
                }
                // A sign changed, so the loss is a different function now.
                memory.0.clear();
                return Ok(Some(Point::at(rows, next.rotation, n, None)));
            }
            length *= 0.5;
        }
        Ok(None)
    }

    /// linfa-ica's fixed-point iteration from its own start, with the gradient at its result.
    ///
    /// linfa stops when no component turns by more than an angle, and its tolerance is on `1 − cos ≈ angle² / 2`. A
    /// gradient entry is about as large as the angle by which its component is off.
    #[cfg(feature = "linfa")]
    pub fn run_linfa(&self, rows: &Matrix, stream: &mut Stream) -> Result<Solved, FitError> {
        use linfa::DatasetBase;
        use linfa::traits::{Fit, Predict};
        use linfa_ica::fast_ica::{FastIca, GFunc};
        let n = rows.cols();
        let records =
            ndarray::Array2::from_shape_fn((rows.rows(), n), |(row, col)| f64::from(rows.at(row, col)));
        let fitted = FastIca::params()
            .ncomponents(n)
            .gfunc(GFunc::Logcosh(1.0))
            .max_iter(self.iterations)
            .tol(0.5 * self.tolerance * self.tolerance)
            .random_state(stream.below(1 << 32))
            .fit(&DatasetBase::from(records))
            .map_err(|why| FitError::Solver { solver: "linfa", why: why.to_string() })?;
        // linfa returns no matrix: the images of the unit vectors, less that of the origin, are its columns. Rows are
        // white up to sampling, so the nearest rotation is the one it found.
        let at = |entries: ndarray::Array2<f64>| -> ndarray::Array2<f64> { fitted.predict(&entries) };
        let origin = at(ndarray::Array2::zeros((1, n)));
        let axes = at(ndarray::Array2::eye(n));
        let components: Vec<f64> =
            (0..n * n).map(|entry| axes[(entry % n, entry / n)] - origin[(0, entry / n)]).collect();
        let point = Point::at(rows, orthogonalise(&components, n)?, n, None);
        let steepness = point.steepness();
        Ok(Solved {
            rotation: point.rotation,
            iterations: self.iterations,
            converged: steepness <= self.tolerance,
            gradients: vec![steepness],
        })
    }

    #[cfg(not(feature = "linfa"))]
    pub fn run_linfa(&self, _: &Matrix, _: &mut Stream) -> Result<Solved, FitError> {
        Err(FitError::Solver { solver: "linfa", why: "this program was built without it".to_string() })
    }
}

/// `(I − E/2)⁻¹ (I + E/2) R`. For antisymmetric E this agrees with `exp(E) R` to second order.
fn rotate(step: &[f64], rotation: &[f64], n: usize) -> Result<Vec<f64>, LinalgError> {
    use nalgebra::DMatrix;
    let half = DMatrix::from_row_slice(n, n, step) * 0.5;
    let identity = DMatrix::<f64>::identity(n, n);
    let right = (&identity + &half) * DMatrix::from_row_slice(n, n, rotation);
    let moved = (identity - half)
        .lu()
        .solve(&right)
        .ok_or(LinalgError::Eigen { size: n, why: "a rotation step was singular" })?;
    Ok(moved.transpose().as_slice().to_vec())
}
