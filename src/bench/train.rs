use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::{BenchError, Tensors, Timed};
use crate::base::{DeviceName, Matrix, Stopwatch, Stream};
use crate::dictionary::{CheckedMethod, FitError, MethodParams, ParamProblem, Training};
use crate::nn::open_device;

/// Autoencoders in training.
pub struct Steps {
    x: Matrix,
    rows: usize,
    step: usize,
    together: bool,
    models: Vec<Training>,
}

pub fn open(
    data: &Path,
    methods: &[MethodParams],
    together: bool,
    device: DeviceName,
) -> Result<Steps, BenchError> {
    let device = open_device(device).map_err(BenchError::new)?;
    let tensors = Tensors::open(data)?;
    let (x, decoder) = (tensors.matrix("x")?, tensors.matrix("decoder")?);
    let mut models = Vec::new();
    for method in methods {
        let wrong = |problems: Vec<ParamProblem>| {
            BenchError::new(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
        };
        let CheckedMethod::Autoencoder(fit) = method.check().map_err(wrong)? else {
            return Err(BenchError::new(format!("`{}` is not trained by steps", method.kind())));
        };
        let recipe = fit.recipe(x.cols(), method.kind().name()).map_err(BenchError::new)?;
        if decoder.rows() != recipe.features || decoder.cols() != x.cols() {
            return Err(BenchError::new(format!("`decoder` is not {} x {}", recipe.features, x.cols())));
        }
        let start = decoder.data().to_vec();
        let stream = Stream::new(1, "bench");
        let model = Training::from_decoder(&recipe, x.cols(), recipe.batch, start, stream, &device);
        models.push(model.map_err(BenchError::new)?);
    }
    let rows = models.first().map_or(1, Training::rows);
    if x.rows() % rows != 0 || models.iter().any(|model| model.rows() != rows) {
        let wrong = format!("{} rows are not cut into whole batches of {rows}", x.rows());
        return Err(BenchError::new(wrong));
    }
    Ok(Steps { x, rows, step: 0, together, models })
}

impl Timed for Steps {
    /// `{"steps": n}`.
    fn turn(&mut self, turn: &Value) -> Result<Value, BenchError> {
        let steps = turn["steps"].as_u64().unwrap_or(1) as usize;
        let width = self.rows * self.x.cols();
        let batches = self.x.data().len() / width;
        let batch = |step: usize| &self.x.data()[step % batches * width..][..width];
        let range = self.step..self.step + steps;
        self.step += steps;
        let started = Stopwatch::start();
        // Of the last model, one loss a step.
        let losses: Result<Vec<f64>, FitError> = if self.together {
            let all = |step: usize, models: &mut [Training]| -> Result<f64, FitError> {
                let losses: Vec<f64> = models
                    .par_iter_mut()
                    .map(|model| model.step(step, batch(step)))
                    .collect::<Result<_, _>>()?;
                Ok(losses.last().copied().unwrap_or(0.0))
            };
            range.map(|step| all(step, &mut self.models)).collect()
        } else {
            let each = |model: &mut Training| -> Result<Vec<f64>, FitError> {
                range.clone().map(|step| model.step(step, batch(step))).collect()
            };
            let all = self.models.iter_mut().map(each).collect::<Result<Vec<_>, _>>();
            all.map(|all| all.last().cloned().unwrap_or_default())
        };
        let losses = losses.map_err(BenchError::new)?;
        let seconds = started.seconds();
        Ok(json!({"seconds": seconds, "losses": losses, "l0": self.models.last().map(Training::l0)}))
    }
}
