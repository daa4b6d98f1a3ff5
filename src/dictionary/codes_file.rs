//! Writes codes and reconstructions of given activations to a safetensors file.
//!
//! ```text
//! code    [n, F]        f32        dense
//! indices [2, nnz]      i64        sparse: row, feature; in order of rows, then of features
//! values  [nnz]         f32        sparse
//! recon   [n, d_out]    f32        where the dictionary reconstructs
//! ```

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;

use crate::base::{AtomicFile, Matrix};
use crate::linalg::SparseCodes;

use super::tensor_file::{header, le_bytes};
use super::tensor_files::TensorFile;
use super::{AffineDictionary, Dictionary, DictionaryError};

/// Rows encoded at once.
const BLOCK_ROWS: usize = 1024;

/// What was written, and how well the dictionary explains these rows.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenCodes {
    /// Name and shape of each tensor.
    pub tensors: Vec<(String, Vec<usize>)>,
    /// Mean number of non-zero codes of a row.
    pub l0: f64,
    /// `Σ‖y − x̂‖² / Σ‖y − ȳ‖²` over these rows, where the reconstruction is of the input; None for transcoders.
    pub fvu: Option<f64>,
}

/// A tensor that is written as it is: name, type, shape, little-endian bytes.
pub type PlainTensor = (String, Dtype, Vec<usize>, Vec<u8>);

/// Encodes the rows of `x` `[n, d]` block by block and writes `path`, with `more` tensors. Memory holds one block of
/// dense codes, or all non-zero codes if `sparse`.
pub fn write_codes(
    dictionary: &AffineDictionary,
    x: &Matrix,
    sparse: bool,
    more: Vec<PlainTensor>,
    metadata: HashMap<String, String>,
    path: &Path,
) -> Result<WrittenCodes, DictionaryError> {
    let info = dictionary.info();
    let (n, features, d_out) = (x.rows(), info.n_features, info.d_out);
    let mut all = SparseCodes::new(features);
    if sparse {
        for block in blocks(x) {
            all.append(&dictionary.encode_sparse(&block)?);
        }
    }
    let mut tensors: Vec<(String, Dtype, Vec<usize>)> = match sparse {
        true => vec![
            ("indices".into(), Dtype::I64, vec![2, all.n_entries()]),
            ("values".into(), Dtype::F32, vec![all.n_entries()]),
        ],
        false => vec![("code".into(), Dtype::F32, vec![n, features])],
    };
    if info.is_reconstruction {
        tensors.push(("recon".into(), Dtype::F32, vec![n, d_out]));
    }
    tensors.extend(more.iter().map(|(name, dtype, shape, _)| (name.clone(), *dtype, shape.clone())));
    let (header, starts) = header(&tensors, Some(metadata), path)?;
    let mut file = AtomicFile::create(path)?;
    file.write(&header)?;
    let mut write_at = |at: u64, bytes: &[u8]| -> Result<(), DictionaryError> {
        file.seek(at)?;
        Ok(file.write(bytes)?)
    };
    if sparse {
        let entries =
            || (0..n).flat_map(|row| all.iter_row(row).map(move |(feature, code)| (row, feature, code)));
        let bytes = |value: usize| (value as i64).to_le_bytes();
        let mut indices: Vec<u8> = entries().flat_map(|(row, _, _)| bytes(row)).collect();
        indices.extend(entries().flat_map(|(_, feature, _)| bytes(feature)));
        write_at(starts["indices"], &indices)?;
        write_at(starts["values"], &le_bytes(&entries().map(|(_, _, code)| code).collect::<Vec<_>>()))?;
    }
    let (mut error, mut active) = (0.0, 0);
    for (nth, block) in blocks(x).enumerate() {
        let first = (nth * BLOCK_ROWS) as u64;
        let (codes, estimate) = dictionary.encode_and_reconstruct(&block)?;
        active += codes.n_entries();
        if !sparse {
            let mut dense = vec![0.0; block.rows() * features];
            codes.write_dense(&mut dense);
            write_at(starts["code"] + first * features as u64 * 4, &le_bytes(&dense))?;
        }
        if let Some(estimate) = estimate {
            write_at(starts["recon"] + first * d_out as u64 * 4, &le_bytes(estimate.data()))?;
            error += squares(block.data(), estimate.data());
        }
    }
    for (name, _, _, bytes) in &more {
        write_at(starts[name], bytes)?;
    }
    file.commit()?;
    let deviation = deviation(x);
    let reconstructs_input =
        info.is_reconstruction && d_out == info.d_in && dictionary.tensors().skip.is_none();
    Ok(WrittenCodes {
        tensors: tensors.into_iter().map(|(name, _, shape)| (name, shape)).collect(),
        l0: active as f64 / n.max(1) as f64,
        fvu: (reconstructs_input && deviation > 0.0).then(|| error / deviation),
    })
}

/// A tensor of a file as a matrix `[rows, width]`; dimensions before the last are flattened.
pub fn matrix_in(path: &Path, name: &str) -> Result<Matrix, DictionaryError> {
    let file = TensorFile::open(path)?;
    let values = file.values(name)?;
    let shape = file.shape(name).unwrap_or_default();
    let width = match shape {
        [_, .., width] if !values.is_empty() => *width,
        _ => {
            let problem = format!("tensor `{name}` has shape {shape:?}; expected [rows, width]");
            return Err(DictionaryError::unusable(path, problem));
        }
    };
    let rows = values.len() / width;
    let problem =
        || DictionaryError::unusable(path, format!("tensor `{name}` has no whole rows of width {width}"));
    Matrix::from_vec(rows, width, values).ok_or_else(problem)
}

/// Blocks of rows.
fn blocks(x: &Matrix) -> impl Iterator<Item = Matrix> {
    (0..x.rows()).step_by(BLOCK_ROWS).map(|start| {
        let rows = BLOCK_ROWS.min(x.rows() - start);
        Matrix::from_fn(rows, x.cols(), |row, col| x.at(start + row, col))
    })
}

/// `Σ‖x − x̂‖²`.
fn squares(x: &[f32], estimate: &[f32]) -> f64 {
    x.iter().zip(estimate).map(|(x, estimate)| (f64::from(*x) - f64::from(*estimate)).powi(2)).sum()
}

/// `Σ‖x − x̄‖²`.
fn deviation(x: &Matrix) -> f64 {
    let mut mean = vec![0.0; x.cols()];
    for row in x.iter_rows() {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / x.rows() as f64);
    }
    let of_row =
        |row: &[f32]| row.iter().zip(&mean).map(|(x, mean)| (f64::from(*x) - mean).powi(2)).sum::<f64>();
    x.iter_rows().map(of_row).sum()
}
