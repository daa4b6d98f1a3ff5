//! Finds tensors in a safetensors file, without reading their numbers.

use safetensors::Dtype;
use safetensors::tensor::Metadata;

use super::column::{Column, Number};
use super::open_file::{Contents, OpenFile, is_read};
use super::recorded::{RECORDED, Recorded};
use crate::subject::SubjectError;

/// Longest accepted header.
const MAX_HEADER: u64 = 100 << 20;

/// The tensors of a file whose names are read, each with its rows along the first axis, and the names of the others.
pub(super) fn read(file: &OpenFile) -> Result<Contents, SubjectError> {
    let mut prefix = [0; 8];
    file.read_into(0, &mut prefix)?;
    let header = u64::from_le_bytes(prefix);
    if header > MAX_HEADER || header + 8 > file.length {
        return Err(file.wrong(&format!(
            "is no whole safetensors file: its header should be {header} bytes long, and it has {} bytes",
            file.length
        )));
    }
    let json = file.read(8, header as usize)?;
    let invalid = |error: serde_json::Error| {
        file.wrong(&format!(
            "is no safetensors file: its header is not valid ({error}); copy or save it again"
        ))
    };
    let metadata: Metadata = serde_json::from_slice(&json).map_err(invalid)?;
    drop(json);
    let expected = 8 + header + metadata.data_len() as u64;
    if expected != file.length {
        return Err(file.wrong(&format!(
            "is no whole safetensors file: its header describes {expected} bytes, and it has {}; copy or save it again",
            file.length
        )));
    }
    let recorded = metadata.metadata().as_ref().and_then(|all| all.get(RECORDED));
    let recorded = recorded.map(|json| Recorded::parse(json).map_err(|why| file.wrong(&why))).transpose()?;
    let mut contents = Contents { columns: Vec::new(), others: Vec::new(), recorded };
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        let (Some((&rows, shape)), true) = (info.shape.split_first(), is_read(&name)) else {
            contents.others.push(name);
            continue;
        };
        let number = number(info.dtype).ok_or_else(|| {
            let expected = "expected F32, F16, BF16 or F64 activations and integer ids";
            file.wrong(&format!("stores the tensor `{name}` as {:?}, {expected}", info.dtype))
        })?;
        let mut column = Column::new(number, shape.to_vec());
        column.push(0, 8 + header + info.data_offsets.0 as u64, rows);
        contents.columns.push((name, column));
    }
    Ok(contents)
}

fn number(dtype: Dtype) -> Option<Number> {
    let int = |bytes, signed| Some(Number::Int { bytes, signed });
    match dtype {
        Dtype::F16 => Some(Number::F16),
        Dtype::BF16 => Some(Number::Bf16),
        Dtype::F32 => Some(Number::F32),
        Dtype::F64 => Some(Number::F64),
        Dtype::U8 => int(1, false),
        Dtype::I8 => int(1, true),
        Dtype::U16 => int(2, false),
        Dtype::I16 => int(2, true),
        Dtype::U32 => int(4, false),
        Dtype::I32 => int(4, true),
        Dtype::U64 => int(8, false),
        Dtype::I64 => int(8, true),
        _ => None,
    }
}
