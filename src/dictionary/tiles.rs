//! Encoding and decoding of one tile of rows.
//!
//! Most activation functions keep few codes. On a CPU with bf16 products, a *screen* first computes all pre-activations
//! in bf16 with a bound on their error. Only those that may be kept are then computed in f32, with the same bits as the
//! full product.

use rayon::prelude::*;

use crate::base::Matrix;
use crate::linalg::{
    Exact, Panels, Screen, Selector, SparseCodes, Vectorised, View, add_scaled, for_each_nonzero,
    has_screens, keep_largest, product_into, vectorised,
};

use super::affine::AffineDictionary;
use super::tensors::{Activation, Tensors, scale_row};

/// Codes of one tile, about 512 KB, so that they stay in the cache.
const TILE_CODES: usize = 128 << 10;
/// Fewest and most rows of a tile.
const TILE_ROWS: (usize, usize) = (64, 512);
/// With fewer features, a screen saves no time.
const LEAST_SCREENED: usize = 64;
/// Share of non-zero codes above which a dense product decodes faster.
const DENSE_SHARE: f64 = 0.12;

impl AffineDictionary {
    pub(super) fn tile_rows(&self) -> usize {
        (TILE_CODES / self.info.n_features.max(1)).clamp(TILE_ROWS.0, TILE_ROWS.1)
    }

    /// Encodes a tile `[n, d]`. Writes (scale, shift) of each row to `scales`. Returns sparse codes where a screen was
    /// used, and `codes` then holds intermediate values; otherwise codes are in `codes` `[n, F]`.
    pub(super) fn encode_tile(
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
        let panels = self.panels.get_or_init(|| {
            let mut panels = Panels::default();
            panels.fill(self.tensors.encoder.data(), d);
            panels
        });
        // `Activate` adds the bias, because gates have their own.
        panels.multiply(&inputs, &vec![0.0; features], codes);
        vectorised(Activate { tensors: &self.tensors, codes, features });
        None
    }

    /// Encodes with a screen, where there is one and it saves time. `near` `[n, F]` is a buffer.
    fn encode_screened(&self, inputs: &[f32], near: &mut [f32]) -> Option<SparseCodes> {
        let tensors = &self.tensors;
        let is_sparse =
            matches!(tensors.activation, Activation::Relu | Activation::TopK(_) | Activation::JumpRelu(_));
        if !is_sparse || self.info.n_features < LEAST_SCREENED || !has_screens() {
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

    /// Runs `work(rows, code buffer, scale buffer)` on all tiles of `x` in parallel; results are in order.
    pub(super) fn by_tile<R: Send>(
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

    pub(super) fn sparse(&self, codes: &[f32]) -> SparseCodes {
        let mut out = SparseCodes::new(self.info.n_features);
        out.push_dense_rows(codes);
        out
    }

    /// Decodes dense codes of a tile, undoes the row scale, and adds what a skip connection takes from the inputs `rows`.
    pub(super) fn decode_tile(&self, rows: &[f32], codes: &[f32], scales: &[(f32, f32)], out: &mut [f32]) {
        let (d, features) = (self.info.d_out, self.info.n_features);
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
        for (row, &(factor, shift)) in out.chunks_exact_mut(d).zip(scales) {
            if (factor, shift) != (1.0, 0.0) {
                row.iter_mut().for_each(|value| *value = *value * factor + shift);
            }
        }
        if let Some(skip) = &self.tensors.skip {
            let inputs = View::new(rows, rows.len() / self.info.d_in, self.info.d_in);
            product_into(out, inputs, View::from(skip).transposed(), true);
        }
    }
}

/// Adds the bias to products `[n, F]` and applies the activation function, in place.
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
            Activation::TanhRelu => rows.for_each(|row| {
                for (code, bias) in row.iter_mut().zip(bias) {
                    *code = (*code + bias).max(0.0).tanh();
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
            Activation::RankedTopK { k, rank } => {
                let weigh = |code: f32, feature: usize| code * rank[feature];
                rows.for_each(|row| keep_weighed(row, bias, *k, weigh));
            }
            Activation::AbsTopK(k) => rows.for_each(|row| keep_weighed(row, bias, *k, |code, _| code.abs())),
            Activation::GroupMax(k) => rows.for_each(|row| {
                add_bias(row, bias);
                row.chunks_exact_mut((self.features / k).max(1)).for_each(keep_largest_positive);
            }),
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

/// Adds the bias and keeps the k codes of largest positive weight. Of equal weights the earlier feature counts.
fn keep_weighed(row: &mut [f32], bias: &[f32], k: usize, weigh: impl Fn(f32, usize) -> f32) {
    add_bias(row, bias);
    let weights = row.iter().enumerate().map(|(feature, &code)| (weigh(code, feature), feature));
    let mut ranked: Vec<(f32, usize)> = weights.filter(|(weight, _)| *weight > 0.0).collect();
    if ranked.len() > k {
        ranked.select_nth_unstable_by(k, |a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(k);
    }
    let kept: Vec<(usize, f32)> = ranked.iter().map(|&(_, feature)| (feature, row[feature])).collect();
    row.fill(0.0);
    kept.into_iter().for_each(|(feature, code)| row[feature] = code);
}

/// Keeps the largest positive entry, the first of equal ones.
fn keep_largest_positive(group: &mut [f32]) {
    let largest = group.iter().fold(0.0f32, |largest, &code| largest.max(code));
    let at = group.iter().position(|&code| code == largest && largest > 0.0);
    group.fill(0.0);
    at.into_iter().for_each(|at| group[at] = largest);
}

#[inline(always)]
fn add_bias(row: &mut [f32], bias: &[f32]) {
    row.iter_mut().zip(bias).for_each(|(code, bias)| *code += bias);
}

/// Sparse codes from screened pre-activations `near` `[n, F]`. Returns how many codes were computed in f32.
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
        // The bias is added after the product, as in `Activate`, for the same bits.
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
                keep_largest(&mut chosen, k);
            }
            self.codes.push_row(chosen.iter().map(|&(code, feature)| (feature, code)));
        }
        computed
    }
}

/// `out += codes · decoder`, for few non-zero codes.
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

#[cfg(test)]
mod tests {
    use crate::base::{Digester, Matrix, Stream};
    use crate::dictionary::{Dictionary, Kind, Label, RowScale};

    use super::*;

    #[test]
    fn codes_of_some_features_have_the_bits_of_a_full_encoding() {
        let (features, d) = (150, 40);
        let mut stream = Stream::new(18, "some codes");
        let mut draw = |rows: usize, cols: usize| Matrix::from_fn(rows, cols, |_, _| stream.normal() as f32);
        let (encoder, x) = (draw(features, d), draw(90, d));
        let mut vector = || draw(1, features).data().to_vec();
        let gated = Activation::Gated { gate: vector(), magnitude: vector(), log_gain: vector() };
        let (thresholds, bias) = (vector(), vector());
        let some = [149, 3, 64, 65];
        for (activation, coupled) in [
            (Activation::Signed, false),
            (Activation::Relu, false),
            (Activation::JumpRelu(thresholds), false),
            (gated, false),
            (Activation::TopK(9), true),
        ] {
            let tensors = Tensors {
                encoder: encoder.clone(),
                encoder_bias: bias.clone(),
                decoder: encoder.clone(),
                decoder_bias: vec![0.5; d],
                subtract_decoder_bias: true,
                activation,
                row_scale: RowScale::LayerNorm,
            };
            let label = Label {
                method: "some".into(),
                kind: Kind::File,
                hook: "hook_embed".parse().expect("a hook point"),
                fitted_on: Digester::new("test").finish(),
                is_reconstruction: true,
            };
            let dictionary = AffineDictionary::new(label, tensors);
            assert_eq!(dictionary.couples_features(), coupled);
            let part = dictionary.encode_features(&x, &some).expect("codes");
            // Features alone do not need the whole encoder.
            let whole_is_packed = dictionary.panels.get().is_some() || dictionary.screen.get().is_some();
            assert_eq!(whole_is_packed, coupled);
            let whole = dictionary.encode(&x).expect("codes");
            let expected = Matrix::from_fn(x.rows(), some.len(), |row, col| whole.at(row, some[col]));
            assert_eq!(part, expected, "{:?}", dictionary.tensors.activation);
        }
    }

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
                skip: None,
            };
            let label = Label {
                method: "screened".into(),
                kind: Kind::Topk,
                hook: "hook_embed".parse().expect("a hook point"),
                fitted_on: Digester::new("test").finish(),
                is_reconstruction: true,
                output: None,
            };
            let dictionary = AffineDictionary::new(label, tensors);
            let screened = dictionary.encode(&x).expect("codes");
            assert!(dictionary.panels.get().is_none(), "{:?} is screened", dictionary.tensors.activation);
            dictionary.screen.get().expect("a screen").worth.note(1, 1);
            let plain = dictionary.encode(&x).expect("codes");
            assert!(dictionary.panels.get().is_some());
            assert_eq!(screened, plain);
            let on = plain.data().iter().filter(|code| **code > 0.0).count();
            assert!(on > 100 && on < plain.data().len() / 10, "{on}");
        }
    }
}
