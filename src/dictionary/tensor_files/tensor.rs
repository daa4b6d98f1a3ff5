//! A tensor inside a file: element `[i, j, …]` stands `start + i·stride_0 + j·stride_1 + …` into its storage.

use std::borrow::Cow;
use std::io::Read;
use std::ops::Range;

use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::element::Element;

/// A piece of a file that is compressed over `MOST_RATIO` times and is larger than this is refused: no weights are like
/// that, and a few bytes could fill all memory.
pub const LARGE: usize = 64 << 20;
pub const MOST_RATIO: usize = 50;

/// Elements of a tensor that repeats its storage by strides of 0.
pub const MOST_REPEATED: usize = 1 << 24;

/// Bytes of one storage, as they lie in the file.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Where they lie, compressed or not.
    pub place: Range<usize>,
    /// Length once decompressed.
    pub len: usize,
    /// CRC-32 of the decompressed bytes, where they are compressed (deflate).
    pub deflated: Option<u32>,
}

impl Piece {
    pub fn stored(place: Range<usize>) -> Self {
        Self { len: place.len(), place, deflated: None }
    }

    /// All bytes.
    pub fn bytes<'a>(&self, file: &'a [u8]) -> Result<Cow<'a, [u8]>, String> {
        let stored = file.get(self.place.clone()).ok_or("the file became shorter while it was read")?;
        let Some(checksum) = self.deflated else { return Ok(Cow::Borrowed(stored)) };
        let bytes = self.inflate(stored, self.len)?;
        let mut crc = Crc::new();
        crc.update(&bytes);
        if bytes.len() != self.len || crc.sum() != checksum {
            return Err(BROKEN.to_string());
        }
        Ok(Cow::Owned(bytes))
    }

    /// The first bytes, at most `most`.
    pub fn start<'a>(&self, file: &'a [u8], most: usize) -> Result<Cow<'a, [u8]>, String> {
        let stored = file.get(self.place.clone()).unwrap_or_default();
        match self.deflated {
            None => Ok(Cow::Borrowed(&stored[..most.min(stored.len())])),
            Some(_) => Ok(Cow::Owned(self.inflate(stored, most.min(self.len))?)),
        }
    }

    fn inflate(&self, stored: &[u8], most: usize) -> Result<Vec<u8>, String> {
        if self.len > LARGE && self.len / MOST_RATIO > stored.len() {
            let (len, packed) = (self.len, stored.len());
            return Err(format!(
                "{packed} compressed bytes stand for {len}: no weights are compressed so far"
            ));
        }
        // Not reserved in advance: the declared length is only a claim.
        let mut bytes = Vec::new();
        let limit = most as u64;
        DeflateDecoder::new(stored).take(limit).read_to_end(&mut bytes).map_err(|_| BROKEN.to_string())?;
        Ok(bytes)
    }
}

const BROKEN: &str = "compressed bytes are broken; copy or download the file again";

/// A tensor whose every element lies in its storage.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub element: Element,
    pub shape: Vec<usize>,
    strides: Vec<usize>,
    /// First byte in the storage.
    start: usize,
    piece: Piece,
}

impl Tensor {
    /// A tensor that fills its piece from byte `start`, in row-major order or, with `fortran`, column-major order.
    pub fn dense(
        element: Element,
        shape: Vec<usize>,
        fortran: bool,
        start: usize,
        piece: Piece,
    ) -> Result<Self, String> {
        let mut strides = vec![0; shape.len()];
        let mut step = 1_usize;
        let mut order: Vec<usize> = (0..shape.len()).collect();
        if !fortran {
            order.reverse();
        }
        for dim in order {
            strides[dim] = step;
            step = step.checked_mul(shape[dim].max(1)).ok_or_else(|| too_large(&shape))?;
        }
        Self::new(element, shape, strides, start, piece)
    }

    /// A tensor with strides in elements that starts at byte `start` of its piece.
    pub fn new(
        element: Element,
        shape: Vec<usize>,
        strides: Vec<usize>,
        start: usize,
        piece: Piece,
    ) -> Result<Self, String> {
        if shape.len() != strides.len() {
            return Err(format!("shape {shape:?} and strides {strides:?} have different lengths"));
        }
        let count = shape.iter().try_fold(1_usize, |count, dim| count.checked_mul(*dim));
        let count = count.ok_or_else(|| too_large(&shape))?;
        let reach = shape.iter().zip(&strides).try_fold(1_usize, |reach, (dim, stride)| {
            dim.saturating_sub(1).checked_mul(*stride).and_then(|far| reach.checked_add(far))
        });
        let reach = if count == 0 { Some(0) } else { reach };
        let bytes = reach.and_then(|reach| reach.checked_mul(element.bits())).map(|bits| bits.div_ceil(8));
        let end = bytes.and_then(|bytes| bytes.checked_add(start)).ok_or_else(|| too_large(&shape))?;
        if end > piece.len {
            let len = piece.len;
            return Err(format!(
                "shape {shape:?} and strides {strides:?} need {end} bytes; stored are {len}"
            ));
        }
        if count > MOST_REPEATED.max(piece.len.saturating_mul(8) / element.bits().max(1)) {
            return Err(format!("shape {shape:?} repeats {} bytes {count} times", piece.len));
        }
        Ok(Self { element, shape, strides, start, piece })
    }

    /// Bytes of the storage, decompressed.
    #[cfg(test)]
    pub fn stored(&self) -> usize {
        self.piece.len
    }

    /// Number of elements.
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// Values `[outer.len(), inner.len()]` of places in elements from the start of the tensor; see [`Element::gather`].
    fn gather(&self, file: &[u8], outer: &[usize], inner: &[usize]) -> Result<Vec<f32>, String> {
        if outer.is_empty() || inner.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = self.piece.bytes(file)?;
        let values = self.element.gather(bytes.get(self.start..).unwrap_or_default(), outer, inner);
        match values.len() == outer.len() * inner.len() {
            true => Ok(values),
            false => Err("the file became shorter while it was read".to_string()),
        }
    }

    /// All values, row-major.
    pub fn values(&self, file: &[u8]) -> Result<Vec<f32>, String> {
        let Some((&last, lead)) = self.shape.split_last() else { return self.gather(file, &[0], &[0]) };
        if self.count() == 0 {
            return Ok(Vec::new());
        }
        let outer = self.places(vec![0], 0..lead.len());
        self.gather(file, &outer, &(0..last).map(|at| at * self.strides[lead.len()]).collect::<Vec<_>>())
    }

    /// Values `[rows.len(), …]` of some entries of the first dimension.
    pub fn rows(&self, file: &[u8], rows: &[usize]) -> Result<Vec<f32>, String> {
        if self.count() == 0 {
            return Ok(Vec::new());
        }
        let outer: Vec<usize> = rows.iter().map(|row| row * self.strides[0]).collect();
        let inner = self.places(vec![0], 1..self.shape.len());
        self.gather(file, &outer, &inner)
    }

    /// Values `[columns.len(), n_rows]` of some columns of a matrix.
    pub fn columns(&self, file: &[u8], columns: &[usize]) -> Result<Vec<f32>, String> {
        if self.count() == 0 {
            return Ok(Vec::new());
        }
        let outer: Vec<usize> = columns.iter().map(|column| column * self.strides[1]).collect();
        self.gather(file, &outer, &self.places(vec![0], 0..1))
    }

    /// Places of all index combinations of some dimensions, row-major.
    fn places(&self, first: Vec<usize>, dims: Range<usize>) -> Vec<usize> {
        dims.fold(first, |places, dim| {
            let steps = || (0..self.shape[dim]).map(|at| at * self.strides[dim]);
            places.iter().flat_map(|place| steps().map(move |step| place + step)).collect()
        })
    }

    /// The number at one index, whatever its type; see [`Element::number`].
    pub fn number(&self, file: &[u8], index: &[usize]) -> Result<Option<f64>, String> {
        let place: usize = index.iter().zip(&self.strides).map(|(at, stride)| at * stride).sum();
        let bytes = self.piece.bytes(file)?;
        let start = self.start + place * self.element.bits() / 8;
        Ok(self.element.number(bytes.get(start..).unwrap_or_default()))
    }

    /// Index of the element at a row-major place.
    pub fn index(&self, mut place: usize) -> Vec<usize> {
        let mut index = vec![0; self.shape.len()];
        for (at, dim) in index.iter_mut().zip(&self.shape).rev() {
            (*at, place) = (place % dim.max(&1), place / dim.max(&1));
        }
        index
    }
}

fn too_large(shape: &[usize]) -> String {
    format!("shape {shape:?} is larger than any file")
}
