//! safetensors: 8 bytes of length, a JSON header with type, shape and place of each tensor, the tensors' bytes.

use std::collections::BTreeMap;

use safetensors::SafeTensors;

use super::element::Element;
use super::names::shown;
use super::tensor::{Piece, Tensor};

/// Bytes of the header; one of a million tensors is longer.
const LONGEST_HEADER: u64 = 16 << 20;

/// Whether the file starts as a safetensors file does: with the length of a JSON header.
pub fn recognised(file: &[u8]) -> bool {
    file.get(8).is_some_and(|first| *first == b'{')
}

/// Tensors of the file.
pub fn read(file: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let header = file.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if header > LONGEST_HEADER && header <= file.len() as u64 {
        return Err(format!("its header takes {header} bytes; expected at most {LONGEST_HEADER}"));
    }
    let (header, metadata) = SafeTensors::read_metadata(file).map_err(|error| {
        format!("not a whole safetensors file ({}); copy or download it again", shown(&error.to_string()))
    })?;
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let (start, end) = info.data_offsets;
        let piece = Piece::stored(8 + header + start..8 + header + end);
        let tensor = Tensor::dense(Element::from(info.dtype), info.shape.clone(), false, 0, piece);
        tensor.map_err(|why| format!("tensor `{}`: {why}", shown(&name))).map(|tensor| (name, tensor))
    });
    tensors.collect()
}
