use std::path::Path;

use serde_json::{Value, json};

use super::{BenchError, Timed};
use crate::base::{DeviceName, HookPoint, Matrix, Stopwatch, TokenBatch, read};
use crate::nn::open_device;
use crate::subject::{LoadedSubject, SubjectModel};

/// Residual streams of a model.
pub struct Harvest {
    subject: LoadedSubject,
    /// With products of bf16.
    half: LoadedSubject,
    tokens: TokenBatch,
    hooks: Vec<HookPoint>,
}

impl Harvest {
    pub fn open(model: &Path, tokens: &Path, device: DeviceName) -> Result<Self, BenchError> {
        let device = open_device(device).map_err(BenchError::new)?;
        let subject = LoadedSubject::from_path(model).map_err(BenchError::new)?;
        let subject = subject.on_device(&device).map_err(BenchError::new)?;
        let ids: Vec<Vec<u32>> =
            serde_json::from_slice(&read(tokens).map_err(BenchError::new)?).map_err(BenchError::new)?;
        let cols = ids.first().map_or(0, Vec::len);
        let tokens = TokenBatch::new(ids.concat(), cols)
            .ok_or_else(|| BenchError::new("token ids are no rows of one length"))?;
        let layers = 0..subject.model().info().n_layers;
        let hooks = layers
            .map(|layer| format!("blocks.{layer}.hook_resid_post").parse().map_err(BenchError::new))
            .collect::<Result<_, _>>()?;
        let half = subject.clone().with_half_products().map_err(BenchError::new)?;
        Ok(Self { subject, half, tokens, hooks })
    }
}

impl Timed for Harvest {
    fn turn(&mut self, asked: &Value) -> Result<Value, BenchError> {
        let subject = if asked["half"] == true { &self.half } else { &self.subject };
        let started = Stopwatch::start();
        let streams: Vec<Matrix> =
            subject.model().activations(&self.tokens, &self.hooks).map_err(BenchError::new)?;
        let seconds = started.seconds();
        let size = |stream: &Matrix| {
            let square: f64 = stream.data().iter().map(|&x| f64::from(x).powi(2)).sum();
            (square / stream.data().len().max(1) as f64).sqrt()
        };
        let sizes: Vec<f64> = streams.iter().map(size).collect();
        Ok(json!({"seconds": seconds, "root_mean_squares": sizes}))
    }
}
