//! Gradient of a feature's code with respect to the activation that is encoded.
//!
//! ```text
//! dc/dx = slope · Jᵀ w      w the feature's encoder row, J the Jacobian of the row's scaling
//! ```
//!
//! The feature counts as on. ReLU, thresholds, gates and TopK decide which codes are kept, and this choice is fixed.
//! Then the slope is 1, but exp(log_gain) for gated features and 1 − c² for tanh.

use crate::base::Matrix;

use super::tensors::{Activation, RowScale};
use super::{AffineDictionary, Dictionary, DictionaryError};

impl AffineDictionary {
    /// Gradient `[d_in]` of a feature's code at one activation `x` `[d_in]`.
    pub fn code_gradient(&self, x: &[f32], feature: usize) -> Result<Vec<f32>, DictionaryError> {
        self.check_width(x.len(), self.info.d_in)?;
        let place = self.places(&[feature])?[0];
        let slope = match &self.tensors.activation {
            Activation::Gated { log_gain, .. } => f64::from(log_gain[place]).exp(),
            Activation::TanhRelu => {
                let row = Matrix::from_fn(1, x.len(), |_, col| x[col]);
                1.0 - f64::from(self.encode_features(&row, &[feature])?.at(0, 0)).powi(2)
            }
            _ => 1.0,
        };
        let mut gradient: Vec<f64> = self.tensors.encoder.row(place).iter().map(|&w| f64::from(w)).collect();
        through_scaling(x, self.tensors.row_scale, &mut gradient);
        Ok(gradient.into_iter().map(|value| (slope * value) as f32).collect())
    }
}

/// `Jᵀ w` in place, with J the Jacobian of the scaling of the row `x`.
fn through_scaling(x: &[f32], how: RowScale, w: &mut [f64]) {
    let d = x.len() as f64;
    let x: Vec<f64> = x.iter().map(|&value| f64::from(value)).collect();
    match how {
        RowScale::Plain => (),
        RowScale::ConstantNorm => {
            let squared: f64 = x.iter().map(|value| value * value).sum();
            if squared > 0.0 {
                let (scale, along) = ((d / squared).sqrt(), inner(&x, w) / squared);
                w.iter_mut().zip(&x).for_each(|(w, x)| *w = scale * (*w - along * x));
            }
        }
        RowScale::LayerNorm => {
            let mean = x.iter().sum::<f64>() / d;
            let centred: Vec<f64> = x.iter().map(|value| value - mean).collect();
            let freedom = (d - 1.0).max(1.0);
            let deviation = (centred.iter().map(|value| value * value).sum::<f64>() / freedom).sqrt();
            let (divisor, of_w) = (deviation + 1e-5, w.iter().sum::<f64>() / d);
            let along = match deviation > 0.0 {
                true => inner(&centred, w) / (freedom * deviation * divisor * divisor),
                false => 0.0,
            };
            w.iter_mut().zip(&centred).for_each(|(w, x)| *w = (*w - of_w) / divisor - along * x);
        }
    }
}

fn inner(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{HookPoint, Stream};
    use crate::dictionary::Tensors;

    const D: usize = 6;
    const FEATURES: usize = 4;

    fn dictionary(activation: Activation, row_scale: RowScale) -> AffineDictionary {
        let mut stream = Stream::new(5, "gradient");
        let mut drawn = |rows, cols| Matrix::from_fn(rows, cols, |_, _| 0.4 * stream.normal() as f32);
        let tensors = Tensors {
            encoder: drawn(FEATURES, D),
            encoder_bias: vec![0.7; FEATURES],
            decoder: drawn(FEATURES, D),
            decoder_bias: vec![0.1; D],
            subtract_decoder_bias: true,
            activation,
            row_scale,
            skip: None,
        };
        AffineDictionary::of_file(tensors, HookPoint::Embed)
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let gated = Activation::Gated {
            gate: vec![5.0; FEATURES],
            magnitude: vec![0.6; FEATURES],
            log_gain: vec![0.3, -0.2, 0.1, 0.0],
        };
        let activations = [
            Activation::Signed,
            Activation::Relu,
            Activation::TanhRelu,
            Activation::TopK(FEATURES),
            Activation::JumpRelu(vec![0.01; FEATURES]),
            gated,
        ];
        let x: Vec<f32> = (0..D).map(|i| 0.3 * (i as f32) - 0.5).collect();
        let mut compared = 0;
        for activation in activations {
            for scale in [RowScale::Plain, RowScale::ConstantNorm, RowScale::LayerNorm] {
                let dictionary = dictionary(activation.clone(), scale);
                let code = |x: &[f32], feature: usize| {
                    let row = Matrix::from_fn(1, D, |_, col| x[col]);
                    f64::from(dictionary.encode(&row).expect("codes").at(0, feature))
                };
                for feature in (0..FEATURES).filter(|&feature| code(&x, feature).abs() > 0.1) {
                    let gradient = dictionary.code_gradient(&x, feature).expect("a gradient");
                    for (col, found) in gradient.iter().enumerate() {
                        let step = 1e-2;
                        let [mut up, mut down] = [x.clone(), x.clone()];
                        up[col] += step;
                        down[col] -= step;
                        let slope = (code(&up, feature) - code(&down, feature)) / f64::from(2.0 * step);
                        assert!(
                            (slope - f64::from(*found)).abs() < 3e-3,
                            "{activation:?} {scale:?} {feature} {col}: {slope} {found}"
                        );
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 6 * 3 * D, "too few features fire: {compared}");
    }
}
