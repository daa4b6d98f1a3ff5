//! A dictionary in the files of another program: where its tensors are, and what is folded into them.
//!
//! Every format is a table of names and a few switches. One builder turns them into [`Tensors`]:
//!
//! ```text
//! D_i ← f_i D_i                        `decoder_factors` f [F]
//! D_i ← D_i / ‖D_i‖                    `unit_decoder`
//! E_i ← n_i E_i, b_i ← n_i b_i, D_i ← D_i / n_i      `Norms::IntoCodes`, n_i = ‖D_i‖
//! θ_i ← θ_i / n_i                      `Norms::IntoGate`: gates and ranks compare n_i p_i, codes are p_i
//! b_i ← b_i − E_i · b_in               `input_bias` b_in [d]
//! E ← s E, D ← D / t, b_dec ← b_dec / t, θ ← u θ     `Scale` {input: s, output: t, threshold: u}
//! E_i ← M E_i, b_i ← b_i − E_i · (μ M + b_dec), D_i ← M⁻ᵀ D_i, b_dec ← b_dec M⁻¹ + μ      `Whitening` μ [d], M [d, d]
//! ```
//!
//! All of these are exact. Sums are in f64.

use std::collections::BTreeSet;

use crate::base::Matrix;

use super::super::tensor_files::TensorFile;
use super::super::tensors::{Activation, RowScale, Tensors, squared_norm};
use super::super::{DictionaryError, Stated};
use super::card::Card;

/// A matrix in a file. Each feature is a row (`[F, d]`) or a column (`[d, F]`).
#[derive(Debug, Clone)]
pub struct Part {
    /// Name of the tensor.
    pub name: String,
    /// Whether features are rows.
    pub by_row: bool,
}

impl Part {
    /// `[F, d]`.
    pub fn rows(name: impl Into<String>) -> Self {
        Self { name: name.into(), by_row: true }
    }

    /// `[d, F]`.
    pub fn columns(name: impl Into<String>) -> Self {
        Self { name: name.into(), by_row: false }
    }
}

/// Thresholds of JumpReLU.
#[derive(Debug, Clone)]
pub enum Threshold {
    /// A tensor `[F]`, or one number for all features.
    Tensor(String),
    /// Their logarithms.
    LogTensor(String),
    /// One number for all features.
    Constant(f64),
}

/// The activation function, with the names of its tensors.
#[derive(Debug, Clone)]
pub enum Nonlinearity {
    /// `p`: codes are signed.
    Identity,
    /// `max(p, 0)`.
    Relu,
    /// `tanh(max(p, 0))`.
    TanhRelu,
    /// The k largest positive `p`.
    TopK(usize),
    /// The k largest `|p|`, with their signs.
    AbsTopK(usize),
    /// The largest positive `p` of each of k groups of neighbouring features.
    GroupMax(usize),
    /// `p` where it exceeds a threshold and 0.
    JumpRelu(Threshold),
    /// Gates: tensors `[F]` of the gate bias, the magnitude bias and the logarithm of the gain.
    Gated {
        /// Gate bias.
        gate: String,
        /// Magnitude bias.
        magnitude: String,
        /// Logarithm of the gain.
        log_gain: String,
    },
}

/// What is done with the norms `n_i` of decoder rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norms {
    /// Nothing.
    Unused,
    /// Codes are `n_i p_i`; decoder rows become unit vectors. Thresholds are in units of these codes.
    IntoCodes,
    /// Thresholds and ranks compare `n_i p_i`; codes are `p_i`.
    IntoGate,
}

/// One factor for all inputs, all outputs and all thresholds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// The encoder sees `s x`.
    pub input: f64,
    /// The decoder's output is divided by this.
    pub output: f64,
    /// Thresholds are multiplied by this.
    pub threshold: f64,
}

impl Scale {
    /// No scaling.
    pub const NONE: Self = Self { input: 1.0, output: 1.0, threshold: 1.0 };

    /// The same factor on inputs and outputs; thresholds are in scaled units already.
    pub fn of_input(factor: f64) -> Self {
        Self { input: factor, output: factor, threshold: 1.0 }
    }
}

/// Tensors of an affine map of inputs: `z = (x − mean) matrix`, undone by `inverse`.
#[derive(Debug)]
pub struct Whitening {
    /// `[d]`.
    pub mean: Vec<f32>,
    /// `[d, d]`, row-major.
    pub matrix: Vec<f32>,
    /// `[d, d]`, row-major.
    pub inverse: Vec<f32>,
}

/// Number of features and widths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// F.
    pub features: usize,
    /// Width of inputs.
    pub d_in: usize,
    /// Width of reconstructions.
    pub d_out: usize,
}

/// A dictionary whose tensors are located, and not read.
#[derive(Debug)]
pub struct Blueprint {
    /// The files; a tensor is looked up in all of them.
    pub files: Vec<TensorFile>,
    /// Encoder.
    pub encoder: Part,
    /// `[F]`; zeros if absent.
    pub encoder_bias: Option<String>,
    /// Decoder.
    pub decoder: Part,
    /// `[d_out]`; zeros if absent.
    pub decoder_bias: Option<String>,
    /// Whether the decoder bias is subtracted from the input.
    pub subtracts_bias: bool,
    /// `[d_in]`: another bias that is subtracted from the input.
    pub input_bias: Option<String>,
    /// Linear map from the input to the output: rows are output dimensions (`[d_out, d_in]`).
    pub skip: Option<Part>,
    /// Activation function.
    pub nonlinearity: Nonlinearity,
    /// Scaling of each row by its own statistics.
    pub row_scale: RowScale,
    /// Constant scaling.
    pub scale: Scale,
    /// Whether training scaled inputs to a mean norm of √d by a factor that the files do not hold.
    pub lacks_scale: bool,
    /// Whitening of inputs.
    pub whitening: Option<Whitening>,
    /// Tensor `[F]` of factors on decoder rows.
    pub decoder_factors: Option<String>,
    /// Whether the forward pass normalises decoder rows.
    pub unit_decoder: bool,
    /// Use of decoder norms.
    pub norms: Norms,
    /// Tensors that change no code: statistics. A name that ends in `*` is a prefix.
    pub harmless: &'static [&'static str],
    /// What it says of its training.
    pub stated: Stated,
    /// What was read, in words.
    pub card: Card,
}

impl Blueprint {
    /// A ReLU dictionary without scaling, centred if `subtracts_bias`.
    pub fn new(
        files: Vec<TensorFile>,
        [encoder, decoder]: [Part; 2],
        [encoder_bias, decoder_bias]: [&str; 2],
        card: Card,
    ) -> Self {
        Self {
            files,
            encoder,
            encoder_bias: Some(encoder_bias.to_string()),
            decoder,
            decoder_bias: Some(decoder_bias.to_string()),
            subtracts_bias: false,
            input_bias: None,
            skip: None,
            nonlinearity: Nonlinearity::Relu,
            row_scale: RowScale::Plain,
            scale: Scale::NONE,
            lacks_scale: false,
            whitening: None,
            decoder_factors: None,
            unit_decoder: false,
            norms: Norms::Unused,
            harmless: &[],
            stated: Stated::default(),
            card,
        }
    }

    fn file_of(&self, name: &str) -> Result<&TensorFile, DictionaryError> {
        let found = self.files.iter().find(|file| file.shape(name).is_some());
        found.ok_or_else(|| {
            let names: Vec<&str> = self.files.iter().flat_map(TensorFile::names).take(20).collect();
            let problem = format!("tensor `{name}` is missing; found {}", names.join(", "));
            DictionaryError::unusable(self.path(), problem)
        })
    }

    /// The first file.
    pub fn path(&self) -> &std::path::Path {
        self.files.first().map_or(std::path::Path::new(""), TensorFile::path)
    }

    fn shape_of(&self, name: &str) -> Result<&[usize], DictionaryError> {
        Ok(self.file_of(name)?.shape(name).unwrap_or_default())
    }

    /// Features and width of a part.
    fn sides(&self, part: &Part) -> Result<(usize, usize), DictionaryError> {
        match *self.shape_of(&part.name)? {
            [rows, columns] if rows > 0 && columns > 0 => {
                Ok(if part.by_row { (rows, columns) } else { (columns, rows) })
            }
            ref other => {
                let problem = format!("tensor `{}` has shape {other:?}; expected a matrix", part.name);
                Err(DictionaryError::unusable(self.path(), problem))
            }
        }
    }

    /// Features and widths, checked over all tensors. Reads no values.
    pub fn shape(&self) -> Result<Shape, DictionaryError> {
        let (features, d_in) = self.sides(&self.encoder)?;
        let (decoded, d_out) = self.sides(&self.decoder)?;
        if decoded != features {
            return Err(DictionaryError::unusable(
                self.path(),
                format!(
                    "`{}` has {features} features and `{}` has {decoded}: one of them is laid out the other way \
                     round, or they belong to different dictionaries",
                    self.encoder.name, self.decoder.name
                ),
            ));
        }
        let per_feature = self.encoder_bias.iter().chain(&self.decoder_factors);
        for name in per_feature {
            self.expect(name, &[features])?;
        }
        if let Some(name) = &self.decoder_bias {
            self.expect(name, &[d_out])?;
        }
        if let Some(name) = &self.input_bias {
            self.expect(name, &[d_in])?;
        }
        if let Some(skip) = &self.skip {
            let expected = if skip.by_row { [d_out, d_in] } else { [d_in, d_out] };
            self.expect(&skip.name, &expected)?;
        }
        match &self.nonlinearity {
            Nonlinearity::Gated { gate, magnitude, log_gain } => {
                [gate, magnitude, log_gain].iter().try_for_each(|name| self.expect(name, &[features]))?;
            }
            Nonlinearity::TopK(k) | Nonlinearity::AbsTopK(k) if *k == 0 || *k > features => {
                let problem = format!("`k` is {k}; expected 1 to {features}, the number of features");
                return Err(DictionaryError::unusable(self.path(), problem));
            }
            Nonlinearity::GroupMax(k) if *k == 0 || features % k != 0 => {
                let problem =
                    format!("`k` is {k}; expected a number of groups that divides {features} features");
                return Err(DictionaryError::unusable(self.path(), problem));
            }
            _ => {}
        }
        if self.subtracts_bias && d_in != d_out {
            let problem = format!(
                "`{}` has width {d_out} and is subtracted from inputs of width {d_in}",
                self.decoder_bias.as_deref().unwrap_or("the decoder bias")
            );
            return Err(DictionaryError::unusable(self.path(), problem));
        }
        Ok(Shape { features, d_in, d_out })
    }

    /// An error unless the tensor has this shape.
    pub fn expect(&self, name: &str, expected: &[usize]) -> Result<(), DictionaryError> {
        let found = self.shape_of(name)?;
        if found == expected {
            return Ok(());
        }
        let problem = format!("tensor `{name}` has shape {found:?}; expected {expected:?}");
        Err(DictionaryError::unusable(self.path(), problem))
    }

    /// Tensors that no part of this dictionary uses.
    pub fn unused(&self) -> Vec<String> {
        let mut used: BTreeSet<&str> = [&self.encoder.name, &self.decoder.name].map(String::as_str).into();
        let biases = self.encoder_bias.iter().chain(&self.decoder_bias).chain(&self.input_bias);
        used.extend(biases.map(String::as_str));
        used.extend(
            self.decoder_factors.iter().chain(self.skip.iter().map(|skip| &skip.name)).map(String::as_str),
        );
        match &self.nonlinearity {
            Nonlinearity::JumpRelu(Threshold::Tensor(name) | Threshold::LogTensor(name)) => {
                used.insert(name);
            }
            Nonlinearity::Gated { gate, magnitude, log_gain } => {
                used.extend([gate, magnitude, log_gain].map(String::as_str));
            }
            _ => {}
        }
        let is_harmless = |name: &str| {
            self.harmless.iter().any(|known| match known.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == *known,
            })
        };
        let names = self.files.iter().flat_map(TensorFile::names);
        names.filter(|name| !used.contains(name) && !is_harmless(name)).map(String::from).collect()
    }

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
