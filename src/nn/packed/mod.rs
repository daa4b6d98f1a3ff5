//! Weight matrices kept in the numbers they were stored in, and products with them.
//!
//! In: rows of a matrix in any [`Encoding`], as a file holds them.
//! Out: rows as f32, and x·Wᵀ without ever holding all of W as f32.
//! Never: tracks gradients, changes a weight.
//!
//! The sums of a product run in one order, whatever the number of rows in x and of threads: what a model says
//! does not depend on how a text was cut into passes or on who shares them.

mod blocks;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::ops::Range;
use std::sync::Arc;

use crate::linalg::{StoredRows, fetch_ahead, multiply_each};

/// Rows between the one that is read and the one whose bytes are asked for meanwhile.
const FETCHED_AHEAD: usize = 2;
/// The same in panels of rows that are read side by side: two are worked on together.
#[cfg(target_arch = "x86_64")]
const PANELS_AHEAD: usize = 2;

/// How numbers are stored. The quantised ones are those of GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// The upper half of 32-bit floats.
    Bf16,
    /// 32 numbers of 4 bits with a scale.
    Q4_0,
    /// 32 numbers of 4 bits with a scale and a minimum.
    Q4_1,
    /// 32 numbers of 5 bits with a scale.
    Q5_0,
    /// 32 numbers of 5 bits with a scale and a minimum.
    Q5_1,
    /// 32 numbers of 8 bits with a scale.
    Q8_0,
    /// 256 numbers of 4 bits in 8 groups, each with a scale and a minimum of 6 bits.
    Q4K,
    /// As `Q4K` with 5 bits.
    Q5K,
    /// 256 numbers of 6 bits in 16 groups, each with a scale of 8 bits.
    Q6K,
}

impl Encoding {
    /// Numbers in a block.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q4_0 | Self::Q4_1 | Self::Q5_0 | Self::Q5_1 | Self::Q8_0 => 32,
            Self::Q4K | Self::Q5K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }

    /// Bytes of `n` numbers; none where they are no whole blocks or too many.
    pub fn bytes(self, n: usize) -> Option<usize> {
        if n.is_multiple_of(self.block()) { (n / self.block()).checked_mul(self.block_bytes()) } else { None }
    }
}

/// A matrix `[rows, cols]` in an encoding. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct Packed {
    encoding: Encoding,
    bytes: Arc<Vec<u8>>,
    first: usize,
    rows: usize,
    cols: usize,
}

impl Packed {
    /// Takes the bytes of all rows; none where they are not as many as the shape needs, or where a row is no
    /// whole number of blocks.
    pub fn new(encoding: Encoding, bytes: Vec<u8>, rows: usize, cols: usize) -> Option<Self> {
        let expected = encoding.bytes(cols)?.checked_mul(rows)?;
        (expected == bytes.len()).then(|| Self { encoding, bytes: Arc::new(bytes), first: 0, rows, cols })
    }

    /// Keeps f32 numbers as they are; none where they do not fill the shape.
    pub fn from_f32(entries: &[f32], rows: usize, cols: usize) -> Option<Self> {
        let bytes = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        Self::new(Encoding::F32, bytes, rows, cols)
    }

    /// How the numbers are stored.
    pub fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// `count` rows from row `first` on, sharing the numbers; none where there are fewer.
    pub fn narrow(&self, first: usize, count: usize) -> Option<Self> {
        let inside = first.checked_add(count).is_some_and(|end| end <= self.rows);
        inside.then(|| Self { first: self.first + first, rows: count, ..self.clone() })
    }

    /// The rows `order`, one after the other; none where there is no such row.
    pub fn in_order(&self, order: &[u32]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(self.encoding.bytes(self.cols)?.checked_mul(order.len())?);
        for &row in order {
            let row = Some(row as usize).filter(|&row| row < self.rows)?;
            bytes.extend_from_slice(self.bytes.get(self.place(row, &(0..self.cols)))?);
        }
        Self::new(self.encoding, bytes, order.len(), self.cols)
    }

    /// Columns `cols` of a row as f32. The columns must be whole blocks.
    fn unpack(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        blocks::unpack(out, &self.bytes[self.place(row, &cols)], self.encoding);
    }

    /// Rows to be read side by side, while those are fetched that come `later` rows after them.
    #[cfg(target_arch = "x86_64")]
    fn rows_of_tiles(&self, rows: &Range<usize>, later: usize) -> tiles::Rows<'_> {
        let of_row = self.place(0, &(0..self.cols)).len();
        let all = &self.bytes[(self.first + rows.start) * of_row..];
        let (bytes, next) = (&all[..rows.len() * of_row], all.get(later * of_row..).unwrap_or_default());
        let next = &next[..bytes.len().min(next.len())];
        tiles::Rows { encoding: self.encoding, bytes, of_row, next }
    }

    /// Where the bytes of columns `cols` of a row stand.
    fn place(&self, row: usize, cols: &Range<usize>) -> Range<usize> {
        let (block, size) = (self.encoding.block(), self.encoding.block_bytes());
        let start = ((self.first + row) * self.cols + cols.start) / block * size;
        start..start + cols.len() / block * size
    }

    /// The rows of these numbers as f32 `[numbers, cols]`, row after row. Every number must be below the number
    /// of rows.
    pub fn select(&self, rows: &[u32]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * self.cols];
        for (out, &row) in out.chunks_exact_mut(self.cols.max(1)).zip(rows) {
            self.unpack(row as usize, 0..self.cols, out);
        }
        out
    }

    /// Every number as f32, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.rows * self.cols];
        for (row, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.unpack(row, 0..self.cols, out);
        }
        out
    }

    /// The first number that is none or infinite, with its place among all.
    pub fn first_not_finite(&self) -> Option<(usize, f32)> {
        if self.encoding == Encoding::F16 {
            // Unpacking takes for granted that there is no such number.
            let mut halves = self.bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]));
            let at = halves.position(|half| !half.is_finite())?;
            let [low, high] = [self.bytes[2 * at], self.bytes[2 * at + 1]];
            return Some((at, half::f16::from_le_bytes([low, high]).to_f32()));
        }
        let mut entries = vec![0.0; self.cols];
        (0..self.rows).find_map(|row| {
            self.unpack(row, 0..self.cols, &mut entries);
            let col = entries.iter().position(|entry| !entry.is_finite())?;
            Some((row * self.cols + col, entries[col]))
        })
    }

    /// x·Wᵀ `[n, rows]` of `x` `[n, cols]`, row after row; none where `x` is no whole number of rows.
    ///
    /// Uses all threads, or only the calling one `alone`. The same numbers come out for a row of `x` whatever is beside
    /// it.
    pub fn multiply(&self, x: &[f32], alone: bool) -> Option<Vec<f32>> {
        Some(Self::multiply_each(x, &[self], alone)?.swap_remove(0))
    }

    /// [`Packed::multiply`] with each of several matrices that are equally wide; none where they are not.
    pub fn multiply_each(x: &[f32], matrices: &[&Self], alone: bool) -> Option<Vec<Vec<f32>>> {
        let cols = matrices.first()?.cols;
        let fit =
            cols > 0 && matrices.iter().all(|matrix| matrix.cols == cols) && x.len().is_multiple_of(cols);
        fit.then(|| multiply_each(x, matrices, alone))
    }
}

impl StoredRows for Packed {
    fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        // Rows are read one after the other, more slowly than memory could give them.
        let next = self.place(row + FETCHED_AHEAD, &columns);
        fetch_ahead(self.bytes.get(next).unwrap_or_default());
        self.unpack(row, columns, out);
    }

    #[cfg(target_arch = "x86_64")]
    fn can_stand(&self) -> bool {
        tiles::unit(self.encoding).is_some() && tiles::are_there()
    }

    #[cfg(target_arch = "x86_64")]
    fn stand(&self, rows: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let later = PANELS_AHEAD * rows.len();
        self.rows_of_tiles(&rows, later).stand(columns, panel);
    }

    #[cfg(target_arch = "x86_64")]
    fn sum_few(&self, rows: Range<usize>, left: &[f32], sums: &mut [f32]) {
        let rows = self.rows_of_tiles(&rows, rows.len());
        match left.len() / self.cols.max(1) {
            1 => rows.sum_few::<1>(left, sums),
            2 => rows.sum_few::<2>(left, sums),
            3 => rows.sum_few::<3>(left, sums),
            _ => rows.sum_few::<4>(left, sums),
        }
    }
}
