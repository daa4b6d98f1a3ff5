//! Times the forward pass of a model.

use std::path::Path;

use serde_json::json;

use super::{BenchError, Turn};
use crate::base::{DeviceName, HookPoint, Matrix, Stopwatch, TokenBatch, read};
use crate::nn::open_device;
use crate::subject::LoadedSubject;

/// The residual stream after every layer of a model. The turn `{"half": true}` uses matrix products in bf16.
pub fn harvest(model: &Path, tokens: &Path, device: DeviceName) -> Result<Turn, BenchError> {
    let subject = LoadedSubject::from_path(model)?.on_device(&open_device(device)?)?;
    let ids: Vec<Vec<u32>> = serde_json::from_slice(&read(tokens)?)?;
    let cols = ids.first().map_or(0, Vec::len);
    let tokens = TokenBatch::new(ids.concat(), cols)
        .ok_or_else(|| BenchError::new("token id lists must be non-empty and of equal length"))?;
    let hooks: Vec<HookPoint> = (0..subject.model().info().n_layers)
        .map(|layer| format!("blocks.{layer}.hook_resid_post").parse())
        .collect::<Result<_, _>>()?;
    let half = subject.clone().with_half_products()?;
    Ok(Box::new(move |turn| {
        let subject = if turn["half"] == true { &half } else { &subject };
        let started = Stopwatch::start();
        let streams: Vec<Matrix> = subject.model().activations(&tokens, &hooks)?;
        let seconds = started.seconds();
        let root_mean_square = |stream: &Matrix| {
            let sum: f64 = stream.data().iter().map(|&x| f64::from(x).powi(2)).sum();
            (sum / stream.data().len().max(1) as f64).sqrt()
        };
        let values: Vec<f64> = streams.iter().map(root_mean_square).collect();
        Ok(json!({"seconds": seconds, "root_mean_squares": values}))
    }))
}
