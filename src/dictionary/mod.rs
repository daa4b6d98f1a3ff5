//! Every way to decompose activations, and how good a decomposition is.
//!
//! In: activations.
//! Out: dictionaries, fit reports, quality.
//! Never: imports corpus, features or an LLM client.
//!
//! Sources: tied ReLU-L1 autoencoder and baselines, Cunningham et al. 2023 (arXiv 2309.08600);
//! TopK and aux-k, Gao et al. 2024 (arXiv 2406.04093); BatchTopK, Bussmann et al. 2024 (arXiv
//! 2412.06410); Matryoshka, Bussmann et al. 2025 (arXiv 2503.17547); gated and JumpReLU,
//! Rajamanoharan et al. 2024 (arXiv 2404.16014, 2407.14435); independent components by Picard-O,
//! Ablin, Cardoso and Gramfort 2018 (arXiv 1711.10873), whose fixed points are FastICA's
//! (Hyvärinen 1999). File format: SAELens.

mod affine;
mod catalog;
mod error;
mod file;
mod fit;
mod ica;
mod info;
mod pca;
mod quality;
mod sae;
mod save;
mod similarity;
mod simple;
mod stated;
mod variants;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::base::Matrix;
use crate::linalg::SparseCodes;

pub use affine::{Activation, AffineDictionary, Label, RowScale, Tensors};
pub use catalog::{Kind, KindFields, MethodParams, kind_fields};
pub use error::{DictionaryError, FitError, ParamProblem};
pub use file::{FileFit, FileFormat, FileParams};
pub use fit::{DictionaryFit, FitContext, FitProgress, FitReport, Fitted};
pub use ica::{IcaFit, IcaParams, Solver, rotate_to_independence};
pub use info::{DictionaryInfo, SignPolicy};
pub use pca::{PcaFit, PcaParams, principal_axes};
pub use quality::{
    Codes, NEAR_DEAD_DENSITY, NOT_A_RECONSTRUCTION, Quality, QualityCounter, ablate, loss_recovered, mean_l0,
    quality, splice,
};
pub use sae::{
    AutoencoderFit, GatedParams, JumpreluParams, Member, Recipe, SaeParams, TopkParams, Training,
    train_together,
};
pub use save::{export_saelens, load};
pub use similarity::{DirectionSet, Mmcs, Neighbour, mmcs, mmcs_of_directions, nearest};
pub use simple::{IdentityFit, IdentityParams, NeuronFit, NeuronParams, RandomFit, RandomParams};
pub use stated::TextInput;
pub use variants::{Decomposition, Variant};

/// Encodes activations into features and decodes them back. Raw activations in, raw reconstruction
/// out; whatever scaling a fit used is folded into the tensors.
///
/// ```
/// use autointerp::activations::ActivationSet;
/// use autointerp::base::{Matrix, Stream};
/// use autointerp::dictionary::{DictionaryFit, FitContext, PcaParams};
/// use autointerp::nn::Device;
///
/// // 200 activations of width 4 that vary along two directions only.
/// let mut stream = Stream::new(7, "example");
/// let (a, b): (Vec<f64>, Vec<f64>) = (0..200).map(|_| (stream.normal(), stream.normal())).unzip();
/// let rows = Matrix::from_fn(200, 4, |row, col| [a[row], b[row], a[row] - b[row], 2.0 * a[row]][col] as f32);
/// let set = ActivationSet::from_matrix("hook_embed".parse()?, rows, Vec::new())?;
/// let fit = PcaParams { components: Some(2), ..PcaParams::default() }.check().expect("valid parameters");
/// let (device, input) = (&Device::Cpu, Default::default());
/// let mut context = FitContext { method: "pca", seed: 7, training: 0, input, device, progress: &mut |_| () };
/// let pca = fit.fit(&set, &mut context)?.dictionary;
/// let (codes, estimate) = pca.encode_and_reconstruct(&set.read(0, 200)?)?;
/// assert_eq!((codes.rows(), pca.info().n_features), (200, 2));
/// let missed = estimate.expect("PCA reconstructs").data().iter().zip(set.read(0, 200)?.data())
///     .map(|(estimate, value)| (estimate - value).abs())
///     .fold(0.0, f32::max);
/// assert!(missed < 1e-4, "two components hold everything");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Dictionary: Send + Sync {
    /// What it is and what it was fitted on.
    fn info(&self) -> &DictionaryInfo;

    /// Codes `[n, n_features]` of activations `[n, d_in]`.
    fn encode(&self, x: &Matrix) -> Result<Matrix, DictionaryError>;

    /// The same, only what is not zero.
    fn encode_sparse(&self, x: &Matrix) -> Result<SparseCodes, DictionaryError> {
        Ok(SparseCodes::from_dense(&self.encode(x)?))
    }

    /// Codes `[n, features.len()]` of some features alone.
    fn encode_features(&self, x: &Matrix, features: &[usize]) -> Result<Matrix, DictionaryError> {
        let codes = self.encode(x)?;
        Ok(Matrix::from_fn(codes.rows(), features.len(), |row, col| codes.at(row, features[col])))
    }

    /// Estimates of activations `[n, d_in]` from codes `[n, n_features]`.
    fn decode(&self, codes: &Matrix) -> Result<Matrix, DictionaryError>;

    /// Codes, and the estimate where the dictionary makes one, in one pass.
    fn encode_and_reconstruct(&self, x: &Matrix) -> Result<(SparseCodes, Option<Matrix>), DictionaryError> {
        let codes = self.encode(x)?;
        let estimate = if self.info().is_reconstruction { Some(self.decode(&codes)?) } else { None };
        Ok((SparseCodes::from_dense(&codes), estimate))
    }

    /// The estimate of activations `x` whose codes are there already.
    fn decode_of(&self, _x: &Matrix, codes: &Matrix) -> Result<Matrix, DictionaryError> {
        self.decode(codes)
    }

    /// The estimate of activations from themselves.
    fn reconstruct(&self, x: &Matrix) -> Result<Matrix, DictionaryError> {
        self.encode_and_reconstruct(x)?
            .1
            .ok_or_else(|| DictionaryError::NotAReconstruction { method: self.info().method.clone() })
    }

    /// What one feature adds to the estimates of activations `x` `[n, d_in]` on which its codes are `codes`
    /// `[n]`: code times decoder row, in the units of `x`. None where a code is no share of the activation:
    /// the codes of random directions, of which no row is taken for another's sake.
    fn contributions(
        &self,
        x: &Matrix,
        feature: usize,
        codes: &[f32],
    ) -> Result<Option<Matrix>, DictionaryError>;

    /// Unit decoder rows `[n_features, d_in]`; a feature without a direction has a row of zeros.
    fn directions(&self) -> Result<Matrix, DictionaryError>;

    /// Writes `dictionary.safetensors` and `config.json` into `folder`; [`load`] reads them.
    fn save(&self, folder: &Path) -> Result<(), DictionaryError>;
}
