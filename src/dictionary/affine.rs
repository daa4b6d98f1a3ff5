use std::path::Path;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::base::{Digest, Digester, HookPoint, Matrix};
use crate::linalg::{
    Exact, Panels, Screen, Selector, SparseCodes, Vectorised, View, add_scaled, for_each_nonzero,
    has_screens, leave_largest, product_into, vectorised,
};

use super::save::save_affine;
use super::{Dictionary, DictionaryError, DictionaryInfo, Kind, SignPolicy};

/// Codes of one task, about 512 KB: they stay in the cache, and the rows are enough for a product.
const TILE_CODES: usize = 128 << 10;
/// Least and most rows of one task.
const TILE_ROWS: (usize, usize) = (64, 512);
/// Features below which products of f32 take no time.
const LEAST_SCREENED: usize = 64;
/// Share of codes that are not zero above which a dense product decodes faster.
const DENSE_SHARE: f64 = 0.12;

/// What is done to `W(x − b_dec) + b_enc`.
#[derive(Debug, Clone, PartialEq)]
pub enum Activation {
    /// Nothing: codes are signed.
    Signed,
    /// Negative codes become 0.
    Relu,
    /// The k largest positive codes of a row stay.
    TopK(usize),
    /// Codes not above their feature's threshold `[F]` become 0.
    JumpRelu(Vec<f32>),
    /// A feature is on where the encoder plus `gate` is above 0; its code is then
    /// `ReLU(exp(log_gain) · encoder + magnitude)`. The plain encoder bias is not used.
    Gated {
        /// `[F]`.
        gate: Vec<f32>,
        /// `[F]`.
        magnitude: Vec<f32>,
        /// `r_mag`, `[F]`.
        log_gain: Vec<f32>,
    },
}

/// Scaling of each row by itself, undone on the reconstruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowScale {
    /// None.
    Plain,
    /// To norm √d.
    ConstantNorm,
    /// To mean 0 and standard deviation 1 over the row (unbiased, plus 1e-5).
    LayerNorm,
}

/// The tensors of a dictionary, one feature a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensors {
    /// `[F, d]`.
    pub encoder: Matrix,
    /// `[F]`.
    pub encoder_bias: Vec<f32>,
    /// `[F, d]`.
    pub decoder: Matrix,
    /// `[d]`.
    pub decoder_bias: Vec<f32>,
    /// Whether the decoder bias is taken off the input.
    pub subtract_decoder_bias: bool,
    /// What makes codes of the encoder's output.
    pub activation: Activation,
    /// Scaling of rows.
    pub row_scale: RowScale,
}

/// What every kind of today becomes: raw activations in, one affine map, an activation function,
/// one affine map back.
#[derive(Debug, Clone)]
pub struct AffineDictionary {
    info: DictionaryInfo,
    tensors: Tensors,
    /// The encoder as products want it, made when the first is.
    encoder: Arc<OnceLock<Panels>>,
    /// The same where only large sums are wanted.
    screen: Arc<OnceLock<Screen>>,
}

/// What names a dictionary, before its tensors are known.
#[derive(Debug, Clone)]
pub struct Label {
    /// Name in tables.
    pub method: String,
    /// How it was made.
    pub kind: Kind,
    /// Where.
    pub hook: HookPoint,
    /// Digest of the activations.
    pub fitted_on: Digest,
    /// Whether codes can be decoded.
    pub is_reconstruction: bool,
}

impl AffineDictionary {
    /// Names tensors.
    pub fn new(label: Label, tensors: Tensors) -> Self {
        let sign = match tensors.activation {
            Activation::Signed => SignPolicy::Signed,
            _ => SignPolicy::NonNegative,
        };
        let info = DictionaryInfo {
            method: label.method,
            kind: label.kind,
            d_in: tensors.encoder.cols(),
            n_features: tensors.encoder.rows(),
            sign,
            is_reconstruction: label.is_reconstruction,
            hook: label.hook,
            fitted_on: label.fitted_on,
            digest: digest_of(&tensors, label.is_reconstruction),
        };
        Self { info, tensors, encoder: Arc::default(), screen: Arc::default() }
    }

    /// The tensors.
    pub fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// The dictionary of some features alone, where a feature's code depends on no other.
    fn chosen(&self, features: &[usize]) -> Option<Self> {
        let tensors = &self.tensors;
        if !matches!(tensors.activation, Activation::Signed | Activation::Relu) {
            return None;
        }
        let part = Tensors {
            encoder: tensors.encoder.select_rows(features),
            encoder_bias: features.iter().map(|&feature| tensors.encoder_bias[feature]).collect(),
            decoder: tensors.decoder.select_rows(features),
            ..tensors.clone()
        };
        let info = DictionaryInfo { n_features: features.len(), ..self.info.clone() };
        Some(Self { info, tensors: part, encoder: Arc::default(), screen: Arc::default() })
    }

    fn check_width(&self, got: usize, expected: usize) -> Result<(), DictionaryError> {
        if got == expected {
            Ok(())
        } else {
            Err(DictionaryError::Shape { method: self.info.method.clone(), expected, got })
        }
    }

    fn tile_rows(&self) -> usize {
        (TILE_CODES / self.info.n_features.max(1)).clamp(TILE_ROWS.0, TILE_ROWS.1)
    }

    /// Codes of a few rows into `codes` `[rows, F]`, or where they were found one by one as what is returned, and then
    /// `codes` is what was left of the search. The row's scale and shift go to `scales`.
    fn encode_tile(
        &self,
        rows: &[f32],
        codes: &mut [f32],
        scales: &mut Vec<(f32, f32)>,
    ) -> Option<SparseCodes> {
        let (d, features) = (self.info.d_in, self.info.n_features);
        let mut inputs = rows.to_vec();
        scales.clear();
        for row in inputs.chunks_exact_mut(d) {
            scales.push(scale_row(row, self.tensors.row_scale));
            if self.tensors.subtract_decoder_bias {
                row.iter_mut().zip(&self.tensors.decoder_bias).for_each(|(value, bias)| *value -= bias);
            }
        }
        if let Some(sparse) = self.encode_screened(&inputs, codes) {
            return Some(sparse);
        }
        let encoder = self.encoder.get_or_init(|| {
            let mut panels = Panels::default();
            panels.fill(self.tensors.encoder.data(), d);
            panels
        });
        // Biases are added where codes are made of these: gates have their own.
        encoder.multiply(&inputs, &vec![0.0; features], codes);
        vectorised(Activate { tensors: &self.tensors, codes, features });
        None
    }

    /// The same as dense codes.
    fn encode_tile_dense(&self, rows: &[f32], codes: &mut [f32], scales: &mut Vec<(f32, f32)>) {
        if let Some(sparse) = self.encode_tile(rows, codes, scales) {
            sparse.write_dense(codes);
        }
    }

    /// Codes of inputs where most are 0 and the processor can find the others quickly; the same codes, to the bit. `near`
    /// `[rows, F]` is room for the search.
    fn encode_screened(&self, inputs: &[f32], near: &mut [f32]) -> Option<SparseCodes> {
        let tensors = &self.tensors;
        let few_are_on =
            matches!(tensors.activation, Activation::Relu | Activation::TopK(_) | Activation::JumpRelu(_));
        if !few_are_on || self.info.n_features < LEAST_SCREENED || !has_screens() {
            return None;
        }
        let screen = self.screen.get_or_init(|| {
            let mut screen = Screen::default();
            screen.fill(tensors.encoder.data(), self.info.d_in, &tensors.encoder_bias);
            screen
        });
        if !screen.worth.now() {
            return None;
        }
        screen.multiply(inputs, &tensors.encoder_bias, near);
        let mut codes = SparseCodes::new(self.info.n_features);
        let computed = vectorised(ActivateScreened { tensors, screen, inputs, near, codes: &mut codes });
        screen.worth.note(computed, near.len());
        Some(codes)
    }

    /// Runs `work` on tiles of `x`, with room for their dense codes and the rows' scales and shifts, in parallel, results
    /// in order.
    fn by_tile<R: Send>(
        &self,
        x: &Matrix,
        work: impl Fn(&[f32], &mut [f32], &mut Vec<(f32, f32)>) -> R + Sync,
    ) -> Vec<R> {
        let (d, features) = (self.info.d_in, self.info.n_features);
        x.data()
            .par_chunks((self.tile_rows() * d).max(1))
            .map_init(
                || (vec![0.0f32; self.tile_rows() * features], Vec::new()),
                |(codes, scales), rows| work(rows, &mut codes[..rows.len() / d * features], scales),
            )
            .collect()
    }

    fn sparse(&self, codes: &[f32]) -> SparseCodes {
        let mut out = SparseCodes::new(self.info.n_features);
        out.push_dense_rows(codes);
        out
    }

    /// Decodes dense codes of a tile and undoes the row scale.
    fn decode_tile(&self, codes: &[f32], scales: &[(f32, f32)], out: &mut [f32]) {
        let (d, features) = (self.info.d_in, self.info.n_features);
        for row in out.chunks_exact_mut(d) {
            row.copy_from_slice(&self.tensors.decoder_bias);
        }
        let active = codes.iter().filter(|code| **code != 0.0).count();
        if active as f64 > DENSE_SHARE * codes.len() as f64 {
            let codes = View::new(codes, codes.len() / features, features);
            product_into(out, codes, (&self.tensors.decoder).into(), true);
        } else {
            vectorised(AddDirections { decoder: &self.tensors.decoder, codes, out });
        }
        for (row, &(scale, shift)) in out.chunks_exact_mut(d).zip(scales) {
            if (scale, shift) != (1.0, 0.0) {
                row.iter_mut().for_each(|value| *value = *value / scale + shift);
            }
        }
    }

    fn must_reconstruct(&self) -> Result<(), DictionaryError> {
        if self.info.is_reconstruction {
            Ok(())
        } else {
            Err(DictionaryError::NotAReconstruction { method: self.info.method.clone() })
        }
    }
}

impl Dictionary for AffineDictionary {
    fn info(&self) -> &DictionaryInfo {
        &self.info
    }

    fn encode(&self, x: &Matrix) -> Result<Matrix, DictionaryError> {
        self.check_width(x.cols(), self.info.d_in)?;
        let features = self.info.n_features;
        let mut codes = Matrix::zeros(x.rows(), features);
        codes
            .data_mut()
            .par_chunks_mut((self.tile_rows() * features).max(1))
            .zip(x.data().par_chunks((self.tile_rows() * self.info.d_in).max(1)))
            .for_each(|(codes, rows)| self.encode_tile_dense(rows, codes, &mut Vec::new()));
        Ok(codes)
    }

    fn encode_features(&self, x: &Matrix, features: &[usize]) -> Result<Matrix, DictionaryError> {
        match self.chosen(features) {
            Some(part) => part.encode(x),
            None => {
                let codes = self.encode(x)?;
                Ok(Matrix::from_fn(codes.rows(), features.len(), |row, col| codes.at(row, features[col])))
            }
        }
    }

    fn encode_sparse(&self, x: &Matrix) -> Result<SparseCodes, DictionaryError> {
        self.check_width(x.cols(), self.info.d_in)?;
        let mut out = SparseCodes::new(self.info.n_features);
        let parts = self.by_tile(x, |rows, codes, scales| {
            self.encode_tile(rows, codes, scales).unwrap_or_else(|| self.sparse(codes))
        });
        parts.iter().for_each(|part| out.append(part));
        Ok(out)
    }

    fn decode(&self, codes: &Matrix) -> Result<Matrix, DictionaryError> {
        self.must_reconstruct()?;
        self.check_width(codes.cols(), self.info.n_features)?;
        if self.tensors.row_scale != RowScale::Plain {
            return Err(DictionaryError::NeedsInput { method: self.info.method.clone() });
        }
        let (d, features) = (self.info.d_in, self.info.n_features);
        let mut out = Matrix::zeros(codes.rows(), d);
        out.data_mut()
            .par_chunks_mut((self.tile_rows() * d).max(1))
            .zip(codes.data().par_chunks((self.tile_rows() * features).max(1)))
            .for_each(|(out, codes)| self.decode_tile(codes, &[], out));
        Ok(out)
    }

    fn encode_and_reconstruct(&self, x: &Matrix) -> Result<(SparseCodes, Option<Matrix>), DictionaryError> {
        if !self.info.is_reconstruction {
            return Ok((self.encode_sparse(x)?, None));
        }
        self.check_width(x.cols(), self.info.d_in)?;
        let d = self.info.d_in;
        let parts = self.by_tile(x, |rows, codes, scales| {
            let sparse = self.encode_tile(rows, codes, scales);
            sparse.iter().for_each(|sparse| sparse.write_dense(codes));
            let mut out = vec![0.0f32; scales.len() * d];
            self.decode_tile(codes, scales, &mut out);
            (sparse.unwrap_or_else(|| self.sparse(codes)), out)
        });
        let mut codes = SparseCodes::new(self.info.n_features);
        let mut rows = Vec::with_capacity(x.data().len());
        for (part, reconstruction) in &parts {
            codes.append(part);
            rows.extend_from_slice(reconstruction);
        }
        Ok((codes, Matrix::from_vec(x.rows(), d, rows)))
    }

    fn decode_of(&self, x: &Matrix, codes: &Matrix) -> Result<Matrix, DictionaryError> {
        // Codes alone do not know how a row was scaled.
        if self.tensors.row_scale == RowScale::Plain { self.decode(codes) } else { self.reconstruct(x) }
    }

    fn contributions(
        &self,
        x: &Matrix,
        feature: usize,
        codes: &[f32],
    ) -> Result<Option<Matrix>, DictionaryError> {
        self.check_width(x.cols(), self.info.d_in)?;
        // A unit's code is the unit's own value where that is positive, so its basis direction is a share.
        if !self.info.is_reconstruction && self.info.kind != Kind::Neuron {
            return Ok(None);
        }
        let decoder = self.tensors.decoder.row(feature);
        let mut out = x.clone();
        for (row, code) in out.data_mut().chunks_exact_mut(self.info.d_in.max(1)).zip(codes) {
            let (scale, _) = scale_row(row, self.tensors.row_scale);
            row.iter_mut().zip(decoder).for_each(|(value, decoder)| *value = code * decoder / scale);
        }
        Ok(Some(out))
    }

    fn directions(&self) -> Result<Matrix, DictionaryError> {
        let mut directions = self.tensors.decoder.clone();
        for row in directions.data_mut().chunks_exact_mut(self.info.d_in.max(1)) {
            let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            if norm > 0.0 {
                row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
            }
        }
        Ok(directions)
    }

    fn save(&self, folder: &Path) -> Result<(), DictionaryError> {
        save_affine(self, folder)
    }
}

/// Scales a row in place; gives (scale, shift) such that `row / scale + shift` undoes it.
fn scale_row(row: &mut [f32], how: RowScale) -> (f32, f32) {
    let d = row.len() as f64;
    let (scale, shift) = match how {
        RowScale::Plain => return (1.0, 0.0),
        RowScale::ConstantNorm => {
            let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
            (if norm > 0.0 { d.sqrt() / norm } else { 1.0 }, 0.0)
        }
        RowScale::LayerNorm => {
            let mean = row.iter().map(|&value| f64::from(value)).sum::<f64>() / d;
            let squares = row.iter().map(|&value| (f64::from(value) - mean).powi(2)).sum::<f64>();
            (1.0 / ((squares / (d - 1.0).max(1.0)).sqrt() + 1e-5), mean)
        }
    };
    row.iter_mut().for_each(|value| *value = ((f64::from(*value) - shift) * scale) as f32);
    (scale as f32, shift as f32)
}

struct Activate<'a> {
    tensors: &'a Tensors,
    codes: &'a mut [f32],
    features: usize,
}

impl Vectorised for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let bias = &self.tensors.encoder_bias;
        let rows = self.codes.chunks_exact_mut(self.features);
        match &self.tensors.activation {
            Activation::Signed => rows.for_each(|row| add_bias(row, bias)),
            Activation::Relu => rows.for_each(|row| {
                for (code, bias) in row.iter_mut().zip(bias) {
                    *code = (*code + bias).max(0.0);
                }
            }),
            Activation::JumpRelu(thresholds) => rows.for_each(|row| {
                add_bias(row, bias);
                for (code, &threshold) in row.iter_mut().zip(thresholds) {
                    *code = if *code > threshold { code.max(0.0) } else { 0.0 };
                }
            }),
            Activation::TopK(k) => {
                let mut selector = Selector::new(self.features, *k);
                for row in rows {
                    add_bias(row, bias);
                    let kept = selector.positive(row, *k);
                    row.fill(0.0);
                    kept.iter().for_each(|&(code, feature)| row[feature as usize] = code);
                }
            }
            Activation::Gated { gate, magnitude, log_gain } => {
                let gain: Vec<f32> = log_gain.iter().map(|log| log.exp()).collect();
                rows.for_each(|row| {
                    for (feature, code) in row.iter_mut().enumerate() {
                        let size = (*code * gain[feature] + magnitude[feature]).max(0.0);
                        *code = if *code + gate[feature] > 0.0 { size } else { 0.0 };
                    }
                });
            }
        }
    }
}

/// Adds rows of codes from what a screen gives: those that may not be 0 are computed, the others are 0. Gives how many
/// were computed.
struct ActivateScreened<'a> {
    tensors: &'a Tensors,
    screen: &'a Screen,
    inputs: &'a [f32],
    near: &'a [f32],
    codes: &'a mut SparseCodes,
}

impl Vectorised for ActivateScreened<'_> {
    type Output = usize;

    #[inline(always)]
    fn run(self) -> usize {
        let Tensors { encoder, encoder_bias, activation, .. } = self.tensors;
        let (features, d) = (encoder.rows(), encoder.cols());
        // Biases are added behind the products, as they are to those of all features.
        let zeros = vec![0.0; features];
        let (k, thresholds) = match activation {
            Activation::TopK(k) => (Some(*k), None),
            Activation::JumpRelu(thresholds) => (None, Some(thresholds)),
            _ => (None, None),
        };
        let least = thresholds.map_or(0.0, |bars| bars.iter().fold(f32::INFINITY, |a, &b| a.min(b)).max(0.0));
        let mut selector = Selector::new(features, k.unwrap_or(0));
        let (mut exact, mut chosen, mut computed) = (Exact::default(), Vec::new(), 0);
        for (input, near) in self.inputs.chunks_exact(d).zip(self.near.chunks_exact(features)) {
            let margin = self.screen.margin(input);
            let bar = match k {
                Some(k) => Screen::bar_of_largest(selector.positive(near, k), k, margin),
                None => least - margin,
            };
            exact.of_reaching(near, bar, input, encoder.data(), &zeros);
            computed += exact.count();
            let codes = exact.sums().filter_map(|(sum, feature)| {
                let code = sum + encoder_bias[feature as usize];
                let bar = thresholds.map_or(0.0, |bars| bars[feature as usize].max(0.0));
                (code > bar).then_some((code, feature))
            });
            chosen.clear();
            chosen.extend(codes);
            if let Some(k) = k {
                leave_largest(&mut chosen, k);
            }
            self.codes.push_row(chosen.iter().map(|&(code, feature)| (feature, code)));
        }
        computed
    }
}

/// `out += codes · decoder` where few codes are not zero.
struct AddDirections<'a> {
    decoder: &'a Matrix,
    codes: &'a [f32],
    out: &'a mut [f32],
}

impl Vectorised for AddDirections<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let rows = self.out.chunks_exact_mut(self.decoder.cols());
        for (row, codes) in rows.zip(self.codes.chunks_exact(self.decoder.rows())) {
            for_each_nonzero(codes, |feature, code| {
                add_scaled(row, code, self.decoder.row(feature as usize))
            });
        }
    }
}

#[inline(always)]
fn add_bias(row: &mut [f32], bias: &[f32]) {
    row.iter_mut().zip(bias).for_each(|(code, bias)| *code += bias);
}

fn digest_of(tensors: &Tensors, is_reconstruction: bool) -> Digest {
    let mut digester = Digester::new("dictionary");
    let bytes = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
    digester.text(&format!(
        "{} x {} {} {:?} {is_reconstruction}",
        tensors.encoder.rows(),
        tensors.encoder.cols(),
        tensors.subtract_decoder_bias,
        tensors.row_scale
    ));
    for part in [tensors.encoder.data(), &tensors.encoder_bias, tensors.decoder.data(), &tensors.decoder_bias]
    {
        digester.bytes(&bytes(part));
    }
    match &tensors.activation {
        Activation::Signed => digester.text("signed"),
        Activation::Relu => digester.text("relu"),
        Activation::TopK(k) => digester.text(&format!("topk {k}")),
        Activation::JumpRelu(thresholds) => digester.text("jumprelu").bytes(&bytes(thresholds)),
        Activation::Gated { gate, magnitude, log_gain } => {
            digester.text("gated").bytes(&bytes(gate)).bytes(&bytes(magnitude)).bytes(&bytes(log_gain))
        }
    };
    digester.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn a_screen_changes_no_bit_of_a_code() {
        if !has_screens() {
            println!("skipped: this processor has no products of bf16");
            return;
        }
        let (features, d) = (400, 72);
        let mut stream = Stream::new(17, "screened codes");
        let mut draw = |rows: usize, cols: usize, mean: f64| {
            Matrix::from_fn(rows, cols, |_, _| (stream.normal() + mean) as f32)
        };
        let (encoder, x) = (draw(features, d, 0.0), draw(300, d, 0.0));
        let thresholds: Vec<f32> = draw(1, features, 15.0).data().to_vec();
        for (activation, bias) in [
            (Activation::Relu, -19.0),
            (Activation::TopK(7), 0.1),
            (Activation::TopK(300), -18.0),
            (Activation::JumpRelu(thresholds), -1.0),
        ] {
            let tensors = Tensors {
                encoder: encoder.clone(),
                encoder_bias: vec![bias; features],
                decoder: encoder.clone(),
                decoder_bias: vec![0.0; d],
                subtract_decoder_bias: false,
                activation,
                row_scale: RowScale::Plain,
            };
            let label = Label {
                method: "screened".into(),
                kind: Kind::Topk,
                hook: "hook_embed".parse().expect("a hook point"),
                fitted_on: Digester::new("test").finish(),
                is_reconstruction: true,
            };
            let dictionary = AffineDictionary::new(label, tensors);
            let screened = dictionary.encode(&x).expect("codes");
            assert!(dictionary.encoder.get().is_none(), "{:?} is screened", dictionary.tensors.activation);
            dictionary.screen.get().expect("a screen").worth.note(1, 1);
            let plain = dictionary.encode(&x).expect("codes");
            assert!(dictionary.encoder.get().is_some());
            assert_eq!(screened, plain);
            let on = plain.data().iter().filter(|code| **code > 0.0).count();
            assert!(on > 100 && on < plain.data().len() / 10, "{on}");
        }
    }
}
