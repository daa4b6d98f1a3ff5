use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::{Matrix, Stopwatch, Stream};
use crate::linalg::{
    LinalgError, LogcoshSums, View, Whitening, logcosh_moments, matmul_bt, orthogonalise, product_into,
};
use crate::nn::Device;

use super::error::{ParamProblem, Problems};
use super::pca::{centre, check_variants, label, null_note, principal_axes};
use super::variants::{Decomposition, Variant, find_turned, matched_k};
use super::{DictionaryFit, FitContext, FitError, FitProgress, FitReport, Fitted, Kind};

/// Bytes of whitened rows held in memory at most.
const MEMORY_BYTES: usize = 256 << 20;
/// Past steps that shape the direction of the next one.
const MEMORY_STEPS: usize = 7;
/// Curvature below which the approximate Hessian is not trusted.
const LEAST_CURVATURE: f64 = 0.01;
/// Relative difference of losses that may be rounding of f32 sums; then gradients decide.
const ROUNDING: f64 = 1e-7;
/// The first stage takes every so many-th row, if those are enough, and ends this much earlier.
const COARSE_STRIDE: usize = 4;
const COARSE_LEAST_ROWS: usize = 10_000;
const COARSE_TOLERANCE: f64 = 5.0;
/// Halvings of a step before the quasi-Newton memory is thrown away.
const HALVINGS: usize = 10;

/// What turns whitened rows to independent components. All have FastICA's contrast, log cosh, and its optima.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// Quasi-Newton steps on the rotations (Picard-O: Ablin, Cardoso and Gramfort, *Faster ICA under orthogonal
    /// constraint*, 2018).
    #[default]
    Picard,
    /// The fixed-point iteration of the crate linfa-ica, in f64: a second opinion, several times slower.
    Linfa,
}

/// Independent components of unit variance: FastICA's contrast (log cosh, symmetric, whitened).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IcaParams {
    /// Which uses of the one fit are wanted.
    pub variants: Vec<Variant>,
    /// Name of the method whose mean L0 on the fit split is the k of the `topk` variant.
    #[serde(rename = "match")]
    pub matched: Option<String>,
    /// k of the `topk` variant where nothing is matched.
    pub k: Option<usize>,
    /// Number of components; the width, less directions without variance, where it is not given.
    pub components: Option<usize>,
    /// Take the mean off before encoding. The published protocol does not.
    pub centred: bool,
    /// Rows used, spread evenly over the set; all where it has fewer. Whitening uses all rows.
    pub rows: usize,
    /// What finds the components of whitened rows.
    pub solver: Solver,
    /// Iterations at most.
    pub iterations: usize,
    /// Largest entry of the gradient at which the search ends.
    pub tolerance: f64,
}

impl Default for IcaParams {
    fn default() -> Self {
        Self {
            variants: vec![Variant::Fitted],
            matched: None,
            k: None,
            components: None,
            centred: true,
            rows: 100_000,
            solver: Solver::default(),
            iterations: 200,
            tolerance: 1e-3,
        }
    }
}

/// Checked [`IcaParams`].
#[derive(Debug, Clone)]
pub struct IcaFit {
    params: IcaParams,
}

impl IcaParams {
    /// All problems at once.
    pub fn check(&self) -> Result<IcaFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        check_variants(&mut problems, &self.variants, self.matched.as_ref(), self.k, self.components);
        problems.at_least("rows", self.rows, 2);
        problems.at_least("iterations", self.iterations, 1);
        problems.positive("tolerance", self.tolerance);
        problems.require(self.solver != Solver::Linfa || cfg!(feature = "linfa"), "solver", || {
            "is `linfa`, which this program was built without: build it with the feature `linfa`, or use `picard`"
                .to_string()
        });
        problems.finish(IcaFit { params: self.clone() })
    }
}

impl IcaFit {
    /// The one fit that serves all variants.
    ///
    /// linfa-ica finds the same components, but holds all rows in f64, takes about ten times
    /// scikit-learn's time for an iteration, and does not say whether it has converged. So a solver
    /// of our own is the first choice; where linfa's is chosen, convergence is measured as for ours.
    pub fn decompose(
        &self,
        set: &ActivationSet,
        context: &mut FitContext<'_>,
    ) -> Result<Decomposition, FitError> {
        let started = Stopwatch::start();
        let (params, width) = (&self.params, set.width());
        let whitening = Whitening::new(&principal_axes(set)?, params.components.unwrap_or(width));
        let rows = self.whitened_rows(set, &whitening, context.seed)?;
        let n = whitening.rank;
        let mut stream = context.stream(&["ica", &set.hook().to_string()]);
        let start: Vec<f64> = (0..n * n).map(|_| stream.normal()).collect();
        let search = Search { tolerance: params.tolerance, iterations: params.iterations };
        let start = orthogonalise(&start, n)?;
        let solved = match params.solver {
            Solver::Picard => search.run_coarse_to_fine(&rows, start, context)?,
            Solver::Linfa => search.run_linfa(&rows, &mut stream)?,
        };

        let mut report = solved.report(&rows, set, params);
        report.notes.extend(null_note(&whitening));
        let back = |by: &[f64]| -> Matrix {
            let mut out = vec![0.0f64; n * width];
            let rotation = View::new(&solved.rotation, n, n);
            product_into(&mut out, rotation, View::new(by, n, width), false);
            Matrix::from_fn(n, width, |row, col| out[row * width + col] as f32)
        };
        let mut decomposition = Decomposition {
            label: label(Kind::Ica, set, context),
            scoring: back(&whitening.forward),
            directions: back(&whitening.backward),
            centre: centre(set, params.centred),
            turned: vec![false; n],
            report,
        };
        decomposition.turned = find_turned(&decomposition, set)?;
        decomposition.report.seconds = started.seconds();
        Ok(decomposition)
    }

    /// The checked parameters.
    pub fn params(&self) -> &IcaParams {
        &self.params
    }

    /// Whitened rows `[N, rank]`: one of each of N equal stretches of the set, at a seeded place.
    fn whitened_rows(
        &self,
        set: &ActivationSet,
        whitening: &Whitening,
        seed: u64,
    ) -> Result<Matrix, FitError> {
        let fits = MEMORY_BYTES / (4 * whitening.rank.max(1));
        let n = self.params.rows.min(fits).min(set.rows());
        let mut stream = Stream::named(seed, &["ica rows", &set.hook().to_string()]);
        let mut picked = (0..n).map(|i| {
            let (from, to) = (i * set.rows() / n, (i + 1) * set.rows() / n);
            from + stream.below((to - from).max(1))
        });
        let forward = Matrix::from_fn(whitening.rank, whitening.width, |row, col| {
            whitening.forward[row * whitening.width + col] as f32
        });
        let mut next = picked.next();
        let mut out = Vec::with_capacity(n * whitening.rank);
        let mut start = 0;
        for block in set.blocks(8192) {
            let block = block?;
            let mut chosen = Vec::new();
            while let Some(row) = next.filter(|&row| row < start + block.rows()) {
                chosen.push(row - start);
                next = picked.next();
            }
            start += block.rows();
            let mut rows = block.select_rows(&chosen);
            for row in rows.data_mut().chunks_exact_mut(whitening.width) {
                for (value, mean) in row.iter_mut().zip(set.mean()) {
                    *value = (f64::from(*value) - mean) as f32;
                }
            }
            out.extend_from_slice(matmul_bt(&rows, &forward).data());
        }
        let rows = out.len() / whitening.rank.max(1);
        Ok(Matrix::from_vec(rows, whitening.rank, out).unwrap_or_else(|| Matrix::zeros(0, whitening.rank)))
    }
}

impl DictionaryFit for IcaFit {
    fn kind(&self) -> Kind {
        Kind::Ica
    }

    /// The `fitted` variant; [`IcaFit::decompose`] gives all of them.
    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        Ok(self.decompose(set, context)?.variant(Variant::Fitted, 1))
    }

    fn fit_variants(
        &self,
        set: &ActivationSet,
        context: &mut FitContext<'_>,
        wanted: &[Variant],
        l0: Option<f64>,
    ) -> Result<Vec<Fitted>, FitError> {
        Ok(self.decompose(set, context)?.variants(wanted, matched_k(self.params.k, l0)))
    }

    /// Each step multiplies the rows with the components and with their derivatives.
    fn work(&self, rows: f64, width: usize) -> f64 {
        let rows = rows.min(self.params.rows as f64);
        4.0 * rows * self.params.iterations as f64 * (width * width) as f64
    }
}

/// Picard-O: minimises `Σ s_i · mean ln cosh y_i` over rotations `y = W x` of whitened rows, where
/// s_i = ±1 says whether source i has heavier or lighter tails than a Gaussian. W moves by Cayley
/// transforms of antisymmetric steps, so it stays orthogonal.
pub(super) struct Search {
    pub tolerance: f64,
    pub iterations: usize,
}

/// Turns whitened rows `[N, n]` to independent components, from a random rotation.
pub fn rotate_to_independence(rows: &Matrix, tolerance: f64, seed: u64) -> Result<Solved, FitError> {
    let n = rows.cols();
    let mut stream = Stream::named(seed, &["ica"]);
    let start: Vec<f64> = (0..n * n).map(|_| stream.normal()).collect();
    let mut progress = |_| {};
    let mut context = FitContext {
        method: "ica",
        seed,
        training: 0,
        input: Default::default(),
        device: &Device::Cpu,
        progress: &mut progress,
    };
    let search = Search { tolerance, iterations: IcaParams::default().iterations };
    Ok(search.run_coarse_to_fine(rows, orthogonalise(&start, n)?, &mut context)?)
}

/// Where a search ended.
pub struct Solved {
    /// `[n, n]`, orthogonal.
    pub rotation: Vec<f64>,
    /// Iterations taken.
    pub iterations: usize,
    /// Whether no gradient entry is larger than the tolerance.
    pub converged: bool,
    /// Largest gradient entry after each iteration.
    pub gradients: Vec<f64>,
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
    /// `signs` of the previous point keep losses comparable; none takes them from this one.
    fn at(rows: &Matrix, rotation: Vec<f64>, n: usize, signs: Option<&[f64]>) -> Self {
        let unmixing: Vec<f32> = rotation.iter().map(|&value| value as f32).collect();
        let LogcoshSums { loss, cross, slope } = logcosh_moments(rows, &unmixing, n);
        let own: Vec<f64> = (0..n).map(|i| if slope[i] >= cross[i * n + i] { 1.0 } else { -1.0 }).collect();
        let used = signs.unwrap_or(&own);
        let mut gradient = vec![0.0; n * n];
        let mut curvature = vec![0.0; n * n];
        // Curvature of source i: s_i (mean tanh'(y_i) − mean tanh(y_i) y_i), above zero by the choice of s_i.
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

    fn steepness(&self) -> f64 {
        self.gradient.iter().fold(0.0, |largest, entry| largest.max(entry.abs()))
    }
}

/// Past steps and the changes of gradient they made.
#[derive(Default)]
struct Memory(Vec<(Vec<f64>, Vec<f64>)>);

impl Memory {
    /// The L-BFGS direction, with the approximate Hessian in its middle.
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
    /// Most of the way on a part of the rows, the rest on all of them.
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

    /// linfa-ica's fixed-point iteration from a start of its own, and how far its end is from an optimum.
    ///
    /// It ends where no component turns by more than an angle, and a gradient entry is about as large as the angle
    /// that its component is off: `1 − cos ≈ angle² / 2`.
    #[cfg(feature = "linfa")]
    fn run_linfa(&self, rows: &Matrix, stream: &mut Stream) -> Result<Solved, FitError> {
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
        // What it makes of the axes less what it makes of the origin are its components; rows are white but for
        // sampling, so the nearest rotation is what they mean.
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
    fn run_linfa(&self, _: &Matrix, _: &mut Stream) -> Result<Solved, FitError> {
        Err(FitError::Solver { solver: "linfa", why: "this program was built without it".to_string() })
    }

    /// The next point on the quasi-Newton direction that lowers the loss; none where no tried step
    /// does.
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
                // Some source changed sides: the loss itself is another one now.
                memory.0.clear();
                return Ok(Some(Point::at(rows, next.rotation, n, None)));
            }
            length *= 0.5;
        }
        Ok(None)
    }
}

/// `(I − E/2)⁻¹ (I + E/2) W`: for antisymmetric E a rotation that agrees with `exp(E)` to second
/// order.
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

impl Solved {
    fn report(&self, rows: &Matrix, set: &ActivationSet, params: &IcaParams) -> FitReport {
        let last = self.gradients.last().copied().unwrap_or(0.0);
        let mut warnings = Vec::new();
        if !self.converged {
            warnings.push(format!(
                "not converged: largest gradient entry {last:.1e} after {} iterations, tolerance {:.0e}",
                self.iterations, params.tolerance
            ));
        }
        let mut notes = Vec::new();
        if rows.rows() < set.rows() {
            notes.push(format!("components found on {} of {} rows", rows.rows(), set.rows()));
        }
        if params.solver == Solver::Linfa {
            notes.push("linfa does not tell its iterations: `steps` are those allowed".to_string());
        }
        FitReport {
            converged: Some(self.converged),
            steps: self.iterations,
            rows: rows.rows(),
            loss_curve: self.gradients.iter().copied().enumerate().collect(),
            warnings,
            notes,
            ..FitReport::default()
        }
    }
}
