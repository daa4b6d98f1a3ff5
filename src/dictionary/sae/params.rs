use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::dictionary::error::{ParamProblem, Problems};
use crate::dictionary::{DictionaryFit, FitContext, FitError, Fitted, Kind};

use super::train::{Recipe, Sparsity, train};

/// Tied or untied autoencoder with ReLU and an L1 penalty, decoder rows normalised in the forward
/// pass, no decoder bias (Cunningham et al. 2023, appendix B).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SaeParams {
    /// Features per dimension of the hook point.
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    pub features: Option<usize>,
    /// Mean number of active features that the L1 weight is steered to while training.
    pub target_l0: f64,
    /// Fixed L1 weight of the published loss (mean over dimensions of the squared error plus alpha
    /// times the L1 norm); with it nothing is steered and `target_l0` is ignored.
    pub alpha: Option<f64>,
    /// Train on raw activations instead of ones scaled to unit mean square per dimension. The
    /// published alphas belong to raw activations.
    pub raw_inputs: bool,
    /// Take the mean off the input and put it back on the output. The published one does not.
    pub centred: bool,
    /// Training steps.
    pub steps: usize,
    /// Rows a step.
    pub batch: usize,
    /// Adam's learning rate after warm-up; 0.113 / √d, which is 0.01 at width 128, where it is not
    /// given.
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Share of the steps, at the end, over which it falls to zero.
    pub decay: f64,
    /// How many times, evenly over the first seven tenths of training, features that fire on less
    /// than one row in a thousand are given a new direction: one that is reconstructed badly.
    pub resamples: usize,
}

impl Default for SaeParams {
    fn default() -> Self {
        Self {
            expansion: 4.0,
            features: None,
            target_l0: 12.0,
            alpha: None,
            raw_inputs: false,
            centred: false,
            steps: 2500,
            batch: 512,
            lr: None,
            warmup: 0.05,
            decay: 0.3,
            resamples: 20,
        }
    }
}

/// Autoencoder that keeps the k largest codes of a row, with an auxiliary loss that revives dead
/// features (Gao et al. 2024).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TopkParams {
    /// Features per dimension of the hook point.
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    pub features: Option<usize>,
    /// Active features of a row, at most.
    pub k: usize,
    /// Training steps.
    pub steps: usize,
    /// Rows a step.
    pub batch: usize,
    /// Adam's learning rate after warm-up; 1.2e-3 · √(2¹⁴ / features) where it is not given: six
    /// times the published rate, because runs here have thousands of steps and not hundreds of
    /// thousands.
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Share of the steps, at the end, over which it falls to zero.
    pub decay: f64,
    /// Weight of the auxiliary loss.
    pub aux_weight: f64,
    /// Dead features used by it; half the width where it is not given.
    pub aux_k: Option<usize>,
    /// A feature that has not fired for so many rows is dead; a twentieth of the run, at most ten
    /// million (the published number, which short runs never reach), where it is not given.
    pub dead_rows: Option<usize>,
}

impl Default for TopkParams {
    fn default() -> Self {
        Self {
            expansion: 4.0,
            features: None,
            k: 12,
            steps: 1500,
            batch: 512,
            lr: None,
            warmup: 0.05,
            decay: 0.5,
            aux_weight: 1.0 / 32.0,
            aux_k: None,
            dead_rows: None,
        }
    }
}

/// Checked [`SaeParams`].
#[derive(Debug, Clone)]
pub struct SaeFit {
    params: SaeParams,
    tied: bool,
}

/// Checked [`TopkParams`].
#[derive(Debug, Clone)]
pub struct TopkFit {
    params: TopkParams,
}

fn check_common(
    problems: &mut Problems,
    expansion: f64,
    features: Option<usize>,
    steps: usize,
    batch: usize,
    shares: [(&'static str, f64); 2],
) {
    problems.positive("expansion", expansion);
    if let Some(features) = features {
        problems.at_least("features", features, 2);
    }
    problems.at_least("steps", steps, 20);
    problems.at_least("batch", batch, 2);
    for (field, share) in shares {
        problems.require((0.0..=1.0).contains(&share), field, || {
            format!("is {share}; expected a share of the steps between 0 and 1")
        });
    }
}

impl SaeParams {
    /// All problems at once; `tied` is false for `sae_untied`.
    pub fn check(&self, tied: bool) -> Result<SaeFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        let shares = [("warmup", self.warmup), ("decay", self.decay)];
        check_common(&mut problems, self.expansion, self.features, self.steps, self.batch, shares);
        problems.positive("target_l0", self.target_l0);
        if let Some(lr) = self.lr {
            problems.positive("lr", lr);
        }
        if let Some(alpha) = self.alpha {
            problems.require(alpha.is_finite() && alpha >= 0.0, "alpha", || {
                format!("is {alpha}; expected 0 or more")
            });
        }
        problems.require(self.alpha.is_some() || !self.raw_inputs, "raw_inputs", || {
            "is true without `alpha`: the search for an L1 weight needs scaled inputs; give `alpha`"
                .to_string()
        });
        problems.finish(SaeFit { params: self.clone(), tied })
    }
}

impl TopkParams {
    /// All problems at once.
    pub fn check(&self) -> Result<TopkFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        let shares = [("warmup", self.warmup), ("decay", self.decay)];
        check_common(&mut problems, self.expansion, self.features, self.steps, self.batch, shares);
        problems.at_least("k", self.k, 1);
        if let Some(lr) = self.lr {
            problems.positive("lr", lr);
        }
        problems.require(self.aux_weight.is_finite() && self.aux_weight >= 0.0, "aux_weight", || {
            format!("is {}; expected 0 or more", self.aux_weight)
        });
        problems.finish(TopkFit { params: self.clone() })
    }
}

fn width_of_dictionary(features: Option<usize>, expansion: f64, d: usize) -> usize {
    features.unwrap_or_else(|| (expansion * d as f64).round().max(2.0) as usize)
}

impl DictionaryFit for SaeFit {
    fn kind(&self) -> Kind {
        if self.tied { Kind::Sae } else { Kind::SaeUntied }
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        let params = &self.params;
        let features = width_of_dictionary(params.features, params.expansion, set.width());
        if params.alpha.is_none() && params.target_l0 >= features as f64 {
            return Err(FitError::DoesNotFit {
                method: context.method.to_string(),
                field: "target_l0",
                got: params.target_l0.to_string(),
                expected: format!("the dictionary has {features} features"),
            });
        }
        let recipe = Recipe {
            kind: self.kind(),
            features,
            tied: self.tied,
            sparsity: match params.alpha {
                Some(alpha) => Sparsity::FixedL1 { weight: alpha * set.width() as f64 },
                None => Sparsity::TargetL0 { target: params.target_l0 },
            },
            scaled: !params.raw_inputs,
            centred: params.centred,
            decoder_bias: false,
            steps: params.steps,
            batch: params.batch,
            lr: params.lr.unwrap_or_else(|| 0.113 / (set.width() as f64).sqrt()),
            warmup: params.warmup,
            decay: params.decay,
            resamples: params.resamples,
            aux: None,
        };
        train(&recipe, set, context)
    }
}

impl DictionaryFit for TopkFit {
    fn kind(&self) -> Kind {
        Kind::Topk
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        let params = &self.params;
        let features = width_of_dictionary(params.features, params.expansion, set.width());
        if params.k > features {
            return Err(FitError::DoesNotFit {
                method: context.method.to_string(),
                field: "k",
                got: params.k.to_string(),
                expected: format!("the dictionary has {features} features"),
            });
        }
        let run_rows = params.steps * params.batch;
        let recipe = Recipe {
            kind: Kind::Topk,
            features,
            tied: false,
            sparsity: Sparsity::TopK { k: params.k },
            scaled: true,
            centred: true,
            decoder_bias: true,
            steps: params.steps,
            batch: params.batch,
            lr: params.lr.unwrap_or_else(|| 1.2e-3 * (16_384.0 / features as f64).sqrt()),
            warmup: params.warmup,
            decay: params.decay,
            resamples: 0,
            aux: Some(super::train::Aux {
                weight: params.aux_weight,
                k: params.aux_k.unwrap_or(set.width() / 2).max(1),
                dead_rows: params.dead_rows.unwrap_or_else(|| (run_rows / 20).min(10_000_000)),
            }),
        };
        train(&recipe, set, context)
    }
}
