//! Named tensors of a model, from safetensors files, GGUF files or memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Map, Value};

use super::error::corrupt;
use super::packed::{Encoding, Packed};
use super::rows::Rows;
use super::{Config, NnError};
use crate::base::{Digest, Digester, FileError, Stream, has_entry, is_inside};

/// Longest accepted header; the largest known models need a few megabytes.
const MAX_HEADER: u64 = 100 << 20;

/// Named tensors of a model, in f32. Packed matrices stay in their stored number format.
#[derive(Debug, Clone)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    packed: HashMap<String, Packed>,
    /// Shape and bytes of the two halves of MXFP4 tensors, which may be in different files.
    halves: HashMap<String, (Vec<usize>, Vec<u8>)>,
    /// File of each tensor, for messages.
    files: HashMap<String, String>,
    source: String,
    digest: Digest,
}

impl Weights {
    /// Reads `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// Fails if a file is missing, cut short or corrupt, or an entry is not finite.
    pub fn from_folder(folder: &Path, device: &Device) -> Result<Self, NnError> {
        Self::read_folder(folder, Matrices::Plain(device))
    }

    /// As [`Weights::from_folder`], for inference: matrices stay in main memory in their stored number format.
    pub fn packed_from_folder(folder: &Path) -> Result<Self, NnError> {
        Self::read_folder(folder, Matrices::Packed)
    }

    fn read_folder(folder: &Path, matrices: Matrices<'_>) -> Result<Self, NnError> {
        let files = files_of(folder)?;
        let mut weights = Self::empty(&folder.display().to_string());
        let mut digester = Digester::new("weights");
        for file in &files {
            let (reader, length) = open_with_length(file)?;
            digester.digest(&weights.read(reader, length, &file.display().to_string(), matrices)?);
        }
        if let [file] = files.as_slice() {
            weights.source = file.display().to_string();
        }
        weights.digest = digester.finish();
        weights.unpack_mxfp4()?;
        Ok(weights)
    }

    /// Reads a safetensors file in memory; messages call it `name`.
    pub fn from_bytes(bytes: &[u8], name: &str, device: &Device) -> Result<Self, NnError> {
        let mut weights = Self::empty(name);
        let digest = weights.read(Cursor::new(bytes), bytes.len() as u64, name, Matrices::Plain(device))?;
        let mut digester = Digester::new("weights");
        digester.digest(&digest);
        weights.digest = digester.finish();
        Ok(weights)
    }

    /// Takes tensors as they are, for example candle variables in training, without checks or copies. The digest covers
    /// names and shapes only.
    pub fn from_tensors(tensors: HashMap<String, Tensor>, name: &str) -> Self {
        let sorted: BTreeMap<_, _> = tensors.iter().map(|(name, tensor)| (name, tensor.dims())).collect();
        let mut digester = Digester::new("weights in memory");
        digester.json(&sorted);
        let digest = digester.finish();
        Self { tensors, digest, ..Self::empty(name) }
    }

    /// Unpacks every matrix to f32 on the CPU, as a model with hooks needs.
    pub fn unpacked(mut self) -> Result<Self, NnError> {
        for (name, packed) in std::mem::take(&mut self.packed) {
            let tensor = Tensor::from_vec(packed.to_f32(), &packed.dims(), &Device::Cpu)?;
            self.tensors.insert(name, tensor);
        }
        Ok(self)
    }

    pub(super) fn empty(source: &str) -> Self {
        let (tensors, packed, halves, files) = Default::default();
        let digest = Digester::new("weights").finish();
        Self { tensors, packed, halves, files, source: source.to_string(), digest }
    }

    /// Digest of the files' bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Number of tensors.
    pub(super) fn len(&self) -> usize {
        self.tensors.len() + self.packed.len()
    }

    /// True if a tensor has that name, or another of its possible names.
    pub fn has(&self, name: &str) -> bool {
        possible_names(name).iter().any(|name| self.contains(name))
    }

    fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.packed.contains_key(name)
    }

    /// A tensor's name as these files spell it.
    fn stored_name(&self, name: &str) -> Result<String, NnError> {
        let missing = || NnError::MissingTensor {
            name: name.to_string(),
            file: self.source.clone(),
            n_tensors: self.len(),
            hint: self.unknown_prefix(name).unwrap_or_default(),
        };
        possible_names(name).into_iter().find(|name| self.contains(name)).ok_or_else(missing)
    }

    /// A remark for messages if `name` exists with an unknown prefix.
    fn unknown_prefix(&self, name: &str) -> Option<String> {
        let bare = possible_names(name).into_iter().min_by_key(String::len)?;
        let names = self.tensors.keys().chain(self.packed.keys());
        let prefix = |stored: &String| {
            let prefix = stored.strip_suffix(&bare)?;
            prefix.ends_with('.').then(|| prefix.to_string())
        };
        let prefix = names.filter_map(prefix).min_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)))?;
        Some(format!(", but `{prefix}{bare}`: the prefix `{prefix}` is not known, so rename the tensors"))
    }

    /// The tensor `name`, which must have exactly `shape`.
    pub fn get(&self, name: &str, shape: &[usize]) -> Result<Tensor, NnError> {
        let name = &self.stored_name(name)?;
        if let (Some(packed), [above @ .., cols]) = (self.packed.get(name), shape) {
            self.check_shape(name, &[above.iter().product(), *cols], &packed.dims())?;
            return Ok(Tensor::from_vec(packed.to_f32(), shape, &Device::Cpu)?);
        }
        let tensor = &self.tensors[name];
        self.check_shape(name, shape, tensor.dims())?;
        Ok(tensor.clone())
    }

    /// The matrix `name`, packed if it was read so.
    pub(super) fn rows(&self, name: &str, shape: &[usize; 2]) -> Result<Rows, NnError> {
        let name = &self.stored_name(name)?;
        if let Some(packed) = self.packed.get(name) {
            self.check_shape(name, shape, &packed.dims())?;
            return Ok(Rows::Packed(packed.clone()));
        }
        Ok(Rows::Plain(self.get(name, shape)?))
    }

    /// The matrices `[rows, cols]` of the tensor `name` `[matrices, rows, cols]`, packed if it was read so.
    pub(super) fn stack(&self, name: &str, [count, rows, cols]: [usize; 3]) -> Result<Vec<Rows>, NnError> {
        let name = &self.stored_name(name)?;
        let all = match self.packed.get(name) {
            Some(_) => self.rows(name, &[count * rows, cols])?,
            None => Rows::Plain(self.get(name, &[count, rows, cols])?.reshape((count * rows, cols))?),
        };
        (0..count).map(|nth| Ok(all.narrow(nth * rows, rows)?)).collect()
    }

    /// The transpose of the matrix `name` of `shape`.
    pub(super) fn rows_of_transposed(&self, name: &str, shape: &[usize; 2]) -> Result<Rows, NnError> {
        let name = &self.stored_name(name)?;
        let transposed = self.get(name, shape)?.t()?;
        if !self.packed.contains_key(name) {
            return Ok(Rows::Plain(transposed));
        }
        let entries = transposed.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        let packed = Packed::from_f32(&entries, shape[1], shape[0]);
        packed.map(Rows::Packed).ok_or_else(|| candle_core::Error::msg("a transpose lost entries").into())
    }

    fn check_shape(&self, name: &str, expected: &[usize], got: &[usize]) -> Result<(), NnError> {
        let file = self.files.get(name).unwrap_or(&self.source).clone();
        let (name, expected, got) = (name.to_string(), expected.to_vec(), got.to_vec());
        if expected == got { Ok(()) } else { Err(NnError::WrongShape { name, file, expected, got }) }
    }

    /// Shuffles the entries of each chosen tensor. Its permutation depends only on `seed` and its name.
    pub fn permuted(&self, seed: u64, chosen: impl Fn(&str) -> bool) -> Result<Self, NnError> {
        let mut permuted = self.clone();
        for (name, tensor) in &mut permuted.tensors {
            if chosen(name) {
                let mut entries = tensor.flatten_all()?.to_vec1::<f32>()?;
                Stream::named(seed, &["random_weights", name]).shuffle(&mut entries);
                *tensor = Tensor::from_vec(entries, tensor.shape(), tensor.device())?;
            }
        }
        let mut digester = Digester::new("permuted weights");
        digester.digest(&self.digest).text(&seed.to_string());
        permuted.digest = digester.finish();
        Ok(permuted)
    }

    /// Adds a tensor, which must be finite.
    pub(super) fn insert_plain(&mut self, tensor: Tensor, name: String, file: &str) -> Result<(), NnError> {
        check_finite(&tensor.flatten_all()?.to_vec1::<f32>()?, &name, file)?;
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// Sets the digest to that of the files read.
    pub(super) fn with_digest(self, digest: Digest) -> Self {
        Self { digest, ..self }
    }

    /// Adds a matrix in its stored number format.
    pub(super) fn insert_packed(
        &mut self,
        encoding: Encoding,
        bytes: Vec<u8>,
        [rows, cols]: [usize; 2],
        name: String,
        file: &str,
    ) -> Result<(), NnError> {
        let length = bytes.len();
        let packed = Packed::new(encoding, bytes, rows, cols).ok_or_else(|| {
            corrupt(file, &format!("`{name}` [{rows}, {cols}] in {encoding:?} has {length} bytes"))
        })?;
        if let Some((index, value)) = packed.first_not_finite() {
            return Err(not_finite(&name, file, index, value));
        }
        self.packed.insert(name, packed);
        Ok(())
    }

    /// Reads the tensors of a file in their stored order; returns the digest of its bytes.
    fn read(
        &mut self,
        mut reader: impl Read,
        length: u64,
        file: &str,
        matrices: Matrices<'_>,
    ) -> Result<Digest, NnError> {
        let (header, metadata) = read_header(&mut reader, length, file)?;
        let mut digester = Digester::new("safetensors");
        digester.bytes(&header);
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
            reader.read_exact(&mut bytes).map_err(|error| corrupt(file, &error.to_string()))?;
            digester.bytes(&bytes);
            if is_buffer(&name) || is_of_other_modality(&name) {
                continue;
            }
            self.files.insert(name.clone(), file.to_string());
            if mxfp4::is_half(&name, info.dtype) {
                self.halves.insert(name, (info.shape.clone(), bytes));
                continue;
            }
            match (matrices, encoding(info.dtype), info.shape.as_slice()) {
                // A stack of matrices becomes one of `count · rows` rows.
                (Matrices::Packed, Some(encoding), &[ref stack @ .., rows, cols]) if stack.len() < 2 => {
                    let rows = stack.iter().product::<usize>() * rows;
                    self.insert_packed(encoding, bytes, [rows, cols], name, file)?;
                }
                _ => {
                    let device = if let Matrices::Plain(device) = matrices { device } else { &Device::Cpu };
                    let entries = to_f32(&bytes, info, &name, file)?;
                    check_finite(&entries, &name, file)?;
                    let tensor = Tensor::from_vec(entries, info.shape.as_slice(), device)?;
                    self.tensors.insert(name, tensor.to_dtype(DType::F32)?);
                }
            }
        }
        Ok(digester.finish())
    }
}

/// Number of weights in a folder, from the headers alone.
pub(super) fn folder_weight_count(folder: &Path) -> Result<u64, NnError> {
    let mut count = 0;
    for file in files_of(folder)? {
        let (mut reader, length) = open_with_length(&file)?;
        let (_, metadata) = read_header(&mut reader, length, &file.display().to_string())?;
        let tensors = metadata.tensors();
        count += tensors.iter().map(|(name, info)| mxfp4::weight_count(name, info)).sum::<u64>();
    }
    Ok(count)
}

/// Context length of the model in a folder, if its `config.json` states it.
pub(super) fn folder_context_length(folder: &Path) -> Result<Option<usize>, NnError> {
    let file = folder.join("config.json");
    let config = Config::parse(&crate::base::read_regular(&file)?, &file.display().to_string())?;
    let fields = config.fields();
    let inner = fields.get("text_config").and_then(Value::as_object);
    let of = |fields: &Map<String, Value>| CONTEXT_FIELDS.iter().find_map(|name| fields.get(*name)?.as_u64());
    Ok(of(fields).or_else(|| of(inner?)).and_then(|length| usize::try_from(length).ok()))
}

/// Names of the context length in configurations.
const CONTEXT_FIELDS: [&str; 5] =
    ["max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len"];

/// A file to read, and its length in bytes.
fn open_with_length(file: &Path) -> Result<(File, u64), NnError> {
    let reader = crate::base::open(file)?;
    let failed = |source| FileError { action: "read", path: file.to_path_buf(), source };
    let length = reader.metadata().map_err(failed)?.len();
    Ok((reader, length))
}

/// The weight files of a folder.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, NnError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if has_entry(&single) {
        Ok(vec![single])
    } else if has_entry(&index) {
        Ok(shards(&index)?.into_iter().map(|name| folder.join(name)).collect())
    } else {
        Err(NnError::NoWeights { folder: folder.to_path_buf() })
    }
}

/// How matrices are kept.
#[derive(Clone, Copy)]
enum Matrices<'a> {
    /// In f32 on a device.
    Plain(&'a Device),
    /// In their stored number format.
    Packed,
}

/// The encoding of a number format that can be kept packed.
fn encoding(dtype: Dtype) -> Option<Encoding> {
    match dtype {
        Dtype::F32 => Some(Encoding::F32),
        Dtype::F16 => Some(Encoding::F16),
        Dtype::BF16 => Some(Encoding::Bf16),
        _ => None,
    }
}

/// Masks and frequency tables of older checkpoints; the runtime computes its own.
fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"]
        .iter()
        .any(|buffer| name.ends_with(buffer))
}

/// Tensors of a multimodal model that embed images or sounds.
fn is_of_other_modality(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    ["vision_tower.", "vision_model.", "multi_modal_projector.", "audio_tower.", "image_newline"]
        .iter()
        .any(|part| name.starts_with(part))
}

/// Names of the tensor that a language model calls `name`: the same; without the prefix of the model's body; and inside
/// a multimodal model, in the older and in the newer layout.
fn possible_names(name: &str) -> Vec<String> {
    let bodies = ["model.", "transformer.", "gpt_neox."];
    let bare = bodies.iter().filter_map(|body| name.strip_prefix(body));
    let mut possible_names: Vec<String> = std::iter::once(name).chain(bare).map(str::to_string).collect();
    possible_names.push(format!("language_model.{name}"));
    if let Some(bare) = name.strip_prefix("model.") {
        possible_names.push(format!("model.language_model.{bare}"));
    }
    possible_names
}

/// The header's bytes with the length prefix, and the parsed header; checked against the file's length.
fn read_header(reader: &mut impl Read, length: u64, file: &str) -> Result<(Vec<u8>, Metadata), NnError> {
    let mut prefix = [0; 8];
    reader
        .read_exact(&mut prefix)
        .map_err(|_| corrupt(file, &format!("it has {length} bytes, but a header needs at least 8")))?;
    let header = u64::from_le_bytes(prefix);
    if header > MAX_HEADER || header + 8 > length {
        let reason =
            format!("its header should be {header} bytes long, and the whole file has only {length}");
        return Err(corrupt(file, &reason));
    }
    let mut bytes = vec![0; 8 + header as usize];
    bytes[..8].copy_from_slice(&prefix);
    reader.read_exact(&mut bytes[8..]).map_err(|error| corrupt(file, &error.to_string()))?;
    let metadata: Metadata = serde_json::from_slice(&bytes[8..])
        .map_err(|error| corrupt(file, &format!("its header is not valid ({error})")))?;
    let expected = bytes.len() as u64 + metadata.data_len() as u64;
    if expected != length {
        let reason = format!("its header describes {expected} bytes, and the file has {length}");
        return Err(corrupt(file, &reason));
    }
    Ok((bytes, metadata))
}

fn to_f32(bytes: &[u8], info: &TensorInfo, name: &str, file: &str) -> Result<Vec<f32>, NnError> {
    match info.dtype {
        Dtype::F32 => Ok(numbers(bytes, f32::from_le_bytes)),
        Dtype::F16 => Ok(numbers(bytes, |chunk| f16::from_le_bytes(chunk).to_f32())),
        Dtype::BF16 => Ok(numbers(bytes, |chunk| bf16::from_le_bytes(chunk).to_f32())),
        Dtype::F64 => Ok(numbers(bytes, |chunk| f64::from_le_bytes(chunk) as f32)),
        other => Err(NnError::WrongNumbers {
            name: name.to_string(),
            file: file.to_string(),
            got: format!("{other:?}"),
        }),
    }
}

/// Numbers stored in `N` bytes each.
fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|chunk| number(*chunk)).collect()
}

fn check_finite(entries: &[f32], name: &str, file: &str) -> Result<(), NnError> {
    let index = entries.iter().position(|entry| !entry.is_finite());
    index.map_or(Ok(()), |index| Err(not_finite(name, file, index, entries[index])))
}

fn not_finite(name: &str, file: &str, index: usize, value: f32) -> NnError {
    NnError::NotFinite { name: name.to_string(), file: file.to_string(), index, value: f64::from(value) }
}

/// Names of the shard files in a sharded model's index, sorted.
fn shards(index: &Path) -> Result<BTreeSet<String>, NnError> {
    let json = |reason: &str| NnError::Json { file: index.display().to_string(), reason: reason.to_string() };
    let text = crate::base::read_regular(index)?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| json(&error.to_string()))?;
    let map = value["weight_map"].as_object();
    let map = map.ok_or_else(|| json("expected an object `weight_map` from tensor names to files"))?;
    let inside = |file: &Value| {
        let name = file.as_str().filter(|name| is_inside(name) && !name.contains('/'));
        name.map(str::to_string)
            .ok_or_else(|| json(&format!("`weight_map` names {file}, expected files of the same folder")))
    };
    map.values().map(inside).collect()
}

mod mxfp4;
#[cfg(test)]
mod tests;
