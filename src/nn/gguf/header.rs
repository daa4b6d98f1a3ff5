//! The header of a GGUF file: metadata and the places of tensors.
//!
//! Every length is held against what is left of the file before anything of that size is reserved, and every
//! error names the key it stands at. Source: the format's description (`docs/gguf.md` of ggml).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use super::super::NnError;
use super::super::packed::Encoding;
use super::corrupt;
use crate::base::FileError;

/// Most dimensions of a tensor (`GGML_MAX_DIMS`).
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
    /// Lists of lists: no key that is read has one.
    Nested,
}

impl Value {
    /// As messages show it.
    pub fn shown(&self) -> String {
        const LONGEST: usize = 60;
        let count = |n: usize, what: &str| format!("a list of {n} {what}");
        match self {
            Self::Integer(x) => format!("`{x}`"),
            Self::Real(x) => format!("`{x}`"),
            Self::Flag(x) => format!("`{x}`"),
            Self::Text(x) => format!("`{}`", x.chars().take(LONGEST).collect::<String>()),
            Self::Integers(list) => count(list.len(), "integers"),
            Self::Reals(list) => count(list.len(), "numbers"),
            Self::Flags(list) => count(list.len(), "flags"),
            Self::Texts(list) => count(list.len(), "texts"),
            Self::Nested => "a list of lists".into(),
        }
    }
}

/// Where a tensor is, and in what form.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorInfo {
    /// Rows before columns, as everywhere else in this program; a GGUF file has them the other way round.
    pub dims: Vec<usize>,
    /// Number of the form in ggml's list.
    pub form: u32,
    /// From the beginning of the file.
    pub start: u64,
}

impl TensorInfo {
    /// How many numbers the tensor holds.
    pub fn count(&self) -> u64 {
        self.dims.iter().map(|&dim| dim as u64).product()
    }
}

/// One file with its header read.
#[derive(Debug)]
pub(super) struct Header {
    /// For messages.
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
        let mut bytes = Bytes { reader: BufReader::new(opened), left: length, version: 3, at: String::new() };
        let (metadata, tensors, size) = bytes.header(length).map_err(|reason| corrupt(&file, &reason))?;
        Ok(Self { file, reader: bytes.reader, metadata, tensors, size, length })
    }

    /// The bytes before the tensors, for digests.
    pub fn bytes(&mut self) -> Result<Vec<u8>, NnError> {
        self.read_at(0, self.size as usize)
    }

    /// `size` bytes from `start` on, which lie inside of the file.
    pub fn read_at(&mut self, start: u64, size: usize) -> Result<Vec<u8>, NnError> {
        let mut bytes = vec![0; size];
        let read = self.reader.seek(SeekFrom::Start(start)).and_then(|_| self.reader.read_exact(&mut bytes));
        read.map_err(|error| corrupt(&self.file, &error.to_string()))?;
        Ok(bytes)
    }
}

/// What is left of a file.
struct Bytes {
    reader: BufReader<File>,
    left: u64,
    version: u32,
    /// What is being read, for messages.
    at: String,
}

type Parsed<T> = Result<T, String>;
/// Metadata, tensors, and the bytes before the tensors' data.
type Contents = (BTreeMap<String, Value>, BTreeMap<String, TensorInfo>, u64);

impl Bytes {
    fn header(&mut self, length: u64) -> Parsed<Contents> {
        self.at = "its first bytes".into();
        if self.take::<4>().ok() != Some(*b"GGUF") {
            return Err("it does not begin with `GGUF`; it is no GGUF file".into());
        }
        self.version = self.u32()?;
        match self.version {
            1..=3 => {}
            version if (1..=3).contains(&version.swap_bytes()) => {
                return Err("it is written for big-endian machines, which is not read".into());
            }
            version => return Err(format!("it is of version {version}, and versions 1 to 3 are read")),
        }
        self.at = "its count of tensors".into();
        // A name's length, dimensions, form and place.
        let n_tensors = self.length(self.prefix() + 16)?;
        self.at = "its count of metadata".into();
        let n_metadata = self.length(self.prefix() + 5)?;
        let metadata = self.metadata(n_metadata)?;
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(Value::Integer(x @ 1..=MAX_ALIGNMENT)) if x & (x - 1) == 0 => *x,
            Some(other) => {
                return Err(format!(
                    "`general.alignment` should be a power of 2 up to {MAX_ALIGNMENT}, got {}",
                    other.shown()
                ));
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
                return Err(format!("`{key}` stands twice in its metadata"));
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
                return Err(format!("tensor `{name}` has {n_dims} dimensions; 1 to {MAX_DIMS} are possible"));
            }
            let mut dims = Vec::new();
            for _ in 0..n_dims {
                let dim = if self.version == 1 { u64::from(self.u32()?) } else { self.u64()? };
                dims.push(usize::try_from(dim).unwrap_or(usize::MAX));
            }
            dims.reverse();
            let product = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
            if product.is_none_or(|product| product == 0) {
                return Err(format!("tensor `{name}` cannot have the shape {dims:?}"));
            }
            let (form, start) = (self.u32()?, self.u64()?);
            if tensors.insert(name.clone(), TensorInfo { dims, form, start }).is_some() {
                return Err(format!("tensor `{name}` stands twice in it"));
            }
        }
        Ok(tensors)
    }

    fn value(&mut self, kind: u32, depth: usize) -> Parsed<Value> {
        Ok(match kind {
            0..=5 | 10 | 11 => Value::Integer(self.integer(kind)?),
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
            _ => return Err(self.unknown_kind(kind)),
        })
    }

    fn list(&mut self, kind: u32, count: usize, depth: usize) -> Parsed<Value> {
        let clamped = |x: i128| x.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        Ok(match kind {
            6 | 12 => {
                Value::Reals((0..count).map(|_| self.real(kind).map(|x| x as f32)).collect::<Parsed<_>>()?)
            }
            7 => Value::Flags((0..count).map(|_| self.flag()).collect::<Parsed<_>>()?),
            8 => Value::Texts((0..count).map(|_| self.text()).collect::<Parsed<_>>()?),
            9 => {
                if depth == MAX_DEPTH {
                    return Err(format!("{} holds lists in lists more than {MAX_DEPTH} deep", self.at));
                }
                for _ in 0..count {
                    self.value(9, depth + 1)?;
                }
                Value::Nested
            }
            _ => Value::Integers((0..count).map(|_| self.integer(kind).map(clamped)).collect::<Parsed<_>>()?),
        })
    }

    fn unknown_kind(&self, kind: u32) -> String {
        format!("{} is of kind {kind}, which the format does not have", self.at)
    }

    fn take<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut bytes = [0; N];
        if self.left < N as u64 {
            return Err(format!("it ends inside of {}", self.at));
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

    /// Bytes that a length takes.
    fn prefix(&self) -> u64 {
        if self.version == 1 { 4 } else { 8 }
    }

    /// A number of things of at least `smallest` bytes each, of which the rest of the file has room for all.
    fn length(&mut self, smallest: u64) -> Parsed<usize> {
        let length = if self.version == 1 { u64::from(self.u32()?) } else { self.u64()? };
        if length.checked_mul(smallest).is_none_or(|bytes| bytes > self.left) {
            return Err(format!(
                "{} claims a length of {length}, and only {} bytes of the file are left",
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
            [other] => Err(format!("{} is {other}, and a flag is 0 or 1", self.at)),
        }
    }

    /// UTF-8; bytes that are none become `�`, and zero bytes at the end are left out.
    fn text(&mut self) -> Parsed<String> {
        let length = self.length(1)?;
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).map_err(|error| format!("{}: {error}", self.at))?;
        self.left -= length as u64;
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

/// The encoding of a form of ggml's list, or its name there.
pub(super) fn encoding(form: u32) -> Result<Encoding, String> {
    Ok(match form {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        30 => Encoding::Bf16,
        other => {
            let known = UNREAD.iter().find(|(form, _)| *form == other);
            return Err(known.map_or_else(|| format!("form {other} of ggml"), |(_, name)| (*name).into()));
        }
    })
}

/// Forms of numbers that are not read.
const UNREAD: [(u32, &str); 20] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (26, "I32"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
];
