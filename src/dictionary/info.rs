use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Digest, HookPoint};

/// Every way to make a dictionary, by the word a suite uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Tied sparse autoencoder, ReLU and L1.
    Sae,
    /// Untied sparse autoencoder, ReLU and L1.
    SaeUntied,
    /// Sparse autoencoder that keeps the k largest codes.
    Topk,
    /// Sparse autoencoder that keeps the largest codes of a batch.
    BatchTopk,
    /// The same with a loss for each of several nested dictionaries.
    Matryoshka,
    /// Sparse autoencoder with gates.
    Gated,
    /// Sparse autoencoder with learned thresholds.
    Jumprelu,
    /// Default basis through ReLU.
    Neuron,
    /// Gaussian directions through ReLU.
    Random,
    /// Signed default basis.
    Identity,
    /// Principal components.
    Pca,
    /// Independent components.
    Ica,
    /// Trained elsewhere.
    File,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Sae,
        Self::SaeUntied,
        Self::Topk,
        Self::BatchTopk,
        Self::Matryoshka,
        Self::Gated,
        Self::Jumprelu,
        Self::Neuron,
        Self::Random,
        Self::Identity,
        Self::Pca,
        Self::Ica,
        Self::File,
    ];

    /// The word a suite uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sae => "sae",
            Self::SaeUntied => "sae_untied",
            Self::Topk => "topk",
            Self::BatchTopk => "batch_topk",
            Self::Matryoshka => "matryoshka",
            Self::Gated => "gated",
            Self::Jumprelu => "jumprelu",
            Self::Neuron => "neuron",
            Self::Random => "random",
            Self::Identity => "identity",
            Self::Pca => "pca",
            Self::Ica => "ica",
            Self::File => "file",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

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
