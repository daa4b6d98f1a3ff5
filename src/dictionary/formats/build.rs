//! Reads the tensors of a [`Blueprint`] and folds what it names into them; equations at the head of `blueprint`.

#[cfg(test)]
mod tests;

use crate::base::Matrix;

use super::super::DictionaryError;
use super::super::tensors::{Activation, Tensors, squared_norm};
use super::blueprint::{Blueprint, Nonlinearity, Norms, Part, Scale, Threshold, Whitening};

impl Blueprint {
    /// The tensors of all features, or of chosen ones where each code depends on its own feature alone.
    pub fn build(&self, chosen: Option<&[usize]>) -> Result<Tensors, DictionaryError> {
        let shape = self.shape()?;
        let features = chosen.map_or(shape.features, <[usize]>::len);
        let encoder = self.matrix(&self.encoder, chosen)?;
        let decoder = self.matrix(&self.decoder, chosen)?;
        let encoder_bias = match &self.encoder_bias {
            Some(name) => self.vector(name, chosen)?,
            None => vec![0.0; features],
        };
        let decoder_bias = match &self.decoder_bias {
            Some(name) => self.values(name)?,
            None => vec![0.0; shape.d_out],
        };
        let skip = self.skip.as_ref().map(|skip| self.matrix(skip, None)).transpose()?;
        let mut tensors = Tensors {
            encoder,
            encoder_bias,
            decoder,
            decoder_bias,
            subtract_decoder_bias: self.subtracts_bias,
            activation: self.activation(features, chosen)?,
            row_scale: self.row_scale,
            skip,
        };
        if let Some(name) = &self.input_bias {
            subtract_from_input(&mut tensors, &self.values(name)?);
        }
        if let Some(name) = &self.decoder_factors {
            let factors = self.vector(name, chosen)?;
            scale_rows(&mut tensors.decoder, |feature| f64::from(factors[feature]));
        }
        self.fold_norms(&mut tensors);
        self.fold_scale(&mut tensors);
        if let Some(whitening) = &self.whitening {
            whitening.fold(&mut tensors, self.path())?;
        }
        Ok(tensors)
    }

    fn activation(&self, features: usize, chosen: Option<&[usize]>) -> Result<Activation, DictionaryError> {
        let vector = |name: &str| self.vector(name, chosen);
        Ok(match &self.nonlinearity {
            Nonlinearity::Identity => Activation::Signed,
            Nonlinearity::Relu => Activation::Relu,
            Nonlinearity::TanhRelu => Activation::TanhRelu,
            Nonlinearity::TopK(k) => Activation::TopK(*k),
            Nonlinearity::AbsTopK(k) => Activation::AbsTopK(*k),
            Nonlinearity::GroupMax(k) => Activation::GroupMax(*k),
            Nonlinearity::JumpRelu(Threshold::Constant(value)) => {
                Activation::JumpRelu(vec![*value as f32; features])
            }
            Nonlinearity::JumpRelu(Threshold::Tensor(name)) => {
                Activation::JumpRelu(self.threshold(name, features, chosen)?)
            }
            Nonlinearity::JumpRelu(Threshold::LogTensor(name)) => {
                let logs = self.threshold(name, features, chosen)?;
                Activation::JumpRelu(logs.iter().map(|log| log.exp()).collect())
            }
            Nonlinearity::Gated { gate, magnitude, log_gain } => Activation::Gated {
                gate: vector(gate)?,
                magnitude: vector(magnitude)?,
                log_gain: vector(log_gain)?,
            },
        })
    }

    /// Thresholds of the features; one number stands for all.
    fn threshold(
        &self,
        name: &str,
        features: usize,
        chosen: Option<&[usize]>,
    ) -> Result<Vec<f32>, DictionaryError> {
        let is_scalar = self.shape_of(name)?.iter().product::<usize>() == 1 && self.shape()?.features != 1;
        if is_scalar {
            return Ok(vec![self.file_of(name)?.scalar(name)? as f32; features]);
        }
        self.expect(name, &[self.shape()?.features])?;
        self.vector(name, chosen)
    }

    fn values(&self, name: &str) -> Result<Vec<f32>, DictionaryError> {
        self.file_of(name)?.values(name)
    }

    /// A tensor `[F]`, whole or at the chosen features.
    fn vector(&self, name: &str, chosen: Option<&[usize]>) -> Result<Vec<f32>, DictionaryError> {
        let values = self.values(name)?;
        Ok(match chosen {
            Some(chosen) => chosen.iter().map(|&feature| values[feature]).collect(),
            None => values,
        })
    }

    /// A part with features as rows, whole or the chosen features.
    fn matrix(&self, part: &Part, chosen: Option<&[usize]>) -> Result<Matrix, DictionaryError> {
        let (features, width) = self.sides(part)?;
        let file = self.file_of(&part.name)?;
        let matrix = match (chosen, part.by_row) {
            (Some(chosen), true) => Matrix::from_vec(chosen.len(), width, file.rows(&part.name, chosen)?),
            (Some(chosen), false) => Matrix::from_vec(chosen.len(), width, file.columns(&part.name, chosen)?),
            (None, true) => Matrix::from_vec(features, width, file.values(&part.name)?),
            (None, false) => {
                Matrix::from_vec(width, features, file.values(&part.name)?).map(|matrix| matrix.transposed())
            }
        };
        let problem = || format!("tensor `{}` has fewer values than its shape says", part.name);
        matrix.ok_or_else(|| DictionaryError::unusable(file.path(), problem()))
    }

    /// Norms of some decoder rows as stored.
    pub fn decoder_norms(&self, features: &[usize]) -> Result<Vec<f64>, DictionaryError> {
        let rows = self.matrix(&self.decoder, Some(features))?;
        Ok(rows.iter_rows().map(|row| squared_norm(row).sqrt()).collect())
    }

    fn fold_norms(&self, tensors: &mut Tensors) {
        let norms: Vec<f64> = tensors.decoder.iter_rows().map(|row| squared_norm(row).sqrt()).collect();
        // A decoder row of zeros has no direction; it stays as it is.
        let norm = |feature: usize| if norms[feature] > 0.0 { norms[feature] } else { 1.0 };
        if self.unit_decoder {
            scale_rows(&mut tensors.decoder, |feature| 1.0 / norm(feature));
            return;
        }
        match (self.norms, &mut tensors.activation) {
            (Norms::Unused, _) | (Norms::IntoGate, Activation::Relu) => {}
            (Norms::IntoCodes, activation) => {
                if let Activation::Gated { gate, magnitude, .. } = activation {
                    scale_vector(gate, norm);
                    scale_vector(magnitude, norm);
                }
                scale_rows(&mut tensors.decoder, |feature| 1.0 / norm(feature));
                scale_rows(&mut tensors.encoder, norm);
                scale_vector(&mut tensors.encoder_bias, norm);
            }
            (Norms::IntoGate, Activation::JumpRelu(thresholds)) => {
                scale_vector(thresholds, |feature| 1.0 / norm(feature));
            }
            (Norms::IntoGate, activation) => {
                if let Activation::TopK(k) = activation {
                    let rank = (0..norms.len()).map(|feature| norm(feature) as f32).collect();
                    *activation = Activation::RankedTopK { k: *k, rank };
                }
            }
        }
    }

    fn fold_scale(&self, tensors: &mut Tensors) {
        let Scale { input, output, threshold } = self.scale;
        if self.scale == Scale::NONE {
            return;
        }
        if tensors.subtract_decoder_bias && input != output {
            // (s x − b) · E = s x · E − b · E
            let bias = tensors.decoder_bias.clone();
            subtract_from_input(tensors, &bias);
            tensors.subtract_decoder_bias = false;
        }
        scale_rows(&mut tensors.encoder, |_| input);
        scale_rows(&mut tensors.decoder, |_| 1.0 / output);
        scale_vector(&mut tensors.decoder_bias, |_| 1.0 / output);
        if let Activation::JumpRelu(thresholds) = &mut tensors.activation {
            scale_vector(thresholds, |_| threshold);
        }
        if self.norms == Norms::IntoCodes {
            // The division by t shortened the unit rows: codes follow, as norms count in units of the output.
            scale_codes(tensors, |_| 1.0 / output);
            scale_rows(&mut tensors.decoder, |_| output);
        }
    }
}

impl Whitening {
    fn fold(&self, tensors: &mut Tensors, path: &std::path::Path) -> Result<(), DictionaryError> {
        let d = tensors.encoder.cols();
        let fits = [self.mean.len() == d, self.matrix.len() == d * d, self.inverse.len() == d * d];
        if fits.contains(&false) || tensors.decoder.cols() != d {
            let problem = format!("the whitening beside it is not of width {d}");
            return Err(DictionaryError::unusable(path, problem));
        }
        // The point that whitened inputs are measured from: μ M + b_dec where it is subtracted.
        let mut offset = times(&self.mean, &self.matrix);
        if tensors.subtract_decoder_bias {
            offset.iter_mut().zip(&tensors.decoder_bias).for_each(|(sum, bias)| *sum += f64::from(*bias));
        }
        let columns: Vec<f32> = (0..d * d).map(|at| self.matrix[at % d * d + at / d]).collect();
        let along = |row: &[f32]| row.iter().zip(&offset).map(|(&value, sum)| -f64::from(value) * sum).sum();
        let shifts: Vec<f64> = tensors.encoder.iter_rows().map(along).collect();
        shift_biases(tensors, &shifts);
        for feature in 0..tensors.encoder.rows() {
            let row = tensors.encoder.row(feature).to_vec();
            // M E_i is E_i Mᵀ.
            write(tensors.encoder.row_mut(feature), &times(&row, &columns));
            let decoded = times(tensors.decoder.row(feature), &self.inverse);
            write(tensors.decoder.row_mut(feature), &decoded);
        }
        let bias = times(&tensors.decoder_bias, &self.inverse);
        let bias: Vec<f64> =
            bias.iter().zip(&self.mean).map(|(value, mean)| value + f64::from(*mean)).collect();
        write(&mut tensors.decoder_bias, &bias);
        tensors.subtract_decoder_bias = false;
        Ok(())
    }
}

/// `row [d] · matrix [d, d]`.
fn times(row: &[f32], matrix: &[f32]) -> Vec<f64> {
    let mut sums = vec![0.0; row.len()];
    for (&value, line) in row.iter().zip(matrix.chunks_exact(row.len().max(1))) {
        sums.iter_mut().zip(line).for_each(|(sum, &entry)| *sum += f64::from(value) * f64::from(entry));
    }
    sums
}

fn write(row: &mut [f32], values: &[f64]) {
    row.iter_mut().zip(values).for_each(|(slot, value)| *slot = *value as f32);
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

/// `p` of `x − bias` instead of `x`.
fn subtract_from_input(tensors: &mut Tensors, bias: &[f32]) {
    let shifts: Vec<f64> = tensors.encoder.iter_rows().map(|row| -dot(row, bias)).collect();
    shift_biases(tensors, &shifts);
}

/// Adds to the product of input and encoder: to the biases of codes, or of gates and magnitudes.
fn shift_biases(tensors: &mut Tensors, shifts: &[f64]) {
    let add = |bias: &mut f32, shift: f64| *bias = (f64::from(*bias) + shift) as f32;
    let Activation::Gated { gate, magnitude, log_gain } = &mut tensors.activation else {
        tensors.encoder_bias.iter_mut().zip(shifts).for_each(|(bias, &shift)| add(bias, shift));
        return;
    };
    gate.iter_mut().zip(shifts).for_each(|(bias, &shift)| add(bias, shift));
    for ((bias, &shift), gain) in magnitude.iter_mut().zip(shifts).zip(log_gain.iter()) {
        add(bias, shift * f64::from(*gain).exp());
    }
}

/// Multiplies codes by a factor for each feature, with all that they are compared with.
fn scale_codes(tensors: &mut Tensors, factor: impl Fn(usize) -> f64 + Copy) {
    match &mut tensors.activation {
        Activation::Gated { gate, magnitude, .. } => {
            scale_vector(gate, factor);
            scale_vector(magnitude, factor);
        }
        Activation::JumpRelu(thresholds) => scale_vector(thresholds, factor),
        _ => {}
    }
    scale_rows(&mut tensors.encoder, factor);
    scale_vector(&mut tensors.encoder_bias, factor);
}

fn scale_rows(matrix: &mut Matrix, factor: impl Fn(usize) -> f64) {
    for row in 0..matrix.rows() {
        let factor = factor(row);
        matrix.row_mut(row).iter_mut().for_each(|value| *value = (f64::from(*value) * factor) as f32);
    }
}

fn scale_vector(values: &mut [f32], factor: impl Fn(usize) -> f64) {
    for (at, value) in values.iter_mut().enumerate() {
        *value = (f64::from(*value) * factor(at)) as f32;
    }
}
