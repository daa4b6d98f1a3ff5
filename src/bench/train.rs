use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use super::{BenchError, Tensors, Timed};
use crate::activations::{ActivationSet, ActivationWriter, Precision};
use crate::base::{DeviceName, HookPoint, Matrix, Stopwatch, Stream};
use crate::dictionary::{FitError, Member, MethodParams, ParamProblem, Recipe, Training, train_together};
use crate::nn::{Device, open_device};

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
        let recipe = recipe(method, x.cols())?;
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

fn recipe(method: &MethodParams, width: usize) -> Result<Recipe, BenchError> {
    let wrong = |problems: Vec<ParamProblem>| {
        BenchError::new(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let recipe = method.check().map_err(wrong)?.recipe(width, method.kind().name());
    let not_by_steps = || BenchError::new(format!("`{}` is not trained by steps", method.kind()));
    recipe.ok_or_else(not_by_steps)?.map_err(BenchError::new)
}

/// Whole trainings.
pub struct Sweep {
    set: ActivationSet,
    recipes: Vec<Recipe>,
    device: Device,
}

impl Sweep {
    pub fn open(data: &Path, methods: &[MethodParams], device: DeviceName) -> Result<Self, BenchError> {
        let x = Tensors::open(data)?.matrix("x")?;
        let hook: HookPoint = "hook_embed".parse().map_err(BenchError::new)?;
        let path = data.with_extension("act");
        let mut writer =
            ActivationWriter::create(&path, hook, x.cols(), Precision::F16).map_err(BenchError::new)?;
        writer.push(x.data(), &vec![0; x.rows()]).map_err(BenchError::new)?;
        let set = writer.finish().map_err(BenchError::new)?;
        let recipes = methods.iter().map(|method| recipe(method, x.cols())).collect::<Result<_, _>>()?;
        Ok(Self { set, recipes, device: open_device(device).map_err(BenchError::new)? })
    }
}

impl Timed for Sweep {
    fn turn(&mut self, turn: &Value) -> Result<Value, BenchError> {
        let members =
            self.recipes.iter().map(|recipe| Member { recipe: recipe.clone(), method: "", training: 0 });
        let members: Vec<Member<'_>> = members.collect();
        let at_once = if turn["together"] == true { members.len().max(1) } else { 1 };
        let started = Stopwatch::start();
        let mut l0 = Vec::new();
        for members in members.chunks(at_once) {
            let trained = train_together(members, &self.set, 1, &self.device, &mut |_, _| {});
            for fitted in trained.map_err(BenchError::new)? {
                l0.push(fitted.map_err(BenchError::new)?.report.l0);
            }
        }
        Ok(json!({"seconds": started.seconds(), "l0": l0}))
    }
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
