//! Shuffled batches of an activation set, with bounded memory.
//!
//! Blocks of 256 neighbouring rows are read in a random order. Rows of 64 blocks at a time are mixed in a
//! buffer, from which batches are cut.

use super::error::ActivationError;
use super::set::ActivationSet;
use crate::base::{Matrix, Stream};

/// Rows read from disk together.
const BLOCK_ROWS: usize = 256;
/// Blocks mixed with each other in memory.
const MIXED_BLOCKS: usize = 64;

/// Batches of one shuffled pass.
#[derive(Debug)]
pub struct Batches<'a> {
    set: &'a ActivationSet,
    stream: Stream,
    blocks: Vec<usize>,
    next_block: usize,
    buffer: Vec<f32>,
    /// Rows of `buffer` not served yet.
    order: Vec<usize>,
    batch_rows: usize,
}

impl ActivationSet {
    /// One pass over all rows in a seeded order, `batch_rows` at a time; an incomplete last batch is dropped.
    pub fn shuffled(&self, stream: Stream, batch_rows: usize) -> Batches<'_> {
        Batches::new(self, stream, batch_rows)
    }
}

impl<'a> Batches<'a> {
    fn new(set: &'a ActivationSet, mut stream: Stream, batch_rows: usize) -> Self {
        let blocks = stream.permutation(set.rows().div_ceil(BLOCK_ROWS));
        Self { set, stream, blocks, next_block: 0, buffer: Vec::new(), order: Vec::new(), batch_rows }
    }

    /// Mixes the next blocks with the rows not served yet. Returns whether there were any.
    fn refill(&mut self) -> Result<bool, ActivationError> {
        let width = self.set.width();
        let mut buffer = Vec::with_capacity((self.order.len() + MIXED_BLOCKS * BLOCK_ROWS) * width);
        for &row in &self.order {
            buffer.extend_from_slice(&self.buffer[row * width..(row + 1) * width]);
        }
        let until = (self.next_block + MIXED_BLOCKS).min(self.blocks.len());
        let grew = self.next_block < until;
        for &block in &self.blocks[self.next_block..until] {
            let start = block * BLOCK_ROWS;
            let n = BLOCK_ROWS.min(self.set.rows() - start);
            let from = buffer.len();
            buffer.resize(from + n * width, 0.0);
            self.set.read_into(start, &mut buffer[from..])?;
        }
        self.next_block = until;
        self.order = self.stream.permutation(buffer.len() / width);
        self.buffer = buffer;
        Ok(grew)
    }
}

impl Iterator for Batches<'_> {
    type Item = Result<Matrix, ActivationError>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.order.len() < self.batch_rows {
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let width = self.set.width();
        let rows = self.order.split_off(self.order.len() - self.batch_rows);
        let mut batch = Matrix::zeros(rows.len(), width);
        for (slot, row) in rows.into_iter().enumerate() {
            batch.row_mut(slot).copy_from_slice(&self.buffer[row * width..(row + 1) * width]);
        }
        Some(Ok(batch))
    }
}
