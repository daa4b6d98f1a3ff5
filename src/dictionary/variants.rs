use serde::{Deserialize, Serialize};

use crate::activations::ActivationSet;
use crate::base::Matrix;

use super::affine::{Activation, AffineDictionary, Label, RowScale, Tensors};
use super::{FitError, FitReport, Fitted};

/// Largest codes whose sum decides the sign of an oriented component.
const ORIENTING_CODES: usize = 20;
/// Rows encoded at once while orienting.
const BLOCK_ROWS: usize = 8192;

/// The ways in which a signed decomposition is used; one fit serves all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// Signed, as the solver gives it.
    Fitted,
    /// Signed, each component turned so that its 20 largest codes by size on the fitting
    /// activations add up to more than zero.
    Oriented,
    /// Two non-negative features a component: its positive side, and its negative side.
    Split,
    /// Split, and only the k largest codes of a row stay.
    Topk,
}

impl Variant {
    /// Name in tables: `pca`, `pca_oriented`, `pca_split`, `pca_topk`.
    pub fn method_name(self, method: &str) -> String {
        match self {
            Self::Fitted => method.to_string(),
            Self::Oriented => format!("{method}_oriented"),
            Self::Split => format!("{method}_split"),
            Self::Topk => format!("{method}_topk"),
        }
    }
}

/// A linear decomposition with signs: components that score `W(x − μ)` and rebuild
/// `μ + Σ code · direction`.
#[derive(Debug, Clone)]
pub struct Decomposition {
    /// Names the `fitted` variant.
    pub(super) label: Label,
    /// `[n, d]`.
    pub(super) scoring: Matrix,
    /// `[n, d]`: principal directions, or mixing columns.
    pub(super) directions: Matrix,
    /// μ, or zeros where the mean is not taken off at encoding.
    pub(super) centre: Vec<f32>,
    /// True per component where `oriented` turns it.
    pub(super) turned: Vec<bool>,
    /// How the fit went.
    pub(super) report: FitReport,
}

impl Decomposition {
    /// The variants in the order asked for. `k` is the number of codes that `topk` keeps.
    pub fn variants(&self, wanted: &[Variant], k: usize) -> Vec<Fitted> {
        wanted.iter().map(|&variant| self.variant(variant, k)).collect()
    }

    /// One variant; `k` matters to `topk` alone.
    pub fn variant(&self, variant: Variant, k: usize) -> Fitted {
        let signs: Vec<f32> = self.turned.iter().map(|&turned| if turned { -1.0 } else { 1.0 }).collect();
        let plain = vec![1.0; signs.len()];
        let flipped = vec![-1.0; signs.len()];
        let (parts, activation) = match variant {
            Variant::Fitted => (vec![plain], Activation::Signed),
            Variant::Oriented => (vec![signs], Activation::Signed),
            Variant::Split => (vec![plain, flipped], Activation::Relu),
            Variant::Topk => (vec![plain, flipped], Activation::TopK(k.clamp(1, 2 * signs.len().max(1)))),
        };
        let tensors = Tensors {
            encoder: signed_rows(&self.scoring, &parts),
            encoder_bias: vec![0.0; self.scoring.rows() * parts.len()],
            decoder: signed_rows(&self.directions, &parts),
            decoder_bias: self.centre.clone(),
            subtract_decoder_bias: true,
            activation,
            row_scale: RowScale::Plain,
        };
        let label = Label { method: variant.method_name(&self.label.method), ..self.label.clone() };
        Fitted { dictionary: Box::new(AffineDictionary::new(label, tensors)), report: self.report.clone() }
    }
}

/// How many codes the `topk` variant keeps: what the suite says, or the rounded mean L0 of the matched method on the
/// fit split.
pub(super) fn matched_k(k: Option<usize>, l0: Option<f64>) -> usize {
    k.or(l0.map(|l0| (l0.round() as usize).max(1))).unwrap_or(1)
}

/// `rows` once per list of signs, one below the other.
fn signed_rows(rows: &Matrix, parts: &[Vec<f32>]) -> Matrix {
    let n = rows.rows();
    Matrix::from_fn(n * parts.len(), rows.cols(), |row, col| parts[row / n][row % n] * rows.at(row % n, col))
}

/// Which components to turn: those whose largest codes by size, over all rows of `set`, add up to
/// less than zero. Of equal sizes the earlier row counts.
pub fn find_turned(decomposition: &Decomposition, set: &ActivationSet) -> Result<Vec<bool>, FitError> {
    let fitted = decomposition.variant(Variant::Fitted, 1);
    let n = decomposition.scoring.rows();
    let mut largest: Vec<Vec<f32>> = vec![Vec::new(); n];
    let mut bars = vec![0.0f32; n];
    for block in set.blocks(BLOCK_ROWS) {
        let codes = fitted.dictionary.encode(&block?)?;
        for row in codes.iter_rows() {
            let mut any = false;
            for (code, bar) in row.iter().zip(&bars) {
                any |= code.abs() > *bar;
            }
            if any {
                for (component, &code) in row.iter().enumerate() {
                    if code.abs() > bars[component] {
                        bars[component] = insert_largest(&mut largest[component], code);
                    }
                }
            }
        }
    }
    Ok(largest.iter().map(|codes| codes.iter().map(|&code| f64::from(code)).sum::<f64>() < 0.0).collect())
}

/// Keeps the largest by size, largest first; gives the size that a later one must pass.
fn insert_largest(kept: &mut Vec<f32>, code: f32) -> f32 {
    let place = kept.partition_point(|other| other.abs() >= code.abs());
    kept.insert(place, code);
    kept.truncate(ORIENTING_CODES);
    if kept.len() == ORIENTING_CODES { kept[ORIENTING_CODES - 1].abs() } else { 0.0 }
}
