use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::dictionary::error::{ParamProblem, Problems};
use crate::dictionary::{DictionaryFit, FitContext, FitError, Fitted, Kind};

use super::train::{Aux, L1, Recipe, Sparsity, train};

/// Tied or untied autoencoder with ReLU and an L1 penalty, decoder rows normalised in the forward
/// pass, no decoder bias (Cunningham et al. 2023, appendix B).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// Autoencoder that keeps the k largest codes of a row (Gao et al. 2024), or the k·rows largest of a batch
/// (`batch_topk`, Bussmann et al. 2024), or those with a loss for each of several nested dictionaries
/// (`matryoshka`, Bussmann et al. 2025). An auxiliary loss revives dead features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopkParams {
    /// Features per dimension of the hook point.
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    pub features: Option<usize>,
    /// Active features of a row: at most; of `batch_topk` and `matryoshka` in the mean.
    pub k: usize,
    /// Of `matryoshka`: the sizes of the nested dictionaries as shares of the features, rising; all of them is
    /// always the last.
    pub prefixes: Option<Vec<f64>>,
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
            prefixes: None,
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

/// Autoencoder whose features have a gate of their own, taught by an L1 penalty that leaves magnitudes alone
/// (Rajamanoharan et al. 2024, arXiv 2404.16014).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatedParams {
    /// Features per dimension of the hook point.
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    pub features: Option<usize>,
    /// Mean number of active features that the L1 weight is steered to while training.
    pub target_l0: f64,
    /// Fixed L1 weight of the published loss (sum over dimensions of the squared error plus this times the sum
    /// of open gates) in inputs of unit mean square per dimension; with it nothing is steered.
    pub l1: Option<f64>,
    /// Training steps.
    pub steps: usize,
    /// Rows a step.
    pub batch: usize,
    /// Adam's learning rate after warm-up; that of `topk` where it is not given.
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Share of the steps, at the end, over which it falls to zero.
    pub decay: f64,
    /// How many times features that hardly fire are given a new direction: see `sae`.
    pub resamples: usize,
}

impl Default for GatedParams {
    fn default() -> Self {
        Self {
            expansion: 4.0,
            features: None,
            target_l0: 12.0,
            l1: None,
            steps: 2500,
            batch: 512,
            lr: None,
            warmup: 0.05,
            decay: 0.3,
            resamples: 10,
        }
    }
}

/// Autoencoder with a learned threshold for each feature, below which a code is 0 (Rajamanoharan et al. 2024,
/// arXiv 2407.14435). The penalty is on the number of active features, `width · (L0 / target − 1)²`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JumpreluParams {
    /// Features per dimension of the hook point.
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    pub features: Option<usize>,
    /// Mean number of active features that thresholds are learned for.
    pub target_l0: f64,
    /// Width of the rectangle around a threshold in which codes say where it should move, in inputs of unit mean
    /// square per dimension.
    pub bandwidth: f64,
    /// Training steps.
    pub steps: usize,
    /// Rows a step.
    pub batch: usize,
    /// Adam's learning rate after warm-up; that of `topk` where it is not given.
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Share of the steps, at the end, over which it falls to zero.
    pub decay: f64,
}

impl Default for JumpreluParams {
    fn default() -> Self {
        Self {
            expansion: 4.0,
            features: None,
            target_l0: 12.0,
            bandwidth: 0.1,
            steps: 2500,
            batch: 512,
            lr: None,
            warmup: 0.05,
            decay: 0.3,
        }
    }
}

/// Checked parameters of an autoencoder of any kind.
#[derive(Debug, Clone)]
pub struct AutoencoderFit {
    kind: Kind,
    params: Params,
}

#[derive(Debug, Clone)]
enum Params {
    Sae(SaeParams),
    Topk(TopkParams),
    Gated(GatedParams),
    Jumprelu(JumpreluParams),
}

/// What all kinds have.
struct Common {
    expansion: f64,
    features: Option<usize>,
    steps: usize,
    batch: usize,
    lr: Option<f64>,
    warmup: f64,
    decay: f64,
}

impl Common {
    fn check(&self, problems: &mut Problems) {
        problems.positive("expansion", self.expansion);
        if let Some(features) = self.features {
            problems.at_least("features", features, 2);
        }
        problems.at_least("steps", self.steps, 20);
        problems.at_least("batch", self.batch, 2);
        for (field, share) in [("warmup", self.warmup), ("decay", self.decay)] {
            problems.require((0.0..=1.0).contains(&share), field, || {
                format!("is {share}; expected a share of the steps between 0 and 1")
            });
        }
        if let Some(lr) = self.lr {
            problems.positive("lr", lr);
        }
    }
}

macro_rules! common {
    ($params:expr) => {
        Common {
            expansion: $params.expansion,
            features: $params.features,
            steps: $params.steps,
            batch: $params.batch,
            lr: $params.lr,
            warmup: $params.warmup,
            decay: $params.decay,
        }
    };
}

impl SaeParams {
    /// All problems at once; `tied` is false for `sae_untied`.
    pub fn check(&self, tied: bool) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        common!(self).check(&mut problems);
        problems.positive("target_l0", self.target_l0);
        if let Some(alpha) = self.alpha {
            problems.require(alpha.is_finite() && alpha >= 0.0, "alpha", || {
                format!("is {alpha}; expected 0 or more")
            });
        }
        problems.require(self.alpha.is_some() || !self.raw_inputs, "raw_inputs", || {
            "is true without `alpha`: the search for an L1 weight needs scaled inputs; give `alpha`"
                .to_string()
        });
        let kind = if tied { Kind::Sae } else { Kind::SaeUntied };
        problems.finish(AutoencoderFit { kind, params: Params::Sae(self.clone()) })
    }
}

impl TopkParams {
    /// All problems at once; `kind` is `topk`, `batch_topk` or `matryoshka`.
    pub fn check(&self, kind: Kind) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        common!(self).check(&mut problems);
        problems.at_least("k", self.k, 1);
        problems.require(self.aux_weight.is_finite() && self.aux_weight >= 0.0, "aux_weight", || {
            format!("is {}; expected 0 or more", self.aux_weight)
        });
        if let Some(prefixes) = &self.prefixes {
            problems.require(kind == Kind::Matryoshka, "prefixes", || {
                format!("belongs to `matryoshka`, and this is `{kind}`: leave it out")
            });
            let rising = prefixes.iter().is_sorted_by(|a, b| a < b);
            let inside = prefixes.iter().all(|share| *share > 0.0 && *share <= 1.0);
            problems.require(rising && inside && !prefixes.is_empty(), "prefixes", || {
                format!("is {prefixes:?}; expected rising shares of the features, above 0 and at most 1")
            });
        }
        problems.finish(AutoencoderFit { kind, params: Params::Topk(self.clone()) })
    }
}

impl GatedParams {
    /// All problems at once.
    pub fn check(&self) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        common!(self).check(&mut problems);
        problems.positive("target_l0", self.target_l0);
        if let Some(l1) = self.l1 {
            problems.require(l1.is_finite() && l1 >= 0.0, "l1", || format!("is {l1}; expected 0 or more"));
        }
        problems.finish(AutoencoderFit { kind: Kind::Gated, params: Params::Gated(self.clone()) })
    }
}

impl JumpreluParams {
    /// All problems at once.
    pub fn check(&self) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        common!(self).check(&mut problems);
        problems.positive("target_l0", self.target_l0);
        problems.positive("bandwidth", self.bandwidth);
        problems.finish(AutoencoderFit { kind: Kind::Jumprelu, params: Params::Jumprelu(self.clone()) })
    }
}

/// Sizes of nested dictionaries, as shares, where none are given.
const PREFIXES: [f64; 4] = [1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0];

/// Feature counts of nested dictionaries, each at least 1 and the last all `features`.
fn prefix_ends(shares: &[f64], features: usize) -> Vec<usize> {
    let whole = |share: &f64| ((share * features as f64).round() as usize).clamp(1, features);
    let mut ends: Vec<usize> = shares.iter().map(whole).chain([features]).collect();
    ends.dedup();
    ends
}

impl AutoencoderFit {
    /// Everything that decides the training on activations of a width. Fails where more features would be
    /// active than there are.
    pub fn recipe(&self, width: usize, method: &str) -> Result<Recipe, FitError> {
        let common = match &self.params {
            Params::Sae(params) => common!(params),
            Params::Topk(params) => common!(params),
            Params::Gated(params) => common!(params),
            Params::Jumprelu(params) => common!(params),
        };
        let features =
            common.features.unwrap_or_else(|| (common.expansion * width as f64).round().max(2.0) as usize);
        let fits = |field: &'static str, active: f64, most: f64| {
            if active <= most {
                return Ok(());
            }
            Err(FitError::DoesNotFit {
                method: method.to_string(),
                field,
                got: active.to_string(),
                expected: format!("the dictionary has {features} features"),
            })
        };
        let below_all = features as f64 * (1.0 - f64::EPSILON);
        let l1 = |fixed: Option<f64>, target: f64| match fixed {
            Some(weight) => Ok(L1::Fixed(weight)),
            None => fits("target_l0", target, below_all).map(|()| L1::For { target }),
        };
        let mut recipe = Recipe {
            kind: self.kind,
            features,
            tied: false,
            sparsity: Sparsity::TopK { k: 1 },
            prefixes: vec![features],
            scaled: true,
            centred: true,
            decoder_bias: true,
            steps: common.steps,
            batch: common.batch,
            lr: common.lr.unwrap_or_else(|| 1.2e-3 * (16_384.0 / features as f64).sqrt()),
            warmup: common.warmup,
            decay: common.decay,
            resamples: 0,
            aux: None,
        };
        match &self.params {
            Params::Sae(params) => {
                let fixed = params.alpha.map(|alpha| alpha * width as f64);
                recipe.tied = self.kind == Kind::Sae;
                recipe.sparsity = Sparsity::L1(l1(fixed, params.target_l0)?);
                recipe.scaled = !params.raw_inputs;
                recipe.centred = params.centred;
                recipe.decoder_bias = false;
                recipe.lr = common.lr.unwrap_or_else(|| 0.113 / (width as f64).sqrt());
                recipe.resamples = params.resamples;
            }
            Params::Topk(params) => {
                let k = params.k;
                fits("k", k as f64, features as f64)?;
                let run_rows = params.steps * params.batch;
                recipe.sparsity =
                    if self.kind == Kind::Topk { Sparsity::TopK { k } } else { Sparsity::BatchTopK { k } };
                if self.kind == Kind::Matryoshka {
                    recipe.prefixes = prefix_ends(params.prefixes.as_deref().unwrap_or(&PREFIXES), features);
                }
                recipe.aux = Some(Aux {
                    weight: params.aux_weight,
                    k: params.aux_k.unwrap_or(width / 2).max(1),
                    dead_rows: params.dead_rows.unwrap_or_else(|| (run_rows / 20).min(10_000_000)),
                });
            }
            Params::Gated(params) => {
                recipe.sparsity = Sparsity::Gated(l1(params.l1, params.target_l0)?);
                recipe.resamples = params.resamples;
            }
            Params::Jumprelu(params) => {
                fits("target_l0", params.target_l0, below_all)?;
                recipe.sparsity =
                    Sparsity::Thresholds { target: params.target_l0, bandwidth: params.bandwidth };
            }
        }
        Ok(recipe)
    }
}

impl DictionaryFit for AutoencoderFit {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        train(self.recipe(set.width(), context.method)?, set, context)
    }

    fn recipe(&self, width: usize, method: &str) -> Option<Result<Recipe, FitError>> {
        Some(self.recipe(width, method))
    }

    /// A training step counts the encoder's product twice, for the rest of the step.
    fn work(&self, _rows: f64, width: usize) -> f64 {
        let of =
            |recipe: Recipe| (recipe.steps * recipe.batch) as f64 * width as f64 * recipe.features as f64;
        self.recipe(width, "").map_or(0.0, |recipe| 4.0 * of(recipe))
    }
}
