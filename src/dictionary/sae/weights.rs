//! The weights of an autoencoder in training.

use crate::linalg::Room;

use super::adam::{Param, normalise_into};
use super::recipe::Sparsity;
use super::selection::{Forward, Selection};

/// Encoder `[F, d]`, decoder `[F, d]`, their biases, and what only some kinds have.
#[derive(Debug, Clone)]
pub struct Weights {
    pub d: usize,
    pub features: usize,
    /// None where it is tied to the unit rows of the decoder.
    pub encoder: Option<Param>,
    pub encoder_bias: Param,
    /// Raw rows. With `renormalise` only their moments are used, and `unit` has the values.
    pub decoder: Param,
    /// Decoder rows of norm 1, which the forward pass uses.
    pub unit: Room,
    pub norms: Vec<f32>,
    pub decoder_bias: Option<Param>,
    /// Whether decoder rows are set to norm 1 after each step. Otherwise the norms of raw rows are free.
    pub renormalise: bool,
    /// See [`Forward::prefixes`].
    pub prefixes: Vec<usize>,
    pub extra: Extra,
}

/// Parameters `[F]` that only gated and JumpReLU autoencoders have.
#[derive(Debug, Clone)]
pub enum Extra {
    Nothing,
    /// `gain = exp(log_gain)`.
    Gates {
        log_gain: Param,
        gain: Vec<f32>,
        magnitude_bias: Param,
    },
    /// `thresholds = exp(log)`. `l0_grad` is the derivative of the loss by the batch's L0.
    Thresholds {
        log: Param,
        thresholds: Vec<f32>,
        bandwidth: f32,
        l0_grad: f32,
    },
}

impl Extra {
    /// Gates whose codes start equal to the gates' pre-activations.
    pub fn gates(features: usize) -> Self {
        Self::Gates {
            log_gain: Param::new(1, vec![0.0; features]),
            gain: vec![1.0; features],
            magnitude_bias: Param::new(1, vec![0.0; features]),
        }
    }

    /// The same threshold for all features.
    pub fn thresholds(features: usize, start: f32, bandwidth: f32) -> Self {
        Self::Thresholds {
            log: Param::new(1, vec![start.ln(); features]),
            thresholds: vec![start; features],
            bandwidth,
            l0_grad: 0.0,
        }
    }

    /// Recomputes gains or thresholds from their logarithms.
    pub fn refresh(&mut self) {
        let (logs, values) = match self {
            Self::Nothing => return,
            Self::Gates { log_gain, gain, .. } => (log_gain, gain),
            Self::Thresholds { log, thresholds, .. } => (log, thresholds),
        };
        values.iter_mut().zip(logs.values.iter()).for_each(|(value, log)| *value = log.exp());
    }
}

impl Weights {
    /// Starts from decoder rows `[F, d]`; encoder rows are their unit vectors, biases are zero.
    pub fn new(d: usize, decoder: Vec<f32>, tied: bool, decoder_bias: bool, renormalise: bool) -> Self {
        let features = decoder.len() / d;
        let mut weights = Self {
            d,
            features,
            encoder: None,
            encoder_bias: Param::new(1, vec![0.0; features]),
            decoder: Param::new(d, decoder),
            unit: Room::zeros(features * d),
            norms: vec![0.0; features],
            decoder_bias: decoder_bias.then(|| Param::new(d, vec![0.0; d])),
            renormalise,
            prefixes: vec![features],
            extra: Extra::Nothing,
        };
        for feature in 0..features {
            weights.normalise_row(feature);
        }
        if !tied {
            weights.encoder = Some(Param::new(d, weights.unit.to_vec()));
        }
        weights
    }

    fn normalise_row(&mut self, feature: usize) {
        let range = feature * self.d..(feature + 1) * self.d;
        self.norms[feature] = normalise_into(&mut self.unit[range.clone()], &self.decoder.values[range]);
        if self.renormalise {
            self.norms[feature] = 1.0;
        }
    }

    /// Encoder rows `[F, d]`.
    pub fn encoder_rows(&self) -> &Room {
        self.encoder.as_ref().map_or(&self.unit, |encoder| &encoder.values)
    }

    pub fn forward<'a>(&'a self, selection: Selection<'a>, l1: f64) -> Forward<'a> {
        Forward {
            d: self.d,
            features: self.features,
            encoder: self.encoder_rows(),
            encoder_bias: &self.encoder_bias.values,
            decoder: &self.unit,
            decoder_bias: self.decoder_bias.as_ref().map_or(&[], |bias| &bias.values),
            selection,
            l1: l1 as f32,
            prefixes: &self.prefixes,
        }
    }

    /// How codes are selected with the present weights.
    pub fn selection(&self, sparsity: Sparsity) -> Selection<'_> {
        match (sparsity, &self.extra) {
            (Sparsity::TopK { k }, _) => Selection::TopK(k),
            (Sparsity::BatchTopK { k }, _) => Selection::BatchTopK(k),
            (_, Extra::Gates { gain, magnitude_bias, .. }) => {
                Selection::Gated { gain, magnitude_bias: &magnitude_bias.values }
            }
            (_, Extra::Thresholds { thresholds, bandwidth, .. }) => {
                Selection::JumpRelu { thresholds, bandwidth: *bandwidth }
            }
            (_, Extra::Nothing) => Selection::Relu,
        }
    }

    /// Replaces one feature: direction and encoder row `unit`, raw decoder norm `norm`, encoder bias `bias`.
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
        self.normalise_row(feature);
    }
}
