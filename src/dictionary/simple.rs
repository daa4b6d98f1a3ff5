use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::{Matrix, Stopwatch};

use super::affine::{Activation, AffineDictionary, Label, RowScale, Tensors};
use super::error::{ParamProblem, Problems};
use super::{DictionaryFit, FitContext, FitError, FitReport, Fitted, Kind};

/// The default basis through ReLU: what single units of the model look like. No parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NeuronParams {}

/// The signed default basis. No parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityParams {}

/// Gaussian directions through ReLU, without bias, rows not normalised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomParams {
    /// Number of directions; the width of the hook point where it is not given.
    pub features: Option<usize>,
}

/// Checked [`NeuronParams`].
#[derive(Debug, Clone)]
pub struct NeuronFit(());

/// Checked [`IdentityParams`].
#[derive(Debug, Clone)]
pub struct IdentityFit(());

/// Checked [`RandomParams`].
#[derive(Debug, Clone)]
pub struct RandomFit {
    features: Option<usize>,
}

impl NeuronParams {
    /// Nothing can be wrong.
    pub fn check(&self) -> Result<NeuronFit, Vec<ParamProblem>> {
        Ok(NeuronFit(()))
    }
}

impl IdentityParams {
    /// Nothing can be wrong.
    pub fn check(&self) -> Result<IdentityFit, Vec<ParamProblem>> {
        Ok(IdentityFit(()))
    }
}

impl RandomParams {
    /// All problems at once.
    pub fn check(&self) -> Result<RandomFit, Vec<ParamProblem>> {
        let mut problems = Problems::default();
        if let Some(features) = self.features {
            problems.at_least("features", features, 1);
        }
        problems.finish(RandomFit { features: self.features })
    }
}

impl DictionaryFit for NeuronFit {
    fn kind(&self) -> Kind {
        Kind::Neuron
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        Ok(of_directions(Kind::Neuron, unit_matrix(set.width()), Activation::Relu, set, context))
    }
}

impl DictionaryFit for IdentityFit {
    fn kind(&self) -> Kind {
        Kind::Identity
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        Ok(of_directions(Kind::Identity, unit_matrix(set.width()), Activation::Signed, set, context))
    }
}

impl DictionaryFit for RandomFit {
    fn kind(&self) -> Kind {
        Kind::Random
    }

    fn fit(&self, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
        let mut stream = context.stream(&["random", &set.hook().to_string()]);
        let features = self.features.unwrap_or(set.width());
        let rows = Matrix::from_fn(features, set.width(), |_, _| stream.normal() as f32);
        Ok(of_directions(Kind::Random, rows, Activation::Relu, set, context))
    }
}

fn unit_matrix(width: usize) -> Matrix {
    Matrix::from_fn(width, width, |row, col| if row == col { 1.0 } else { 0.0 })
}

fn of_directions(
    kind: Kind,
    directions: Matrix,
    activation: Activation,
    set: &ActivationSet,
    context: &FitContext<'_>,
) -> Fitted {
    let started = Stopwatch::start();
    let label = Label {
        method: context.method.to_string(),
        kind,
        hook: set.hook(),
        fitted_on: set.digest(),
        is_reconstruction: kind == Kind::Identity,
    };
    let tensors = Tensors {
        encoder_bias: vec![0.0; directions.rows()],
        decoder_bias: vec![0.0; directions.cols()],
        decoder: directions.clone(),
        encoder: directions,
        subtract_decoder_bias: false,
        activation,
        row_scale: RowScale::Plain,
    };
    let dictionary = Box::new(AffineDictionary::new(label, tensors));
    Fitted { dictionary, report: FitReport::immediate(started) }
}
