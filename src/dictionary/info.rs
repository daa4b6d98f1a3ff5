use serde::{Deserialize, Serialize};

use super::Kind;
use crate::base::{Digest, HookPoint};

/// Whether codes can be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignPolicy {
    /// Codes are at least zero.
    NonNegative,
    /// Codes have a sign; only the positive side counts as firing.
    Signed,
}

/// What a dictionary is and what it was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DictionaryInfo {
    /// Name of the method as shown in tables: `topk`, `pca_oriented`.
    pub method: String,
    /// How it was made.
    pub kind: Kind,
    /// Width of an activation.
    pub d_in: usize,
    /// Number of features.
    pub n_features: usize,
    /// Whether codes can be negative.
    pub sign: SignPolicy,
    /// Whether codes can be decoded into an estimate of the activation.
    pub is_reconstruction: bool,
    /// Where in the model.
    pub hook: HookPoint,
    /// Digest of the activations it was fitted on. Dictionaries are compared only where it is the
    /// same. A dictionary trained elsewhere carries the digest of the set it was loaded beside.
    pub fitted_on: Digest,
    /// Digest of its tensors and of what decides how they are used.
    pub digest: Digest,
}
