//! The header of a GGUF file: metadata, and positions and shapes of tensors.
//!
//! Every length is compared with the bytes left in the file before memory is reserved, and every error names the key at
//! which it occurred. Source: the format's description (`docs/gguf.md` of ggml).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::NnError;
use super::super::error::corrupt;
use super::super::packed::Encoding;
use crate::base::FileError;

/// Largest number of dimensions of a tensor (`GGML_MAX_DIMS`).
const MAX_DIMS: u32 = 4;
/// Deepest nesting of lists.
const MAX_DEPTH: usize = 4;
/// Largest alignment of tensor data; files have 32.
const MAX_ALIGNMENT: i128 = 1 << 16;
const DEFAULT_ALIGNMENT: i128 = 32;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i128),
    Real(f64),
    Flag(bool),
    Text(String),
    Integers(Vec<i64>),
    Reals(Vec<f32>),
    Flags(Vec<bool>),
    Texts(Vec<String>),
    /// A list of lists, which no used key has.
    Nested,
}

impl Value {
    /// The value in messages, texts cut to 60 characters.
    pub fn shown(&self) -> String {
        match self {
            Self::Integer(x) => format!("`{x}`"),
            Self::Real(x) => format!("`{x}`"),
            Self::Flag(x) => format!("`{x}`"),
            Self::Text(x) => format!("`{x:.60}`"),
            Self::Integers(list) => format!("a list of {} integers", list.len()),
            Self::Reals(list) => format!("a list of {} numbers", list.len()),
            Self::Flags(list) => format!("a list of {} flags", list.len()),
            Self::Texts(list) => format!("a list of {} texts", list.len()),
            Self::Nested => "a list of lists".into(),
        }
    }
}

/// Shape, number format and position of a tensor.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorInfo {
    /// Rows before columns, the reverse of the order in the file.
    pub dims: Vec<usize>,
    /// The number format's index in ggml's list of types.
    pub ggml_type: u32,
    /// Byte offset from the beginning of the file.
    pub start: u64,
}

impl TensorInfo {
    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.dims.iter().map(|&dim| dim as u64).product()
    }
}

/// One file with its header read.
#[derive(Debug)]
pub(super) struct Header {
    /// Its path, for messages.
    pub file: String,
    reader: BufReader<File>,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, TensorInfo>,
    /// Bytes before the tensors.
    size: u64,
    /// Bytes of the file.
    pub length: u64,
}

impl Header {
    pub fn open(path: &Path) -> Result<Self, NnError> {
        let file = path.display().to_string();
        let failed = |source| FileError { action: "read", path: path.to_path_buf(), source };
        let opened = crate::base::open(path)?;
        let length = opened.metadata().map_err(failed)?.len();
        let mut bytes =
            HeaderReader { reader: BufReader::new(opened), left: length, version: 3, at: String::new() };
        let (metadata, tensors, size) = bytes.header(length).map_err(|reason| corrupt(&file, &reason))?;
        Ok(Self { file, reader: bytes.reader, metadata, tensors, size, length })
    }

    /// The bytes before the tensors, for digests.
    pub fn bytes(&mut self) -> Result<Vec<u8>, NnError> {
        self.read_at(0, self.size as usize)
    }

    /// `size` bytes from `start` on; the caller checks that the file has them.
    pub fn read_at(&mut self, start: u64, size: usize) -> Result<Vec<u8>, NnError> {
        let mut bytes = vec![0; size];
        let read = self.reader.seek(SeekFrom::Start(start)).and_then(|_| self.reader.read_exact(&mut bytes));
        read.map_err(|error| corrupt(&self.file, &error.to_string()))?;
        Ok(bytes)
    }
}

/// The rest of a file while its header is read.
struct HeaderReader {
    reader: BufReader<File>,
    left: u64,
    version: u32,
    /// The part being read, for messages.
    at: String,
}

type Parsed<T> = Result<T, String>;
/// Metadata, tensors, and the bytes before the tensors' data.
type Contents = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>, u64);

impl HeaderReader {
    fn header(&mut self, length: u64) -> Parsed<Contents> {
        self.at = "its first bytes".into();
        if self.take::<4>().ok() != Some(*b"GGUF") {
            return Err("it does not begin with `GGUF`, so it is not a GGUF file".into());
        }
        self.version = self.u32()?;
        match self.version {
            1..=3 => {}
            version if (1..=3).contains(&version.swap_bytes()) => {
                return Err("it is big-endian; only little-endian files are read".into());
            }
            version => return Err(format!("its version is {version}; versions 1 to 3 are read")),
        }
        self.at = "the number of tensors".into();
        // At least a name's length, a number of dimensions, a format and an offset.
        let n_tensors = self.length(self.prefix() + 16)?;
        self.at = "the number of metadata entries".into();
        let n_metadata = self.length(self.prefix() + 5)?;
        let metadata = self.metadata(n_metadata)?;
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(x @ 1..=MAX_ALIGNMENT)) if x & (x - 1) == 0 => *x,
            Some(other) => {
                let expected = format!("a power of 2 up to {MAX_ALIGNMENT}");
                return Err(format!("`general.alignment` should be {expected}, got {}", other.shown()));
            }
        };
        let mut tensors = self.tensors(n_tensors)?;
        let data = (length - self.left).next_multiple_of(alignment as u64);
        for (name, info) in &mut tensors {
            info.start = data.checked_add(info.start).ok_or_else(|| {
                format!("tensor `{name}` begins at byte {} of the data, after its end", info.start)
            })?;
        }
        // A file without tensors may end before the data would begin.
        Ok((metadata, tensors, data.min(length)))
    }

    fn metadata(&mut self, n_metadata: usize) -> Parsed<BTreeMap<String, Value>> {
        let mut metadata = BTreeMap::new();
        for nth in 0..n_metadata {
            self.at = format!("the name of metadata entry {nth}");
            let key = self.text()?;
            self.at = format!("`{key}`");
            let kind = self.u32()?;
            let value = self.value(kind, 0)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(format!("`{key}` occurs twice in its metadata"));
            }
        }
        Ok(metadata)
    }

    fn tensors(&mut self, n_tensors: usize) -> Parsed<BTreeMap<String, TensorInfo>> {
        let mut tensors = BTreeMap::new();
        for nth in 0..n_tensors {
            self.at = format!("the name of tensor {nth}");
            let name = self.text()?;
            self.at = format!("tensor `{name}`");
            let n_dims = self.u32()?;
            if n_dims == 0 || n_dims > MAX_DIMS {
                return Err(format!("tensor `{name}` has {n_dims} dimensions; expected 1 to {MAX_DIMS}"));
            }
            let mut dims = Vec::new();
            for _ in 0..n_dims {
                dims.push(usize::try_from(self.word()?).unwrap_or(usize::MAX));
            }
            dims.reverse();
            let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
            if product.is_none_or(|product| product == 0) {
                return Err(format!("tensor `{name}` cannot have the shape {dims:?}"));
            }
            let (ggml_type, start) = (self.u32()?, self.u64()?);
            if tensors.insert(name.clone(), TensorInfo { dims, ggml_type, start }).is_some() {
                return Err(format!("tensor `{name}` occurs twice"));
            }
        }
        Ok(tensors)
    }

    fn value(&mut self, kind: u32, depth: usize) -> Parsed<Value> {
        Ok(match kind {
            6 | 12 => Value::Real(self.real(kind)?),
            7 => Value::Flag(self.flag()?),
            8 => Value::Text(self.text()?),
            9 => {
                let kind = self.u32()?;
                let smallest = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    10..=12 => 8,
                    8 => self.prefix(),
                    9 => 4 + self.prefix(),
                    _ => return Err(self.unknown_kind(kind)),
                };
                let count = self.length(smallest)?;
                self.list(kind, count, depth)?
            }
            _ => Value::Integer(self.integer(kind)?),
        })
    }

    fn list(&mut self, kind: u32, count: usize, depth: usize) -> Parsed<Value> {
        let clamped = |x: i128| x.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        let mut each = 0..count;
        match kind {
            6 | 12 => {
                each.map(|_| self.real(kind).map(|x| x as f32)).collect::<Parsed<_>>().map(Value::Reals)
            }
            7 => each.map(|_| self.flag()).collect::<Parsed<_>>().map(Value::Flags),
            8 => each.map(|_| self.text()).collect::<Parsed<_>>().map(Value::Texts),
            9 if depth == MAX_DEPTH => Err(format!("{} nests lists more than {MAX_DEPTH} deep", self.at)),
            9 => each.try_for_each(|_| self.value(9, depth + 1).map(drop)).map(|()| Value::Nested),
            _ => each.map(|_| self.integer(kind).map(clamped)).collect::<Parsed<_>>().map(Value::Integers),
        }
    }

    fn unknown_kind(&self, kind: u32) -> String {
        format!("{} has type {kind}, which GGUF does not define", self.at)
    }

    fn take<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut bytes = [0; N];
        if self.left < N as u64 {
            return Err(format!("it ends within {}", self.at));
        }
        self.reader.read_exact(&mut bytes).map_err(|error| format!("{}: {error}", self.at))?;
        self.left -= N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Parsed<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Parsed<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// Bytes of a stored length.
    fn prefix(&self) -> u64 {
        if self.version == 1 { 4 } else { 8 }
    }

    /// A length or dimension: 32 bits in version 1, 64 bits later.
    fn word(&mut self) -> Parsed<u64> {
        if self.version == 1 { self.u32().map(u64::from) } else { self.u64() }
    }

    /// A number of items of at least `smallest` bytes each, all of which fit into the rest of the file.
    fn length(&mut self, smallest: u64) -> Parsed<usize> {
        let length = self.word()?;
        if length.checked_mul(smallest).is_none_or(|bytes| bytes > self.left) {
            return Err(format!(
                "{} states a length of {length}, but only {} bytes of the file are left",
                self.at, self.left
            ));
        }
        Ok(length as usize)
    }

    fn integer(&mut self, kind: u32) -> Parsed<i128> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.take()?).into(),
            1 => i8::from_le_bytes(self.take()?).into(),
            2 => u16::from_le_bytes(self.take()?).into(),
            3 => i16::from_le_bytes(self.take()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.take()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.take()?).into(),
            _ => return Err(self.unknown_kind(kind)),
        })
    }

    fn real(&mut self, kind: u32) -> Parsed<f64> {
        Ok(if kind == 6 { f32::from_le_bytes(self.take()?).into() } else { f64::from_le_bytes(self.take()?) })
    }

    fn flag(&mut self) -> Parsed<bool> {
        match self.take::<1>()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(format!("{} is {other}; a flag should be 0 or 1", self.at)),
        }
    }

    /// A text in UTF-8. Invalid bytes become `�`; zero bytes at the end are left out.
    fn text(&mut self) -> Parsed<String> {
        let length = self.length(1)?;
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).map_err(|error| format!("{}: {error}", self.at))?;
        self.left -= length as u64;
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

/// Names of ggml's number formats by index; empty for unused indices and formats that no model file has.
const GGML_TYPES: [&str; 41] = [
    "F32", "F16", "Q4_0", "Q4_1", "", "", "Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K",
    "Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ2_S", "IQ4_XS", "I8", "",
    "I32", "", "F64", "IQ1_M", "BF16", "", "", "", "TQ1_0", "TQ2_0", "", "", "", "MXFP4", "NVFP4",
];

/// The encoding of a number format of ggml; for a format that is not read, its name.
pub(super) fn encoding(ggml_type: u32) -> Result<Encoding, String> {
    let name = GGML_TYPES.get(ggml_type as usize).copied().unwrap_or_default();
    Ok(match name {
        "F32" => Encoding::F32,
        "F16" => Encoding::F16,
        "BF16" => Encoding::Bf16,
        "Q4_0" => Encoding::Q4_0,
        "Q4_1" => Encoding::Q4_1,
        "Q5_0" => Encoding::Q5_0,
        "Q5_1" => Encoding::Q5_1,
        "Q8_0" => Encoding::Q8_0,
        "Q4_K" => Encoding::Q4K,
        "Q5_K" => Encoding::Q5K,
        "Q6_K" => Encoding::Q6K,
        "" => return Err(format!("ggml type {ggml_type}")),
        unread => return Err(unread.into()),
    })
}
