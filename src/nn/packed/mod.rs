//! Weight matrices kept in their stored numbers, and products with them.
//!
//!   y = x Wᵀ                x [n, cols] f32, W [rows, cols] in an [`Encoding`], y [n, rows] f32
//!
//! In: rows of a matrix as a file stores them.
//! Out: rows as f32, and products without all of W in f32.
//! Never: tracks gradients, changes a weight.
//!
//! Each sum has one order, whatever the number of rows in x and of threads. So a model's output does not depend on how
//! a text is split into passes or on what else is in the batch.

mod blocks;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use std::ops::Range;
use std::sync::Arc;

use half::f16;

use crate::linalg::{StoredRows, multiply_each, prefetch};

/// Prefetch distance in rows.
const ROWS_AHEAD: usize = 2;
/// Prefetch distance in panels, of which two are processed together.
#[cfg(target_arch = "x86_64")]
const PANELS_AHEAD: usize = 2;

/// How numbers are stored. The quantised encodings are those of GGUF files.
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
    /// `Q4K` with numbers of 5 bits.
    Q5K,
    /// 256 numbers of 6 bits in 16 groups, each with a scale of 8 bits.
    Q6K,
}

impl Encoding {
    /// Numbers and bytes per block.
    fn layout(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Numbers per block.
    pub fn block(self) -> usize {
        self.layout().0
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> usize {
        self.layout().1
    }

    /// Bytes of `n` numbers; `None` if they are not whole blocks or the product overflows.
    pub fn bytes(self, n: usize) -> Option<usize> {
        let (block, bytes) = self.layout();
        if n.is_multiple_of(block) { (n / block).checked_mul(bytes) } else { None }
    }
}

/// A matrix `[rows, cols]` in an encoding. Clones share the bytes.
#[derive(Debug, Clone)]
pub struct Packed {
    encoding: Encoding,
    bytes: Arc<Vec<u8>>,
    first: usize,
    rows: usize,
    cols: usize,
}

impl Packed {
    /// A matrix of the bytes of all rows. `None` if their number does not fit the shape or a row is not whole blocks.
    pub fn new(encoding: Encoding, bytes: Vec<u8>, rows: usize, cols: usize) -> Option<Self> {
        let expected = encoding.bytes(cols)?.checked_mul(rows)?;
        (expected == bytes.len()).then(|| Self { encoding, bytes: Arc::new(bytes), first: 0, rows, cols })
    }

    /// A matrix of f32 numbers. `None` if their number does not fit the shape.
    pub fn from_f32(entries: &[f32], rows: usize, cols: usize) -> Option<Self> {
        let bytes = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
        Self::new(Encoding::F32, bytes, rows, cols)
    }

    /// Rows and columns.
    pub fn dims(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// `count` rows from row `first` on, sharing the bytes. `None` if there are fewer.
    pub fn narrow(&self, first: usize, count: usize) -> Option<Self> {
        let inside = first.checked_add(count).is_some_and(|end| end <= self.rows);
        inside.then(|| Self { first: self.first + first, rows: count, ..self.clone() })
    }

    /// A copy of the rows `order`, in that order. `None` if one does not exist.
    pub fn in_order(&self, order: &[u32]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(self.encoding.bytes(self.cols)?.checked_mul(order.len())?);
        for &row in order {
            let row = Some(row as usize).filter(|&row| row < self.rows)?;
            bytes.extend_from_slice(self.bytes.get(self.byte_range(row, &(0..self.cols)))?);
        }
        Self::new(self.encoding, bytes, order.len(), self.cols)
    }

    /// Columns `cols` of a row as f32. The columns must be whole blocks.
    fn unpack(&self, row: usize, cols: Range<usize>, out: &mut [f32]) {
        blocks::unpack(out, &self.bytes[self.byte_range(row, &cols)], self.encoding);
    }

    /// Rows for the tile kernels, which prefetch the rows `later` rows after them.
    #[cfg(target_arch = "x86_64")]
    fn tile_rows(&self, rows: &Range<usize>, later: usize) -> tiles::TileRows<'_> {
        let row_bytes = self.byte_range(0, &(0..self.cols)).len();
        let all = &self.bytes[(self.first + rows.start) * row_bytes..];
        let (bytes, next) =
            (&all[..rows.len() * row_bytes], all.get(later * row_bytes..).unwrap_or_default());
        let next = &next[..bytes.len().min(next.len())];
        tiles::TileRows { encoding: self.encoding, bytes, row_bytes, next }
    }

    /// The bytes of columns `cols` of a row.
    fn byte_range(&self, row: usize, cols: &Range<usize>) -> Range<usize> {
        let (block, size) = self.encoding.layout();
        let start = ((self.first + row) * self.cols + cols.start) / block * size;
        start..start + cols.len() / block * size
    }

    /// The rows with these indices as f32 `[indices, cols]`. Every index must be below the number of rows.
    pub fn select(&self, rows: &[u32]) -> Vec<f32> {
        self.unpacked(rows.len(), rows.iter().map(|&row| row as usize))
    }

    /// All numbers as f32, row after row.
    pub fn to_f32(&self) -> Vec<f32> {
        self.unpacked(self.rows, 0..self.rows)
    }

    fn unpacked(&self, count: usize, rows: impl Iterator<Item = usize>) -> Vec<f32> {
        let mut out = vec![0.0; count * self.cols];
        for (out, row) in out.chunks_exact_mut(self.cols.max(1)).zip(rows) {
            self.unpack(row, 0..self.cols, out);
        }
        out
    }

    /// Flat index and value of the first number that is NaN or infinite.
    pub fn first_not_finite(&self) -> Option<(usize, f32)> {
        if self.encoding == Encoding::F16 {
            // Unpacking assumes finite numbers.
            let halves = self.bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32());
            return halves.enumerate().find(|(_, half)| !half.is_finite());
        }
        let mut entries = vec![0.0; self.cols];
        (0..self.rows).find_map(|row| {
            self.unpack(row, 0..self.cols, &mut entries);
            let col = entries.iter().position(|entry| !entry.is_finite())?;
            Some((row * self.cols + col, entries[col]))
        })
    }

    /// Products x·Wᵀ `[n, rows]` of `x` `[n, cols]` with several matrices. `None` if they do not have the same number of
    /// columns or `x` is not whole rows.
    ///
    /// Uses all threads, or with `alone` only the calling one. The result for a row of `x` does not depend on the others.
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
        let next = self.byte_range(row + ROWS_AHEAD, &columns);
        prefetch(self.bytes.get(next).unwrap_or_default());
        self.unpack(row, columns, out);
    }

    #[cfg(target_arch = "x86_64")]
    fn can_pack(&self) -> bool {
        tiles::unit_columns(self.encoding).is_some() && tiles::has_avx512()
    }

    #[cfg(target_arch = "x86_64")]
    fn pack_panel(&self, rows: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let later = PANELS_AHEAD * rows.len();
        self.tile_rows(&rows, later).pack_panel(columns, panel);
    }

    #[cfg(target_arch = "x86_64")]
    fn multiply_thin(&self, rows: Range<usize>, left: &[f32], sums: &mut [f32]) {
        let rows = self.tile_rows(&rows, rows.len());
        match left.len() / self.cols.max(1) {
            1 => rows.multiply_thin::<1>(left, sums),
            2 => rows.multiply_thin::<2>(left, sums),
            3 => rows.multiply_thin::<3>(left, sums),
            _ => rows.multiply_thin::<4>(left, sums),
        }
    }
}
