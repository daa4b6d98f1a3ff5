//! torch's `.pt`: a zip of one folder with `data.pkl`, a pickle that describes tensors, and `data/0`, `data/1`, …, their
//! storages. Source: torch's `torch/serialization.py`, `_save`.

use std::collections::BTreeMap;

use super::archive::Archive;
use super::names::shown;
use super::pickle::{LONGEST, Pickle};
use super::plain::Plain;
use super::tensor::{Piece, Tensor};
use super::value::{Id, StoredTensor, Value};

const PICKLE: &str = "/data.pkl";

/// Whether an archive is torch's.
pub fn recognised(archive: &Archive) -> bool {
    archive.keys().any(|name| name.ends_with(PICKLE) || name == "data.pkl")
}

/// Tensors and other entries, by name.
type Found = (BTreeMap<String, Tensor>, BTreeMap<String, Plain>);

/// Reads the pickle of an archive and places its tensors.
pub fn read(file: &[u8], archive: &Archive) -> Result<Found, String> {
    let mut roots =
        archive.keys().filter_map(|name| name.strip_suffix(PICKLE)).filter(|root| !root.contains('/'));
    let (Some(root), None) = (roots.next(), roots.next()) else {
        return Err("expected one folder with `data.pkl` in the archive".to_string());
    };
    let entry = |name: &str| archive.get(&format!("{root}/{name}"));
    if entry("constants.pkl").is_some() {
        return Err("a TorchScript program, which holds code; save its tensors by \
                    `torch.save(module.state_dict(), path)`"
            .to_string());
    }
    if let Some(order) = entry("byteorder")
        && &*order.start(file, 16)? != b"little"
    {
        return Err(
            "written on a big-endian machine; load it with torch and save it again on another".to_string()
        );
    }
    let pickle = entry("data.pkl").ok_or("expected `data.pkl` in the archive")?;
    if pickle.len > LONGEST {
        return Err(format!("its pickle takes {} bytes; expected at most {LONGEST}", pickle.len));
    }
    let pickle = Pickle::read(&pickle.bytes(file)?)?;
    let mut reader = Reader {
        pickle: &pickle,
        storage: &|key| entry(&format!("data/{key}")),
        left: MOST_WORK,
        tensors: BTreeMap::new(),
        plain: BTreeMap::new(),
    };
    reader.descend(String::new(), pickle.root(), 0)?;
    Ok((reader.tensors, reader.plain))
}

/// Bytes of names and values, with 64 for each. Shared values count once for each place, so a small pickle could stand
/// for an endless tree.
const MOST_WORK: usize = 64 << 20;

/// Levels of dicts and lists.
const DEEPEST: usize = 32;

/// Bytes of a storage's name, which torch counts from 0.
const LONGEST_KEY: usize = 64;

/// Name of a tensor that was saved without a dict around it.
const ALONE: &str = "tensor";

struct Reader<'a> {
    pickle: &'a Pickle,
    storage: &'a dyn Fn(&str) -> Option<&'a Piece>,
    left: usize,
    tensors: BTreeMap<String, Tensor>,
    plain: BTreeMap<String, Plain>,
}

impl Reader<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(bytes.saturating_add(64)).ok_or(
            "its pickle repeats values so often that it stands for more than 64 MiB: no state dict does",
        )?;
        Ok(())
    }

    /// Records what lies at `name`. True if there is a tensor in it.
    fn descend(&mut self, name: String, id: Id, depth: usize) -> Result<bool, String> {
        self.spend(name.len())?;
        self.within_depth(depth)?;
        let pickle = self.pickle;
        let mut tensors = false;
        match pickle.value(id) {
            Value::Tensor(tensor) => {
                self.tensor(if name.is_empty() { ALONE.to_string() } else { name }, tensor)?;
                return Ok(true);
            }
            Value::Dict(entries) => {
                for (key, value) in entries {
                    let below = joined(&name, &self.key(*key)?);
                    tensors |= self.descend(below, *value, depth + 1)?;
                }
            }
            // Items of a list are entries of their own only where it holds tensors.
            Value::List(items) | Value::Tuple(items) if self.holds_tensors(id, depth)? => {
                for (at, item) in items.iter().enumerate() {
                    tensors |= self.descend(joined(&name, &at.to_string()), *item, depth + 1)?;
                }
            }
            _ => {}
        }
        if !tensors && !name.is_empty() {
            let plain = self.plain(id, depth)?;
            if self.plain.insert(name.clone(), plain).is_some() {
                return Err(format!("entry `{}` is there twice", shown(&name)));
            }
        }
        Ok(tensors)
    }

    fn holds_tensors(&mut self, id: Id, depth: usize) -> Result<bool, String> {
        self.spend(0)?;
        self.within_depth(depth)?;
        let pickle = self.pickle;
        match pickle.value(id) {
            Value::Tensor(_) => return Ok(true),
            Value::Dict(entries) => {
                for (_, value) in entries {
                    if self.holds_tensors(*value, depth + 1)? {
                        return Ok(true);
                    }
                }
            }
            Value::List(items) | Value::Tuple(items) => {
                for item in items {
                    if self.holds_tensors(*item, depth + 1)? {
                        return Ok(true);
                    }
                }
            }
            _ => {}
        }
        Ok(false)
    }

    fn within_depth(&self, depth: usize) -> Result<(), String> {
        match depth > DEEPEST {
            true => Err(format!("its entries lie more than {DEEPEST} levels deep")),
            false => Ok(()),
        }
    }

    /// A key of a dict as text.
    fn key(&mut self, key: Id) -> Result<String, String> {
        match self.pickle.value(key) {
            Value::Text(key) if !key.is_empty() => {
                self.spend(key.len())?;
                Ok(key.clone())
            }
            Value::Int(key) => Ok(key.to_string()),
            _ => Err("a key of a dict is empty, or neither text nor integer".to_string()),
        }
    }

    fn tensor(&mut self, name: String, stored: &StoredTensor) -> Result<(), String> {
        let wrong = |why: &str| format!("tensor `{}`: {why}", shown(&name));
        let StoredTensor { storage, element, offset, shape, strides } = stored;
        let key = match self.pickle.value(storage.key) {
            Value::Text(key) if key.len() <= LONGEST_KEY => key,
            _ => return Err(wrong("the name of its storage is none that torch writes")),
        };
        let entry = || format!("its storage `data/{}`", shown(key));
        let piece = (self.storage)(key).ok_or_else(|| wrong(&format!("{} is missing", entry())))?;
        let bits = storage.element.map_or(8, |element| element.bits());
        if storage.length.checked_mul(bits / 8).is_none_or(|bytes| bytes > piece.len) {
            let (length, len) = (storage.length, piece.len);
            let needed =
                format!("{} should hold {length} elements of {bits} bits and has {len} bytes", entry());
            return Err(wrong(&format!("{needed}; copy or download the file again")));
        }
        let start =
            offset.checked_mul(element.bits() / 8).ok_or_else(|| wrong("its offset is out of range"))?;
        let tensor = Tensor::new(*element, shape.clone(), strides.clone(), start, piece.clone());
        let tensor = tensor.map_err(|why| wrong(&format!("{why}: the file is broken")))?;
        self.spend(shape.len() * 16)?;
        if self.tensors.insert(name.clone(), tensor).is_some() {
            return Err(format!("tensor `{}` is there twice", shown(&name)));
        }
        Ok(())
    }

    fn plain(&mut self, id: Id, depth: usize) -> Result<Plain, String> {
        self.spend(0)?;
        self.within_depth(depth)?;
        let pickle = self.pickle;
        Ok(match pickle.value(id) {
            Value::None => Plain::None,
            Value::Bool(value) => Plain::Bool(*value),
            Value::Int(value) => Plain::Int(*value),
            Value::Float(value) => Plain::Float(*value),
            Value::Text(value) => {
                self.spend(value.len())?;
                Plain::Text(value.clone())
            }
            Value::List(items) | Value::Tuple(items) => {
                let items = items.iter().map(|item| self.plain(*item, depth + 1));
                Plain::List(items.collect::<Result<_, _>>()?)
            }
            Value::Dict(entries) => {
                let entries =
                    entries.iter().map(|(key, value)| Ok((self.key(*key)?, self.plain(*value, depth + 1)?)));
                Plain::Dict(entries.collect::<Result<_, String>>()?)
            }
            Value::Global(global) => Plain::Text(global.name().trim_matches('`').to_string()),
            Value::Storage(_) | Value::Tensor(_) => {
                return Err("a storage stands where no tensor uses it".to_string());
            }
        })
    }
}

fn joined(above: &str, key: &str) -> String {
    if above.is_empty() { key.to_string() } else { format!("{above}.{key}") }
}
