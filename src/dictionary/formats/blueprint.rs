//! A dictionary in the files of another program: where its tensors are, and what is folded into them.
//!
//! Every format is a table of names and a few switches. One builder (`build`) turns them into tensors:
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

use super::super::tensor_files::TensorFile;
use super::super::tensors::RowScale;
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
    /// Tensors of other dictionaries in the same file.
    pub others: Vec<String>,
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
            others: Vec::new(),
            stated: Stated::default(),
            card,
        }
    }

    pub(super) fn file_of(&self, name: &str) -> Result<&TensorFile, DictionaryError> {
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

    pub(super) fn shape_of(&self, name: &str) -> Result<&[usize], DictionaryError> {
        Ok(self.file_of(name)?.shape(name).unwrap_or_default())
    }

    /// Features and width of a part.
    pub(super) fn sides(&self, part: &Part) -> Result<(usize, usize), DictionaryError> {
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

    /// Whether a feature's code depends on no other feature.
    pub fn has_independent_codes(&self) -> bool {
        !matches!(
            self.nonlinearity,
            Nonlinearity::TopK(_) | Nonlinearity::AbsTopK(_) | Nonlinearity::GroupMax(_)
        )
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
        used.extend(self.others.iter().map(String::as_str));
        let names = self.files.iter().flat_map(TensorFile::names);
        names.filter(|name| !used.contains(name) && !is_harmless(name)).map(String::from).collect()
    }
}
