use std::ops::Range;

use std::arch::x86_64::{
    __m256, _mm256_castpd_ps, _mm256_castps_pd, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_permute2f128_ps,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps,
    _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

use super::PANEL;

/// Rows of the other factor that are multiplied at once: with four vectors of sums each they leave room for what is
/// multiplied in the 16 registers of a core.
pub const ROWS: usize = 3;
/// Sides of the tiles that are turned in registers: entries of a vector.
const TILE: usize = 8;
/// Tiles side by side in a panel.
const SIDE_BY_SIDE: usize = PANEL / TILE;

/// As [`avx512::turn_tiles`](super::avx512::turn_tiles).
pub fn turn_tiles(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) -> (usize, usize) {
    let count = rows.len() / d.max(1);
    let done = (count / TILE * TILE, columns.len() / TILE * TILE);
    assert!(count <= PANEL && columns.end <= d && panel.len() == columns.len() * PANEL);
    for row in (0..done.0).step_by(TILE) {
        for column in (0..done.1).step_by(TILE) {
            // SAFETY: whoever calls has asked the processor for these vectors. Row i < TILE of the tile begins at
            // (row + i)·d + first + column with row + TILE ≤ count and first + column + TILE ≤ d; column i goes to
            // (column + i)·PANEL + row, with row + TILE ≤ PANEL: all inside what was just asserted.
            #[expect(unsafe_code, reason = "instruction set chosen at run time")]
            unsafe {
                let from = rows.as_ptr().add(row * d + columns.start + column);
                let to = panel.as_mut_ptr().add(column * PANEL + row);
                turn(from, d, to);
            }
        }
    }
    done
}

/// Row i of a tile, at `from + i·stride`, becomes its column i; column j is written to `to + j·PANEL`.
///
/// # Safety
/// `from` has [`TILE`] rows of [`TILE`] entries `stride` apart, `to` as many entries from each j·`PANEL` on.
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "vectors are written through a pointer")]
unsafe fn turn(from: *const f32, stride: usize, to: *mut f32) {
    // SAFETY: as above.
    let columns = unsafe { turned(from, stride) };
    for (j, column) in columns.into_iter().enumerate() {
        // SAFETY: as above.
        unsafe { _mm256_storeu_ps(to.add(j * PANEL), column) };
    }
}

/// The columns of a tile whose row i is at `from + i·stride`.
///
/// # Safety
/// `from` has [`TILE`] rows of [`TILE`] entries `stride` apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "vectors are read through a pointer")]
unsafe fn turned(from: *const f32, stride: usize) -> [__m256; TILE] {
    let mut rows = [_mm256_setzero_ps(); TILE];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: as above.
        *row = unsafe { _mm256_loadu_ps(from.add(i * stride)) };
    }
    // Entries of two rows take turns, then pairs of such of four rows: row 4i + j now has, in half h, column 4h + j of
    // rows 4i to 4i + 3.
    let mut fours = rows;
    for i in (0..TILE).step_by(4) {
        for j in 0..2 {
            let halves = |a: __m256, b: __m256| {
                if j == 0 { _mm256_unpacklo_ps(a, b) } else { _mm256_unpackhi_ps(a, b) }
            };
            let first = _mm256_castps_pd(halves(rows[i], rows[i + 1]));
            let second = _mm256_castps_pd(halves(rows[i + 2], rows[i + 3]));
            fours[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(first, second));
            fours[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(first, second));
        }
    }
    let mut columns = rows;
    for j in 0..4 {
        columns[j] = _mm256_permute2f128_ps::<0x20>(fours[j], fours[4 + j]);
        columns[4 + j] = _mm256_permute2f128_ps::<0x31>(fours[j], fours[4 + j]);
    }
    columns
}

/// As [`avx512::few`](super::avx512::few), for whole panels: the sums of their four tiles do not wait for each other.
pub fn few<const M: usize>(
    left: &[f32],
    rows: &[f32],
    stride: usize,
    width: usize,
    sums: &mut [f32],
    fresh: bool,
) {
    assert!(rows.len() == PANEL * stride && width.is_multiple_of(TILE) && width <= stride);
    assert!(left.len() == width * M && sums.len() == M * PANEL);
    // SAFETY: whoever calls has asked the processor for these vectors. There are PANEL rows of `width` ≤ `stride` entries,
    // whole tiles, and PANEL sums for each of M rows.
    #[expect(unsafe_code, reason = "instruction set chosen at run time")]
    unsafe {
        few_tiles::<M>(left, rows.as_ptr(), stride, width, sums.as_mut_ptr(), fresh);
    }
}

/// # Safety
/// `from` has [`PANEL`] rows of `width` entries, whole tiles, `stride` apart; `left` has `M` for each of them; `to` has
/// [`PANEL`] sums for each of `M` rows.
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
unsafe fn few_tiles<const M: usize>(
    left: &[f32],
    from: *const f32,
    stride: usize,
    width: usize,
    to: *mut f32,
    fresh: bool,
) {
    let mut sums = [[_mm256_setzero_ps(); SIDE_BY_SIDE]; M];
    // SAFETY: as above.
    unsafe {
        if !fresh {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (tile, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_loadu_ps(to.add(r * PANEL + tile * TILE));
                }
            }
        }
        for column in (0..width).step_by(TILE) {
            for tile in 0..SIDE_BY_SIDE {
                let columns = turned(from.add(tile * TILE * stride + column), stride);
                for (j, entries) in columns.into_iter().enumerate() {
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let value = _mm256_set1_ps(*left.get_unchecked((column + j) * M + r));
                        sums[tile] = _mm256_fmadd_ps(value, entries, sums[tile]);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (tile, sum) in sums.into_iter().enumerate() {
                _mm256_storeu_ps(to.add(r * PANEL + tile * TILE), sum);
            }
        }
    }
}

/// As [`avx512::block`](super::avx512::block) for `R` ≤ [`ROWS`].
///
/// # Safety
/// Row r < `R` of `from` begins at r·`step`, of `to` at r·`stride`, and has PANEL entries; `left` has `R` for each
/// column of the panel.
#[target_feature(enable = "avx2,fma")]
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
    let mut sums = [[_mm256_setzero_ps(); SIDE_BY_SIDE]; R];
    let mut values = [_mm256_setzero_ps(); R];
    // SAFETY: as above.
    unsafe {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (tile, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_loadu_ps(from.add(r * step + tile * TILE));
            }
        }
        for k in 0..d {
            for (r, value) in values.iter_mut().enumerate() {
                *value = _mm256_set1_ps(*left.add(k * R + r));
            }
            for tile in 0..SIDE_BY_SIDE {
                let entries = _mm256_loadu_ps(panel.add(k * PANEL + tile * TILE));
                for (sums, &value) in sums.iter_mut().zip(&values) {
                    sums[tile] = _mm256_fmadd_ps(value, entries, sums[tile]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (tile, sum) in sums.into_iter().enumerate() {
                _mm256_storeu_ps(to.add(r * stride + tile * TILE), sum);
            }
        }
    }
}
