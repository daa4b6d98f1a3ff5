//! numpy's `.npz`: a zip of `.npy` arrays, stored or deflated.
//!
//! An array is `\x93NUMPY`, version, length of the header, header, data. The header is a Python literal:
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (96, 64), }`.
//! Source: numpy's `numpy/lib/format.py`, versions 1.0, 2.0 and 3.0.

use std::collections::BTreeMap;

use super::archive::Archive;
use super::element::Element;
use super::names::shown;
use super::tensor::{Piece, Tensor};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Bytes of an array's header.
const LONGEST_HEADER: usize = 1 << 16;

/// Arrays of an archive, by name without `.npy`.
pub fn read(file: &[u8], archive: &Archive) -> Result<BTreeMap<String, Tensor>, String> {
    let mut tensors = BTreeMap::new();
    for (entry, piece) in archive {
        let wrong = |why: String| format!("entry `{}` {why}", shown(entry));
        let name =
            entry.strip_suffix(".npy").ok_or_else(|| wrong("is no array; expected `.npy`".to_string()))?;
        tensors.insert(name.to_string(), array(file, piece).map_err(wrong)?);
    }
    Ok(tensors)
}

fn array(file: &[u8], piece: &Piece) -> Result<Tensor, String> {
    let bytes = piece.start(file, LONGEST_HEADER)?;
    let rest =
        bytes.strip_prefix(MAGIC).ok_or("is no array of numpy: it does not start with `\\x93NUMPY`")?;
    let [major, _minor, rest @ ..] = rest else { return Err(CUT.to_string()) };
    let (length, start): (usize, usize) = match (major, rest) {
        (1, [a, b, ..]) => (usize::from(u16::from_le_bytes([*a, *b])), 10),
        (2 | 3, [a, b, c, d, ..]) => (u32::from_le_bytes([*a, *b, *c, *d]) as usize, 12),
        (1..=3, _) => return Err(CUT.to_string()),
        (other, _) => return Err(format!("is of version {other} of the array format; expected 1, 2 or 3")),
    };
    let header = bytes.get(start..start.saturating_add(length)).ok_or(CUT)?;
    let header = std::str::from_utf8(header).map_err(|_| "has a header that is not UTF-8")?;
    let Header { descr, fortran, shape } = Header::parse(header)?;
    let element = element(&descr)?;
    let data = start + length;
    let tensor = Tensor::dense(element, shape, fortran, data, piece.clone())?;
    let needed = tensor.count() * element.bits() / 8 + data;
    if needed != piece.len {
        let (shape, len) = (&tensor.shape, piece.len);
        return Err(format!("with shape {shape:?} should take {needed} bytes; stored are {len}"));
    }
    Ok(tensor)
}

const CUT: &str = "ends within its header, or the header is longer than 65,536 bytes";

/// The type that numpy calls `descr`.
fn element(descr: &str) -> Result<Element, String> {
    let refused = |why: &str| format!("holds numbers of type `{}`: {why}", shown(descr));
    Ok(match descr.strip_prefix(['<', '|', '=']).unwrap_or(descr) {
        // Byte order means nothing for one byte.
        "b1" => Element::Bool,
        "i1" => Element::I8,
        "u1" => Element::U8,
        _ if descr.starts_with('>') => {
            return Err(refused("big-endian; convert it by `x.astype(x.dtype.newbyteorder('<'))`"));
        }
        "f2" => Element::F16,
        "f4" => Element::F32,
        "f8" => Element::F64,
        "i2" => Element::I16,
        "i4" => Element::I32,
        "i8" => Element::I64,
        "u2" => Element::U16,
        "u4" => Element::U32,
        "u8" => Element::U64,
        "O" => {
            return Err(refused(
                "Python objects, which need pickle and could run code; store arrays of numbers",
            ));
        }
        "V2" => return Err(refused("raw bytes, as numpy has no bfloat16; store f32 or use safetensors")),
        _ => return Err(refused("expected f2, f4, f8, integers or bool")),
    })
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Parses the literal: three keys in any order, no other syntax.
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("has the header `{}`; expected descr, fortran_order and shape", shown(text));
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{').ok_or_else(wrong)?.trim_start();
        while !rest.starts_with('}') {
            let (key, after) = quoted(rest).ok_or_else(wrong)?;
            let after = after.trim_start().strip_prefix(':').ok_or_else(wrong)?.trim_start();
            rest = match key {
                "descr" if descr.is_none() => {
                    if after.starts_with('[') {
                        return Err("holds records of several fields; expected one number type".to_string());
                    }
                    let (value, after) = quoted(after).ok_or_else(wrong)?;
                    descr = Some(value.to_string());
                    after
                }
                "fortran_order" if fortran.is_none() => {
                    let value = after.starts_with("True");
                    fortran = Some(value);
                    after.strip_prefix(if value { "True" } else { "False" }).ok_or_else(wrong)?
                }
                "shape" if shape.is_none() => {
                    let (inside, after) =
                        after.strip_prefix('(').and_then(|rest| rest.split_once(')')).ok_or_else(wrong)?;
                    let dims = inside.split(',').map(str::trim).filter(|dim| !dim.is_empty());
                    // Python 2 wrote `64L`.
                    let dims = dims.map(|dim| dim.strip_suffix('L').unwrap_or(dim).parse::<usize>());
                    shape = Some(dims.collect::<Result<Vec<_>, _>>().map_err(|_| wrong())?);
                    after
                }
                _ => return Err(wrong()),
            };
            rest = rest.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(rest) => rest.trim_start(),
                None if rest.starts_with('}') => rest,
                None => return Err(wrong()),
            };
        }
        match (descr, fortran, shape, rest.trim_end()) {
            (Some(descr), Some(fortran), Some(shape), "}") if shape.len() <= 64 => {
                Ok(Self { descr, fortran, shape })
            }
            _ => Err(wrong()),
        }
    }
}

/// The string literal that starts `text`, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let (inside, after) = text[1..].split_once(quote)?;
    (!inside.contains('\\')).then_some((inside, after))
}
