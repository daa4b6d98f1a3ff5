use serde::{Deserialize, Serialize};

use crate::activations::{ActivationError, ActivationSet};
use crate::base::{Matrix, Stopwatch};
use crate::linalg::{Eigen, Whitening, covariance, symmetric_eigen};

use super::affine::Label;
use super::error::{ParamProblem, Problems};
use super::variants::{Decomposition, Variant, find_turned, matched_k};
use super::{DictionaryFit, FitContext, FitError, FitReport, Fitted, Kind};

/// Rows of one block of the covariance.
const BLOCK_ROWS: usize = 8192;

/// Principal components, in raw units, largest variance first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PcaParams {
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

/// What PCA and ICA demand alike of their variants.
pub(super) fn check_variants(
    problems: &mut Problems,
    variants: &[Variant],
    matched: Option<&String>,
    k: Option<usize>,
    components: Option<usize>,
) {
    problems.require(!variants.is_empty(), "variants", || {
        "is empty; expected some of fitted, oriented, split, topk".to_string()
    });
    let topk = variants.contains(&Variant::Topk);
    problems.require(!topk || matched.is_some() != k.is_some(), "match", || {
        "or else `k` is needed by the variant `topk`: name the method whose L0 it is matched to, or give k"
            .to_string()
    });
    if let Some(k) = k {
        problems.at_least("k", k, 1);
    }
    if let Some(components) = components {
        problems.at_least("components", components, 1);
    }
}

impl PcaParams {
    /// All problems at once.
    pub fn check(&self) -> Result<PcaFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        check_variants(&mut problems, &self.variants, self.matched.as_ref(), self.k, self.components);
        problems.finish(PcaFit { params: self.clone() })
    }
}

impl PcaFit {
    /// The one fit that serves all variants.
    ///
    /// linfa-reduction's PCA holds all rows in memory in f64 and finds components by an iteration
    /// with a random start; activations here are streamed and can be larger than memory. So the
    /// covariance is added up in one pass and decomposed exactly; linfa is the oracle of the tests.
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
        let mut report = FitReport { rows: set.rows(), ..FitReport::default() };
        report.notes.extend(null_note(&whitening));
        let mut decomposition = Decomposition {
            label: label(Kind::Pca, set, context),
            scoring: axes.clone(),
            directions: axes,
            centre: centre(set, self.params.centred),
            turned: vec![false; whitening.rank],
            report,
        };
        decomposition.turned = find_turned(&decomposition, set)?;
        decomposition.report.seconds = started.seconds();
        Ok(decomposition)
    }

    /// The checked parameters.
    pub fn params(&self) -> &PcaParams {
        &self.params
    }
}

impl DictionaryFit for PcaFit {
    fn kind(&self) -> Kind {
        Kind::Pca
    }

    /// The `fitted` variant; [`PcaFit::decompose`] gives all of them.
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
}

/// Eigenvectors of the covariance of all rows, by falling variance: one pass, products and sums in f64.
pub fn principal_axes(set: &ActivationSet) -> Result<Eigen, FitError> {
    let (covariance, _) = covariance::<ActivationError>(set.mean(), set.blocks(BLOCK_ROWS))?;
    Ok(symmetric_eigen(&covariance, set.width())?)
}

pub(super) fn label(kind: Kind, set: &ActivationSet, context: &FitContext<'_>) -> Label {
    Label {
        method: context.method.to_string(),
        kind,
        hook: set.hook(),
        fitted_on: set.digest(),
        is_reconstruction: true,
    }
}

pub(super) fn centre(set: &ActivationSet, centred: bool) -> Vec<f32> {
    set.mean().iter().map(|&mean| if centred { mean as f32 } else { 0.0 }).collect()
}

pub(super) fn null_note(whitening: &Whitening) -> Option<String> {
    (whitening.null > 0).then(|| {
        format!("{} of {} directions have no variance and were left out", whitening.null, whitening.width)
    })
}
