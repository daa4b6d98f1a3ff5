//! Principal components: eigenvectors of the covariance of all rows, largest variance first.
//!
//! ```text
//! C = Σ (x − μ)(x − μ)ᵀ / n = V diag(λ) Vᵀ     [d, d]
//! y = V_kᵀ (x − μ)     x̂ = μ + V_k y           V_k: the first k columns, those without variance left out
//! ```

use serde::{Deserialize, Serialize};

use crate::activations::{ActivationError, ActivationSet};
use crate::base::{Matrix, Stopwatch};
use crate::linalg::{Eigen, Whitening, covariance, symmetric_eigen};

use super::decomposition::{Decomposition, matched_k};
use super::error::{ParamProblem, Problems};
use super::{DictionaryFit, FitContext, FitCost, FitError, FitReport, FitWork, Fitted, Kind, Variant};

/// Operations for each row and pair of dimensions: of the covariance, and of the codes that decide signs.
const COVARIANCE: f64 = 3.0;
/// Operations for each triple of dimensions.
const EIGENVECTORS: f64 = 60.0;

/// Rows of one block of the covariance.
const BLOCK_ROWS: usize = 8192;

/// Principal components, in raw units, largest variance first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PcaParams {
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
}

impl Default for PcaParams {
    fn default() -> Self {
        Self { variants: vec![Variant::Fitted], matched: None, k: None, components: None, centred: true }
    }
}

/// Checked [`PcaParams`].
#[derive(Debug, Clone)]
pub struct PcaFit {
    params: PcaParams,
}

/// Checks of the parameters that PCA and ICA share.
pub(super) fn check_variants(
    problems: &mut Problems,
    variants: &[Variant],
    matched: Option<&String>,
    k: Option<usize>,
    components: Option<usize>,
) {
    problems.require(!variants.is_empty(), "variants", || {
        "is empty; expected one or more of fitted, oriented, split, topk".to_string()
    });
    let topk = variants.contains(&Variant::Topk);
    problems.require(!topk || matched.is_some() != k.is_some(), "match", || {
        "or `k`, and not both, is needed for the variant `topk`: name the method whose L0 it is matched to, or give k"
            .to_string()
    });
    problems.at_least("k", k.unwrap_or(1), 1);
    problems.at_least("components", components.unwrap_or(1), 1);
}

impl PcaParams {
    /// Returns all problems at once.
    pub fn check(&self) -> Result<PcaFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        check_variants(&mut problems, &self.variants, self.matched.as_ref(), self.k, self.components);
        problems.finish(PcaFit { params: self.clone() })
    }
}

impl PcaFit {
    /// The fit that serves all variants.
    ///
    /// The covariance is summed in one pass and decomposed exactly, so activations can be larger than memory.
    /// linfa-reduction's PCA holds all rows in memory in f64 and iterates from a random start; the tests use it as a
    /// reference.
    pub fn decompose(
        &self,
        set: &ActivationSet,
        context: &mut FitContext<'_>,
    ) -> Result<Decomposition, FitError> {
        let started = Stopwatch::start();
        let eigen = principal_axes(set)?;
        let width = set.width();
        let whitening = Whitening::new(&eigen, self.params.components.unwrap_or(width));
        let axes = Matrix::from_fn(whitening.rank, width, |row, col| eigen.vectors[row * width + col] as f32);
        let notes = null_note(&whitening).into_iter().collect();
        let report = FitReport { rows: set.rows(), notes, ..FitReport::default() };
        let maps = [axes.clone(), axes];
        Decomposition::new(Kind::Pca, maps, self.params.centred, set, context, (report, started))
    }
}

impl DictionaryFit for PcaFit {
    fn kind(&self) -> Kind {
        Kind::Pca
    }

    /// The `fitted` variant. [`PcaFit::decompose`] gives all of them.
    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        Ok(self.decompose(set, context)?.variant(Variant::Fitted, 1))
    }

    fn most_features(&self, width: usize) -> Option<usize> {
        Some(self.params.components.unwrap_or(width).min(width))
    }

    /// Covariance, eigenvectors and the solver's own copy, in f64.
    fn memory(&self, _rows: f64, width: usize) -> f64 {
        24.0 * (width as f64).powi(2)
    }

    fn work(&self, rows: f64, width: usize) -> FitWork {
        FitWork { before: principal_work(rows, width as f64), ..FitWork::default() }
    }

    fn cost(&self, rows: f64, width: usize) -> FitCost {
        principal_cost(rows, width as f64)
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
}

/// Operations of the covariance and its eigenvectors, in f64, and of the codes that decide signs.
pub(super) fn principal_work(rows: f64, width: f64) -> f64 {
    COVARIANCE * rows * width * width + EIGENVECTORS * width.powi(3)
}

/// What the covariance, its eigenvectors and the codes that decide signs take: n rows of width d, read twice.
///
///   n·d² (one triangle) to 2n·d² for the covariance + 2n·d² for the codes + 9d³ to 25d³
///
/// 9d³ is the symmetric QR algorithm with vectors (Golub and Van Loan 2013, §8.3), 25d³ a solver that takes more sweeps.
/// Rows are read in f32, and a block of them reads and writes the sums in f64.
pub(super) fn principal_cost(rows: f64, width: f64) -> FitCost {
    let square = width * width;
    let sums = rows / BLOCK_ROWS as f64 * 16.0 * square;
    FitCost {
        flops: [3.0 * rows * square + 9.0 * width.powi(3), 4.0 * rows * square + 25.0 * width.powi(3)],
        moved: [8.0 * rows * width, 16.0 * rows * width + sums],
        rows_read: 2.0 * rows,
    }
}

/// Eigenvectors of the covariance of all rows, by falling variance. One pass, in f64.
pub fn principal_axes(set: &ActivationSet) -> Result<Eigen, FitError> {
    let (covariance, _) = covariance::<ActivationError>(set.mean(), set.blocks(BLOCK_ROWS))?;
    Ok(symmetric_eigen(&covariance, set.width())?)
}

pub(super) fn null_note(whitening: &Whitening) -> Option<String> {
    (whitening.null > 0).then(|| {
        format!("{} of {} directions have no variance and were left out", whitening.null, whitening.width)
    })
}
