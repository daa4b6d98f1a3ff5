use std::path::Path;

use serde_json::{Value, json};

use super::{BenchError, Tensors, Timed};
use crate::activations::ActivationSet;
use crate::base::{HookPoint, Matrix, Stopwatch};
use crate::dictionary::{principal_axes, rotate_to_independence};

/// Principal components of rows in memory.
pub struct Pca(ActivationSet);

impl Pca {
    pub fn open(data: &Path) -> Result<Self, BenchError> {
        let x = Tensors::open(data)?.matrix("x")?;
        let hook: HookPoint = "hook_embed".parse().map_err(BenchError::new)?;
        ActivationSet::from_matrix(hook, x, Vec::new()).map(Self).map_err(BenchError::new)
    }
}

impl Timed for Pca {
    fn turn(&mut self, _: &Value) -> Result<Value, BenchError> {
        let started = Stopwatch::start();
        let axes = principal_axes(&self.0).map_err(BenchError::new)?;
        Ok(json!({"seconds": started.seconds(), "variances": axes.values}))
    }
}

/// Independent components of whitened rows.
pub struct Ica {
    rows: Matrix,
    tolerance: f64,
}

impl Ica {
    pub fn open(data: &Path, tolerance: f64) -> Result<Self, BenchError> {
        Ok(Self { rows: Tensors::open(data)?.matrix("x")?, tolerance })
    }
}

impl Timed for Ica {
    /// `{"rotation": true}` gives the rotation found as well.
    fn turn(&mut self, turn: &Value) -> Result<Value, BenchError> {
        let started = Stopwatch::start();
        let found = rotate_to_independence(&self.rows, self.tolerance, 1).map_err(BenchError::new)?;
        let seconds = started.seconds();
        let rotation = if turn["rotation"] == true { json!(found.rotation) } else { Value::Null };
        Ok(json!({
            "seconds": seconds,
            "iterations": found.iterations,
            "converged": found.converged,
            "gradient": found.gradients.last(),
            "rotation": rotation,
        }))
    }
}
