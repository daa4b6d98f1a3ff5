//! The family of charts, by the names that they are asked for and saved under.

/// What a chart shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mean with interval by layer, a panel for each score.
    ByLayer,
    /// Scores of single features.
    Distribution,
    /// L0 against fraction of variance unexplained.
    SparsityFvu,
    /// Score against L0.
    ScoreL0,
    /// Score against the number of features, along sweeps that vary it.
    ScoreSize,
    /// Score against how long dictionaries were trained.
    ScoreTraining,
    /// Scores of single features against the kurtosis of their codes.
    ScoreKurtosis,
    /// Scores of single features against how often they fire.
    ScoreDensity,
    /// Sparse baselines beside autoencoders, by layer.
    TopkBaselines,
    /// Features that never or hardly ever fire.
    Dead,
}

impl Kind {
    /// Every kind, in the order that they are drawn in.
    pub const ALL: [Self; 10] = [
        Self::ByLayer,
        Self::TopkBaselines,
        Self::Distribution,
        Self::ScoreL0,
        Self::ScoreSize,
        Self::ScoreTraining,
        Self::ScoreKurtosis,
        Self::ScoreDensity,
        Self::SparsityFvu,
        Self::Dead,
    ];

    /// The name that it is asked for by, and the first part of its files' names.
    pub fn name(self) -> &'static str {
        match self {
            Self::ByLayer => "scores_by_layer",
            Self::Distribution => "score_distributions",
            Self::SparsityFvu => "sparsity_fvu",
            Self::ScoreL0 => "score_sparsity",
            Self::ScoreSize => "score_size",
            Self::ScoreTraining => "score_training",
            Self::ScoreKurtosis => "score_kurtosis",
            Self::ScoreDensity => "score_density",
            Self::TopkBaselines => "topk_baselines",
            Self::Dead => "dead_features",
        }
    }

    /// The kind of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What it shows, for those who cannot see it.
    pub fn in_words(self) -> &'static str {
        match self {
            Self::ByLayer => "mean score with interval by layer, one panel per score",
            Self::Distribution => "scores of single features by method",
            Self::SparsityFvu => "L0 against fraction of variance unexplained, one mark per method",
            Self::ScoreL0 => "mean score against L0, one mark per method",
            Self::ScoreSize => "mean score against the number of features, one line per sweep",
            Self::ScoreTraining => "mean score against the length of training",
            Self::ScoreKurtosis => "scores of single features against kurtosis, one panel per method",
            Self::ScoreDensity => "scores of single features against density, one panel per method",
            Self::TopkBaselines => "mean score by layer of sparse baselines and autoencoders",
            Self::Dead => "number of dead features by layer or sparsity",
        }
    }
}
