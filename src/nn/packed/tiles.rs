//! AVX-512 kernels for quantised rows: sixteen rows form a tile, one row per vector lane.
//!
//! A tile is either unpacked into a panel for the matrix product, or multiplied directly:
//!
//!   sums[r, j] = Σ_c left[c, r] · row_j[c]           r < M ≤ 4 rows of x, j < 32 rows of the matrix

use std::arch::x86_64::{__m512, _mm512_setzero_ps, _mm512_storeu_ps};
use std::ops::Range;

use super::Encoding;
use crate::linalg::prefetch;

mod bytes;
mod formats;

/// Rows of a tile: f32 lanes of a vector.
pub const ROWS: usize = 16;
/// Tiles that are multiplied together. Two give enough independent sums to hide the latency of an addition.
const TILES: usize = 2;

/// Whether the processor has the required instructions.
pub fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Columns that are decoded together: half a block of 256, else a block. `None` for encodings without blocks.
pub fn unit_columns(encoding: Encoding) -> Option<usize> {
    match encoding.block() {
        256 => Some(128),
        32 => Some(32),
        _ => None,
    }
}

/// The first byte of each row of a tile.
type RowStarts = [*const u8; ROWS];

/// Consecutive rows of whole blocks.
#[derive(Clone, Copy)]
pub struct TileRows<'a> {
    pub encoding: Encoding,
    /// The bytes of the rows, row after row.
    pub bytes: &'a [u8],
    /// Bytes per row.
    pub row_bytes: usize,
    /// Bytes to prefetch: those that are read next.
    pub next: &'a [u8],
}

impl TileRows<'_> {
    fn count(&self) -> usize {
        self.bytes.len() / self.row_bytes.max(1)
    }

    /// The starts of the rows of a tile. Missing rows are replaced by the last one.
    fn tile(&self, nth: usize) -> RowStarts {
        std::array::from_fn(|r| {
            let row = (nth * ROWS + r).min(self.count() - 1);
            self.bytes[row * self.row_bytes..][..self.row_bytes].as_ptr()
        })
    }

    /// Returns the unit. Panics unless the processor has the instructions and `columns` are whole units of the rows.
    fn check(&self, columns: &Range<usize>) -> usize {
        let (unit, block) = (unit_columns(self.encoding).unwrap_or(0), self.encoding.block());
        let bytes = columns.end.div_ceil(block) * self.encoding.block_bytes();
        assert!(
            has_avx512() && unit > 0 && self.count() > 0 && bytes <= self.row_bytes,
            "rows have these columns"
        );
        assert!(columns.start.is_multiple_of(unit) && columns.len().is_multiple_of(unit), "whole units");
        unit
    }

    /// Unpacks columns `columns`, whole units, into `panel` `[columns, stride]`, whose stride is a multiple of [`ROWS`].
    /// Panics if the rows lack these columns or the processor lacks the instructions.
    pub fn pack_panel(&self, columns: Range<usize>, panel: &mut [f32]) {
        let unit = self.check(&columns);
        let stride = panel.len() / columns.len().max(1);
        assert!(
            panel.len() == columns.len() * stride && stride.is_multiple_of(ROWS),
            "a panel has whole tiles"
        );
        let width = self.row_bytes / self.encoding.block_bytes() * self.encoding.block();
        let at = |column: usize| self.next.len() * column / width;
        prefetch(&self.next[at(columns.start)..at(columns.end)]);
        for nth in 0..stride / ROWS {
            let tile = self.tile(nth);
            for (column, start) in columns.clone().step_by(unit).enumerate() {
                let out = &mut panel[column * unit * stride + nth * ROWS..];
                let mut to = Sink { left: &[], out: out.as_mut_ptr(), stride, sums: [] };
                // SAFETY: `check` has verified the instructions and the columns of the rows. The panel has room for a
                // vector at each column.
                #[expect(unsafe_code, reason = "instruction set chosen at run time")]
                unsafe {
                    decode_unit(self.encoding, &tile, start, &mut to);
                }
            }
        }
    }

    /// `sums` `[M, 32]` ← products of `left` `[columns, M]` with these rows, at most 32. Each product is one sum from the
    /// first column to the last.
    pub fn multiply_thin<const M: usize>(&self, left: &[f32], sums: &mut [f32]) {
        let width = left.len() / M;
        let unit = self.check(&(0..width));
        let stride = TILES * ROWS;
        assert!(M > 0 && left.len() == width * M && sums.len() == M * stride && self.count() <= stride);
        let tiles = [self.tile(0), self.tile(1)];
        // SAFETY: `check` has verified the instructions and the columns of the rows, and `left` has as many columns. Each
        // row of `sums` has room for one vector per tile.
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        unsafe {
            multiply_tiles::<M>(self.encoding, &tiles, left, unit, self.next, sums);
        }
    }
}

/// # Safety
/// The processor has the instructions, the rows of the tiles have as many columns as `left`, these are whole units, and
/// `sums` is `[M, TILES · ROWS]`.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
unsafe fn multiply_tiles<const M: usize>(
    encoding: Encoding,
    tiles: &[RowStarts; TILES],
    left: &[f32],
    unit: usize,
    next: &[u8],
    sums: &mut [f32],
) {
    let mut sinks: [Sink<'_, M>; TILES] = std::array::from_fn(|_| Sink {
        left: &[],
        out: std::ptr::null_mut(),
        stride: 0,
        sums: [_mm512_setzero_ps(); M],
    });
    let mut next = next.chunks(next.len().div_ceil(left.len() / (unit * M)).max(1));
    for (nth, left) in left.chunks_exact(unit * M).enumerate() {
        next.next().into_iter().for_each(prefetch);
        for (tile, sink) in tiles.iter().zip(&mut sinks) {
            sink.left = left;
            // SAFETY: as above.
            unsafe { decode_unit(encoding, tile, nth * unit, sink) };
        }
    }
    for (nth, sink) in sinks.iter().enumerate() {
        for (r, sum) in sink.sums.iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add((r * TILES + nth) * ROWS), *sum) };
        }
    }
}

/// Receives the columns of a unit: writes them to memory if `M` = 0, else adds them to `M` products.
struct Sink<'a, const M: usize> {
    /// `[columns, M]`: the factors of each column.
    left: &'a [f32],
    sums: [__m512; M],
    out: *mut f32,
    /// Distance in entries between consecutive columns.
    stride: usize,
}

/// Decodes the unit that begins at column `start` and passes its columns to the sink.
///
/// # Safety
/// The processor has the instructions, each row has the unit, and the sink has room for its columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn decode_unit<const M: usize>(
    encoding: Encoding,
    rows: &RowStarts,
    start: usize,
    to: &mut Sink<'_, M>,
) {
    let (block, unit) = (encoding.block(), unit_columns(encoding).unwrap_or(1));
    assert!(M == 0 || to.left.len() == unit * M, "factors for each column");
    let (at, half) = (start / block * encoding.block_bytes(), start % block / unit);
    // SAFETY: as above.
    unsafe {
        match encoding {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => {}
            Encoding::Q4_0 => formats::four_bits::<false, M>(rows, at, to),
            Encoding::Q4_1 => formats::four_bits::<true, M>(rows, at, to),
            Encoding::Q5_0 => formats::five_bits::<false, M>(rows, at, to),
            Encoding::Q5_1 => formats::five_bits::<true, M>(rows, at, to),
            Encoding::Q8_0 => formats::eight_bits::<M>(rows, at, to),
            Encoding::Q4K => formats::groups::<false, M>(rows, at, half, to),
            Encoding::Q5K => formats::groups::<true, M>(rows, at, half, to),
            Encoding::Q6K => formats::six_bits::<M>(rows, at, half, to),
        }
    }
}
