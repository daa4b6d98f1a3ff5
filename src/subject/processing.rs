//! Processing of weights.

use serde::{Deserialize, Serialize};

/// Changes of a model's weights before it is run, with TransformerLens's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Processing {
    /// Subtracts the mean over dimensions from everything written to the residual stream.
    CenterWritingWeights,
    /// Folds weights and biases of norms into the maps that follow. It changes no hook point of this program, since none
    /// lies between a norm and those maps.
    FoldLn,
}

impl Processing {
    /// Every processing with its name.
    pub const NAMED: [(&str, Self); 2] =
        [("center_writing_weights", Self::CenterWritingWeights), ("fold_ln", Self::FoldLn)];
}
