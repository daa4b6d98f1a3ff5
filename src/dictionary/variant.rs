//! Ways to use a signed linear decomposition as a dictionary: the equations are in `decomposition`.

use serde::{Deserialize, Serialize};

/// A use of a signed decomposition. One fit serves all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema, strum::IntoStaticStr,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Variant {
    /// Signed, as the solver gives it.
    Fitted,
    /// Signed, each component with the sign for which its 20 largest codes by absolute value on the fit activations have
    /// a positive sum.
    Oriented,
    /// Two non-negative features per component: its positive side and its negative side.
    Split,
    /// Split, and only the k largest codes of a row are kept.
    Topk,
}

impl Variant {
    /// Features per component.
    pub fn sides(self) -> usize {
        match self {
            Self::Fitted | Self::Oriented => 1,
            Self::Split | Self::Topk => 2,
        }
    }

    /// Name in tables: `pca`, `pca_oriented`, `pca_split`, `pca_topk`.
    pub fn method_name(self, method: &str) -> String {
        match self {
            Self::Fitted => method.to_string(),
            _ => format!("{method}_{}", <&str>::from(self)),
        }
    }
}
