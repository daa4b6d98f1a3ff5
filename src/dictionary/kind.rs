//! The kinds of dictionaries: one table, with the name, the meaning and the parameters of each.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Passes the table of kinds to the macro `$then`. `catalog` makes the types of the parameters from the same rows, so a
/// new kind is one row here.
macro_rules! for_kinds {
    ($then:ident) => {
        $then! {
            /// Tied sparse autoencoder: ReLU and an L1 penalty.
            Sae: SaeParams, "sae", draws: true, sparse: true;
            /// Untied sparse autoencoder: ReLU and an L1 penalty.
            SaeUntied: SaeParams, "sae_untied", draws: true, sparse: true;
            /// Sparse autoencoder that keeps the k largest codes of a row.
            Topk: TopkParams, "topk", draws: true, sparse: true;
            /// Sparse autoencoder that keeps the k·rows largest codes of a batch.
            BatchTopk: TopkParams, "batch_topk", draws: true, sparse: true;
            /// BatchTopK with a loss for each of several nested dictionaries.
            Matryoshka: TopkParams, "matryoshka", draws: true, sparse: true;
            /// Sparse autoencoder with gates.
            Gated: GatedParams, "gated", draws: true, sparse: true;
            /// Sparse autoencoder with learned thresholds.
            Jumprelu: JumpreluParams, "jumprelu", draws: true, sparse: true;
            /// Default basis through ReLU.
            Neuron: NeuronParams, "neuron", draws: false, sparse: false;
            /// Gaussian directions through ReLU.
            Random: RandomParams, "random", draws: true, sparse: false;
            /// Signed default basis.
            Identity: IdentityParams, "identity", draws: false, sparse: false;
            /// Principal components.
            Pca: PcaParams, "pca", draws: false, sparse: false;
            /// Independent components.
            Ica: IcaParams, "ica", draws: true, sparse: false;
            /// A dictionary trained elsewhere.
            File: FileParams, "file", draws: false, sparse: true;
        }
    };
}

macro_rules! declare_kinds {
    ($($(#[doc = $words:literal])+ $kind:ident: $params:ident, $name:literal, draws: $draws:literal, sparse: $sparse:literal;)+) => {
        /// Every way to make a dictionary.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Kind {
            $($(#[doc = $words])+ #[serde(rename = $name)] $kind,)+
        }

        impl Kind {
            /// All kinds, in the order of lists.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The word in suites and results.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            /// What it is, for people.
            pub fn words(self) -> &'static str {
                match self { $(Self::$kind => concat!($($words),+).trim_ascii()),+ }
            }

            /// Whether another training gives another dictionary.
            pub fn draws(self) -> bool {
                match self { $(Self::$kind => $draws),+ }
            }

            /// Whether few of its features are active at once, so that another method can be matched to its L0.
            pub fn is_sparse(self) -> bool {
                match self { $(Self::$kind => $sparse),+ }
            }

            /// Whether other methods are measured against it: what it gives needs no autoencoder.
            pub fn is_baseline(self) -> bool {
                !self.is_sparse()
            }
        }
    };
}

for_kinds!(declare_kinds);

pub(super) use for_kinds;

impl Kind {
    /// The kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
