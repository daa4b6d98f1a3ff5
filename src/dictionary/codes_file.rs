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

use crate::base::{AtomicFile, Matrix, safetensors_header};
use crate::linalg::SparseCodes;

use super::quality::{Codes, QualityCounter, column_means};
use super::tensor_file::le_bytes;
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
    let (header, starts) = safetensors_header(&tensors, Some(metadata), path)?;
    let starts: HashMap<&str, u64> = tensors.iter().map(|(name, _, _)| name.as_str()).zip(starts).collect();
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
    let reconstructs_input =
        info.reconstructs_input() && d_out == info.d_in && dictionary.tensors().skip.is_none();
    let mean = column_means(x);
    let mut counter = QualityCounter::new(dictionary, &mean);
    for (nth, block) in blocks(x).enumerate() {
        let first = (nth * BLOCK_ROWS) as u64;
        let (codes, estimate) = dictionary.encode_and_reconstruct(&block)?;
        let compared = estimate.as_ref().filter(|_| reconstructs_input);
        counter.add_coded(&block, Codes::Sparse(&codes), compared, |_| true);
        if !sparse {
            let mut dense = vec![0.0; block.rows() * features];
            codes.write_dense(&mut dense);
            write_at(starts["code"] + first * features as u64 * 4, &le_bytes(&dense))?;
        }
        if let Some(estimate) = estimate {
            write_at(starts["recon"] + first * d_out as u64 * 4, &le_bytes(estimate.data()))?;
        }
    }
    for (name, _, _, bytes) in &more {
        write_at(starts[name.as_str()], bytes)?;
    }
    file.commit()?;
    let quality = counter.finish();
    Ok(WrittenCodes {
        tensors: tensors.iter().map(|(name, _, shape)| (name.clone(), shape.clone())).collect(),
        l0: quality.l0,
        fvu: quality.fvu,
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
