//! Sparse codes in compressed row format, and the scan for non-zero entries.

use crate::base::Matrix;

use super::vector::{Vectorised, vectorised};

/// Sparse codes `[rows, cols]` in compressed row format: per row, the non-zero features in ascending order.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseCodes {
    rows: usize,
    cols: usize,
    offsets: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseCodes {
    /// No rows yet; `cols` features.
    pub fn new(cols: usize) -> Self {
        Self { rows: 0, cols, offsets: vec![0], indices: Vec::new(), values: Vec::new() }
    }

    /// The non-zero entries of a dense matrix.
    pub fn from_dense(codes: &Matrix) -> Self {
        let mut out = Self::new(codes.cols());
        out.push_dense_rows(codes.data());
        out
    }

    /// Appends a row given as (feature, code), ascending by feature.
    pub fn push_row(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        for (index, value) in entries {
            self.indices.push(index);
            self.values.push(value);
        }
        self.rows += 1;
        self.offsets.push(self.indices.len());
    }

    /// Appends dense rows `[.., cols]`.
    pub fn push_dense_rows(&mut self, rows: &[f32]) {
        vectorised(PushDense { codes: self, rows });
    }

    /// Appends all rows of `other`.
    pub fn append(&mut self, other: &Self) {
        let base = self.indices.len();
        self.rows += other.rows;
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
        self.offsets.extend(other.offsets[1..].iter().map(|offset| offset + base));
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Number of non-zero entries.
    pub fn n_entries(&self) -> usize {
        self.indices.len()
    }

    /// Row offsets `[rows + 1]`, and the feature and code of each entry.
    pub fn parts(&self) -> (&[usize], &[u32], &[f32]) {
        (&self.offsets, &self.indices, &self.values)
    }

    /// Features and codes of one row.
    pub fn row(&self, row: usize) -> (&[u32], &[f32]) {
        let range = self.offsets[row]..self.offsets[row + 1];
        (&self.indices[range.clone()], &self.values[range])
    }

    /// (feature, code) pairs of one row.
    pub fn iter_row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> + '_ {
        let (indices, values) = self.row(row);
        indices.iter().map(|&index| index as usize).zip(values.iter().copied())
    }

    /// Writes the dense rows to `out`. Panics if `out` is not `[rows, cols]`.
    pub fn write_dense(&self, out: &mut [f32]) {
        assert!(out.len() == self.rows * self.cols, "`out` must be [rows, cols]");
        out.fill(0.0);
        for (row, out) in out.chunks_exact_mut(self.cols.max(1)).enumerate() {
            self.iter_row(row).for_each(|(index, value)| out[index] = value);
        }
    }

    /// The dense matrix `[rows, cols]`.
    #[cfg(test)]
    pub fn to_dense(&self) -> Matrix {
        let mut out = Matrix::zeros(self.rows, self.cols);
        self.write_dense(out.data_mut());
        out
    }
}

struct PushDense<'a> {
    codes: &'a mut SparseCodes,
    rows: &'a [f32],
}

impl Vectorised for PushDense<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { codes, rows } = self;
        for row in rows.chunks_exact(codes.cols.max(1)) {
            for_each_nonzero(row, |index, value| {
                codes.indices.push(index);
                codes.values.push(value);
            });
            codes.rows += 1;
            codes.offsets.push(codes.indices.len());
        }
    }
}

/// Entries compared together.
const STRIP: usize = 16;

/// Calls `found` with the index and value of each non-zero entry, in ascending order.
#[inline(always)]
pub fn for_each_nonzero(row: &[f32], mut found: impl FnMut(u32, f32)) {
    for (strip, part) in row.chunks(STRIP).enumerate() {
        let mut mask = 0u32;
        for (lane, &value) in part.iter().enumerate() {
            mask |= u32::from(value != 0.0) << lane;
        }
        while mask != 0 {
            let lane = mask.trailing_zeros() as usize;
            found((strip * STRIP + lane) as u32, part[lane]);
            mask &= mask - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_back() {
        let dense =
            Matrix::from_fn(5, 4, |row, col| if (row + col) % 3 == 0 { row as f32 - 1.5 } else { 0.0 });
        let mut sparse = SparseCodes::from_dense(&dense.select_rows(&[0, 1]));
        sparse.append(&SparseCodes::from_dense(&dense.select_rows(&[2, 3, 4])));
        assert_eq!(sparse.to_dense(), dense);
        assert_eq!(sparse.iter_row(0).collect::<Vec<_>>(), vec![(0, -1.5), (3, -1.5)]);
        assert_eq!(sparse.n_entries(), dense.data().iter().filter(|v| **v != 0.0).count());
    }
}
