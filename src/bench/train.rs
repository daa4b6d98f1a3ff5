//! Times the training of autoencoders: single steps, or whole trainings.

use std::path::Path;

use rayon::prelude::*;
use serde_json::json;

use super::{BenchError, Tensors, Turn};
use crate::activations::{ActivationWriter, Precision};
use crate::base::{DeviceName, Stopwatch, Stream};
use crate::dictionary::{Member, MethodParams, ParamProblem, Recipe, Training, train_together};
use crate::nn::open_device;

/// Training steps. The turn `{"steps": n}` takes n steps and returns the losses of the last autoencoder, one per step.
pub fn steps(
    data: &Path,
    methods: &[MethodParams],
    together: bool,
    device: DeviceName,
) -> Result<Turn, BenchError> {
    let device = open_device(device)?;
    let tensors = Tensors::open(data)?;
    let (x, decoder) = (tensors.matrix("x")?, tensors.matrix("decoder")?);
    let mut models = Vec::new();
    for method in methods {
        let recipe = recipe(method, x.cols())?;
        if decoder.rows() != recipe.features || decoder.cols() != x.cols() {
            return Err(BenchError::new(format!("`decoder` is not {} x {}", recipe.features, x.cols())));
        }
        let (start, stream) = (decoder.data().to_vec(), Stream::new(1, "bench"));
        models.push(Training::from_decoder(&recipe, x.cols(), recipe.batch, start, stream, &device)?);
    }
    let rows = models.first().map_or(1, Training::rows);
    if x.rows() % rows != 0 || models.iter().any(|model| model.rows() != rows) {
        return Err(BenchError::new(format!("`x` has {} rows, expected whole batches of {rows}", x.rows())));
    }
    let width = rows * x.cols();
    let batches = x.data().len() / width;
    let mut next = 0;
    Ok(Box::new(move |turn| {
        let batch = |step: usize| &x.data()[step % batches * width..][..width];
        let range = next..next + turn["steps"].as_u64().unwrap_or(1) as usize;
        next = range.end;
        let started = Stopwatch::start();
        let mut losses = Vec::new();
        if together {
            for step in range {
                let trained = models.par_iter_mut().map(|model| model.step(step, batch(step)));
                let of_step: Vec<f64> = trained.collect::<Result<_, _>>()?;
                losses.push(of_step.last().copied().unwrap_or(0.0));
            }
        } else {
            for model in &mut models {
                losses = range.clone().map(|step| model.step(step, batch(step))).collect::<Result<_, _>>()?;
            }
        }
        let seconds = started.seconds();
        Ok(json!({"seconds": seconds, "losses": losses, "l0": models.last().map(Training::l0)}))
    }))
}

fn recipe(method: &MethodParams, width: usize) -> Result<Recipe, BenchError> {
    let wrong = |problems: Vec<ParamProblem>| {
        BenchError::new(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    };
    let recipe = method.check().map_err(wrong)?.recipe(width, method.kind().name());
    let not_by_steps = || BenchError::new(format!("`{}` is not trained by steps", method.kind()));
    Ok(recipe.ok_or_else(not_by_steps)??)
}

/// Whole trainings on rows in a store on disk. The turn `{"together": true}` trains all in one pass over the rows.
pub fn sweep(data: &Path, methods: &[MethodParams], device: DeviceName) -> Result<Turn, BenchError> {
    let x = Tensors::open(data)?.matrix("x")?;
    let path = data.with_extension("act");
    let mut writer = ActivationWriter::create(&path, "hook_embed".parse()?, x.cols(), Precision::F16)?;
    writer.push(x.data(), &vec![0; x.rows()])?;
    let set = writer.finish()?;
    let recipes: Vec<Recipe> =
        methods.iter().map(|method| recipe(method, x.cols())).collect::<Result<_, _>>()?;
    let device = open_device(device)?;
    Ok(Box::new(move |turn| {
        let member = |recipe: &Recipe| Member { recipe: recipe.clone(), method: "", training: 0 };
        let members: Vec<Member<'_>> = recipes.iter().map(member).collect();
        let at_once = if turn["together"] == true { members.len().max(1) } else { 1 };
        let started = Stopwatch::start();
        let mut l0 = Vec::new();
        for members in members.chunks(at_once) {
            for fitted in train_together(members, &set, 1, &device, &mut |_, _| {})? {
                l0.push(fitted?.report.l0);
            }
        }
        Ok(json!({"seconds": started.seconds(), "l0": l0}))
    }))
}
