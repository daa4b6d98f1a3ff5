use std::ops::Range;

use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::PANEL;

/// Rows of the other factor that are multiplied at once: with two vectors of sums each they leave room for what is
/// multiplied in the 32 registers of a core.
pub const ROWS: usize = 12;
/// Sides of the tiles that are turned in registers: entries of a vector.
pub const TILE: usize = 16;

/// Puts whole tiles of columns of rows `[count, d]` into a panel, columns as rows; the processor must have the
/// vectors. Returns how many rows and columns these were.
pub fn turn_tiles(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) -> (usize, usize) {
    let count = rows.len() / d.max(1);
    let done = (count / TILE * TILE, columns.len() / TILE * TILE);
    assert!(count <= PANEL && columns.end <= d && panel.len() == columns.len() * PANEL);
    for row in (0..done.0).step_by(TILE) {
        for column in (0..done.1).step_by(TILE) {
            // SAFETY: whoever calls has asked the processor for these vectors. Row i < TILE of the tile begins
            // at (row + i)·d + first + column with row + TILE ≤ count and first + column + TILE ≤ d; column i
            // goes to (column + i)·PANEL + row, with row + TILE ≤ PANEL: all inside what was just asserted.
            #[expect(unsafe_code, reason = "instruction set chosen at run time")]
            unsafe {
                let from = rows.as_ptr().add(row * d + columns.start + column);
                turn::<TILE>(from, d, panel.as_mut_ptr().add(column * PANEL + row), PANEL);
            }
        }
    }
    done
}

/// Puts [`ROWS`] rows `[ROWS, d]` into `block`, column after column; the processor must have the vectors. Returns
/// how many columns it did.
pub fn turn_rows(rows: &[f32], d: usize, block: &mut [f32]) -> usize {
    assert!(rows.len() == ROWS * d && block.len() == rows.len());
    // A vector of a column reaches beyond the column, over the next that is written after it: the last columns
    // are left to the caller, so that it never reaches beyond the block.
    let done = d.saturating_sub(1) / TILE * TILE;
    for column in (0..done).step_by(TILE) {
        // SAFETY: whoever calls has asked the processor for these vectors. Row i < ROWS begins at i·d + column with
        // column + TILE < d; column i is written to (column + i)·ROWS and the TILE entries from there on, which
        // end before (column + TILE + 1)·ROWS ≤ d·ROWS.
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        unsafe {
            let from = rows.as_ptr().add(column);
            turn::<ROWS>(from, d, block.as_mut_ptr().add(column * ROWS), ROWS);
        }
    }
    done
}

/// Row i < `R` of a tile, at `from + i·stride`, becomes its column i; column j is written as a whole vector to
/// `to + j·step`, in ascending order, with zeros in place of the rows from `R` on.
///
/// # Safety
/// `from` has `R` ≤ [`TILE`] rows of [`TILE`] entries `stride` apart, `to` as many entries from each j·`step` on.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are written through a pointer")]
unsafe fn turn<const R: usize>(from: *const f32, stride: usize, to: *mut f32, step: usize) {
    // SAFETY: as above.
    let columns = unsafe { turned::<R>(from, stride) };
    for (j, column) in columns.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { _mm512_storeu_ps(to.add(j * step), column) };
    }
}

/// The columns of a tile whose row i < `R` is at `from + i·stride`, with zeros in place of the rows from `R` on.
///
/// # Safety
/// `from` has `R` ≤ [`TILE`] rows of [`TILE`] entries `stride` apart.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read through a pointer")]
unsafe fn turned<const R: usize>(from: *const f32, stride: usize) -> [__m512; TILE] {
    let mut rows = [_mm512_setzero_ps(); TILE];
    for (i, row) in rows.iter_mut().enumerate().take(R) {
        // SAFETY: as above.
        *row = unsafe { _mm512_loadu_ps(from.add(i * stride)) };
    }
    turned_rows(rows)
}

/// The columns of a tile that is there by rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn turned_rows(rows: [__m512; TILE]) -> [__m512; TILE] {
    /// Pairs of neighbours exchanged in the halves of 128 bits: entries of two rows take turns.
    #[target_feature(enable = "avx512f")]
    fn by_one(rows: [__m512; TILE]) -> [__m512; TILE] {
        let mut out = rows;
        for i in (0..TILE).step_by(2) {
            out[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
            out[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        }
        out
    }
    /// Four rows' entries at one column of each quarter side by side.
    #[target_feature(enable = "avx512f")]
    fn by_two(rows: [__m512; TILE]) -> [__m512; TILE] {
        let mut out = rows;
        for i in (0..TILE).step_by(4) {
            for j in 0..2 {
                let (a, b) = (_mm512_castps_pd(rows[i + j]), _mm512_castps_pd(rows[i + j + 2]));
                out[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                out[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
        }
        out
    }
    // Row 4i + j now has, in quarter q, column 4q + j of rows 4i to 4i + 3.
    let fours = by_two(by_one(rows));
    let mut columns = [_mm512_setzero_ps(); TILE];
    for j in 0..4 {
        let low_a = _mm512_shuffle_f32x4::<0x88>(fours[j], fours[4 + j]); // quarters 0 and 2 of rows 0–7
        let high_a = _mm512_shuffle_f32x4::<0xDD>(fours[j], fours[4 + j]); // quarters 1 and 3
        let low_b = _mm512_shuffle_f32x4::<0x88>(fours[8 + j], fours[12 + j]);
        let high_b = _mm512_shuffle_f32x4::<0xDD>(fours[8 + j], fours[12 + j]);
        columns[j] = _mm512_shuffle_f32x4::<0x88>(low_a, low_b);
        columns[4 + j] = _mm512_shuffle_f32x4::<0x88>(high_a, high_b);
        columns[8 + j] = _mm512_shuffle_f32x4::<0xDD>(low_a, low_b);
        columns[12 + j] = _mm512_shuffle_f32x4::<0xDD>(high_a, high_b);
    }
    columns
}

/// `sums` + products of `x` `[d]` with some rows of `[n, d]`, one after the other as they are asked for; the processor
/// must have the vectors. A sum runs from the first column to the last. Panics where a row is not there.
pub fn add_chosen(x: &[f32], rows: &[f32], chosen: &[u32; TILE], sums: &mut [f32; TILE]) {
    let d = x.len();
    assert!(chosen.iter().all(|&row| (row as usize + 1) * d <= rows.len()), "rows that are there");
    let whole = d / TILE * TILE;
    // SAFETY: whoever calls has asked the processor for these vectors. Every row that is read begins at row·d and has
    // d entries inside `rows`, as was just asserted; vectors of it begin at multiples of TILE and end at `whole` ≤ d.
    #[expect(unsafe_code, reason = "instruction set chosen at run time")]
    unsafe {
        add_tiles(&x[..whole], chosen.map(|row| rows.as_ptr().add(row as usize * d)), sums);
    }
    for (column, value) in x.iter().enumerate().skip(whole) {
        for (sum, &row) in sums.iter_mut().zip(chosen) {
            *sum = value.mul_add(rows[row as usize * d + column], *sum);
        }
    }
}

/// [`add_chosen`] for whole tiles.
///
/// # Safety
/// Each of `rows` has as many entries as `x`, whole tiles.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn add_tiles(x: &[f32], rows: [*const f32; TILE], sums: &mut [f32; TILE]) {
    // SAFETY: as above; `sums` is one vector.
    unsafe {
        let mut sum = _mm512_loadu_ps(sums.as_ptr());
        for (nth, values) in x.chunks_exact(TILE).enumerate() {
            let mut tile = [_mm512_setzero_ps(); TILE];
            for (slot, row) in tile.iter_mut().zip(rows) {
                *slot = _mm512_loadu_ps(row.add(nth * TILE));
            }
            for (entries, &value) in turned_rows(tile).into_iter().zip(values) {
                sum = _mm512_fmadd_ps(_mm512_set1_ps(value), entries, sum);
            }
        }
        _mm512_storeu_ps(sums.as_mut_ptr(), sum);
    }
}

/// Adds to `sums` `[M, PANEL]`, or with `fresh` to 0, the products of `M` rows, which come column by column in
/// `left`, with rows `[count, stride]` of `width` entries: tile after tile is turned and used at once. The
/// processor must have the vectors; there must be whole tiles.
pub fn few<const M: usize>(
    left: &[f32],
    rows: &[f32],
    stride: usize,
    width: usize,
    sums: &mut [f32],
    fresh: bool,
) {
    let count = rows.len() / stride.max(1);
    assert!(count.is_multiple_of(TILE) && count <= PANEL && width.is_multiple_of(TILE) && width <= stride);
    assert!(rows.len() == count * stride && left.len() == width * M && sums.len() == M * PANEL);
    for row in (0..count).step_by(TILE) {
        // SAFETY: whoever calls has asked the processor for these vectors. There are `TILE` rows from `row` < `count`
        // on, for both are whole tiles, with `width` ≤ `stride` entries each, and `sums` have TILE from `row` on.
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        unsafe {
            let from = rows.as_ptr().add(row * stride);
            few_tiles::<M>(left, from, stride, width, sums.as_mut_ptr().add(row), fresh);
        }
    }
}

/// [`few`] for the rows of one tile.
///
/// # Safety
/// `from` has [`TILE`] rows of `width` entries, whole tiles, `stride` apart; `left` has `M` for each of them;
/// `to` has [`TILE`] sums for each of `M` rows, which are `PANEL` apart.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
unsafe fn few_tiles<const M: usize>(
    left: &[f32],
    from: *const f32,
    stride: usize,
    width: usize,
    to: *mut f32,
    fresh: bool,
) {
    let mut sums = [_mm512_setzero_ps(); M];
    // SAFETY: as above.
    unsafe {
        if !fresh {
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_loadu_ps(to.add(r * PANEL));
            }
        }
        for column in (0..width).step_by(TILE) {
            let columns = turned::<TILE>(from.add(column), stride);
            for (j, entries) in columns.into_iter().enumerate() {
                for (r, sum) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*left.get_unchecked((column + j) * M + r));
                    *sum = _mm512_fmadd_ps(value, entries, *sum);
                }
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(to.add(r * PANEL), sum);
        }
    }
}

/// `to[r] = from[r] + left[r] · panel` for `R` rows, which come column by column as the panel does.
///
/// # Safety
/// Row r < `R` of `from` begins at r·`step`, of `to` at r·`stride`, and has PANEL entries; `left` has `R` for
/// each column of the panel.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
pub unsafe fn block<const R: usize>(
    left: &[f32],
    panel: &[f32],
    from: *const f32,
    step: usize,
    to: *mut f32,
    stride: usize,
) {
    let d = panel.len() / PANEL;
    let (left, panel) = (left.as_ptr(), panel.as_ptr());
    let mut low = [_mm512_setzero_ps(); R];
    let mut high = [_mm512_setzero_ps(); R];
    // SAFETY: as above.
    unsafe {
        for r in 0..R {
            low[r] = _mm512_loadu_ps(from.add(r * step));
            high[r] = _mm512_loadu_ps(from.add(r * step + 16));
        }
        for k in 0..d {
            let first = _mm512_loadu_ps(panel.add(k * PANEL));
            let second = _mm512_loadu_ps(panel.add(k * PANEL + 16));
            for r in 0..R {
                let value = _mm512_set1_ps(*left.add(k * R + r));
                low[r] = _mm512_fmadd_ps(value, first, low[r]);
                high[r] = _mm512_fmadd_ps(value, second, high[r]);
            }
        }
        for r in 0..R {
            _mm512_storeu_ps(to.add(r * stride), low[r]);
            _mm512_storeu_ps(to.add(r * stride + 16), high[r]);
        }
    }
}
