//! Parameters of all kinds of autoencoders, their checks, and the training recipe that follows from them.

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::dictionary::error::{ParamProblem, Problems};
use crate::dictionary::{DictionaryFit, FitContext, FitError, FitProgress, FitWork, Fitted, Kind, Variant};

use super::recipe::{Aux, Recipe, Sparsity};
use super::schedule::{L1Weight, LearningRate};
use super::train::{Member, train_together};

/// Sizes of nested dictionaries, as shares of the features, where `prefixes` is not given.
const PREFIXES: [f64; 4] = [1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0];

/// Tied or untied autoencoder with ReLU and an L1 penalty. Decoder rows have norm 1; there is no decoder bias
/// (Cunningham et al. 2023, appendix B).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SaeParams {
    /// Expansion factor: features per dimension of the hook point.
    #[schemars(range(min = 1e-3, max = 1e5))]
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    #[schemars(range(min = 2, max = 100_000_000))]
    pub features: Option<usize>,
    /// Mean number of active features. The L1 weight is adjusted during training to reach it.
    #[schemars(range(min = 1e-3, max = 1e8))]
    pub target_l0: f64,
    /// Fixed L1 weight of the published loss: mean over dimensions of the squared error, plus alpha times the L1
    /// norm. If it is given, `target_l0` is ignored.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub alpha: Option<f64>,
    /// Train on raw activations, not on activations of unit mean square per dimension. Published alphas are for raw
    /// activations.
    pub raw_inputs: bool,
    /// Subtract the mean from the input and add it to the output. The published method does not.
    pub centred: bool,
    /// Training steps.
    #[schemars(range(min = 20, max = 100_000_000))]
    pub steps: usize,
    /// Rows per step.
    #[schemars(range(min = 2, max = 10_000_000))]
    pub batch: usize,
    /// Adam's learning rate after warm-up. If absent: 0.113 / √d, which is 0.01 at width 128.
    #[schemars(range(min = 1e-12, max = 100.0))]
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup: f64,
    /// Share of the steps, at the end, over which the learning rate falls to zero.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay: f64,
    /// How many times rarely firing features are replaced, evenly over the first 70 % of the steps. They fire on less
    /// than one row in a thousand; the new direction is that of a reconstruction error.
    #[schemars(range(min = 0, max = 100_000))]
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

/// Autoencoder that keeps the k largest codes of a row (`topk`, Gao et al. 2024), or the k · rows largest of a batch
/// (`batch_topk`, Bussmann et al. 2024; `matryoshka`, Bussmann et al. 2025, with a loss for each of several nested
/// dictionaries). An auxiliary loss revives dead features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopkParams {
    /// Expansion factor: features per dimension of the hook point.
    #[schemars(range(min = 1e-3, max = 1e5))]
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    #[schemars(range(min = 2, max = 100_000_000))]
    pub features: Option<usize>,
    /// Active features per row: the maximum for `topk`, the mean for `batch_topk` and `matryoshka`.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub k: usize,
    /// For `matryoshka`: rising sizes of the nested dictionaries, as shares of the features. The whole dictionary is
    /// always added as the last one.
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub prefixes: Option<Vec<f64>>,
    /// Training steps.
    #[schemars(range(min = 20, max = 100_000_000))]
    pub steps: usize,
    /// Rows per step.
    #[schemars(range(min = 2, max = 10_000_000))]
    pub batch: usize,
    /// Adam's learning rate after warm-up. If absent: 1.2e-3 · √(2¹⁴ / features), six times the published rate, because
    /// runs here have thousands of steps, not hundreds of thousands.
    #[schemars(range(min = 1e-12, max = 100.0))]
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup: f64,
    /// Share of the steps, at the end, over which the learning rate falls to zero.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay: f64,
    /// Weight of the auxiliary loss.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub aux_weight: f64,
    /// Dead features that the auxiliary loss uses per row. If absent: half the width.
    #[schemars(range(min = 0, max = 100_000_000))]
    pub aux_k: Option<usize>,
    /// A feature that has not fired for this many rows is dead. If absent: a twentieth of the rows of the run, at most
    /// the published ten million.
    #[schemars(range(min = 0, max = 1_000_000_000_000_000u64))]
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

/// Gated autoencoder: the L1 penalty acts on each feature's gate and not on its magnitude (Rajamanoharan et al. 2024,
/// arXiv 2404.16014).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatedParams {
    /// Expansion factor: features per dimension of the hook point.
    #[schemars(range(min = 1e-3, max = 1e5))]
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    #[schemars(range(min = 2, max = 100_000_000))]
    pub features: Option<usize>,
    /// Mean number of active features. The L1 weight is adjusted during training to reach it.
    #[schemars(range(min = 1e-3, max = 1e8))]
    pub target_l0: f64,
    /// Fixed L1 weight of the published loss: sum over dimensions of the squared error, plus this times the sum of
    /// positive gates. Inputs have unit mean square per dimension. If it is given, `target_l0` is ignored.
    #[schemars(range(min = 0.0, max = 1e6))]
    pub l1: Option<f64>,
    /// Training steps.
    #[schemars(range(min = 20, max = 100_000_000))]
    pub steps: usize,
    /// Rows per step.
    #[schemars(range(min = 2, max = 10_000_000))]
    pub batch: usize,
    /// Adam's learning rate after warm-up. If absent: that of `topk`.
    #[schemars(range(min = 1e-12, max = 100.0))]
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup: f64,
    /// Share of the steps, at the end, over which the learning rate falls to zero.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub decay: f64,
    /// How many times rarely firing features are replaced: see `sae`.
    #[schemars(range(min = 0, max = 100_000))]
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

/// JumpReLU autoencoder: each feature learns a threshold below which its code is 0 (Rajamanoharan et al. 2024,
/// arXiv 2407.14435). The penalty on the number of active features is `width · (L0 / target − 1)²`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JumpreluParams {
    /// Expansion factor: features per dimension of the hook point.
    #[schemars(range(min = 1e-3, max = 1e5))]
    pub expansion: f64,
    /// Number of features; overrides `expansion`.
    #[schemars(range(min = 2, max = 100_000_000))]
    pub features: Option<usize>,
    /// Mean number of active features that thresholds are trained to reach.
    #[schemars(range(min = 1e-3, max = 1e8))]
    pub target_l0: f64,
    /// Width of the rectangle around a threshold. Codes inside it contribute to the threshold's gradient. Inputs have
    /// unit mean square per dimension.
    #[schemars(range(min = 1e-6, max = 1e3))]
    pub bandwidth: f64,
    /// Training steps.
    #[schemars(range(min = 20, max = 100_000_000))]
    pub steps: usize,
    /// Rows per step.
    #[schemars(range(min = 2, max = 10_000_000))]
    pub batch: usize,
    /// Adam's learning rate after warm-up. If absent: that of `topk`.
    #[schemars(range(min = 1e-12, max = 100.0))]
    pub lr: Option<f64>,
    /// Share of the steps over which the learning rate rises.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup: f64,
    /// Share of the steps, at the end, over which the learning rate falls to zero.
    #[schemars(range(min = 0.0, max = 1.0))]
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
    common: Common,
    params: Params,
}

#[derive(Debug, Clone)]
enum Params {
    Sae(SaeParams),
    Topk(TopkParams),
    Gated(GatedParams),
    Jumprelu(JumpreluParams),
}

/// Parameters that all kinds have.
#[derive(Debug, Clone)]
struct Common {
    expansion: f64,
    features: Option<usize>,
    steps: usize,
    batch: usize,
    lr: Option<f64>,
    warmup: f64,
    decay: f64,
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

impl Common {
    fn check(&self) -> Problems {
        let mut problems = Problems::default();
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
        problems
    }
}

impl SaeParams {
    /// Returns all problems at once. `tied` is false for `sae_untied`.
    pub fn check(&self, tied: bool) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let common = common!(self);
        let mut problems = common.check();
        problems.positive("target_l0", self.target_l0);
        problems.not_negative("alpha", self.alpha.unwrap_or(0.0));
        problems.require(self.alpha.is_some() || !self.raw_inputs, "raw_inputs", || {
            "is true without `alpha`: the search for an L1 weight needs scaled inputs; give `alpha`"
                .to_string()
        });
        let kind = if tied { Kind::Sae } else { Kind::SaeUntied };
        problems.finish(AutoencoderFit { kind, common, params: Params::Sae(self.clone()) })
    }
}

impl TopkParams {
    /// Returns all problems at once. `kind` is `topk`, `batch_topk` or `matryoshka`.
    pub fn check(&self, kind: Kind) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let common = common!(self);
        let mut problems = common.check();
        problems.at_least("k", self.k, 1);
        problems.not_negative("aux_weight", self.aux_weight);
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
        problems.finish(AutoencoderFit { kind, common, params: Params::Topk(self.clone()) })
    }

    /// Ends of the nested dictionaries, each at least 1, the last `features`.
    fn prefix_ends(&self, features: usize) -> Vec<usize> {
        let shares = self.prefixes.as_deref().unwrap_or(&PREFIXES);
        let end = |share: &f64| ((share * features as f64).round() as usize).clamp(1, features);
        let mut ends: Vec<usize> = shares.iter().map(end).chain([features]).collect();
        ends.dedup();
        ends
    }
}

impl GatedParams {
    /// Returns all problems at once.
    pub fn check(&self) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let common = common!(self);
        let mut problems = common.check();
        problems.positive("target_l0", self.target_l0);
        problems.not_negative("l1", self.l1.unwrap_or(0.0));
        problems.finish(AutoencoderFit { kind: Kind::Gated, common, params: Params::Gated(self.clone()) })
    }
}

impl JumpreluParams {
    /// Returns all problems at once.
    pub fn check(&self) -> Result<AutoencoderFit, Vec<ParamProblem>> {
        let common = common!(self);
        let mut problems = common.check();
        problems.positive("target_l0", self.target_l0);
        problems.positive("bandwidth", self.bandwidth);
        let params = Params::Jumprelu(self.clone());
        problems.finish(AutoencoderFit { kind: Kind::Jumprelu, common, params })
    }
}

impl AutoencoderFit {
    /// Everything that decides the training on activations of a width. Fails where more features would be
    /// active than there are.
    pub fn recipe(&self, width: usize, method: &str) -> Result<Recipe, FitError> {
        let common = &self.common;
        let features =
            common.features.unwrap_or_else(|| (common.expansion * width as f64).round().max(2.0) as usize);
        self.check_active(features, method)?;
        let base = common.lr.unwrap_or_else(|| 1.2e-3 * (16_384.0 / features as f64).sqrt());
        let l1 = |fixed: Option<f64>, target: f64| {
            fixed.map_or_else(|| L1Weight::searched(target, common.steps), L1Weight::fixed)
        };
        let mut recipe = Recipe {
            kind: self.kind,
            features,
            tied: self.kind == Kind::Sae,
            sparsity: Sparsity::TopK { k: 1 },
            prefixes: vec![features],
            scaled: true,
            centred: true,
            decoder_bias: true,
            steps: common.steps,
            batch: common.batch,
            learning_rate: LearningRate { base, warmup: common.warmup, decay: common.decay },
            resamples: 0,
            aux: None,
        };
        match &self.params {
            Params::Sae(params) => {
                // The published loss is a mean over dimensions, the loss here a sum.
                let fixed = params.alpha.map(|alpha| alpha * width as f64);
                recipe.sparsity = Sparsity::L1(l1(fixed, params.target_l0));
                recipe.scaled = !params.raw_inputs;
                recipe.centred = params.centred;
                recipe.decoder_bias = false;
                recipe.learning_rate.base = common.lr.unwrap_or_else(|| 0.113 / (width as f64).sqrt());
                recipe.resamples = params.resamples;
            }
            Params::Topk(params) => {
                let TopkParams { k, aux_weight: weight, .. } = *params;
                recipe.sparsity =
                    if self.kind == Kind::Topk { Sparsity::TopK { k } } else { Sparsity::BatchTopK { k } };
                if self.kind == Kind::Matryoshka {
                    recipe.prefixes = params.prefix_ends(features);
                }
                let run_rows = params.steps * params.batch;
                let dead_rows = params.dead_rows.unwrap_or_else(|| (run_rows / 20).min(10_000_000));
                recipe.aux = Some(Aux { weight, k: params.aux_k.unwrap_or(width / 2).max(1), dead_rows });
            }
            Params::Gated(params) => {
                recipe.sparsity = Sparsity::Gated(l1(params.l1, params.target_l0));
                recipe.resamples = params.resamples;
            }
            Params::Jumprelu(params) => {
                let (target, bandwidth) = (params.target_l0, params.bandwidth);
                recipe.sparsity = Sparsity::Thresholds { target, bandwidth };
            }
        }
        Ok(recipe)
    }

    /// `k` is at most `features`; a target L0 must be less.
    fn check_active(&self, features: usize, method: &str) -> Result<(), FitError> {
        let less = features as f64 * (1.0 - f64::EPSILON);
        let (field, active, most) = match &self.params {
            Params::Topk(params) => ("k", params.k as f64, features as f64),
            Params::Sae(params) if params.alpha.is_none() => ("target_l0", params.target_l0, less),
            Params::Gated(params) if params.l1.is_none() => ("target_l0", params.target_l0, less),
            Params::Jumprelu(params) => ("target_l0", params.target_l0, less),
            Params::Sae(_) | Params::Gated(_) => return Ok(()),
        };
        if active <= most {
            return Ok(());
        }
        Err(FitError::DoesNotFit {
            method: method.to_string(),
            field,
            got: active.to_string(),
            expected: format!("the dictionary has {features} features"),
        })
    }
}

impl DictionaryFit for AutoencoderFit {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        let recipe = self.recipe(set.width(), context.method)?;
        let member = Member { recipe, method: context.method, training: context.training };
        let progress = &mut |_: usize, progress: FitProgress| (context.progress)(progress);
        train_together(&[member], set, context.seed, context.device, progress)?.swap_remove(0)
    }

    fn recipe(&self, width: usize, method: &str) -> Option<Result<Recipe, FitError>> {
        Some(self.recipe(width, method))
    }

    fn work(&self, rows: f64, width: usize) -> FitWork {
        self.recipe(width, "").map_or(FitWork::default(), |recipe| recipe.work(rows, width))
    }

    fn couples_features(&self, _variant: Variant) -> bool {
        self.kind == Kind::Topk
    }

    fn shortened(&self, steps: usize) -> Option<Box<dyn DictionaryFit>> {
        let common = Common { steps, ..self.common.clone() };
        Some(Box::new(Self { common, ..self.clone() }))
    }

    fn memory(&self, rows: f64, width: usize) -> f64 {
        self.recipe(width, "").map_or(0.0, |recipe| recipe.bytes(rows, width))
    }
}
