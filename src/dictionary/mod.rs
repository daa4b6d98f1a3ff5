//! Ways to decompose activations, and how good a decomposition is.
//!
//! In: activations.
//! Out: dictionaries, fit reports, quality.
//! Never: imports corpus, features or an LLM client.
//!
//! Equations and sources: autoencoders in `sae`, PCA in `pca`, ICA in `ica` and `picard`, baselines in `simple`
//! (Cunningham et al. 2023, arXiv 2309.08600), the form that all share in `affine`. File format: SAELens.

mod affine;
mod catalog;
mod codes_file;
mod decomposition;
mod error;
mod export;
mod file;
mod fit;
mod formats;
mod gradient;
mod ica;
mod info;
mod kind;
mod load;
mod path;
mod pca;
mod picard;
mod quality;
mod sae;
mod save;
mod similarity;
mod simple;
mod stated;
mod tensor_file;
mod tensor_files;
mod tensors;
mod tiles;
mod variant;

#[cfg(test)]
mod tests;

use std::path::Path;

use crate::base::Matrix;
use crate::linalg::SparseCodes;

pub use affine::{AffineDictionary, Label};
pub use catalog::{KindFields, MethodParams, kind_fields};
pub use codes_file::{PlainTensor, WrittenCodes, matrix_in, write_codes};
pub use decomposition::Decomposition;
pub use error::{DictionaryError, FitError, ParamProblem};
pub use export::{export_saelens, export_saelens_with, saelens_problem, write_sparsity};
pub use file::{FileFit, FileParams, Read};
pub use fit::{DictionaryFit, FitContext, FitCost, FitProgress, FitReport, FitWork, Fitted};
pub use formats::{Card, FileFormat, FormatRow, Shape, ThresholdUnits, needed, rows as file_formats};
pub use ica::{IcaFit, IcaParams, Solver};
pub use info::{DictionaryInfo, SignPolicy};
pub use kind::Kind;
pub use load::load;
pub use path::{DictionaryPath, HubPath, Located};
pub use pca::{PcaFit, PcaParams, principal_axes};
pub use picard::rotate_to_independence;
pub use quality::{
    Codes, Quality, QualityCounter, ablate, column_means, fvu_of_rows, loss_recovered, mean_l0, quality,
    splice,
};
pub use sae::{
    AutoencoderFit, GatedParams, JumpreluParams, Member, Recipe, SaeParams, TopkParams, Training,
    train_together,
};
pub use save::FILES as DICTIONARY_FILES;
pub use similarity::{DirectionSet, Mmcs, Neighbour, mmcs_of_directions, nearest};
pub use simple::{BaselineFit, IdentityParams, NeuronParams, RandomParams, basis};
pub use stated::{Stated, TextInput, hook_of};
#[doc(hidden)]
pub use tensor_files::TensorFile;
pub use tensors::{Activation, RowScale, Tensors};
pub use variant::Variant;

/// Encodes raw activations into features and decodes them back; scaling used by the fit is part of the tensors.
///
/// ```
/// use autointerp::activations::ActivationSet;
/// use autointerp::base::{Matrix, Stream};
/// use autointerp::dictionary::{DictionaryFit, FitContext, PcaParams, quality};
/// use autointerp::nn::Device;
///
/// // 200 activations of width 4 that vary along two directions.
/// let mut stream = Stream::new(7, "example");
/// let (a, b): (Vec<f64>, Vec<f64>) = (0..200).map(|_| (stream.normal(), stream.normal())).unzip();
/// let rows = Matrix::from_fn(200, 4, |row, col| [a[row], b[row], a[row] - b[row], 2.0 * a[row]][col] as f32);
/// let set = ActivationSet::from_matrix("hook_embed".parse()?, rows, Vec::new())?;
/// let fit = PcaParams { components: Some(2), ..PcaParams::default() }.check().expect("valid parameters");
/// let (device, input) = (&Device::Cpu, Default::default());
/// let mut context = FitContext { method: "pca", seed: 7, training: 0, input, only: None, device, progress: &mut |_| () };
/// let pca = fit.fit(&set, &mut context)?.dictionary;
/// assert_eq!((pca.encode(&set.read(0, 200)?)?.rows(), pca.info().n_features), (200, 2));
/// assert!(quality(&*pca, &set, set.mean())?.fvu.expect("PCA reconstructs") < 1e-9, "two components explain all");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Dictionary: Send + Sync {
    /// Method, shape, sign policy and the activations it was fitted on.
    fn info(&self) -> &DictionaryInfo;

    /// The form that every dictionary has.
    fn as_affine(&self) -> &AffineDictionary;

    /// Codes `[n, n_features]` of activations `[n, d_in]`.
    fn encode(&self, x: &Matrix) -> Result<Matrix, DictionaryError>;

    /// The non-zero codes.
    fn encode_sparse(&self, x: &Matrix) -> Result<SparseCodes, DictionaryError>;

    /// Codes `[n, features.len()]` of some features.
    fn encode_features(&self, x: &Matrix, features: &[usize]) -> Result<Matrix, DictionaryError>;

    /// Whether a feature's code depends on the other features, as in TopK. Then `encode_features` encodes all of them.
    fn couples_features(&self) -> bool;

    /// Reconstruction `[n, d_in]` from codes `[n, n_features]`.
    fn decode(&self, codes: &Matrix) -> Result<Matrix, DictionaryError>;

    /// Codes and reconstruction in one pass. The reconstruction is None for methods without one.
    fn encode_and_reconstruct(&self, x: &Matrix) -> Result<(SparseCodes, Option<Matrix>), DictionaryError>;

    /// Reconstruction of activations `x` with known codes. Unlike `decode` it also works where rows were scaled.
    fn decode_of(&self, x: &Matrix, codes: &Matrix) -> Result<Matrix, DictionaryError>;

    /// Reconstruction of activations.
    fn reconstruct(&self, x: &Matrix) -> Result<Matrix, DictionaryError> {
        self.encode_and_reconstruct(x)?
            .1
            .ok_or_else(|| DictionaryError::NotAReconstruction { method: self.info().method.clone() })
    }

    /// What one feature adds to the reconstruction of `x` `[n, d_in]`: its codes `[n]` times its decoder row, in the
    /// units of `x`. None for random directions, whose codes are not parts of the activation.
    fn contributions(
        &self,
        x: &Matrix,
        feature: usize,
        codes: &[f32],
    ) -> Result<Option<Matrix>, DictionaryError>;

    /// Unit decoder rows `[n_features, d_in]`. A decoder row of zeros stays zero.
    fn directions(&self) -> Result<Matrix, DictionaryError>;

    /// Unit decoder rows `[features.len(), d_in]` of some features.
    fn directions_of(&self, features: &[usize]) -> Result<Matrix, DictionaryError>;

    /// Writes `dictionary.safetensors` and `config.json` into `folder`; [`load`] reads them.
    fn save(&self, folder: &Path) -> Result<(), DictionaryError>;
}
