//! Batches of scaled rows: `x = (activation − centre) / scale`.

use crate::activations::{ActivationSet, Batches};
use crate::base::{Matrix, Stream};
use crate::dictionary::FitError;

/// Rows of the probe, rounded up to whole batches.
const PROBE_ROWS: usize = 4096;

/// An endless sequence of batches. Each pass over the set has its own order.
pub struct Feed<'a> {
    set: &'a ActivationSet,
    batches: Batches<'a>,
    seed: u64,
    pass: usize,
    rows: usize,
    pub centre: Vec<f32>,
    pub inverse_scale: f32,
}

impl<'a> Feed<'a> {
    pub fn new(set: &'a ActivationSet, seed: u64, rows: usize, centre: Vec<f32>, scale: f64) -> Self {
        let batches = set.shuffled(Self::order(set, seed, 0), rows);
        Self { set, batches, seed, pass: 0, rows, centre, inverse_scale: (1.0 / scale) as f32 }
    }

    /// Row order of a pass. It depends on seed and hook point only, so all methods see the same batches.
    fn order(set: &ActivationSet, seed: u64, pass: usize) -> Stream {
        Stream::named(seed, &["row order", &set.hook().to_string(), &pass.to_string()])
    }

    /// Fixed batches on which losses are compared.
    pub fn probe(&self) -> Result<Vec<Matrix>, FitError> {
        let order = Stream::named(self.seed, &["probe rows", &self.set.hook().to_string()]);
        let batches = self.set.shuffled(order, self.rows).take(PROBE_ROWS.div_ceil(self.rows));
        batches.map(|batch| Ok(self.scaled(batch?))).collect()
    }

    fn scaled(&self, mut batch: Matrix) -> Matrix {
        for row in batch.data_mut().chunks_exact_mut(self.centre.len()) {
            for (value, centre) in row.iter_mut().zip(&self.centre) {
                *value = (*value - centre) * self.inverse_scale;
            }
        }
        batch
    }

    /// The next full batch.
    pub fn next(&mut self) -> Result<Matrix, FitError> {
        if let Some(batch) = self.batches.next() {
            return Ok(self.scaled(batch?));
        }
        self.pass += 1;
        self.batches = self.set.shuffled(Self::order(self.set, self.seed, self.pass), self.rows);
        let batch = self.batches.next().unwrap_or_else(|| self.set.read(0, self.rows))?;
        Ok(self.scaled(batch))
    }
}

/// Root mean square per dimension of the inputs, after centring where `centred`.
pub fn input_scale(set: &ActivationSet, centred: bool) -> f64 {
    let mean_square = set.mean().iter().map(|mean| mean * mean).sum::<f64>() / set.width() as f64;
    (set.mean_square_deviation() + if centred { 0.0 } else { mean_square }).sqrt()
}
