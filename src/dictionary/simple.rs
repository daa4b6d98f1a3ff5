//! Baselines whose directions are fixed before any activation is seen (Cunningham et al. 2023, arXiv 2309.08600).
//!
//! ```text
//! neuron    z = ReLU(x)      [n, d]
//! identity  z = x            [n, d]
//! random    z = ReLU(x Wᵀ)   [n, F]   W [F, d], entries standard normal
//! ```

use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::{Matrix, Stopwatch};

use super::affine::{AffineDictionary, Label};
use super::error::{ParamProblem, Problems};
use super::fit::stream;
use super::tensors::{Activation, RowScale, Tensors};
use super::{DictionaryFit, FitContext, FitError, FitReport, Fitted, Kind};

/// Single neurons: the default basis through ReLU. No parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NeuronParams {}

/// The signed default basis. No parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityParams {}

/// Gaussian directions through ReLU, without bias. Rows are not normalised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomParams {
    /// Number of directions. If absent: the width of the hook point.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub features: Option<usize>,
}

/// Checked parameters of a baseline.
#[derive(Debug, Clone)]
pub struct BaselineFit {
    kind: Kind,
    features: Option<usize>,
}

impl NeuronParams {
    /// Always valid.
    pub fn check(&self) -> Result<BaselineFit, Vec<ParamProblem>> {
        Ok(BaselineFit { kind: Kind::Neuron, features: None })
    }
}

impl IdentityParams {
    /// Always valid.
    pub fn check(&self) -> Result<BaselineFit, Vec<ParamProblem>> {
        Ok(BaselineFit { kind: Kind::Identity, features: None })
    }
}

impl RandomParams {
    /// Returns all problems at once.
    pub fn check(&self) -> Result<BaselineFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        problems.at_least("features", self.features.unwrap_or(1), 1);
        problems.finish(BaselineFit { kind: Kind::Random, features: self.features })
    }
}

/// The dictionary whose codes are the activations of a set: one feature for each dimension.
pub fn basis(set: &ActivationSet) -> AffineDictionary {
    along(unit(set.width()), Kind::Identity, Kind::Identity.name(), set)
}

fn unit(width: usize) -> Matrix {
    Matrix::from_fn(width, width, |row, col| if row == col { 1.0 } else { 0.0 })
}

/// A dictionary that encodes and decodes with the same directions.
fn along(directions: Matrix, kind: Kind, method: &str, set: &ActivationSet) -> AffineDictionary {
    let is_identity = kind == Kind::Identity;
    let tensors = Tensors {
        encoder_bias: vec![0.0; directions.rows()],
        decoder_bias: vec![0.0; directions.cols()],
        decoder: directions.clone(),
        encoder: directions,
        subtract_decoder_bias: false,
        activation: if is_identity { Activation::Signed } else { Activation::Relu },
        row_scale: RowScale::Plain,
        skip: None,
    };
    AffineDictionary::new(Label::new(kind, method, set, is_identity), tensors)
}

impl DictionaryFit for BaselineFit {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn most_features(&self, width: usize) -> Option<usize> {
        Some(self.features.unwrap_or(width))
    }

    fn has_dense_codes(&self) -> bool {
        self.kind == Kind::Random
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        let started = Stopwatch::start();
        let width = set.width();
        let directions = match self.kind {
            Kind::Random => {
                let mut stream = stream(context.seed, context.training, &["random", &set.hook().to_string()]);
                Matrix::from_fn(self.features.unwrap_or(width), width, |_, _| stream.normal() as f32)
            }
            _ => unit(width),
        };
        let dictionary = Box::new(along(directions, self.kind, context.method, set));
        Ok(Fitted { dictionary, report: FitReport { seconds: started.seconds(), ..FitReport::default() } })
    }
}
