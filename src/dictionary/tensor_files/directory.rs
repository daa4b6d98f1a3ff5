//! What a file holds and where: files are recognised by content, values are taken from the file's bytes.

use std::collections::BTreeMap;

use super::element::Element;
use super::names::{listed, shown};
use super::plain::Plain;
use super::tensor::Tensor;
use super::{archive, npz, safetensors, torch};

/// What a file holds and where. Its functions take the file's bytes and give a problem without the path.
#[derive(Debug)]
pub struct Directory {
    pub layout: &'static str,
    pub tensors: BTreeMap<String, Tensor>,
    pub plain: BTreeMap<String, Plain>,
}

impl Directory {
    fn new(layout: &'static str) -> Self {
        Self { layout, tensors: BTreeMap::new(), plain: BTreeMap::new() }
    }

    pub fn read(file: &[u8]) -> Result<Self, String> {
        let found = if file.starts_with(b"PK\x03\x04") || file.starts_with(b"PK\x05\x06") {
            let archive = archive::read(file)?;
            if torch::recognised(&archive) {
                let (tensors, plain) = torch::read(file, &archive)?;
                Self { tensors, plain, ..Self::new("torch") }
            } else if archive.keys().any(|name| name.ends_with(".npy")) {
                Self { tensors: npz::read(file, &archive)?, ..Self::new("npz") }
            } else {
                let names = listed(archive.keys().map(String::as_str));
                return Err(format!(
                    "a zip archive with neither `data.pkl` (torch) nor arrays (`.npy`); it holds: {names}"
                ));
            }
        } else if safetensors::recognised(file) {
            Self { tensors: safetensors::read(file)?, ..Self::new("safetensors") }
        } else {
            let found = foreign(file);
            return Err(format!("expected safetensors, a torch file (zip) or an npz archive, found {found}"));
        };
        if found.tensors.is_empty() {
            return Err("holds no tensors".to_string());
        }
        Ok(found)
    }

    fn tensor(&self, name: &str) -> Result<&Tensor, String> {
        let tensor = self.tensors.get(name).ok_or_else(|| {
            let names = listed(self.tensors.keys().map(String::as_str));
            format!("tensor `{}` is missing; the file holds: {names}", shown(name))
        })?;
        match tensor.element {
            Element::Other(dtype, _) => Err(format!(
                "tensor `{}` is stored as {dtype}; expected F32, F16, BF16, F64, F8_E4M3, F8_E5M2, integers or bools",
                shown(name)
            )),
            _ => Ok(tensor),
        }
    }

    pub fn values(&self, file: &[u8], name: &str) -> Result<Vec<f32>, String> {
        let tensor = self.tensor(name)?;
        checked(file, name, tensor, tensor.values(file), |place| tensor.index(place))
    }

    pub fn scalar(&self, file: &[u8], name: &str) -> Result<f64, String> {
        let tensor = self.tensor(name)?;
        let index = vec![0; tensor.shape.len()];
        match tensor.count() {
            1 => tensor.number(file, &index)?.ok_or_else(|| bad_value(file, name, tensor, &index)),
            _ => Err(format!("tensor `{}` has shape {:?}; expected one number", shown(name), tensor.shape)),
        }
    }

    pub fn rows(&self, file: &[u8], name: &str, rows: &[usize]) -> Result<Vec<f32>, String> {
        let tensor = self.tensor(name)?;
        let Some(&count) = tensor.shape.first() else {
            return Err(format!("tensor `{}` is a single number and has no rows", shown(name)));
        };
        within(name, "row", rows, count)?;
        checked(file, name, tensor, tensor.rows(file, rows), |place| {
            let per_row = tensor.count() / count.max(1);
            let mut index = tensor.index(place % per_row.max(1));
            index[0] = rows[place / per_row.max(1)];
            index
        })
    }

    pub fn columns(&self, file: &[u8], name: &str, columns: &[usize]) -> Result<Vec<f32>, String> {
        let tensor = self.tensor(name)?;
        let &[n_rows, count] = tensor.shape.as_slice() else {
            return Err(format!("tensor `{}` has shape {:?}; expected a matrix", shown(name), tensor.shape));
        };
        within(name, "column", columns, count)?;
        let index = |place: usize| vec![place % n_rows.max(1), columns[place / n_rows.max(1)]];
        checked(file, name, tensor, tensor.columns(file, columns), index)
    }
}

fn within(name: &str, what: &str, chosen: &[usize], count: usize) -> Result<(), String> {
    match chosen.iter().find(|place| **place >= count) {
        Some(place) => {
            let name = shown(name);
            Err(format!(
                "tensor `{name}` has {count} {what}s, so there is no {what} {place} (they count from 0)"
            ))
        }
        None => Ok(()),
    }
}

/// The values, if all are finite. `index` gives the place in the tensor of a place in the values.
fn checked(
    file: &[u8],
    name: &str,
    tensor: &Tensor,
    values: Result<Vec<f32>, String>,
    index: impl Fn(usize) -> Vec<usize>,
) -> Result<Vec<f32>, String> {
    let values = values.map_err(|why| format!("tensor `{}`: {why}", shown(name)))?;
    match values.iter().position(|value| !value.is_finite()) {
        Some(place) => Err(bad_value(file, name, tensor, &index(place))),
        None => Ok(values),
    }
}

fn bad_value(file: &[u8], name: &str, tensor: &Tensor, index: &[usize]) -> String {
    let why = match tensor.number(file, index) {
        Ok(Some(number)) => format!("{number:?}, which f32 cannot hold"),
        _ if tensor.element.is_integer() => {
            "an integer that cannot be held exactly, or a broken bool".to_string()
        }
        _ => "NaN or infinite: the file is broken".to_string(),
    };
    format!("tensor `{}`: entry {index:?} is {why}", shown(name))
}

/// What a file of another layout is.
fn foreign(file: &[u8]) -> &'static str {
    /// The number by which torch files of before version 1.6 start, as a pickle.
    const LEGACY: &[u8] = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
    let text = file.trim_ascii_start();
    let starts =
        |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    match file {
        [] => "an empty file",
        [0x80, 0..=5, rest @ ..] if rest.starts_with(LEGACY) => {
            "a torch file of the layout before version 1.6, which is no zip; load it with torch and save it again"
        }
        [0x80, 0..=5, ..] => {
            "a plain pickle, which can run code and is not read; save tensors by `torch.save` or as safetensors"
        }
        _ if file.starts_with(b"version https://git-lfs") => {
            "a pointer of git-lfs in place of the file; `git lfs pull` gets the file"
        }
        _ if starts("<!doctype") || starts("<html") => {
            "a web page in place of the file; download the file again"
        }
        _ if file.starts_with(b"\x93NUMPY") => {
            "a single array of numpy; save arrays with names by `numpy.savez`"
        }
        _ if file.starts_with(b"\x1f\x8b") => "compressed by gzip; decompress it first",
        _ if file.starts_with(b"GGUF") => "a GGUF file",
        _ if file.starts_with(b"\x89HDF") => "an HDF5 file; convert it to safetensors",
        _ if file.get(257..262) == Some(b"ustar") => "a tar archive; unpack it first",
        _ if text.first() == Some(&b'{') => "a JSON file",
        _ => "a file of another format",
    }
}
