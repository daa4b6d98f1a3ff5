use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde_json::{Map, Value};

use super::gguf::{gguf_context_length, gguf_weight_count, is_gguf};
use super::packed::{Encoding, Packed};
use super::rows::Rows;
use super::{Config, NnError};
use crate::base::{Digest, Digester, FileError, Stream};

/// Longest header that is believed; the largest models known need a few megabytes.
const MAX_HEADER: u64 = 100 << 20;

/// Named tensors of a model, however many files they were stored in.
///
/// They are f32, whatever they were stored as; read as packed, matrices stay as they were stored.
#[derive(Debug, Clone)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    /// Matrices that were read as packed.
    packed: HashMap<String, Packed>,
    /// Shape and bytes of the halves of MXFP4 tensors, which may lie in different files.
    halves: HashMap<String, (Vec<usize>, Vec<u8>)>,
    /// File of each tensor, for messages.
    files: HashMap<String, String>,
    source: String,
    digest: Digest,
}

impl Weights {
    /// Reads `model.safetensors`, or the shards that `model.safetensors.index.json` lists.
    ///
    /// Every entry is checked to be finite. Fails where a file is missing, cut short or corrupt.
    pub fn from_folder(folder: &Path, device: &Device) -> Result<Self, NnError> {
        Self::read_folder(folder, Form::Plain(device))
    }

    /// As [`Weights::from_folder`], with matrices kept in main memory in the numbers they are stored in, for
    /// inference alone.
    pub fn packed_from_folder(folder: &Path) -> Result<Self, NnError> {
        Self::read_folder(folder, Form::Packed)
    }

    fn read_folder(folder: &Path, form: Form<'_>) -> Result<Self, NnError> {
        let files = files_of(folder)?;
        let mut weights = Self::empty(&folder.display().to_string());
        let mut digester = Digester::new("weights");
        for file in &files {
            let failed = |source| FileError { action: "read", path: file.clone(), source };
            let reader = crate::base::open(file)?;
            let length = reader.metadata().map_err(failed)?.len();
            digester.digest(&weights.read(reader, length, &file.display().to_string(), form)?);
        }
        if let [file] = files.as_slice() {
            weights.source = file.display().to_string();
        }
        weights.digest = digester.finish();
        weights.unpack_mxfp4()?;
        Ok(weights)
    }

    /// Reads one safetensors file that is already in memory; `name` stands for it in messages.
    pub fn from_bytes(bytes: &[u8], name: &str, device: &Device) -> Result<Self, NnError> {
        let mut weights = Self::empty(name);
        let digest = weights.read(Cursor::new(bytes), bytes.len() as u64, name, Form::Plain(device))?;
        let mut digester = Digester::new("weights");
        digester.digest(&digest);
        weights.digest = digester.finish();
        Ok(weights)
    }

    /// Takes tensors as they are, for example candle variables in training; nothing is checked or copied,
    /// and the digest says only which names and shapes there are.
    pub fn from_tensors(tensors: HashMap<String, Tensor>, name: &str) -> Self {
        let sorted: BTreeMap<_, _> = tensors.iter().map(|(name, tensor)| (name, tensor.dims())).collect();
        let mut digester = Digester::new("weights in memory");
        digester.json(&sorted);
        let digest = digester.finish();
        Self { tensors, digest, ..Self::empty(name) }
    }

    /// The same with every matrix unpacked to f32 on the CPU, as a model with hooks wants it.
    pub fn unpacked(mut self) -> Result<Self, NnError> {
        for (name, packed) in std::mem::take(&mut self.packed) {
            let tensor = Tensor::from_vec(packed.to_f32(), &packed.dims(), &Device::Cpu)?;
            self.tensors.insert(name, tensor);
        }
        Ok(self)
    }

    pub(super) fn empty(source: &str) -> Self {
        let digest = Digester::new("weights").finish();
        Self {
            tensors: HashMap::new(),
            packed: HashMap::new(),
            halves: HashMap::new(),
            files: HashMap::new(),
            source: source.to_string(),
            digest,
        }
    }

    /// Digest of the files' bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// How many tensors there are.
    pub(super) fn len(&self) -> usize {
        self.tensors.len() + self.packed.len()
    }

    /// True where a tensor of that name exists, in any of its spellings.
    pub fn has(&self, name: &str) -> bool {
        spellings(name).iter().any(|spelt| self.holds(spelt))
    }

    fn holds(&self, name: &str) -> bool {
        self.tensors.contains_key(name) || self.packed.contains_key(name)
    }

    /// The spelling of a tensor's name that these files have.
    fn spelt(&self, name: &str) -> Result<String, NnError> {
        let missing = || NnError::MissingTensor {
            name: name.to_string(),
            file: self.source.clone(),
            n_tensors: self.len(),
            hint: self.unknown_prefix(name).unwrap_or_default(),
        };
        spellings(name).into_iter().find(|spelt| self.holds(spelt)).ok_or_else(missing)
    }

    /// A sentence that names what stands before `name` in these files, where the name is there but for that.
    fn unknown_prefix(&self, name: &str) -> Option<String> {
        let bare = spellings(name).into_iter().min_by_key(String::len)?;
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
        let name = &self.spelt(name)?;
        if let (Some(packed), [above @ .., cols]) = (self.packed.get(name), shape) {
            self.check_shape(name, &[above.iter().product(), *cols], &packed.dims())?;
            return Ok(Tensor::from_vec(packed.to_f32(), shape, &Device::Cpu)?);
        }
        let tensor = &self.tensors[name];
        self.check_shape(name, shape, tensor.dims())?;
        Ok(tensor.clone())
    }

    /// The matrix `name`, packed where it was read so.
    pub(super) fn rows(&self, name: &str, shape: &[usize; 2]) -> Result<Rows, NnError> {
        let name = &self.spelt(name)?;
        if let Some(packed) = self.packed.get(name) {
            self.check_shape(name, shape, &packed.dims())?;
            return Ok(Rows::Packed(packed.clone()));
        }
        Ok(Rows::Plain(self.get(name, shape)?))
    }

    /// The matrices `[rows, cols]` of the tensor `name` `[matrices, rows, cols]`, packed where it was read so.
    pub(super) fn stack(&self, name: &str, [count, rows, cols]: [usize; 3]) -> Result<Vec<Rows>, NnError> {
        let name = &self.spelt(name)?;
        let all = match self.packed.get(name) {
            Some(_) => self.rows(name, &[count * rows, cols])?,
            None => Rows::Plain(self.get(name, &[count, rows, cols])?.reshape((count * rows, cols))?),
        };
        (0..count).map(|nth| Ok(all.narrow(nth * rows, rows)?)).collect()
    }

    /// The transpose of the matrix `name`, which is stored as `shape`.
    pub(super) fn rows_of_transposed(&self, name: &str, shape: &[usize; 2]) -> Result<Rows, NnError> {
        let name = &self.spelt(name)?;
        let transposed = self.get(name, shape)?.t()?;
        if !self.packed.contains_key(name) {
            return Ok(Rows::Plain(transposed));
        }
        let entries = transposed.contiguous()?.flatten_all()?.to_vec1::<f32>()?;
        let packed = Packed::from_f32(&entries, shape[1], shape[0]);
        packed.map(Rows::Packed).ok_or_else(|| candle_core::Error::msg("a transpose lost entries").into())
    }

    fn check_shape(&self, name: &str, expected: &[usize], got: &[usize]) -> Result<(), NnError> {
        if expected == got {
            return Ok(());
        }
        Err(NnError::WrongShape {
            name: name.to_string(),
            file: self.files.get(name).unwrap_or(&self.source).clone(),
            expected: expected.to_vec(),
            got: got.to_vec(),
        })
    }

    /// The same tensors with the entries of each chosen one in a random order of its own.
    ///
    /// A tensor's order depends on `seed` and its name alone.
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

    /// Takes a tensor after checking that every number of it is one.
    pub(super) fn insert_plain(&mut self, tensor: Tensor, name: String, file: &str) -> Result<(), NnError> {
        check_finite(&tensor.flatten_all()?.to_vec1::<f32>()?, &name, file)?;
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// The same tensors with the digest of what they were read from.
    pub(super) fn with_digest(self, digest: Digest) -> Self {
        Self { digest, ..self }
    }

    /// Keeps a matrix in the numbers it is stored in.
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
            let (name, file) = (name, file.to_string());
            return Err(NnError::NotFinite { name, file, index, value: f64::from(value) });
        }
        self.packed.insert(name, packed);
        Ok(())
    }

    /// Reads the tensors of one file in the order they are stored, and digests its bytes on the way.
    fn read(
        &mut self,
        mut reader: impl Read,
        length: u64,
        file: &str,
        form: Form<'_>,
    ) -> Result<Digest, NnError> {
        let (header, metadata) = read_header(&mut reader, length, file)?;
        let mut digester = Digester::new("safetensors");
        digester.bytes(&header);
        for name in metadata.offset_keys() {
            let Some(info) = metadata.info(&name) else { continue };
            let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
            reader.read_exact(&mut bytes).map_err(|error| corrupt(file, &error.to_string()))?;
            digester.bytes(&bytes);
            if is_buffer(&name) || is_of_other_senses(&name) {
                continue;
            }
            self.files.insert(name.clone(), file.to_string());
            if mxfp4::is_half(&name, info.dtype) {
                self.halves.insert(name, (info.shape.clone(), bytes));
                continue;
            }
            match (form, encoding(info.dtype), info.shape.as_slice()) {
                (Form::Packed, Some(encoding), &[rows, cols]) => {
                    self.insert_packed(encoding, bytes, [rows, cols], name, file)?;
                }
                // Matrices on top of each other.
                (Form::Packed, Some(encoding), &[count, rows, cols]) => {
                    self.insert_packed(encoding, bytes, [count * rows, cols], name, file)?;
                }
                _ => {
                    let device = if let Form::Plain(device) = form { device } else { &Device::Cpu };
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

/// How many numbers the weights of a folder or of a GGUF file are, whatever they are stored as; read from the
/// headers alone.
pub fn weight_count(path: &Path) -> Result<u64, NnError> {
    if is_gguf(path) {
        return gguf_weight_count(path);
    }
    let mut count = 0;
    for file in files_of(path)? {
        let failed = |source| FileError { action: "read", path: file.clone(), source };
        let mut reader = crate::base::open(&file)?;
        let length = reader.metadata().map_err(failed)?.len();
        let (_, metadata) = read_header(&mut reader, length, &file.display().to_string())?;
        let tensors = metadata.tensors();
        count += tensors.iter().map(|(name, info)| mxfp4::numbers(name, info)).sum::<u64>();
    }
    Ok(count)
}

/// How many positions the model of a folder or of a GGUF file reads, where it says so; read from the header or from
/// `config.json` alone.
pub fn context_length(path: &Path) -> Result<Option<usize>, NnError> {
    if is_gguf(path) {
        return gguf_context_length(path);
    }
    let file = path.join("config.json");
    let config = Config::parse(&crate::base::read(&file)?, &file.display().to_string())?;
    let fields = config.fields();
    let inner = fields.get("text_config").and_then(Value::as_object);
    let of = |fields: &Map<String, Value>| CONTEXT_FIELDS.iter().find_map(|name| fields.get(*name)?.as_u64());
    Ok(of(fields).or_else(|| of(inner?)).and_then(|length| usize::try_from(length).ok()))
}

/// What configurations call the number of positions.
const CONTEXT_FIELDS: [&str; 5] =
    ["max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len"];

/// The files of a folder that weights are in.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, NnError> {
    let single = folder.join("model.safetensors");
    let index = folder.join("model.safetensors.index.json");
    if single.exists() {
        Ok(vec![single])
    } else if index.exists() {
        Ok(shards(&index)?.into_iter().map(|name| folder.join(name)).collect())
    } else {
        Err(NnError::NoWeights { folder: folder.to_path_buf() })
    }
}

/// What becomes of matrices.
#[derive(Clone, Copy)]
enum Form<'a> {
    /// f32 on a device.
    Plain(&'a Device),
    /// As they are stored.
    Packed,
}

/// The encoding of a number form that can stay as it is.
fn encoding(dtype: Dtype) -> Option<Encoding> {
    match dtype {
        Dtype::F32 => Some(Encoding::F32),
        Dtype::F16 => Some(Encoding::F16),
        Dtype::BF16 => Some(Encoding::Bf16),
        _ => None,
    }
}

/// Masks and frequency tables that older checkpoints carry; the runtime computes its own.
fn is_buffer(name: &str) -> bool {
    [".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"]
        .iter()
        .any(|buffer| name.ends_with(buffer))
}

/// Tensors of the parts of a multimodal model that make embeddings of images or sounds; texts do without.
fn is_of_other_senses(name: &str) -> bool {
    let name = name.strip_prefix("model.").unwrap_or(name);
    ["vision_tower.", "vision_model.", "multi_modal_projector.", "audio_tower.", "image_newline"]
        .iter()
        .any(|part| name.starts_with(part))
}

/// The names that files have for a tensor which a whole language model calls `name`: the same; without the name of
/// the body, as saved from the body alone; and as part of a multimodal model, in the older and the newer layout.
fn spellings(name: &str) -> Vec<String> {
    let mut spellings = vec![name.to_string()];
    for body in ["model.", "transformer.", "gpt_neox."] {
        if let Some(bare) = name.strip_prefix(body) {
            spellings.push(bare.to_string());
        }
    }
    spellings.push(format!("language_model.{name}"));
    if let Some(bare) = name.strip_prefix("model.") {
        spellings.push(format!("model.language_model.{bare}"));
    }
    spellings
}

fn corrupt(file: &str, reason: &str) -> NnError {
    NnError::Corrupt { file: file.to_string(), reason: reason.to_string() }
}

/// The header's bytes, length prefix included, and what it says; checked against the file's length.
fn read_header(reader: &mut impl Read, length: u64, file: &str) -> Result<(Vec<u8>, Metadata), NnError> {
    let mut prefix = [0; 8];
    reader
        .read_exact(&mut prefix)
        .map_err(|_| corrupt(file, &format!("it has {length} bytes, fewer than the 8 a header needs")))?;
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
    let four = |chunk: &[u8]| [chunk[0], chunk[1], chunk[2], chunk[3]];
    let two = |chunk: &[u8]| [chunk[0], chunk[1]];
    match info.dtype {
        Dtype::F32 => Ok(bytes.chunks_exact(4).map(|chunk| f32::from_le_bytes(four(chunk))).collect()),
        Dtype::F16 => {
            Ok(bytes.chunks_exact(2).map(|chunk| f16::from_le_bytes(two(chunk)).to_f32()).collect())
        }
        Dtype::BF16 => {
            Ok(bytes.chunks_exact(2).map(|chunk| bf16::from_le_bytes(two(chunk)).to_f32()).collect())
        }
        Dtype::F64 => {
            let eight = |chunk: &[u8]| {
                let mut all = [0; 8];
                all.copy_from_slice(chunk);
                f64::from_le_bytes(all) as f32
            };
            Ok(bytes.chunks_exact(8).map(eight).collect())
        }
        other => Err(NnError::WrongNumbers {
            name: name.to_string(),
            file: file.to_string(),
            got: format!("{other:?}"),
        }),
    }
}

fn check_finite(entries: &[f32], name: &str, file: &str) -> Result<(), NnError> {
    match entries.iter().position(|entry| !entry.is_finite()) {
        None => Ok(()),
        Some(index) => Err(NnError::NotFinite {
            name: name.to_string(),
            file: file.to_string(),
            index,
            value: f64::from(entries[index]),
        }),
    }
}

/// Names of the shard files in a sharded model's index, sorted.
fn shards(index: &Path) -> Result<Vec<String>, NnError> {
    let json = |reason: &str| NnError::Json { file: index.display().to_string(), reason: reason.to_string() };
    let text = crate::base::read_regular(index)?;
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| json(&error.to_string()))?;
    let map = value
        .get("weight_map")
        .and_then(serde_json::Value::as_object)
        .ok_or_else(|| json("expected an object `weight_map` from tensor names to files"))?;
    let mut names = Vec::with_capacity(map.len());
    for file in map.values() {
        match file.as_str() {
            Some(name) if !name.contains(['/', '\\']) => names.push(name.to_string()),
            _ => return Err(json("expected `weight_map` to name files of the same folder")),
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

mod mxfp4;
#[cfg(test)]
mod tests;
