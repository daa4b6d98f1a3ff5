use crate::activations::{ActivationSet, Batches};
use crate::base::{Matrix, Stream};
use crate::dictionary::FitError;

/// Rows on which losses are compared, rounded up to whole batches.
const PROBE_ROWS: usize = 4096;

/// Batches of scaled rows, pass after pass.
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

    /// The order of rows depends on seed, place and pass, so that all methods see the same one.
    fn order(set: &ActivationSet, seed: u64, pass: usize) -> Stream {
        Stream::named(seed, &["row order", &set.hook().to_string(), &pass.to_string()])
    }

    /// Rows to compare losses on: whole batches, in an order of their own.
    pub fn probe(&self) -> Result<Vec<Matrix>, FitError> {
        let order = Stream::named(self.seed, &["probe rows", &self.set.hook().to_string()]);
        let mut probe = Vec::new();
        for batch in self.set.shuffled(order, self.rows).take(PROBE_ROWS.div_ceil(self.rows)) {
            let mut batch = batch?;
            self.scale(&mut batch);
            probe.push(batch);
        }
        Ok(probe)
    }

    fn scale(&self, batch: &mut Matrix) {
        for row in batch.data_mut().chunks_exact_mut(self.centre.len()) {
            for (value, centre) in row.iter_mut().zip(&self.centre) {
                *value = (*value - centre) * self.inverse_scale;
            }
        }
    }

    /// The next full batch; passes follow each other without end.
    pub fn next(&mut self) -> Result<Matrix, FitError> {
        let mut batch = match self.batches.next() {
            Some(batch) => batch?,
            None => {
                self.pass += 1;
                self.batches = self.set.shuffled(Self::order(self.set, self.seed, self.pass), self.rows);
                match self.batches.next() {
                    Some(batch) => batch?,
                    None => self.set.read(0, self.rows)?,
                }
            }
        };
        self.scale(&mut batch);
        Ok(batch)
    }
}

/// Root of the mean square per dimension of the inputs, after the mean is taken off where it is.
pub fn input_scale(set: &ActivationSet, centred: bool) -> f64 {
    let mean_square = set.mean().iter().map(|mean| mean * mean).sum::<f64>() / set.width() as f64;
    (set.mean_square_deviation() + if centred { 0.0 } else { mean_square }).sqrt()
}
