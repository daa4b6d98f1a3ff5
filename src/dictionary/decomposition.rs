//! Signed linear decompositions, and the dictionary of each variant.
//!
//! ```text
//! y = S (x − μ)             [n]   S [n, d] scoring rows
//! x̂ = μ + Σ_i y_i d_i       [d]   d_i [d] directions
//! fitted    z = y                          oriented  z_i = ±y_i, sign chosen by the largest |y_i|
//! split     z = ReLU([y; −y])   [2n]       topk      z = TopK_k([y; −y])   [2n]
//! ```

use crate::activations::ActivationSet;
use crate::base::{Matrix, Stopwatch};

use super::affine::{AffineDictionary, Label};
use super::tensors::{Activation, RowScale, Tensors};
use super::{FitContext, FitError, FitReport, Fitted, Kind, Variant};

/// Number of largest codes whose sum decides the sign of an oriented component.
const ORIENTING_CODES: usize = 20;
/// Rows encoded at once while orienting.
const BLOCK_ROWS: usize = 8192;

/// A signed linear decomposition.
#[derive(Debug, Clone)]
pub struct Decomposition {
    /// Names the `fitted` variant.
    label: Label,
    /// `[n, d]`.
    pub(super) scoring: Matrix,
    /// `[n, d]`: principal directions, or columns of the mixing matrix.
    pub(super) directions: Matrix,
    /// μ, or zeros where the mean is not subtracted.
    centre: Vec<f32>,
    /// True per component where `oriented` flips the sign.
    flipped: Vec<bool>,
    /// The report of the fit.
    pub(super) report: FitReport,
}

impl Decomposition {
    /// Decides the signs of `oriented`, and sets the report's time. `centred` subtracts the mean of `set`.
    pub(super) fn new(
        kind: Kind,
        [scoring, directions]: [Matrix; 2],
        centred: bool,
        set: &ActivationSet,
        context: &FitContext<'_>,
        (report, started): (FitReport, Stopwatch),
    ) -> Result<Self, FitError> {
        let mut decomposition = Self {
            label: Label::new(kind, context.method, set, true),
            flipped: vec![false; scoring.rows()],
            scoring,
            directions,
            centre: set.mean().iter().map(|&mean| if centred { mean as f32 } else { 0.0 }).collect(),
            report,
        };
        decomposition.flipped = decomposition.find_flipped(set)?;
        decomposition.report.seconds = started.seconds();
        Ok(decomposition)
    }

    /// The variants in the order given. `k` is the number of codes that `topk` keeps: the rounded mean L0 of the method
    /// it is matched to, on the fit activations.
    pub fn variants(&self, wanted: &[Variant], k: usize) -> Vec<Fitted> {
        wanted.iter().map(|&variant| self.variant(variant, k)).collect()
    }

    /// One variant. Only `topk` uses `k`.
    pub fn variant(&self, variant: Variant, k: usize) -> Fitted {
        let n = self.flipped.len();
        let signs: Vec<f32> = self.flipped.iter().map(|&flipped| if flipped { -1.0 } else { 1.0 }).collect();
        let both_sides = vec![vec![1.0; n], vec![-1.0; n]];
        let (parts, activation) = match variant {
            Variant::Fitted => (vec![vec![1.0; n]], Activation::Signed),
            Variant::Oriented => (vec![signs], Activation::Signed),
            Variant::Split => (both_sides, Activation::Relu),
            Variant::Topk => (both_sides, Activation::TopK(k.clamp(1, 2 * n.max(1)))),
        };
        let tensors = Tensors {
            encoder: signed_rows(&self.scoring, &parts),
            encoder_bias: vec![0.0; self.scoring.rows() * parts.len()],
            decoder: signed_rows(&self.directions, &parts),
            decoder_bias: self.centre.clone(),
            subtract_decoder_bias: true,
            activation,
            row_scale: RowScale::Plain,
            skip: None,
        };
        let label = Label { method: variant.method_name(&self.label.method), ..self.label.clone() };
        Fitted { dictionary: Box::new(AffineDictionary::new(label, tensors)), report: self.report.clone() }
    }

    /// Components whose largest codes by absolute value, over all rows of `set`, have a negative sum. Of equal codes the
    /// earlier row counts.
    fn find_flipped(&self, set: &ActivationSet) -> Result<Vec<bool>, FitError> {
        let fitted = self.variant(Variant::Fitted, 1);
        let n = self.scoring.rows();
        let mut largest: Vec<Vec<f32>> = vec![Vec::new(); n];
        let mut bars = vec![0.0f32; n];
        for block in set.blocks(BLOCK_ROWS) {
            let codes = fitted.dictionary.encode(&block?)?;
            for row in codes.iter_rows() {
                // Without an early exit, the comparison of a row is vectorised.
                if row.iter().zip(&bars).fold(false, |any, (code, bar)| any | (code.abs() > *bar)) {
                    for ((&code, bar), largest) in row.iter().zip(&mut bars).zip(&mut largest) {
                        if code.abs() > *bar {
                            *bar = insert_largest(largest, code);
                        }
                    }
                }
            }
        }
        Ok(largest.iter().map(|codes| codes.iter().map(|&code| f64::from(code)).sum::<f64>() < 0.0).collect())
    }
}

/// How many codes the `topk` variant keeps: what the suite says, or the rounded mean L0 of the matched method on the
/// fit split.
pub(super) fn matched_k(k: Option<usize>, l0: Option<f64>) -> usize {
    k.or(l0.map(|l0| (l0.round() as usize).max(1))).unwrap_or(1)
}

/// `rows` once per list of signs, stacked.
fn signed_rows(rows: &Matrix, parts: &[Vec<f32>]) -> Matrix {
    let n = rows.rows();
    Matrix::from_fn(n * parts.len(), rows.cols(), |row, col| parts[row / n][row % n] * rows.at(row % n, col))
}

/// Keeps the largest codes by absolute value, in falling order. Returns the absolute value that a later one must exceed.
fn insert_largest(kept: &mut Vec<f32>, code: f32) -> f32 {
    let place = kept.partition_point(|other| other.abs() >= code.abs());
    kept.insert(place, code);
    kept.truncate(ORIENTING_CODES);
    if kept.len() == ORIENTING_CODES { kept[ORIENTING_CODES - 1].abs() } else { 0.0 }
}
