//! Why an edit or an experiment with edits is not possible.

use crate::dictionary::DictionaryError;
use crate::subject::SubjectError;

/// Why an edit or an experiment with edits is not possible.
#[derive(Debug, thiserror::Error)]
pub enum CausalError {
    /// The subject.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// The dictionary.
    #[error(transparent)]
    Dictionary(#[from] DictionaryError),
    /// A dictionary without a decoder.
    #[error(
        "edit activations by codes of `{method}`: it only encodes, so its features have no direction to write in; use a \
         dictionary with a decoder"
    )]
    OnlyEncodes {
        /// Name of the dictionary.
        method: String,
    },
    /// A feature that the dictionary lacks.
    #[error("find feature {feature} of `{method}`: it has features 0 to {}", n_features.saturating_sub(1))]
    NoFeature {
        /// The feature.
        feature: usize,
        /// Name of the dictionary.
        method: String,
        /// Its number of features.
        n_features: usize,
    },
}
