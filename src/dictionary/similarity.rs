use crate::base::Matrix;
use crate::linalg::matmul_bt;

use super::{Dictionary, DictionaryError, SignPolicy};

/// Mean over the directions of one dictionary of the largest cosine with any of another's. It is
/// not symmetric, so both ways are given.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Mmcs {
    /// From the first to the second.
    pub forward: f64,
    /// From the second to the first.
    pub backward: f64,
}

/// MMCS of two dictionaries; sizes of cosines where either has signed codes.
pub fn mmcs(a: &dyn Dictionary, b: &dyn Dictionary) -> Result<Mmcs, DictionaryError> {
    let (d, got) = (a.info().d_in, b.info().d_in);
    if d != got {
        return Err(DictionaryError::Shape { method: a.info().method.clone(), expected: d, got });
    }
    let signed = [a, b].iter().any(|dictionary| dictionary.info().sign == SignPolicy::Signed);
    Ok(mmcs_of_directions(&a.directions()?, &b.directions()?, signed))
}

/// MMCS of unit rows `[n, d]` and `[m, d]`; `signed` takes sizes of cosines.
pub fn mmcs_of_directions(a: &Matrix, b: &Matrix, signed: bool) -> Mmcs {
    Mmcs { forward: one_way(a, b, signed), backward: one_way(b, a, signed) }
}

fn one_way(from: &Matrix, to: &Matrix, signed: bool) -> f64 {
    let mut total = 0.0;
    let rows: Vec<usize> = (0..from.rows()).collect();
    // A part at a time, so that two large dictionaries need no matrix of all their pairs.
    for part in rows.chunks(1024) {
        let cosines = matmul_bt(&from.select_rows(part), to);
        total += cosines
            .iter_rows()
            .map(|row| {
                let size = |cosine: f32| f64::from(if signed { cosine.abs() } else { cosine });
                row.iter().map(|&cosine| size(cosine)).fold(-1.0, f64::max)
            })
            .sum::<f64>();
    }
    total / from.rows().max(1) as f64
}
