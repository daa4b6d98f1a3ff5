//! Description of a dictionary.

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::base::{Digest, HookPoint};

/// Whether codes can be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignPolicy {
    /// Codes are at least zero.
    NonNegative,
    /// Codes are signed. Only positive codes count as firing.
    Signed,
}

impl DictionaryInfo {
    /// Whether codes are decoded into an estimate of the input itself.
    pub fn reconstructs_input(&self) -> bool {
        self.is_reconstruction && self.output.is_none()
    }
}

/// Description of a dictionary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DictionaryInfo {
    /// Name of the method in tables: `topk`, `pca_oriented`.
    pub method: String,
    /// Kind of dictionary.
    pub kind: Kind,
    /// Width of an activation.
    pub d_in: usize,
    /// Width of a reconstruction; other than `d_in` for some transcoders.
    pub d_out: usize,
    /// Number of features.
    pub n_features: usize,
    /// Whether codes can be negative.
    pub sign: SignPolicy,
    /// Whether codes can be decoded into an estimate of the activation.
    pub is_reconstruction: bool,
    /// Hook point.
    pub hook: HookPoint,
    /// Hook point of the reconstruction, where it is not that of the input: a transcoder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<HookPoint>,
    /// Digest of the activations that it was fitted on. Only dictionaries with equal digests are compared. A
    /// dictionary trained elsewhere carries the digest of the activations it was loaded with.
    pub fitted_on: Digest,
    /// Digest of its tensors and settings.
    pub digest: Digest,
}
