//! The kinds of charts. The name of a kind selects it on the command line and starts its file names.

use strum::{EnumString, IntoStaticStr, VariantArray};

/// What a chart shows. Charts are drawn in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
pub enum Kind {
    /// Mean score over all hook points, a panel for each main score.
    #[strum(serialize = "scores_averaged")]
    Averaged,
    /// Mean score by layer, a panel for each score.
    #[strum(serialize = "scores_by_layer")]
    ByLayer,
    /// Sparse baselines beside autoencoders, by layer.
    #[strum(serialize = "topk_baselines")]
    TopkBaselines,
    /// Scores of single features.
    #[strum(serialize = "score_distributions")]
    Distribution,
    /// Mean score against L0.
    #[strum(serialize = "score_sparsity")]
    ScoreL0,
    /// Mean score against the number of features, along sweeps that vary it.
    #[strum(serialize = "score_size")]
    ScoreSize,
    /// Mean score against the length of training.
    #[strum(serialize = "score_training")]
    ScoreTraining,
    /// Scores of single features against the kurtosis of their codes.
    #[strum(serialize = "score_kurtosis")]
    ScoreKurtosis,
    /// Scores of single features against their density.
    #[strum(serialize = "score_density")]
    ScoreDensity,
    /// Shares of the grades of explanations by interval of activation.
    #[strum(serialize = "specificity")]
    Specificity,
    /// Scores of single features against what they do when clamped.
    #[strum(serialize = "score_effect")]
    ScoreEffect,
    /// L0 against fraction of variance unexplained.
    #[strum(serialize = "sparsity_fvu")]
    SparsityFvu,
    /// Counts of dead and near-dead features.
    #[strum(serialize = "dead_features")]
    Dead,
    /// Divergence from the target run of a task against the number of patched features.
    #[strum(serialize = "patching_features")]
    PatchingFeatures,
    /// The same against the size of the edit.
    #[strum(serialize = "patching_edit")]
    PatchingEdit,
    /// Accuracy of a probe for a concept against the number of erased features.
    #[strum(serialize = "erasure_accuracy")]
    ErasureAccuracy,
    /// Divergence of the output against the same.
    #[strum(serialize = "erasure_kl")]
    ErasureKl,
}

impl Kind {
    pub fn name(self) -> &'static str {
        self.into()
    }
}
