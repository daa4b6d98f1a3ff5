//! What decides a training run, besides data and seed.

use crate::dictionary::{FitCost, FitWork, Kind};

use super::schedule::{L1Weight, LearningRate};

/// Operations that take as long as the errors and gradients of one active code, for each dimension.
const ACTIVE: f64 = 20.0;
/// The same for each further nested dictionary.
const NESTED: f64 = 1.0;
/// Operations that take as long as to compare one code with the largest.
const SELECTED: f64 = 115.0;
/// Operations that take as long as the update of one weight.
const UPDATE: f64 = 60.0;
/// Share of the steps in which codes are not sparse yet.
const DENSE_SHARE: f64 = 0.1;
/// Steps that take as long as the losses on the probe.
const PROBED_STEPS: f64 = 10.0;

/// Operations of an update by Adam (Kingma and Ba 2015, algorithm 1), and the bytes that it reads and writes, for each
/// weight.
const ADAM_OPERATIONS: f64 = 12.0;
const ADAM_BYTES: f64 = 28.0;

/// How codes are kept sparse.
#[derive(Debug, Clone, Copy)]
pub enum Sparsity {
    /// The k largest codes of a row.
    TopK { k: usize },
    /// The `k · R` largest codes of a batch. The mean of the smallest code kept becomes the threshold of single rows.
    BatchTopK { k: usize },
    /// An L1 penalty on ReLU codes.
    L1(L1Weight),
    /// An L1 penalty on the gates.
    Gated(L1Weight),
    /// Thresholds learned towards a mean L0 of `target`. `bandwidth` is the width of the rectangle in their gradient.
    Thresholds { target: f64, bandwidth: f64 },
}

impl Sparsity {
    pub fn l1(self) -> Option<L1Weight> {
        match self {
            Self::L1(weight) | Self::Gated(weight) => Some(weight),
            _ => None,
        }
    }

    /// The mean L0 that training is steered to.
    pub fn target_l0(self) -> Option<f64> {
        match self {
            Self::Thresholds { target, .. } => Some(target),
            _ => self.l1()?.target,
        }
    }
}

/// The auxiliary loss of dead features.
#[derive(Debug, Clone, Copy)]
pub struct Aux {
    pub weight: f64,
    /// Dead features that one row may use.
    pub k: usize,
    /// Rows without firing after which a feature is dead.
    pub dead_rows: usize,
}

/// Everything that decides a training run, besides data and seed.
#[derive(Debug, Clone)]
pub struct Recipe {
    pub(super) kind: Kind,
    /// Number of features.
    pub features: usize,
    /// Whether the encoder is the transposed decoder.
    pub(super) tied: bool,
    pub(super) sparsity: Sparsity,
    /// Ends of nested dictionaries, rising to all features.
    pub(super) prefixes: Vec<usize>,
    /// Whether inputs are scaled to unit mean square per dimension.
    pub(super) scaled: bool,
    /// Whether the mean is subtracted from inputs first.
    pub(super) centred: bool,
    /// Whether a decoder bias is learned.
    pub(super) decoder_bias: bool,
    /// Training steps.
    pub steps: usize,
    /// Rows per step.
    pub batch: usize,
    pub(super) learning_rate: LearningRate,
    /// How many times rarely firing features are replaced.
    pub(super) resamples: usize,
    pub(super) aux: Option<Aux>,
}

impl Recipe {
    /// Memory that training takes at least, in bytes. Counted are the weights with Adam's moments and the unit rows of
    /// the decoder, one batch with its errors, and the loss of each step. Where all codes of a batch are compared, they
    /// are counted too.
    pub fn bytes(&self, rows: f64, width: usize) -> f64 {
        let (features, width) = (self.features as f64, width as f64);
        let rows = rows.min(self.batch as f64);
        let per_weight = if self.tied { 16.0 } else { 28.0 };
        let errors = 1.0 + self.prefixes.len() as f64;
        let codes = if matches!(self.sparsity, Sparsity::BatchTopK { .. }) { features } else { 0.0 };
        per_weight * features * width + 4.0 * rows * (width * errors + codes) + 16.0 * self.steps as f64
    }

    /// What training computes and moves: `steps · batch` rows, F features of width d, of which k are active.
    ///
    ///   at least: 2Fd encode + 2kd decode + 2kd gradient of the codes + 4kd gradients of both maps
    ///   at most:  2Fd for each of these five products
    ///
    /// A step updates the weights by Adam: 12 operations a weight; it reads weight, gradient and two moments, and writes
    /// all but the gradient, 28 bytes. Where products are dense, codes are written and read three times.
    pub fn cost(&self, width: usize) -> FitCost {
        let (features, width, steps) = (self.features as f64, width as f64, self.steps as f64);
        let rows = steps * self.batch as f64;
        let product = 2.0 * features * width;
        let active = self.active().min(features);
        let weights = steps * if self.tied { features * width } else { 2.0 * features * width };
        let updates = ADAM_OPERATIONS * weights;
        let inputs = 8.0 * rows * width;
        FitCost {
            flops: [rows * (product + 8.0 * active * width) + updates, rows * 5.0 * product + updates],
            moved: [ADAM_BYTES * weights + inputs, ADAM_BYTES * weights + inputs + 24.0 * rows * features],
            rows_read: rows,
        }
    }

    /// About how many codes of a row are not 0 once training has made them sparse.
    fn active(&self) -> f64 {
        match self.sparsity {
            Sparsity::TopK { k } | Sparsity::BatchTopK { k } => k as f64,
            _ => self.sparsity.target_l0().unwrap_or(self.features as f64 / 20.0),
        }
    }

    /// Operations of training. Codes are sparse from the start where their number is fixed; elsewhere training makes them
    /// so.
    pub fn work(&self, rows: f64, width: usize) -> FitWork {
        let (features, width) = (self.features as f64, width as f64);
        let active = self.active();
        let rows = rows.min(self.batch as f64);
        let maps = if self.tied { 1.0 } else { 2.0 };
        let encoder = 2.0 * rows * features * width;
        let errors = self.prefixes.len() as f64;
        let is_fixed = matches!(self.sparsity, Sparsity::TopK { .. } | Sparsity::BatchTopK { .. });
        let selection = if is_fixed { SELECTED * rows * features } else { 0.0 };
        let gradients = rows * active * width * (ACTIVE + NESTED * (errors - 1.0));
        let sparse = encoder + selection + gradients;
        let dense = (1.0 + 2.0 * maps) * encoder;
        let updates = UPDATE * maps * features * width;
        let (first, mean) = match is_fixed {
            true => (sparse, sparse),
            false => (dense, sparse + DENSE_SHARE * (dense - sparse).max(0.0)),
        };
        FitWork {
            before: PROBED_STEPS * mean,
            first_step: first + updates,
            step: mean + updates,
            steps: self.steps as f64,
        }
    }

    /// Whether two trainings can use the same batches.
    pub fn shares_batches_with(&self, other: &Self) -> bool {
        (self.batch, self.scaled, self.centred) == (other.batch, other.scaled, other.centred)
    }
}
