//! The form that every dictionary has: one affine map, an activation function, one affine map back.
//!
//! ```text
//! x′ = scale(x) − b_dec                          [n, d]      b_dec only where `subtract_decoder_bias`
//! z  = activation(x′ W_encᵀ + b_enc)             [n, F]      W_enc [F, d]
//! x̂  = unscale(z W_dec + b_dec) + x W_skipᵀ      [n, d_out]  W_dec [F, d_out], W_skip [d_out, d] of transcoders
//! ```

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::activations::ActivationSet;
use crate::base::{Digest, Digester, HookPoint, Matrix};
use crate::linalg::{Panels, Screen, SparseCodes};

use super::save::save;
use super::tensors::{Activation, RowScale, Tensors, scale_row, squared_norm};
use super::{Dictionary, DictionaryError, DictionaryInfo, Kind, SignPolicy};

/// A dictionary of any kind.
#[derive(Debug, Clone)]
pub struct AffineDictionary {
    pub(super) info: DictionaryInfo,
    pub(super) tensors: Tensors,
    /// Features that the tensors hold, ascending; None for all.
    kept: Option<Arc<[usize]>>,
    /// The encoder as packed panels, made at the first product.
    pub(super) panels: Arc<OnceLock<Panels>>,
    /// The encoder in bf16, to find which codes may be large.
    pub(super) screen: Arc<OnceLock<Screen>>,
}

/// What identifies a dictionary beside its tensors.
#[derive(Debug, Clone)]
pub struct Label {
    /// Name in tables.
    pub method: String,
    /// How it was made.
    pub kind: Kind,
    /// Hook point of its activations.
    pub hook: HookPoint,
    /// Digest of the activations.
    pub fitted_on: Digest,
    /// Whether codes can be decoded.
    pub is_reconstruction: bool,
    /// Hook point of the reconstruction, where it is another one.
    pub output: Option<HookPoint>,
}

impl Label {
    pub(super) fn new(kind: Kind, method: &str, set: &ActivationSet, is_reconstruction: bool) -> Self {
        let (hook, fitted_on) = (set.hook(), set.digest());
        Self { method: method.to_string(), kind, hook, fitted_on, is_reconstruction, output: None }
    }
}

impl AffineDictionary {
    /// A dictionary of these tensors.
    pub fn new(label: Label, tensors: Tensors) -> Self {
        let sign = match tensors.activation {
            Activation::Signed | Activation::AbsTopK(_) => SignPolicy::Signed,
            _ => SignPolicy::NonNegative,
        };
        let info = DictionaryInfo {
            method: label.method,
            kind: label.kind,
            d_in: tensors.encoder.cols(),
            d_out: tensors.decoder.cols(),
            n_features: tensors.encoder.rows(),
            sign,
            is_reconstruction: label.is_reconstruction,
            hook: label.hook,
            output: label.output,
            fitted_on: label.fitted_on,
            digest: digest_of(&tensors, label.is_reconstruction),
        };
        Self { info, tensors, kept: None, panels: Arc::default(), screen: Arc::default() }
    }

    /// A part of a dictionary of `n_features` features. The tensors hold the features `kept`, ascending. Codes of all
    /// others are errors.
    pub fn of_some(label: Label, tensors: Tensors, kept: Vec<usize>, n_features: usize) -> Self {
        let mut dictionary = Self::new(label, tensors);
        dictionary.info.n_features = n_features;
        let mut digester = Digester::new("some features of a dictionary");
        digester.digest(&dictionary.info.digest).json(&kept).json(&n_features);
        dictionary.info.digest = digester.finish();
        dictionary.kept = Some(kept.into());
        dictionary
    }

    /// The features that the tensors hold, where they are not all.
    pub fn kept(&self) -> Option<&[usize]> {
        self.kept.as_deref()
    }

    /// Rows of the tensors that hold these features.
    pub(super) fn places(&self, features: &[usize]) -> Result<Vec<usize>, DictionaryError> {
        let Some(kept) = &self.kept else { return Ok(features.to_vec()) };
        let found = features.iter().map(|feature| kept.binary_search(feature));
        found.collect::<Result<_, _>>().map_err(|_| self.partial())
    }

    fn partial(&self) -> DictionaryError {
        DictionaryError::Partial { method: self.info.method.clone() }
    }

    fn check_whole(&self) -> Result<(), DictionaryError> {
        if self.kept.is_some() { Err(self.partial()) } else { Ok(()) }
    }

    /// A dictionary from a file, outside any run.
    pub fn of_file(tensors: Tensors, hook: HookPoint) -> Self {
        let (method, fitted_on) = ("file".to_string(), Digester::new("no activations").finish());
        Self::new(
            Label { method, kind: Kind::File, hook, fitted_on, is_reconstruction: true, output: None },
            tensors,
        )
    }

    /// The tensors.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// A feature's decoder row `[d_out]`, in the units of scaled rows.
    pub fn decoder_row(&self, feature: usize) -> Result<&[f32], DictionaryError> {
        Ok(self.tensors.decoder.row(self.places(&[feature])?[0]))
    }

    /// What decoder rows are multiplied by to be in the units of each row of `x` `[n, d_in]`: 1 without scaling of rows.
    pub fn row_factors(&self, x: &Matrix) -> Vec<f32> {
        if self.tensors.row_scale == RowScale::Plain {
            return vec![1.0; x.rows()];
        }
        x.iter_rows().map(|row| scale_row(&mut row.to_vec(), self.tensors.row_scale).0).collect()
    }

    /// The dictionary of some features alone, whose codes have the same bits. None for TopK, where a feature's code
    /// depends on all others.
    fn select(&self, features: &[usize]) -> Option<Self> {
        let tensors = &self.tensors;
        let pick = |values: &[f32]| features.iter().map(|&feature| values[feature]).collect::<Vec<f32>>();
        let activation = match &tensors.activation {
            Activation::TopK(_)
            | Activation::RankedTopK { .. }
            | Activation::AbsTopK(_)
            | Activation::GroupMax(_) => return None,
            Activation::Signed => Activation::Signed,
            Activation::Relu => Activation::Relu,
            Activation::TanhRelu => Activation::TanhRelu,
            Activation::JumpRelu(thresholds) => Activation::JumpRelu(pick(thresholds)),
            Activation::Gated { gate, magnitude, log_gain } => {
                Activation::Gated { gate: pick(gate), magnitude: pick(magnitude), log_gain: pick(log_gain) }
            }
        };
        // Every field is named: cloning the others would copy the whole encoder first.
        let part = Tensors {
            encoder: tensors.encoder.select_rows(features),
            encoder_bias: pick(&tensors.encoder_bias),
            decoder: tensors.decoder.select_rows(features),
            decoder_bias: tensors.decoder_bias.clone(),
            subtract_decoder_bias: tensors.subtract_decoder_bias,
            activation,
            row_scale: tensors.row_scale,
            skip: tensors.skip.clone(),
        };
        let info = DictionaryInfo { n_features: features.len(), ..self.info.clone() };
        Some(Self { info, tensors: part, kept: None, panels: Arc::default(), screen: Arc::default() })
    }

    pub(super) fn check_width(&self, got: usize, expected: usize) -> Result<(), DictionaryError> {
        if got == expected {
            return Ok(());
        }
        Err(DictionaryError::Shape { method: self.info.method.clone(), expected, got })
    }
}

impl Dictionary for AffineDictionary {
    fn info(&self) -> &DictionaryInfo {
        &self.info
    }

    fn as_affine(&self) -> &AffineDictionary {
        self
    }

    fn encode(&self, x: &Matrix) -> Result<Matrix, DictionaryError> {
        self.check_whole()?;
        self.check_width(x.cols(), self.info.d_in)?;
        let features = self.info.n_features;
        let mut codes = Matrix::zeros(x.rows(), features);
        codes
            .data_mut()
            .par_chunks_mut((self.tile_rows() * features).max(1))
            .zip(x.data().par_chunks((self.tile_rows() * self.info.d_in).max(1)))
            .for_each(|(codes, rows)| {
                if let Some(sparse) = self.encode_tile(rows, codes, &mut Vec::new()) {
                    sparse.write_dense(codes);
                }
            });
        Ok(codes)
    }

    fn encode_features(&self, x: &Matrix, features: &[usize]) -> Result<Matrix, DictionaryError> {
        if let Some(part) = self.select(&self.places(features)?) {
            return part.encode(x);
        }
        let codes = self.encode(x)?;
        Ok(Matrix::from_fn(codes.rows(), features.len(), |row, col| codes.at(row, features[col])))
    }

    fn couples_features(&self) -> bool {
        self.tensors.activation.k().is_some()
    }

    fn encode_sparse(&self, x: &Matrix) -> Result<SparseCodes, DictionaryError> {
        self.check_whole()?;
        self.check_width(x.cols(), self.info.d_in)?;
        let mut out = SparseCodes::new(self.info.n_features);
        let parts = self.by_tile(x, |rows, codes, scales| {
            self.encode_tile(rows, codes, scales).unwrap_or_else(|| self.sparse(codes))
        });
        parts.iter().for_each(|part| out.append(part));
        Ok(out)
    }

    fn decode(&self, codes: &Matrix) -> Result<Matrix, DictionaryError> {
        self.check_whole()?;
        if !self.info.is_reconstruction {
            return Err(DictionaryError::NotAReconstruction { method: self.info.method.clone() });
        }
        self.check_width(codes.cols(), self.info.n_features)?;
        if self.tensors.decodes_with_input() {
            return Err(DictionaryError::NeedsInput { method: self.info.method.clone() });
        }
        let (d, features) = (self.info.d_out, self.info.n_features);
        let mut out = Matrix::zeros(codes.rows(), d);
        out.data_mut()
            .par_chunks_mut((self.tile_rows() * d).max(1))
            .zip(codes.data().par_chunks((self.tile_rows() * features).max(1)))
            .for_each(|(out, codes)| self.decode_tile(&[], codes, &[], out));
        Ok(out)
    }

    fn encode_and_reconstruct(&self, x: &Matrix) -> Result<(SparseCodes, Option<Matrix>), DictionaryError> {
        if !self.info.is_reconstruction {
            return Ok((self.encode_sparse(x)?, None));
        }
        self.check_whole()?;
        self.check_width(x.cols(), self.info.d_in)?;
        let d = self.info.d_out;
        let parts = self.by_tile(x, |rows, codes, scales| {
            let sparse = self.encode_tile(rows, codes, scales);
            sparse.iter().for_each(|sparse| sparse.write_dense(codes));
            let mut out = vec![0.0f32; scales.len() * d];
            self.decode_tile(rows, codes, scales, &mut out);
            (sparse.unwrap_or_else(|| self.sparse(codes)), out)
        });
        let mut codes = SparseCodes::new(self.info.n_features);
        let mut rows = Vec::with_capacity(x.rows() * d);
        for (part, reconstruction) in &parts {
            codes.append(part);
            rows.extend_from_slice(reconstruction);
        }
        Ok((codes, Matrix::from_vec(x.rows(), d, rows)))
    }

    fn decode_of(&self, x: &Matrix, codes: &Matrix) -> Result<Matrix, DictionaryError> {
        if self.tensors.decodes_with_input() { self.reconstruct(x) } else { self.decode(codes) }
    }

    fn contributions(
        &self,
        x: &Matrix,
        feature: usize,
        codes: &[f32],
    ) -> Result<Option<Matrix>, DictionaryError> {
        self.check_width(x.cols(), self.info.d_in)?;
        // A neuron's code is the neuron's own positive value, so its basis direction is a part of the activation.
        if !self.info.is_reconstruction && self.info.kind != Kind::Neuron {
            return Ok(None);
        }
        let decoder = self.tensors.decoder.row(self.places(&[feature])?[0]);
        let mut out = Matrix::zeros(x.rows(), decoder.len());
        let mut scaled = vec![0.0; self.info.d_in];
        for ((at, row), code) in x.iter_rows().enumerate().zip(codes) {
            scaled.copy_from_slice(row);
            let (factor, _) = scale_row(&mut scaled, self.tensors.row_scale);
            let part = out.row_mut(at).iter_mut().zip(decoder);
            part.for_each(|(value, decoder)| *value = code * decoder * factor);
        }
        Ok(Some(out))
    }

    fn directions(&self) -> Result<Matrix, DictionaryError> {
        self.check_whole()?;
        Ok(unit_rows(self.tensors.decoder.clone()))
    }

    fn directions_of(&self, features: &[usize]) -> Result<Matrix, DictionaryError> {
        Ok(unit_rows(self.tensors.decoder.select_rows(&self.places(features)?)))
    }

    fn save(&self, folder: &Path) -> Result<(), DictionaryError> {
        save(&self.info, &self.tensors, self.kept(), folder)
    }
}

/// Divides each row by its norm. A row of zeros stays zero.
fn unit_rows(mut rows: Matrix) -> Matrix {
    let width = rows.cols().max(1);
    for row in rows.data_mut().chunks_exact_mut(width) {
        let norm = squared_norm(row).sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
        }
    }
    rows
}

fn digest_of(tensors: &Tensors, is_reconstruction: bool) -> Digest {
    let mut digester = Digester::new("dictionary");
    digester.text(&format!(
        "{} x {} {} {:?} {is_reconstruction}",
        tensors.encoder.rows(),
        tensors.encoder.cols(),
        tensors.subtract_decoder_bias,
        tensors.row_scale
    ));
    for part in [tensors.encoder.data(), &tensors.encoder_bias, tensors.decoder.data(), &tensors.decoder_bias]
    {
        digester.floats(part);
    }
    match &tensors.activation {
        Activation::Signed => digester.text("signed"),
        Activation::Relu => digester.text("relu"),
        Activation::TanhRelu => digester.text("tanh-relu"),
        Activation::TopK(k) => digester.text(&format!("topk {k}")),
        Activation::RankedTopK { k, rank } => digester.text(&format!("ranked topk {k}")).floats(rank),
        Activation::AbsTopK(k) => digester.text(&format!("abstopk {k}")),
        Activation::GroupMax(k) => digester.text(&format!("groupmax {k}")),
        Activation::JumpRelu(thresholds) => digester.text("jumprelu").floats(thresholds),
        Activation::Gated { gate, magnitude, log_gain } => {
            let digester = digester.text("gated").floats(gate);
            digester.floats(magnitude).floats(log_gain)
        }
    };
    if let Some(skip) = &tensors.skip {
        digester.text("skip").floats(skip.data());
    }
    digester.finish()
}
