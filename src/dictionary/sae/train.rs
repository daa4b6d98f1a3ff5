use rayon::prelude::*;

use crate::activations::ActivationSet;
use crate::base::{Matrix, Stopwatch, Stream};
use crate::dictionary::affine::{Activation, AffineDictionary, Label, RowScale, Tensors};
use crate::dictionary::fit::stream;
use crate::dictionary::{FitContext, FitError, FitProgress, FitReport, Fitted, Kind};
use crate::nn::Device;

use super::feed::{Feed, input_scale};
use super::on_device::OnDevice;
use super::resample::resample;
use super::rows::Stepper;
use super::schedule::{L1Search, LearningRate};
use super::step::{
    AuxLoss, BatchSums, ByFeature, Entry, Selection, Workspace, forward_aux, forward_dense, forward_sparse,
};
use super::update::{Extra, Gradients, Weights, update};

/// Share of active codes above which dense products are faster than work on active codes alone.
const DENSE_SHARE: f64 = 0.10;
/// A feature that fired on a smaller share of rows since the last look gets a new direction.
const RESAMPLE_BELOW: f64 = 1e-3;
/// Share of the training within which features are given new directions.
const RESAMPLE_UNTIL: f64 = 0.7;
/// Steps between two calls of the progress function.
const PROGRESS_STEPS: usize = 25;
/// Share that the last batch has in the mean of the least codes kept: a hundred steps or so count.
const THRESHOLD_SHARE: f64 = 0.01;
/// Where learned thresholds start, in inputs of unit mean square.
const FIRST_THRESHOLD: f32 = 0.1;
/// Share of the steps over which the pull of thresholds on the number of active features rises.
const PULL_WARMUP: f64 = 0.1;
/// A fall of the loss over the last tenth of the steps, above which a fit is under-trained.
const UNDER_TRAINED_FALL: f64 = 0.01;

/// What keeps codes few.
#[derive(Debug, Clone, Copy)]
pub enum Sparsity {
    /// The k largest codes of a row.
    TopK { k: usize },
    /// The k·rows largest codes of a batch; the least of them, averaged over steps, is the threshold of a single
    /// row afterwards.
    BatchTopK { k: usize },
    /// An L1 penalty on ReLU codes.
    L1(L1),
    /// An L1 penalty on what opens a gate.
    Gated(L1),
    /// Thresholds learned for this mean number of active features; `bandwidth` is that of the rectangle that
    /// stands in for the step's derivative.
    Thresholds { target: f64, bandwidth: f64 },
}

/// L1 weight times the width.
#[derive(Debug, Clone, Copy)]
pub enum L1 {
    /// As it is.
    Fixed(f64),
    /// Searched for this mean number of active features.
    For { target: f64 },
}

/// The auxiliary loss of dead features.
#[derive(Debug, Clone, Copy)]
pub struct Aux {
    /// Its weight.
    pub weight: f64,
    /// How many dead features a row may use.
    pub k: usize,
    /// Rows without firing after which a feature is dead.
    pub dead_rows: usize,
}

/// Everything that decides a training run besides data and seed.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// What kind it makes.
    pub kind: Kind,
    /// Number of features.
    pub features: usize,
    /// Whether the decoder's rows encode as well.
    pub tied: bool,
    /// What keeps codes few.
    pub sparsity: Sparsity,
    /// Where nested dictionaries end, rising to all features.
    pub prefixes: Vec<usize>,
    /// Whether inputs are scaled to unit mean square per dimension.
    pub scaled: bool,
    /// Whether the mean is taken off the input first.
    pub centred: bool,
    /// Whether a bias of the decoder is learned.
    pub decoder_bias: bool,
    /// Training steps.
    pub steps: usize,
    /// Rows a step.
    pub batch: usize,
    /// Learning rate after warm-up.
    pub lr: f64,
    /// Share of the steps over which it rises.
    pub warmup: f64,
    /// Share of the steps, at the end, over which it falls.
    pub decay: f64,
    /// How many times idle features get a new direction.
    pub resamples: usize,
    /// The auxiliary loss of dead features.
    pub aux: Option<Aux>,
}

/// One of several autoencoders that are trained on the same batches.
pub struct Member<'a> {
    /// What to train.
    pub recipe: Recipe,
    /// Name in tables.
    pub method: &'a str,
    /// See [`FitContext::training`].
    pub training: u32,
}

impl Recipe {
    /// Whether two trainings can take the same batches.
    pub fn shares_batches_with(&self, other: &Self) -> bool {
        (self.batch, self.scaled, self.centred) == (other.batch, other.scaled, other.centred)
    }
}

/// Trains an autoencoder and folds the scaling of its inputs into its weights.
pub fn train(recipe: Recipe, set: &ActivationSet, context: &mut FitContext<'_>) -> Result<Fitted, FitError> {
    let member = Member { recipe, method: context.method, training: context.training };
    let tell = &mut |_: usize, progress: FitProgress| (context.progress)(progress);
    // One member, one result.
    train_together(&[member], set, context.seed, context.device, tell)?.swap_remove(0)
}

/// Trains several autoencoders in one pass over the same batches, which are read, shuffled and scaled once; what
/// becomes of each does not depend on the others. All must be able to share batches. Fails as a whole where rows
/// cannot be read or the device fails.
pub fn train_together(
    members: &[Member<'_>],
    set: &ActivationSet,
    seed: u64,
    device: &Device,
    progress: &mut dyn FnMut(usize, FitProgress),
) -> Result<Vec<Result<Fitted, FitError>>, FitError> {
    let Some(Member { recipe: first, .. }) = members.first() else { return Ok(Vec::new()) };
    assert!(members.iter().all(|member| member.recipe.shares_batches_with(first)), "batches are shared");
    let (d, rows) = (set.width(), first.batch.min(set.rows()));
    let centre: Vec<f32> = match first.centred {
        true => set.mean().iter().map(|&value| value as f32).collect(),
        false => vec![0.0; d],
    };
    let scale = if first.scaled { input_scale(set, first.centred) } else { 1.0 };
    let mut feed = Feed::new(set, seed, rows, centre, scale);
    let mut models: Vec<Training> = members
        .iter()
        .map(|Member { recipe, training, .. }| {
            let stream = stream(seed, *training, &[recipe.kind.name(), &set.hook().to_string()]);
            Training::new(recipe, d, rows, stream, device)
        })
        .collect::<Result<_, _>>()?;
    let probe = feed.probe()?;
    let steps = members.iter().map(|member| member.recipe.steps).max().unwrap_or(0);
    let at_once = batches_at_once(members.len(), rows * d);
    let mut read = || (0..at_once).map(|_| feed.next()).collect::<Result<Vec<Matrix>, FitError>>();
    let mut batches = read()?;
    for start in (0..steps).step_by(at_once) {
        // The next batches are read while these are worked on.
        let advance = |model: &mut Training| {
            (start..).zip(&batches).try_for_each(|(step, batch)| model.advance(step, batch.data(), &probe))
        };
        let read_on = || if start + at_once < steps { read() } else { Ok(Vec::new()) };
        let (done, next) = rayon::join(|| models.par_iter_mut().try_for_each(advance), read_on);
        done?;
        batches = next?;
        if let Some(step) = (start..start + at_once).find(|step| step.is_multiple_of(PROGRESS_STEPS)) {
            for (nth, model) in models.iter().enumerate().filter(|(_, model)| model.goes_on(step)) {
                let (steps, loss) = (model.recipe.steps, model.last_loss());
                progress(nth, FitProgress { step, steps, loss, l0: Some(model.last_l0) });
            }
        }
    }
    let finished = members.iter().zip(models).map(|(member, mut model)| {
        model.fetch_weights()?;
        if let Some((step, lr)) = model.diverged {
            return Err(FitError::Diverged { method: member.method.to_string(), step, lr });
        }
        let label = Label {
            method: member.method.to_string(),
            kind: member.recipe.kind,
            hook: set.hook(),
            fitted_on: set.digest(),
            is_reconstruction: true,
        };
        let tensors = model.tensors(&feed.centre, 1.0 / f64::from(feed.inverse_scale));
        Ok(Fitted { dictionary: Box::new(AffineDictionary::new(label, tensors)), report: model.report() })
    });
    Ok(finished.collect())
}

/// Batches that each of several models takes before the next one's turn, so that its weights stay near: few enough to
/// be held in memory, 64 MB of them. Of a single model nothing else comes between.
fn batches_at_once(models: usize, entries: usize) -> usize {
    const ENTRIES: usize = 1 << 24;
    if models > 1 { (ENTRIES / entries.max(1)).clamp(1, 8) } else { 1 }
}

/// One autoencoder in training: what changes from step to step. Batches come from outside.
pub struct Training {
    recipe: Recipe,
    /// Where training is on a device, as they were when they were last fetched.
    weights: Weights,
    on_device: Option<OnDevice>,
    work: Workspace,
    main: ByFeature,
    aux: ByFeature,
    aux_entries: Vec<Vec<Entry>>,
    aux_errors: Vec<f32>,
    learning_rate: LearningRate,
    search: Option<L1Search>,
    /// Mean of the least codes that batches kept.
    threshold: Mean,
    /// Row count at which each feature last fired.
    last_fired: Vec<usize>,
    /// Firings since features were last given new directions.
    fired: Vec<usize>,
    rows_since_resample: usize,
    rows_seen: usize,
    resampled: usize,
    density: f64,
    last_l0: f64,
    losses: Vec<f64>,
    /// Loss on the probe when a tenth of the steps was left, and at the end.
    probe_losses: (f64, f64),
    l0s: Vec<f64>,
    /// Seconds of its own steps.
    seconds: f64,
    /// Step and learning rate at which the loss was no number any more.
    diverged: Option<(usize, f64)>,
    stream: Stream,
}

impl Training {
    /// Starts from random directions, for batches of `rows` rows of width `d`.
    fn new(
        recipe: &Recipe,
        d: usize,
        rows: usize,
        mut stream: Stream,
        device: &Device,
    ) -> Result<Self, FitError> {
        let decoder =
            (0..recipe.features * d).map(|_| (stream.normal() / (d as f64).sqrt()) as f32).collect();
        Self::from_decoder(recipe, d, rows, decoder, stream, device)
    }

    /// Starts from decoder rows `[F, d]`. Fails where the device has no room for the weights.
    pub fn from_decoder(
        recipe: &Recipe,
        d: usize,
        rows: usize,
        decoder: Vec<f32>,
        stream: Stream,
        device: &Device,
    ) -> Result<Self, FitError> {
        let constrained = !matches!(recipe.sparsity, Sparsity::L1(_));
        let search = match recipe.sparsity {
            Sparsity::L1(L1::For { target }) | Sparsity::Gated(L1::For { target }) => {
                Some(L1Search::new(target, recipe.steps))
            }
            _ => None,
        };
        let features = recipe.features;
        let mut weights = Weights::new(d, decoder, recipe.tied, recipe.decoder_bias, constrained);
        weights.prefixes.clone_from(&recipe.prefixes);
        weights.extra = match recipe.sparsity {
            Sparsity::Gated(_) => Extra::gates(features),
            Sparsity::Thresholds { bandwidth, .. } => {
                Extra::thresholds(features, FIRST_THRESHOLD, bandwidth as f32)
            }
            _ => Extra::Nothing,
        };
        let mut training = Self {
            weights,
            on_device: None,
            work: Workspace::new(rows, d, recipe.prefixes.len()),
            main: ByFeature::default(),
            aux: ByFeature::default(),
            aux_entries: Vec::new(),
            aux_errors: Vec::new(),
            learning_rate: LearningRate {
                base: recipe.lr,
                steps: recipe.steps,
                warmup: recipe.warmup,
                decay: recipe.decay,
            },
            search,
            threshold: Mean::default(),
            last_fired: vec![0; recipe.features],
            fired: vec![0; recipe.features],
            rows_since_resample: 0,
            rows_seen: 0,
            resampled: 0,
            density: 1.0,
            last_l0: 0.0,
            probe_losses: (0.0, 0.0),
            losses: Vec::with_capacity(recipe.steps),
            l0s: Vec::with_capacity(recipe.steps),
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

    /// Goes on by a device's operations.
    pub fn move_to(&mut self, device: &Device) -> Result<(), FitError> {
        self.on_device = Some(OnDevice::new(&self.weights, self.recipe.sparsity, device)?);
        Ok(())
    }

    /// Whether there is a step `step`.
    fn goes_on(&self, step: usize) -> bool {
        step < self.recipe.steps && self.diverged.is_none()
    }

    /// Step `step`, if there is one, and what is measured on the way.
    fn advance(&mut self, step: usize, batch: &[f32], probe: &[Matrix]) -> Result<(), FitError> {
        if !self.goes_on(step) {
            return Ok(());
        }
        let started = Stopwatch::start();
        if !self.step(step, batch)?.is_finite() {
            self.diverged = Some((step, self.learning_rate.at(step)));
            return Ok(());
        }
        if step + 1 == nine_tenths(self.recipe.steps) {
            self.probe_losses.0 = self.probe_loss(probe)?;
        }
        if step + 1 == self.recipe.steps {
            self.probe_losses.1 = self.probe_loss(probe)?;
        }
        self.seconds += started.seconds();
        Ok(())
    }

    fn last_loss(&self) -> f64 {
        self.losses.last().copied().unwrap_or(0.0)
    }

    /// Rows of a batch.
    pub fn rows(&self) -> usize {
        self.work.rows
    }

    /// Mean number of active features in the last batch.
    pub fn l0(&self) -> f64 {
        self.last_l0
    }

    /// One step; gives the mean squared error per unit of input mean square. Fails where a device does.
    pub fn step(&mut self, step: usize, batch: &[f32]) -> Result<f64, FitError> {
        match self.on_device {
            None => Ok(self.step_here(step, batch)),
            Some(_) => self.step_on_device(step, batch),
        }
    }

    /// A step of what is on a device. What is counted and decided from step to step is so here.
    fn step_on_device(&mut self, step: usize, batch: &[f32]) -> Result<f64, FitError> {
        let l1 = self.l1();
        let Some(mut device) = self.on_device.take() else { return Ok(0.0) };
        let sums = device.forward(batch, l1)?;
        self.count_rows();
        for (feature, &count) in device.firings().iter().enumerate() {
            self.count_feature(feature, count as usize);
        }
        if let Some((dead, loss)) = self.dead_features() {
            device.add_aux(AuxLoss { dead: &dead, ..loss })?;
        }
        let pull = self.pull(step, &sums);
        self.note_least_kept(device.least_kept());
        device.update(Stepper::adam(self.learning_rate.at(step), step), pull)?;
        self.on_device = Some(device);
        if let Some(idle) = self.due_for_resampling(step) {
            self.resample_on_device(&idle)?;
        }
        Ok(self.note(step, &sums))
    }

    /// Fetches weights, inputs and errors, gives `idle` features new directions, and puts the weights back.
    fn resample_on_device(&mut self, idle: &[usize]) -> Result<(), FitError> {
        self.fetch_weights()?;
        let Some(device) = &mut self.on_device else { return Ok(()) };
        let (inputs, errors) = device.inputs_and_errors()?;
        self.work.inputs.copy_from_slice(&inputs);
        self.work.errors.copy_from_slice(&errors);
        self.resampled += resample(&mut self.weights, &self.work, idle, &mut self.stream);
        device.put(&self.weights)?;
        Ok(())
    }

    /// Brings weights here that were trained on a device.
    fn fetch_weights(&mut self) -> Result<(), FitError> {
        if let Some(device) = &self.on_device {
            device.write_to(&mut self.weights)?;
        }
        Ok(())
    }

    fn step_here(&mut self, step: usize, batch: &[f32]) -> f64 {
        let l1 = self.l1();
        let stepper = Stepper::adam(self.learning_rate.at(step), step);
        let selection = selection(self.recipe.sparsity, &self.weights.extra);
        let dense = matches!(selection, Selection::Positive) && self.density > DENSE_SHARE;
        let forward = self.weights.forward(selection, l1);
        let sums = if dense {
            forward_dense(forward, batch, &mut self.work)
        } else {
            forward_sparse(forward, batch, &mut self.work)
        };
        self.count_firings(dense);
        self.add_aux();
        self.pull(step, &sums);
        self.note_least_kept(self.work.least_kept);
        let gradients = if dense {
            Gradients::Dense
        } else {
            Gradients::Sparse { main: &self.main, aux: &self.aux, aux_errors: &self.aux_errors }
        };
        update(&mut self.weights, &self.work, &gradients, stepper);
        if let Some(idle) = self.due_for_resampling(step) {
            self.resampled += resample(&mut self.weights, &self.work, &idle, &mut self.stream);
        }
        self.note(step, &sums)
    }

    fn note_least_kept(&mut self, least: f32) {
        if matches!(self.recipe.sparsity, Sparsity::BatchTopK { .. }) && least.is_finite() {
            self.threshold.add(f64::from(least));
        }
    }

    /// L1 weight times the width.
    fn l1(&self) -> f64 {
        match self.recipe.sparsity {
            Sparsity::L1(L1::Fixed(weight)) | Sparsity::Gated(L1::Fixed(weight)) => weight,
            Sparsity::L1(L1::For { .. }) | Sparsity::Gated(L1::For { .. }) => {
                self.search.map_or(0.0, |search| search.weight)
            }
            _ => 0.0,
        }
    }

    /// Thresholds are drawn to the wanted number of active features by `width · (L0 / target − 1)²`: inputs have
    /// a squared norm of about the width. Gives the derivative by the number of active features.
    fn pull(&mut self, step: usize, sums: &BatchSums) -> f64 {
        if let (Sparsity::Thresholds { target, .. }, Extra::Thresholds { pull, .. }) =
            (self.recipe.sparsity, &mut self.weights.extra)
        {
            let l0 = sums.active as f64 / self.work.rows as f64;
            let warm = ((step + 1) as f64 / (PULL_WARMUP * self.recipe.steps as f64).max(1.0)).min(1.0);
            *pull = (2.0 * warm * self.weights.d as f64 * (l0 / target - 1.0) / target) as f32;
            return f64::from(*pull);
        }
        0.0
    }

    /// What training minimises, a row, on rows that are the same at every call: the noise of the
    /// draw of batches would hide a fall of one per cent.
    fn probe_loss(&mut self, probe: &[Matrix]) -> Result<f64, FitError> {
        let l1 = self.l1();
        let least_kept = self.work.least_kept;
        let mut total = 0.0;
        let rows = probe.iter().map(Matrix::rows).sum::<usize>().max(1) as f64;
        if let Some(device) = &mut self.on_device {
            for batch in probe {
                total += device.forward(batch.data(), l1)?.objective;
            }
            return Ok(total / rows);
        }
        for batch in probe {
            let forward = self.weights.forward(selection(self.recipe.sparsity, &self.weights.extra), l1);
            total += forward_sparse(forward, batch.data(), &mut self.work).objective;
        }
        self.work.least_kept = least_kept;
        Ok(total / rows)
    }

    fn note(&mut self, step: usize, sums: &BatchSums) -> f64 {
        let rows = self.work.rows as f64;
        let l0 = sums.active as f64 / rows;
        self.density = l0 / self.recipe.features as f64;
        self.last_l0 = l0;
        if let Some(search) = &mut self.search {
            search.observe(step, l0);
        }
        let loss = sums.squared_error / (rows * self.weights.d as f64);
        self.losses.push(loss);
        self.l0s.push(l0);
        loss
    }

    /// Regroups entries by feature and notes which features fired.
    fn count_firings(&mut self, dense: bool) {
        self.count_rows();
        if dense {
            for row in self.work.codes.chunks_exact(self.recipe.features) {
                for (count, &code) in self.fired.iter_mut().zip(row) {
                    *count += usize::from(code > 0.0);
                }
            }
            return;
        }
        self.main.regroup(self.recipe.features, &self.work.entries);
        for feature in 0..self.recipe.features {
            // Entries near a threshold or behind a gate may have a code of 0.
            let count = self.main.of(feature).iter().filter(|entry| entry.code > 0.0).count();
            self.count_feature(feature, count);
        }
    }

    fn count_rows(&mut self) {
        self.rows_seen += self.work.rows;
        self.rows_since_resample += self.work.rows;
    }

    /// Notes in how many rows of the batch a feature fired.
    fn count_feature(&mut self, feature: usize, count: usize) {
        self.fired[feature] += count;
        if count > 0 {
            self.last_fired[feature] = self.rows_seen;
        }
    }

    /// Features that have not fired for long, rising, and the loss that revives them; none where there is nothing to
    /// do.
    fn dead_features(&self) -> Option<(Vec<u32>, AuxLoss<'static>)> {
        let aux = self.recipe.aux.filter(|aux| aux.weight != 0.0)?;
        let dead: Vec<u32> = (0..self.recipe.features)
            .filter(|&feature| self.rows_seen - self.last_fired[feature] >= aux.dead_rows)
            .map(|feature| feature as u32)
            .collect();
        let loss = AuxLoss { dead: &[], k: aux.k.min(dead.len()), weight: aux.weight as f32 };
        (!dead.is_empty()).then_some((dead, loss))
    }

    fn add_aux(&mut self) {
        self.aux.clear();
        let Some((dead, loss)) = self.dead_features() else { return };
        let loss = AuxLoss { dead: &dead, ..loss };
        let forward = self.weights.forward(Selection::Positive, 0.0);
        forward_aux(forward, loss, &self.work, &mut self.aux_entries, &mut self.aux_errors);
        self.aux.regroup(self.recipe.features, &self.aux_entries);
    }

    /// Features that hardly fired, at the steps after which those get new directions; counting starts anew then.
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

    /// Codes stay in raw units: the encoder acts on raw activations unchanged, biases grow by the
    /// scale.
    fn tensors(&self, centre: &[f32], scale: f64) -> Tensors {
        let (d, features) = (self.weights.d, self.recipe.features);
        let rows = |values: &[f32]| Matrix::from_fn(features, d, |row, col| values[row * d + col]);
        let grown = |bias: f32| (f64::from(bias) * scale) as f32;
        let mut decoder_bias = centre.to_vec();
        if let Some(learned) = &self.weights.decoder_bias {
            decoder_bias.iter_mut().zip(&learned.values).for_each(|(slot, &bias)| *slot += grown(bias));
        }
        Tensors {
            encoder: rows(self.weights.encoder.as_ref().map_or(&self.weights.unit, |rows| &rows.values)),
            encoder_bias: match self.weights.extra {
                // A gate's bias stands with the gates.
                Extra::Gates { .. } => vec![0.0; features],
                _ => self.weights.encoder_bias.values.iter().map(|&bias| grown(bias)).collect(),
            },
            decoder: rows(&self.weights.unit),
            decoder_bias,
            subtract_decoder_bias: self.recipe.centred || self.recipe.decoder_bias,
            activation: match (self.recipe.sparsity, &self.weights.extra) {
                (Sparsity::TopK { k }, _) => Activation::TopK(k),
                (Sparsity::BatchTopK { .. }, _) => {
                    Activation::JumpRelu(vec![(self.threshold.mean * scale) as f32; features])
                }
                (_, Extra::Thresholds { thresholds, .. }) => {
                    Activation::JumpRelu(thresholds.iter().map(|&bar| grown(bar)).collect())
                }
                (_, Extra::Gates { log_gain, magnitude_bias, .. }) => Activation::Gated {
                    gate: self.weights.encoder_bias.values.iter().map(|&bias| grown(bias)).collect(),
                    magnitude: magnitude_bias.values.iter().map(|&bias| grown(bias)).collect(),
                    log_gain: log_gain.values.to_vec(),
                },
                _ => Activation::Relu,
            },
            row_scale: RowScale::Plain,
        }
    }

    fn report(&self) -> FitReport {
        let last = nine_tenths(self.losses.len());
        let (before, after) = self.probe_losses;
        let fall = if before > 0.0 { 1.0 - after / before } else { 0.0 };
        let l0 = mean(&self.l0s[last..]);
        let share = l0 / self.recipe.features as f64;
        let mut warnings = Vec::new();
        if fall > UNDER_TRAINED_FALL {
            warnings.push(format!("under-trained: loss fell {:.1} % over the last tenth", 100.0 * fall));
        }
        if !(0.01..=0.25).contains(&share) {
            warnings.push(format!("L0 outside 1–25 % of the width: {l0:.1} of {}", self.recipe.features));
        }
        let target = match self.recipe.sparsity {
            Sparsity::L1(L1::For { target })
            | Sparsity::Gated(L1::For { target })
            | Sparsity::Thresholds { target, .. } => Some(target),
            _ => None,
        };
        if let Some(target) = target
            && (l0 / target - 1.0).abs() > 0.2
        {
            warnings.push(format!("L0 {l0:.1} missed its target {target}"));
        }
        let mut notes = Vec::new();
        if self.resampled > 0 {
            notes.push(format!("{} features given a new direction", self.resampled));
        }
        FitReport {
            converged: Some(fall <= UNDER_TRAINED_FALL),
            steps: self.losses.len(),
            rows: self.rows_seen,
            loss_curve: thin(&self.losses),
            l0: Some(l0),
            l1_weight: match self.recipe.sparsity {
                Sparsity::L1(_) | Sparsity::Gated(_) => Some(self.l1()),
                _ => None,
            },
            seconds: self.seconds,
            warnings,
            notes,
        }
    }
}

/// How codes are chosen with the weights as they are.
fn selection(sparsity: Sparsity, extra: &Extra) -> Selection<'_> {
    match (sparsity, extra) {
        (Sparsity::TopK { k }, _) => Selection::Top(k),
        (Sparsity::BatchTopK { k }, _) => Selection::BatchTop(k),
        (_, Extra::Gates { gain, magnitude_bias, .. }) => {
            Selection::Gated { gain, magnitude_bias: &magnitude_bias.values }
        }
        (_, Extra::Thresholds { thresholds, bandwidth, .. }) => {
            Selection::Above { thresholds, bandwidth: *bandwidth }
        }
        (_, Extra::Nothing) => Selection::Positive,
    }
}

/// A mean in which older values count less and less; unlike one that starts from 0 it is never too low for
/// having seen few.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    mean: f64,
    seen: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.seen += 1;
        self.mean += (value - self.mean) * THRESHOLD_SHARE.max(1.0 / self.seen as f64);
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The step from which on a tenth is left.
fn nine_tenths(steps: usize) -> usize {
    steps - steps.div_ceil(10)
}

/// About a hundred means over runs of steps, each with its last step.
fn thin(losses: &[f64]) -> Vec<(usize, f64)> {
    let run = losses.len().div_ceil(100).max(1);
    losses.chunks(run).enumerate().map(|(i, part)| (i * run + part.len(), mean(part))).collect()
}
