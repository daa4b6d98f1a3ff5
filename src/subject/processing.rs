use serde::{Deserialize, Serialize};

/// What is done to a model's weights before it is run, under the names that TransformerLens has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Processing {
    /// The mean over dimensions is taken off everything that is written to the residual stream.
    CenterWritingWeights,
    /// Weights and biases of norms are folded into the maps that follow. It changes no hook point of this program, as
    /// none lies between a norm and those maps.
    FoldLn,
}

impl Processing {
    /// Every one with its name.
    pub const NAMED: [(&str, Self); 2] =
        [("center_writing_weights", Self::CenterWritingWeights), ("fold_ln", Self::FoldLn)];
}
