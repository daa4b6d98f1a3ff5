use rayon::prelude::*;

use crate::linalg::{Room, Vectorised, View, add_scaled, product_into, vectorised};

use super::rows::{Learned, LearnedRow, Stepper, normalise, normalise_into, through_norm};
use super::step::{ByFeature, Entry, Forward, Selection, Workspace};

/// Features whose gradients and steps one task makes, where entries are sparse.
const SPARSE_CHUNK: usize = 16;
/// The same where gradients are dense products, which want taller pieces.
const DENSE_CHUNK: usize = 128;

/// The weights of an autoencoder in training, one row a feature.
#[derive(Debug, Clone)]
pub struct Weights {
    pub d: usize,
    pub features: usize,
    /// None where the decoder's unit rows encode as well.
    pub encoder: Option<Learned>,
    pub encoder_bias: Learned,
    /// Raw rows; the loss sees `unit`. Where rows are renormalised, those are the raw ones as well, and only Adam's
    /// moments are used of this.
    pub decoder: Learned,
    pub unit: Room,
    pub norms: Vec<f32>,
    pub decoder_bias: Option<Learned>,
    /// Raw rows are set to their unit vectors after each step (else their norms drift freely).
    pub renormalise: bool,
    /// Where nested dictionaries end: see [`Forward::prefixes`].
    pub prefixes: Vec<usize>,
    pub extra: Extra,
}

/// What a kind learns beside encoder and decoder, one number a feature.
#[derive(Debug, Clone)]
pub enum Extra {
    Nothing,
    /// `gain` is `exp(log_gain)`.
    Gates {
        log_gain: Learned,
        gain: Vec<f32>,
        magnitude_bias: Learned,
    },
    /// `thresholds` are `exp(log)`; `pull` is the derivative of the loss by the mean number of active features,
    /// for the step at hand.
    Thresholds {
        log: Learned,
        thresholds: Vec<f32>,
        bandwidth: f32,
        pull: f32,
    },
}

impl Extra {
    /// Gates that leave their codes as they are.
    pub fn gates(features: usize) -> Self {
        Self::Gates {
            log_gain: Learned::new(1, vec![0.0; features]),
            gain: vec![1.0; features],
            magnitude_bias: Learned::new(1, vec![0.0; features]),
        }
    }

    /// One threshold for all.
    pub fn thresholds(features: usize, start: f32, bandwidth: f32) -> Self {
        Self::Thresholds {
            log: Learned::new(1, vec![start.ln(); features]),
            thresholds: vec![start; features],
            bandwidth,
            pull: 0.0,
        }
    }

    /// Runs of `rows` features, as many as there are.
    fn chunks(&mut self, rows: usize, chunks: usize) -> Vec<ExtraRows<'_>> {
        match self {
            Self::Nothing => (0..chunks).map(|_| ExtraRows::Nothing).collect(),
            Self::Gates { log_gain, gain, magnitude_bias } => log_gain
                .chunks(rows)
                .into_iter()
                .zip(gain.chunks_mut(rows))
                .zip(magnitude_bias.chunks(rows))
                .map(|((log_gain, gain), magnitude_bias)| ExtraRows::Gates { log_gain, gain, magnitude_bias })
                .collect(),
            Self::Thresholds { log, thresholds, bandwidth, pull } => log
                .chunks(rows)
                .into_iter()
                .zip(thresholds.chunks_mut(rows))
                .map(|(log, thresholds)| ExtraRows::Thresholds {
                    log,
                    thresholds,
                    bandwidth: *bandwidth,
                    pull: *pull,
                })
                .collect(),
        }
    }
}

/// Some features' part of an [`Extra`].
enum ExtraRows<'a> {
    Nothing,
    Gates { log_gain: LearnedRow<'a>, gain: &'a mut [f32], magnitude_bias: LearnedRow<'a> },
    Thresholds { log: LearnedRow<'a>, thresholds: &'a mut [f32], bandwidth: f32, pull: f32 },
}

impl ExtraRows<'_> {
    /// One step from the entries of each feature. `bias_grads` come as sums of derivatives by the encoder's output;
    /// what is left of them are the derivatives by the encoder's bias.
    #[inline(always)]
    fn step<'e>(
        &mut self,
        stepper: &Stepper,
        per_row: f32,
        rows: usize,
        entries: impl Fn(usize) -> &'e [Entry],
        bias_grads: &mut [f32],
    ) {
        let n = bias_grads.len();
        let mut grads = vec![0.0f32; n];
        match self {
            Self::Nothing => {}
            Self::Gates { log_gain, gain, magnitude_bias } => {
                let mut magnitude_grads = vec![0.0f32; n];
                for slot in 0..n {
                    for entry in entries(slot) {
                        let open = entry.code / per_row - magnitude_bias.values[slot];
                        grads[slot] += entry.side * open;
                        magnitude_grads[slot] += entry.side;
                    }
                    bias_grads[slot] -= gain[slot] * magnitude_grads[slot];
                }
                magnitude_bias.step(stepper, &magnitude_grads);
                log_gain.step(stepper, &grads);
                gain.iter_mut().zip(log_gain.values.iter()).for_each(|(gain, log)| *gain = log.exp());
            }
            Self::Thresholds { log, thresholds, bandwidth, pull } => {
                // Moving a threshold changes how many codes near it are active by their density there.
                let count = -*pull / (*bandwidth * rows as f32);
                for slot in 0..n {
                    let (bar, mut sum) = (thresholds[slot] + 0.5 * *bandwidth, 0.0);
                    for entry in entries(slot).iter().filter(|entry| entry.code / per_row < bar) {
                        sum += entry.side + count;
                    }
                    grads[slot] = thresholds[slot] * sum;
                }
                log.step(stepper, &grads);
                thresholds.iter_mut().zip(log.values.iter()).for_each(|(bar, log)| *bar = log.exp());
            }
        }
    }
}

impl Weights {
    /// Starts from decoder rows `[F, d]`, tied encoder rows and zero biases.
    pub fn new(d: usize, decoder: Vec<f32>, tied: bool, decoder_bias: bool, renormalise: bool) -> Self {
        let features = decoder.len() / d;
        let mut weights = Self {
            d,
            features,
            encoder: None,
            encoder_bias: Learned::new(1, vec![0.0; features]),
            decoder: Learned::new(d, decoder),
            unit: Room::zeros(features * d),
            norms: vec![0.0; features],
            decoder_bias: decoder_bias.then(|| Learned::new(d, vec![0.0; d])),
            renormalise,
            prefixes: vec![features],
            extra: Extra::Nothing,
        };
        for feature in 0..features {
            weights.refresh(feature);
        }
        if !tied {
            weights.encoder = Some(Learned::new(d, weights.unit.to_vec()));
        }
        weights
    }

    pub fn refresh(&mut self, feature: usize) {
        let range = feature * self.d..(feature + 1) * self.d;
        self.norms[feature] = normalise_into(&mut self.unit[range.clone()], &self.decoder.values[range]);
        if self.renormalise {
            self.norms[feature] = 1.0;
        }
    }

    pub fn forward<'a>(&'a self, selection: Selection<'a>, l1: f64) -> Forward<'a> {
        Forward {
            d: self.d,
            features: self.features,
            encoder: self.encoder.as_ref().map_or(&self.unit, |encoder| &encoder.values),
            encoder_bias: &self.encoder_bias.values,
            decoder: &self.unit,
            decoder_bias: self.decoder_bias.as_ref().map_or(&[], |bias| &bias.values),
            selection,
            l1: l1 as f32,
            prefixes: &self.prefixes,
        }
    }

    /// Sets a feature anew: direction and encoder row `unit`, raw decoder row of norm `norm`.
    pub fn replace(&mut self, feature: usize, unit: &[f32], norm: f32, bias: f32) {
        let raw: Vec<f32> = unit.iter().map(|value| value * norm).collect();
        self.decoder.replace(feature, &raw);
        if let Some(encoder) = &mut self.encoder {
            encoder.replace(feature, unit);
        }
        self.encoder_bias.replace(feature, &[bias]);
        if let Extra::Gates { log_gain, gain, magnitude_bias } = &mut self.extra {
            log_gain.replace(feature, &[0.0]);
            gain[feature] = 1.0;
            magnitude_bias.replace(feature, &[bias]);
        }
        self.refresh(feature);
    }
}

/// Where the gradients of a batch come from.
pub enum Gradients<'a> {
    /// Active features: those of the loss, then those of the auxiliary loss with its errors.
    Sparse { main: &'a ByFeature, aux: &'a ByFeature, aux_errors: &'a [f32] },
    /// `work.codes` and `work.grads`.
    Dense,
}

/// Some features: their gradients are summed and used at once and never exist as a matrix.
struct ChunkTask<'a> {
    first: usize,
    d: usize,
    tied: bool,
    renormalise: bool,
    stepper: Stepper,
    work: &'a Workspace,
    gradients: &'a Gradients<'a>,
    encoder: Option<LearnedRow<'a>>,
    bias: LearnedRow<'a>,
    decoder: LearnedRow<'a>,
    unit: &'a mut [f32],
    norms: &'a mut [f32],
    /// `Σ grad · encoder row` before the step: the encoder's part of the decoder bias gradient.
    bias_part: &'a mut [f32],
    with_bias_part: bool,
    prefixes: &'a [usize],
    extra: ExtraRows<'a>,
}

/// One step of all weights.
pub fn update(weights: &mut Weights, work: &Workspace, gradients: &Gradients<'_>, stepper: Stepper) {
    let (d, features) = (weights.d, weights.features);
    let size = match gradients {
        Gradients::Sparse { .. } => SPARSE_CHUNK,
        Gradients::Dense => DENSE_CHUNK,
    };
    let chunks = features.div_ceil(size);
    let with_bias_part = weights.decoder_bias.is_some();
    let mut bias_parts = vec![0.0f32; chunks * d];
    let encoders: Vec<Option<LearnedRow<'_>>> = match &mut weights.encoder {
        Some(encoder) => encoder.chunks(size).into_iter().map(Some).collect(),
        None => (0..chunks).map(|_| None).collect(),
    };
    let tied = encoders.first().is_none_or(Option::is_none);
    let renormalise = weights.renormalise;
    let prefixes = &weights.prefixes[..];
    let tasks: Vec<ChunkTask<'_>> = encoders
        .into_iter()
        .zip(weights.encoder_bias.chunks(size))
        .zip(weights.decoder.chunks(size))
        .zip(weights.unit.chunks_mut(size * d))
        .zip(weights.norms.chunks_mut(size))
        .zip(bias_parts.chunks_mut(d))
        .zip(weights.extra.chunks(size, chunks))
        .enumerate()
        .map(|(chunk, ((((((encoder, bias), decoder), unit), norms), bias_part), extra))| ChunkTask {
            first: chunk * size,
            d,
            tied,
            renormalise,
            stepper,
            work,
            gradients,
            encoder,
            bias,
            decoder,
            unit,
            norms,
            bias_part,
            with_bias_part,
            prefixes,
            extra,
        })
        .collect();
    tasks.into_par_iter().for_each(vectorised);
    if let Some(bias) = &mut weights.decoder_bias {
        let gradient = decoder_bias_gradient(work, d, weights.prefixes.len(), &bias_parts);
        bias.step(&stepper, &gradient);
    }
}

/// `2/rows · Σ errors − Σ grad · encoder row`, errors averaged over prefixes.
fn decoder_bias_gradient(work: &Workspace, d: usize, prefixes: usize, encoder_parts: &[f32]) -> Vec<f32> {
    let mut gradient = vec![0.0f32; d];
    for row in work.errors.chunks_exact(prefixes * d) {
        add_scaled(&mut gradient, 1.0, &row[..d]);
    }
    let per_row = 2.0 / (work.rows * prefixes) as f32;
    gradient.iter_mut().for_each(|value| *value *= per_row);
    for part in encoder_parts.chunks_exact(d) {
        add_scaled(&mut gradient, -1.0, part);
    }
    gradient
}

impl Vectorised for ChunkTask<'_> {
    type Output = ();

    #[inline(always)]
    fn run(mut self) {
        let d = self.d;
        let count = self.norms.len();
        let mut encoder_grads = vec![0.0f32; count * d];
        let mut decoder_grads = vec![0.0f32; count * d];
        let mut bias_grads = vec![0.0f32; count];
        match self.gradients {
            Gradients::Sparse { main, aux, aux_errors } => {
                for slot in 0..count {
                    let range = slot * d..(slot + 1) * d;
                    let sums = (&mut encoder_grads[range.clone()], &mut decoder_grads[range]);
                    let prefix = self.prefixes.partition_point(|&end| end <= self.first + slot);
                    let own = Errors { all: &self.work.errors, per_row: self.prefixes.len(), nth: prefix };
                    let left_over = Errors { all: aux_errors, per_row: 1, nth: 0 };
                    for (list, errors) in [(main, own), (aux, left_over)] {
                        let entries = list.of(self.first + slot);
                        sum_entries(entries, &self.work.inputs, errors, (&mut *sums.0, &mut *sums.1));
                        bias_grads[slot] += entries.iter().map(|entry| entry.grad).sum::<f32>();
                    }
                }
            }
            Gradients::Dense => self.dense(&mut encoder_grads, &mut decoder_grads, &mut bias_grads),
        }
        for slot in 0..count {
            let range = slot * d..(slot + 1) * d;
            if self.with_bias_part {
                let row = self
                    .encoder
                    .as_ref()
                    .map_or(&self.unit[range.clone()], |rows| &rows.values[range.clone()]);
                add_scaled(self.bias_part, bias_grads[slot], row);
            }
            self.step_feature(slot, &mut encoder_grads[range.clone()], &mut decoder_grads[range]);
        }
        if let Gradients::Sparse { main, .. } = self.gradients {
            let rows = self.work.rows;
            let per_row = 2.0 / (rows * self.prefixes.len()) as f32;
            let entries = |slot: usize| main.of(self.first + slot);
            self.extra.step(&self.stepper, per_row, rows, entries, &mut bias_grads);
        }
        self.bias.step(&self.stepper, &bias_grads);
    }
}

/// Errors of one prefix among those of each row.
#[derive(Clone, Copy)]
struct Errors<'a> {
    all: &'a [f32],
    per_row: usize,
    nth: usize,
}

/// Adds `Σ grad · input` and `Σ code · error` over the rows of some entries.
#[inline(always)]
fn sum_entries(entries: &[Entry], inputs: &[f32], errors: Errors<'_>, sums: (&mut [f32], &mut [f32])) {
    let d = sums.0.len();
    let mut from = 0;
    while d - from >= 128 {
        sum_columns::<128>(entries, inputs, errors, (&mut *sums.0, &mut *sums.1), from);
        from += 128;
    }
    while d - from >= 32 {
        sum_columns::<32>(entries, inputs, errors, (&mut *sums.0, &mut *sums.1), from);
        from += 32;
    }
    if from < d {
        for entry in entries {
            let row = entry.row as usize;
            let error = (row * errors.per_row + errors.nth) * d;
            add_scaled(&mut sums.0[from..], entry.grad, &inputs[row * d + from..(row + 1) * d]);
            add_scaled(&mut sums.1[from..], entry.code, &errors.all[error + from..error + d]);
        }
    }
}

/// The same of `N` columns, whose sums stay in registers over all entries.
#[inline(always)]
fn sum_columns<const N: usize>(
    entries: &[Entry],
    inputs: &[f32],
    errors: Errors<'_>,
    sums: (&mut [f32], &mut [f32]),
    from: usize,
) {
    let d = sums.0.len();
    let mut encoder = [0.0f32; N];
    let mut decoder = [0.0f32; N];
    for entry in entries {
        let row = entry.row as usize;
        let input = &inputs[row * d + from..][..N];
        let error = &errors.all[(row * errors.per_row + errors.nth) * d + from..][..N];
        for lane in 0..N {
            encoder[lane] += entry.grad * input[lane];
            decoder[lane] += entry.code * error[lane];
        }
    }
    add_scaled(&mut sums.0[from..from + N], 1.0, &encoder);
    add_scaled(&mut sums.1[from..from + N], 1.0, &decoder);
}

impl ChunkTask<'_> {
    #[inline(always)]
    fn dense(&self, encoder_grads: &mut [f32], decoder_grads: &mut [f32], bias_grads: &mut [f32]) {
        let (d, rows, work) = (self.d, self.work.rows, self.work);
        let features = work.codes.len() / rows;
        let end = self.first + bias_grads.len();
        let columns = |data| View::new(data, rows, features).transposed().rows(self.first, end);
        product_into(encoder_grads, columns(&work.grads[..]), View::new(&work.inputs, rows, d), false);
        product_into(decoder_grads, columns(&work.codes[..]), View::new(&work.errors, rows, d), false);
        let per_row = 2.0 / rows as f32;
        decoder_grads.iter_mut().for_each(|value| *value *= per_row);
        for row in work.grads.chunks_exact(features) {
            add_scaled(bias_grads, 1.0, &row[self.first..end]);
        }
    }

    #[inline(always)]
    fn step_feature(&mut self, slot: usize, encoder_grad: &mut [f32], decoder_grad: &mut [f32]) {
        let d = self.d;
        let range = slot * d..(slot + 1) * d;
        if self.tied {
            add_scaled(decoder_grad, 1.0, encoder_grad);
        }
        let unit = &mut self.unit[range.clone()];
        through_norm(decoder_grad, unit, self.norms[slot]);
        let (first, second) =
            (&mut self.decoder.first[range.clone()], &mut self.decoder.second[range.clone()]);
        if self.renormalise {
            self.stepper.apply(unit, first, second, decoder_grad);
            normalise(unit);
        } else {
            let raw = &mut self.decoder.values[range.clone()];
            self.stepper.apply(raw, first, second, decoder_grad);
            self.norms[slot] = normalise_into(unit, raw);
        }
        if let Some(encoder) = &mut self.encoder {
            let values = &mut encoder.values[range.clone()];
            let (first, second) = (&mut encoder.first[range.clone()], &mut encoder.second[range]);
            self.stepper.apply(values, first, second, encoder_grad);
        }
    }
}
