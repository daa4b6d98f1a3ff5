//! The tensors of a dictionary, its activation function, and the scaling of its rows.

use crate::base::Matrix;

/// What makes codes of the pre-activations `p = x′ W_encᵀ + b_enc`.
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    /// `p`: codes are signed.
    Signed,
    /// `max(p, 0)`.
    Relu,
    /// `tanh(max(p, 0))`.
    TanhRelu,
    /// The k largest positive `p` of a row; all others are 0.
    TopK(usize),
    /// The k largest positive `rank · p` of a row are kept, as `p`.
    RankedTopK {
        /// Codes kept in a row.
        k: usize,
        /// `[F]`, above 0.
        rank: Vec<f32>,
    },
    /// The k largest `|p|` of a row, with their signs.
    AbsTopK(usize),
    /// The largest positive `p` of each of k groups of `F / k` neighbouring features.
    GroupMax(usize),
    /// `max(p, 0)` where `p` exceeds its feature's threshold `[F]`, else 0.
    JumpRelu(Vec<f32>),
    /// With `q = x′ W_encᵀ`: `ReLU(exp(log_gain) · q + magnitude)` where `q + gate > 0`, else 0. `b_enc` is not used.
    Gated {
        /// `[F]`.
        gate: Vec<f32>,
        /// `[F]`.
        magnitude: Vec<f32>,
        /// `r_mag`, `[F]`.
        log_gain: Vec<f32>,
    },
}

impl Activation {
    /// Thresholds of JumpReLU, `[F]`.
    pub fn thresholds(&self) -> Option<&[f32]> {
        match self {
            Self::JumpRelu(thresholds) => Some(thresholds),
            _ => None,
        }
    }

    /// How many codes of a row are kept, where that is fixed.
    pub fn k(&self) -> Option<usize> {
        match self {
            Self::TopK(k) | Self::RankedTopK { k, .. } | Self::AbsTopK(k) | Self::GroupMax(k) => Some(*k),
            _ => None,
        }
    }
}

/// Scaling of each row by its own statistics, undone on the reconstruction. Names are those of SAELens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::EnumString, strum::VariantNames)]
pub enum RowScale {
    /// None.
    #[strum(serialize = "none")]
    Plain,
    /// To norm √d.
    #[strum(serialize = "constant_norm_rescale")]
    ConstantNorm,
    /// To mean 0 and standard deviation 1 over the row (unbiased, plus 1e-5). Undone without the 1e-5.
    #[strum(serialize = "layer_norm")]
    LayerNorm,
}

/// The tensors of a dictionary; each feature has one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors {
    /// `[F, d]`.
    pub encoder: Matrix,
    /// `[F]`.
    pub encoder_bias: Vec<f32>,
    /// `[F, d_out]`.
    pub decoder: Matrix,
    /// `[d_out]`.
    pub decoder_bias: Vec<f32>,
    /// Whether the decoder bias is subtracted from the input.
    pub subtract_decoder_bias: bool,
    /// The activation function.
    pub activation: Activation,
    /// Scaling of rows.
    pub row_scale: RowScale,
    /// `[d_out, d]`: what a transcoder adds to the output from its input, `W_skip x`.
    pub skip: Option<Matrix>,
}

impl Tensors {
    /// Whether a reconstruction takes more than codes: the row itself.
    pub fn decodes_with_input(&self) -> bool {
        self.row_scale != RowScale::Plain || self.skip.is_some()
    }
}

/// Scales a row in place. Returns (factor, shift): `row · factor + shift` undoes it.
pub(super) fn scale_row(row: &mut [f32], how: RowScale) -> (f32, f32) {
    let d = row.len() as f64;
    let (scale, factor, shift) = match how {
        RowScale::Plain => return (1.0, 0.0),
        RowScale::ConstantNorm => {
            let norm = squared_norm(row).sqrt();
            let scale = if norm > 0.0 { d.sqrt() / norm } else { 1.0 };
            (scale, 1.0 / scale, 0.0)
        }
        RowScale::LayerNorm => {
            let mean = row.iter().map(|&value| f64::from(value)).sum::<f64>() / d;
            let squares = row.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
            let deviation = (squares / (d - 1.0).max(1.0)).sqrt();
            (1.0 / (deviation + 1e-5), deviation, mean)
        }
    };
    row.iter_mut().for_each(|value| *value = ((f64::from(*value) - shift) * scale) as f32);
    (factor as f32, shift as f32)
}

/// `‖row‖²` in f64.
pub(super) fn squared_norm(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value).powi(2)).sum()
}
