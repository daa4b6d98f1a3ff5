//! The header of a safetensors file whose tensors are written piece by piece.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::FileError;

/// The header of tensors (name, type, shape) that follow each other, padded to 8 bytes, and the place of each tensor in the
/// file. `path` is named in errors.
pub fn safetensors_header(
    tensors: &[(String, Dtype, Vec<usize>)],
    metadata: Option<HashMap<String, String>>,
    path: &Path,
) -> Result<(Vec<u8>, Vec<u64>), FileError> {
    let failed = |reason: String| FileError {
        action: "write",
        path: path.to_path_buf(),
        source: std::io::Error::other(reason),
    };
    let mut end = 0;
    let mut infos = Vec::new();
    let mut starts = Vec::new();
    for (name, dtype, shape) in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * dtype.bitsize() / 8;
        starts.push(start);
        let info = TensorInfo { dtype: *dtype, shape: shape.clone(), data_offsets: (start, end) };
        infos.push((name.clone(), info));
    }
    let metadata = Metadata::new(metadata, infos).map_err(|error| failed(error.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| failed(error.to_string()))?;
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend(json);
    let begin = header.len();
    Ok((header, starts.into_iter().map(|start| (begin + start) as u64).collect()))
}
