//! Times principal and independent component analysis.

use std::path::Path;

use serde_json::{Value, json};

use super::{BenchError, Tensors, Turn};
use crate::activations::ActivationSet;
use crate::base::Stopwatch;
use crate::dictionary::{principal_axes, rotate_to_independence};

/// Principal components of rows `x` `[n, d]` in memory.
pub fn pca(data: &Path) -> Result<Turn, BenchError> {
    let x = Tensors::open(data)?.matrix("x")?;
    let set = ActivationSet::from_matrix("hook_embed".parse()?, x, Vec::new())?;
    Ok(Box::new(move |_| {
        let started = Stopwatch::start();
        let axes = principal_axes(&set)?;
        Ok(json!({"seconds": started.seconds(), "variances": axes.values}))
    }))
}

/// Independent components of whitened rows `x` `[n, d]`. The turn `{"rotation": true}` also returns the rotation.
pub fn ica(data: &Path, tolerance: f64) -> Result<Turn, BenchError> {
    let rows = Tensors::open(data)?.matrix("x")?;
    Ok(Box::new(move |turn| {
        let started = Stopwatch::start();
        let found = rotate_to_independence(&rows, tolerance, 1)?;
        let seconds = started.seconds();
        let rotation = if turn["rotation"] == true { json!(found.rotation) } else { Value::Null };
        Ok(json!({
            "seconds": seconds,
            "iterations": found.iterations,
            "converged": found.converged,
            "gradient": found.gradients.last(),
            "rotation": rotation,
        }))
    }))
}
