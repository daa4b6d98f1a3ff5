//! Independent components: whitening, a rotation found by Picard-O or linfa, and the map back to raw activations.
//!
//! ```text
//! w = K (x − μ)          [n]   K [n, d] whitening: w has unit covariance
//! y = R w                [n]   R [n, n] rotation that maximises independence: see `picard`
//! S = R K                [n, d] scoring rows     A = R K⁺   [n, d] directions, the mixing matrix
//! ```

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::{Matrix, Stopwatch, Stream};
use crate::linalg::{View, Whitening, matmul_bt, orthogonalise, product_into};

use super::decomposition::{Decomposition, matched_k};
use super::error::{ParamProblem, Problems};
use super::fit::stream;
use super::pca::{check_variants, null_note, principal_axes, principal_cost, principal_work};
use super::picard::{MOST_ITERATIONS, Search, Solved};
use super::{DictionaryFit, FitContext, FitCost, FitError, FitReport, FitWork, Fitted, Kind, Variant};

/// Most bytes of whitened rows held in memory.
const MEMORY_BYTES: usize = 256 << 20;

/// Iterations on all rows that the search usually takes, those on a part of them in proportion.
const USUAL_ITERATIONS: f64 = 27.0;

/// Operations that take as long as the contrast of an entry with its derivatives.
const DERIVATIVE: f64 = 100.0;

/// The solver. Both use FastICA's contrast, log cosh, and have the same optima.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// Picard-O: quasi-Newton steps on rotations (Ablin, Cardoso and Gramfort, *Faster ICA under orthogonal
    /// constraint*, 2018).
    #[default]
    Picard,
    /// The fixed-point iteration of the crate linfa-ica, in f64. Several times slower; for comparison.
    Linfa,
}

/// Independent components of unit variance, by FastICA's contrast (log cosh, symmetric, whitened).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IcaParams {
    /// Variants of the fit to report. Each becomes a row of the table.
    #[schemars(length(min = 1, max = 4))]
    pub variants: Vec<Variant>,
    /// Name of the method whose mean L0 on the fit split becomes the k of the `topk` variant.
    #[serde(rename = "match")]
    #[schemars(extend("x-default" = "the reference, if it is sparse, or else the first autoencoder or file"))]
    pub matched: Option<String>,
    /// k of the `topk` variant, if `match` is not given.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub k: Option<usize>,
    /// Number of components. If absent: all directions that have variance.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub components: Option<usize>,
    /// Subtract the mean before encoding. The published protocol does not.
    pub centred: bool,
    /// Most rows used, spread evenly over the set. Whitening uses all rows.
    #[schemars(range(min = 2, max = 1_000_000_000))]
    pub rows: usize,
    /// The solver that finds components of whitened rows.
    pub solver: Solver,
    /// Largest number of iterations.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub iterations: usize,
    /// Largest entry of the gradient at which the search ends.
    #[schemars(range(min = 1e-15, max = 1.0))]
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
            iterations: MOST_ITERATIONS,
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
    /// Returns all problems at once.
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
    /// The fit that serves all variants.
    ///
    /// linfa-ica holds all rows in f64, takes about ten times scikit-learn's time per iteration, and does not report
    /// convergence. So Picard-O is the default; convergence of linfa's result is measured in the same way.
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
        let mut stream = stream(context.seed, context.training, &["ica", &set.hook().to_string()]);
        let start: Vec<f64> = (0..n * n).map(|_| stream.normal()).collect();
        let search = Search { tolerance: params.tolerance, iterations: params.iterations };
        let start = orthogonalise(&start, n)?;
        let solved = match params.solver {
            Solver::Picard => search.run_coarse_to_fine(&rows, start, context)?,
            Solver::Linfa => search.run_linfa(&rows, &mut stream)?,
        };
        let mut report = self.report(&solved, &rows, set);
        report.notes.extend(null_note(&whitening));
        let rotated = |by: &[f64]| -> Matrix {
            let mut out = vec![0.0f64; n * width];
            let rotation = View::new(&solved.rotation, n, n);
            product_into(&mut out, rotation, View::new(by, n, width), false);
            Matrix::from_fn(n, width, |row, col| out[row * width + col] as f32)
        };
        let maps = [rotated(&whitening.forward), rotated(&whitening.backward)];
        Decomposition::new(Kind::Ica, maps, params.centred, set, context, (report, started))
    }

    /// Number of whitened rows of a set with so many rows.
    fn whitened(&self, rows: f64, width: f64) -> f64 {
        rows.min(self.params.rows as f64).min(MEMORY_BYTES as f64 / (4.0 * width.max(1.0)))
    }

    /// Whitened rows `[N, rank]`: a random one from each of N equal ranges of the set.
    fn whitened_rows(
        &self,
        set: &ActivationSet,
        whitening: &Whitening,
        seed: u64,
    ) -> Result<Matrix, FitError> {
        let (rank, width) = (whitening.rank, whitening.width);
        let fits = MEMORY_BYTES / (4 * rank.max(1));
        let n = self.params.rows.min(fits).min(set.rows());
        let mut stream = Stream::named(seed, &["ica rows", &set.hook().to_string()]);
        let mut picked = (0..n)
            .map(|i| {
                let (from, to) = (i * set.rows() / n, (i + 1) * set.rows() / n);
                from + stream.below((to - from).max(1))
            })
            .peekable();
        let forward = Matrix::from_fn(rank, width, |row, col| whitening.forward[row * width + col] as f32);
        let mut out = Vec::with_capacity(n * rank);
        let mut start = 0;
        for block in set.blocks(8192) {
            let block = block?;
            let end = start + block.rows();
            let chosen: Vec<usize> =
                std::iter::from_fn(|| picked.next_if(|&row| row < end)).map(|row| row - start).collect();
            start = end;
            let mut rows = block.select_rows(&chosen);
            for row in rows.data_mut().chunks_exact_mut(width) {
                for (value, mean) in row.iter_mut().zip(set.mean()) {
                    *value = (f64::from(*value) - mean) as f32;
                }
            }
            out.extend_from_slice(matmul_bt(&rows, &forward).data());
        }
        let rows = out.len() / rank.max(1);
        Ok(Matrix::from_vec(rows, rank, out).unwrap_or_else(|| Matrix::zeros(0, rank)))
    }

    fn report(&self, solved: &Solved, rows: &Matrix, set: &ActivationSet) -> FitReport {
        let last = solved.gradients.last().copied().unwrap_or(0.0);
        let mut warnings = Vec::new();
        if !solved.converged {
            warnings.push(format!(
                "not converged: largest gradient entry {last:.1e} after {} iterations, tolerance {:.0e}",
                solved.iterations, self.params.tolerance
            ));
        }
        let mut notes = Vec::new();
        if rows.rows() < set.rows() {
            notes.push(format!("components found on {} of {} rows", rows.rows(), set.rows()));
        }
        if self.params.solver == Solver::Linfa {
            notes.push("linfa does not report its iterations: `steps` is the maximum".to_string());
        }
        FitReport {
            converged: Some(solved.converged),
            steps: solved.iterations,
            rows: rows.rows(),
            loss_curve: solved.gradients.iter().copied().enumerate().collect(),
            warnings,
            notes,
            ..FitReport::default()
        }
    }
}

impl DictionaryFit for IcaFit {
    fn kind(&self) -> Kind {
        Kind::Ica
    }

    /// The `fitted` variant. [`IcaFit::decompose`] gives all of them.
    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        Ok(self.decompose(set, context)?.variant(Variant::Fitted, 1))
    }

    fn most_features(&self, width: usize) -> Option<usize> {
        Some(self.params.components.unwrap_or(width).min(width))
    }

    /// Covariance, eigenvectors and the solver's own copy, in f64, and whitened rows with their components, in f32.
    fn memory(&self, rows: f64, width: usize) -> f64 {
        24.0 * (width as f64).powi(2) + 8.0 * self.whitened(rows, width as f64) * width as f64
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

    /// Each iteration multiplies the rows with the components and with their derivatives.
    fn work(&self, rows: f64, width: usize) -> FitWork {
        let d = width as f64;
        let whitened = self.whitened(rows, d);
        let iteration = whitened * (4.0 * d * d + DERIVATIVE * d);
        FitWork {
            before: principal_work(rows, d) + 2.0 * whitened * d * d,
            first_step: iteration,
            step: iteration,
            steps: USUAL_ITERATIONS.min(self.params.iterations as f64),
        }
    }

    /// PCA, then w whitened rows: 2w·d² to whiten, and 4w·d² for each iteration. Iterations: half to twice the usual ones.
    fn cost(&self, rows: f64, width: usize) -> FitCost {
        let d = width as f64;
        let (principal, whitened) = (principal_cost(rows, d), self.whitened(rows, d));
        let passes = [0.5, 2.0].map(|factor| (factor * USUAL_ITERATIONS).min(self.params.iterations as f64));
        let flops = [0, 1].map(|end| principal.flops[end] + whitened * d * d * (2.0 + 4.0 * passes[end]));
        let moved = [0, 1].map(|end| principal.moved[end] + whitened * d * 4.0 * (2.0 + 3.0 * passes[end]));
        FitCost { flops, moved, rows_read: principal.rows_read + whitened }
    }

    fn shortened(&self, steps: usize) -> Option<Box<dyn DictionaryFit>> {
        Some(Box::new(Self { params: IcaParams { iterations: steps, ..self.params.clone() } }))
    }
}
