//! One autoencoder in training: its state from step to step, on the CPU or on a device.

use crate::base::{Matrix, Stopwatch, Stream};
use crate::dictionary::{FitError, FitProgress};
use crate::nn::Device;

use super::adam::Optimiser;
use super::aux_loss::{AuxLoss, forward_aux};
use super::entries::{ByFeature, Entry};
use super::forward::{Workspace, forward_dense, forward_sparse};
use super::on_device::OnDevice;
use super::recipe::{Recipe, Sparsity};
use super::resample::resample;
use super::schedule::L1Weight;
use super::selection::{BatchSums, Selection};
use super::update::{Gradients, update};
use super::weights::{Extra, Weights};

/// Share of active codes above which dense products are faster than sparse ones.
const DENSE_SHARE: f64 = 0.10;
/// Features that fire on a smaller share of rows are resampled.
const RESAMPLE_BELOW: f64 = 1e-3;
/// Share of the steps after which no feature is resampled.
const RESAMPLE_UNTIL: f64 = 0.7;
/// Weight of a new value in the running mean of smallest codes kept: it spans about a hundred steps.
const THRESHOLD_SHARE: f64 = 0.01;
/// First value of learned thresholds, in inputs of unit mean square.
const FIRST_THRESHOLD: f32 = 0.1;
/// Share of the steps over which the L0 penalty of learned thresholds rises to its full weight.
const L0_PENALTY_WARMUP: f64 = 0.1;

/// One autoencoder in training. Batches come from outside.
pub struct Training {
    pub(super) recipe: Recipe,
    /// While training runs on a device, the weights as last fetched from it.
    pub(super) weights: Weights,
    pub(super) on_device: Option<OnDevice>,
    work: Workspace,
    main: ByFeature,
    aux: ByFeature,
    aux_entries: Vec<Vec<Entry>>,
    aux_errors: Vec<f32>,
    pub(super) l1: Option<L1Weight>,
    /// BatchTopK: the smallest code that batches kept.
    pub(super) threshold: RunningMean,
    /// `rows_seen` when each feature last fired.
    last_fired: Vec<usize>,
    /// Firings of each feature since the last resampling.
    fired: Vec<usize>,
    rows_since_resample: usize,
    pub(super) rows_seen: usize,
    pub(super) resampled: usize,
    /// Mean squared error of each step, per unit of input mean square.
    pub(super) losses: Vec<f64>,
    /// L0 of each step.
    pub(super) l0s: Vec<f64>,
    /// Loss on the probe when a tenth of the steps was left, and at the end.
    pub(super) probe_losses: (f64, f64),
    pub(super) seconds: f64,
    /// Step and learning rate at which the loss became NaN or infinite.
    pub(super) diverged: Option<(usize, f64)>,
    stream: Stream,
}

impl Training {
    /// Starts from decoder rows `[F, d]`, for batches of `rows` rows. Fails where the device lacks memory for the weights.
    pub fn from_decoder(
        recipe: &Recipe,
        d: usize,
        rows: usize,
        decoder: Vec<f32>,
        stream: Stream,
        device: &Device,
    ) -> Result<Self, FitError> {
        let features = recipe.features;
        let mut training = Self {
            weights: initial_weights(recipe, d, decoder),
            on_device: None,
            work: Workspace::new(rows, d, recipe.prefixes.len()),
            main: ByFeature::default(),
            aux: ByFeature::default(),
            aux_entries: Vec::new(),
            aux_errors: Vec::new(),
            l1: recipe.sparsity.l1(),
            threshold: RunningMean::default(),
            last_fired: vec![0; features],
            fired: vec![0; features],
            rows_since_resample: 0,
            rows_seen: 0,
            resampled: 0,
            losses: Vec::with_capacity(recipe.steps),
            l0s: Vec::with_capacity(recipe.steps),
            probe_losses: (0.0, 0.0),
            seconds: 0.0,
            diverged: None,
            stream,
            recipe: recipe.clone(),
        };
        if !device.is_cpu() {
            training.move_to(device)?;
        }
        Ok(training)
    }

    /// Continues on a device.
    pub(super) fn move_to(&mut self, device: &Device) -> Result<(), FitError> {
        self.on_device = Some(OnDevice::new(&self.weights, self.recipe.sparsity, device)?);
        Ok(())
    }

    /// Whether `step` is still to be done.
    pub(super) fn has_step(&self, step: usize) -> bool {
        step < self.recipe.steps && self.diverged.is_none()
    }

    /// Does step `step` if there is one, and measures the probe loss where it is due.
    pub(super) fn advance(&mut self, step: usize, batch: &[f32], probe: &[Matrix]) -> Result<(), FitError> {
        if !self.has_step(step) {
            return Ok(());
        }
        let started = Stopwatch::start();
        if !self.step(step, batch)?.is_finite() {
            self.diverged = Some((step, self.learning_rate(step)));
            return Ok(());
        }
        if step + 1 == last_tenth(self.recipe.steps) {
            self.probe_losses.0 = self.probe_loss(probe)?;
        }
        if step + 1 == self.recipe.steps {
            self.probe_losses.1 = self.probe_loss(probe)?;
        }
        self.seconds += started.seconds();
        Ok(())
    }

    pub(super) fn progress(&self, step: usize) -> FitProgress {
        let loss = self.losses.last().copied().unwrap_or(0.0);
        FitProgress { step, steps: self.recipe.steps, loss, l0: Some(self.l0()) }
    }

    /// Rows of a batch.
    pub fn rows(&self) -> usize {
        self.work.rows
    }

    /// Mean number of active features in the last batch.
    pub fn l0(&self) -> f64 {
        self.l0s.last().copied().unwrap_or(0.0)
    }

    /// One step; returns the mean squared error per unit of input mean square. Only a device can fail.
    pub fn step(&mut self, step: usize, batch: &[f32]) -> Result<f64, FitError> {
        match self.on_device.take() {
            None => Ok(self.step_here(step, batch)),
            Some(device) => self.step_on_device(device, step, batch),
        }
    }

    /// The device computes; counts and decisions between steps are made here.
    fn step_on_device(&mut self, mut device: OnDevice, step: usize, batch: &[f32]) -> Result<f64, FitError> {
        let sums = device.forward(batch, self.l1_weight())?;
        self.count(device.firings().iter().map(|&count| count as usize));
        if let Some((dead, loss)) = self.dead_features() {
            device.add_aux(AuxLoss { dead: &dead, ..loss })?;
        }
        let l0_grad = self.set_l0_grad(step, &sums);
        device.update(Optimiser::adam(self.learning_rate(step), step), l0_grad)?;
        if let Some(idle) = self.due_for_resampling(step) {
            device.write_to(&mut self.weights)?;
            let (inputs, errors) = device.inputs_and_errors()?;
            self.work.inputs.copy_from_slice(&inputs);
            self.work.errors.copy_from_slice(&errors);
            self.resampled += resample(&mut self.weights, &self.work, &idle, &mut self.stream);
            device.put(&self.weights)?;
        }
        let smallest_kept = device.smallest_kept;
        self.on_device = Some(device);
        Ok(self.note(step, &sums, smallest_kept))
    }

    fn step_here(&mut self, step: usize, batch: &[f32]) -> f64 {
        let selection = self.weights.selection(self.recipe.sparsity);
        let density = self.l0s.last().map_or(1.0, |l0| l0 / self.recipe.features as f64);
        let dense = matches!(selection, Selection::Relu) && density > DENSE_SHARE;
        let forward = self.weights.forward(selection, self.l1_weight());
        let sums = match dense {
            true => forward_dense(forward, batch, &mut self.work),
            false => forward_sparse(forward, batch, &mut self.work),
        };
        let firings = self.firings(dense);
        self.count(firings.into_iter());
        self.add_aux();
        self.set_l0_grad(step, &sums);
        let gradients = match dense {
            true => Gradients::Dense,
            false => Gradients::Sparse { main: &self.main, aux: &self.aux, aux_errors: &self.aux_errors },
        };
        let optimiser = Optimiser::adam(self.learning_rate(step), step);
        update(&mut self.weights, &self.work, &gradients, optimiser);
        if let Some(idle) = self.due_for_resampling(step) {
            self.resampled += resample(&mut self.weights, &self.work, &idle, &mut self.stream);
        }
        self.note(step, &sums, self.work.smallest_kept)
    }

    fn learning_rate(&self, step: usize) -> f64 {
        self.recipe.learning_rate.at(step, self.recipe.steps)
    }

    /// L1 weight times the width.
    fn l1_weight(&self) -> f64 {
        self.l1.map_or(0.0, |l1| l1.weight)
    }

    /// Sets and returns the derivative of JumpReLU's penalty `d · (L0 / target − 1)²` by L0. Its weight is the width
    /// because that is about the squared norm of an input.
    fn set_l0_grad(&mut self, step: usize, sums: &BatchSums) -> f64 {
        let (Sparsity::Thresholds { target, .. }, Extra::Thresholds { l0_grad, .. }) =
            (self.recipe.sparsity, &mut self.weights.extra)
        else {
            return 0.0;
        };
        let l0 = sums.active as f64 / self.work.rows as f64;
        let warm = ((step + 1) as f64 / (L0_PENALTY_WARMUP * self.recipe.steps as f64).max(1.0)).min(1.0);
        *l0_grad = (2.0 * warm * self.weights.d as f64 * (l0 / target - 1.0) / target) as f32;
        f64::from(*l0_grad)
    }

    /// Training loss per row on the probe. Between different batches, noise would hide a fall of one per cent.
    fn probe_loss(&mut self, probe: &[Matrix]) -> Result<f64, FitError> {
        let l1 = self.l1_weight();
        let smallest_kept = self.work.smallest_kept;
        let mut total = 0.0;
        for batch in probe {
            total += match &mut self.on_device {
                Some(device) => device.forward(batch.data(), l1)?.objective,
                None => {
                    let forward = self.weights.forward(self.weights.selection(self.recipe.sparsity), l1);
                    forward_sparse(forward, batch.data(), &mut self.work).objective
                }
            };
        }
        self.work.smallest_kept = smallest_kept;
        Ok(total / probe.iter().map(Matrix::rows).sum::<usize>().max(1) as f64)
    }

    /// Records a step; returns its loss.
    fn note(&mut self, step: usize, sums: &BatchSums, smallest_kept: f32) -> f64 {
        if matches!(self.recipe.sparsity, Sparsity::BatchTopK { .. }) && smallest_kept.is_finite() {
            self.threshold.add(f64::from(smallest_kept));
        }
        let rows = self.work.rows as f64;
        let l0 = sums.active as f64 / rows;
        if let Some(l1) = &mut self.l1 {
            l1.observe(step, l0);
        }
        let loss = sums.squared_error / (rows * self.weights.d as f64);
        self.losses.push(loss);
        self.l0s.push(l0);
        loss
    }

    /// Rows of the batch on which each feature fired. Groups sparse entries by feature.
    fn firings(&mut self, dense: bool) -> Vec<usize> {
        let features = self.recipe.features;
        if dense {
            let mut firings = vec![0; features];
            for row in self.work.codes.chunks_exact(features) {
                firings.iter_mut().zip(row).for_each(|(count, &code)| *count += usize::from(code > 0.0));
            }
            return firings;
        }
        self.main.regroup(features, &self.work.entries);
        // Entries near a threshold or behind a gate can have a code of 0.
        let fired = |feature| self.main.of(feature).iter().filter(|entry| entry.code > 0.0).count();
        (0..features).map(fired).collect()
    }

    fn count(&mut self, firings: impl Iterator<Item = usize>) {
        self.rows_seen += self.work.rows;
        self.rows_since_resample += self.work.rows;
        for ((count, fired), last) in firings.zip(&mut self.fired).zip(&mut self.last_fired) {
            *fired += count;
            if count > 0 {
                *last = self.rows_seen;
            }
        }
    }

    /// Dead features, rising, and their auxiliary loss. None where there are none, or where the kind has no such loss.
    fn dead_features(&self) -> Option<(Vec<u32>, AuxLoss<'static>)> {
        let aux = self.recipe.aux.filter(|aux| aux.weight != 0.0)?;
        let is_dead = |&feature: &u32| self.rows_seen - self.last_fired[feature as usize] >= aux.dead_rows;
        let dead: Vec<u32> = (0..self.recipe.features as u32).filter(is_dead).collect();
        let loss = AuxLoss { dead: &[], k: aux.k.min(dead.len()), weight: aux.weight as f32 };
        (!dead.is_empty()).then_some((dead, loss))
    }

    fn add_aux(&mut self) {
        self.aux.clear();
        let Some((dead, loss)) = self.dead_features() else { return };
        let loss = AuxLoss { dead: &dead, ..loss };
        let forward = self.weights.forward(Selection::Relu, 0.0);
        forward_aux(forward, loss, &self.work, &mut self.aux_entries, &mut self.aux_errors);
        self.aux.regroup(self.recipe.features, &self.aux_entries);
    }

    /// Rarely firing features, after the steps at which they are resampled; then counting starts again.
    fn due_for_resampling(&mut self, step: usize) -> Option<Vec<usize>> {
        let n = self.recipe.resamples;
        let every = (RESAMPLE_UNTIL * self.recipe.steps as f64 / (n.max(1) as f64)) as usize;
        if n == 0 || every == 0 || !(step + 1).is_multiple_of(every) || (step + 1) / every > n {
            return None;
        }
        let least = RESAMPLE_BELOW * self.rows_since_resample as f64;
        let idle: Vec<usize> =
            (0..self.recipe.features).filter(|&feature| (self.fired[feature] as f64) < least).collect();
        self.fired.fill(0);
        self.rows_since_resample = 0;
        Some(idle)
    }
}

fn initial_weights(recipe: &Recipe, d: usize, decoder: Vec<f32>) -> Weights {
    let renormalise = !matches!(recipe.sparsity, Sparsity::L1(_));
    let mut weights = Weights::new(d, decoder, recipe.tied, recipe.decoder_bias, renormalise);
    weights.prefixes.clone_from(&recipe.prefixes);
    weights.extra = match recipe.sparsity {
        Sparsity::Gated(_) => Extra::gates(recipe.features),
        Sparsity::Thresholds { bandwidth, .. } => {
            Extra::thresholds(recipe.features, FIRST_THRESHOLD, bandwidth as f32)
        }
        _ => Extra::Nothing,
    };
    weights
}

/// The step with which the last tenth begins.
pub fn last_tenth(steps: usize) -> usize {
    steps - steps.div_ceil(10)
}

/// An exponential moving average that starts as the plain mean, so that early values are not too low.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunningMean {
    pub mean: f64,
    seen: usize,
}

impl RunningMean {
    fn add(&mut self, value: f64) {
        self.seen += 1;
        self.mean += (value - self.mean) * THRESHOLD_SHARE.max(1.0 / self.seen as f64);
    }
}
