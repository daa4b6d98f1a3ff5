//! AVX-512 microkernels of [`super`]: MR = 12, two vectors of 16 f32 per row of sums.

use std::ops::Range;

use std::arch::x86_64::{
    __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
    _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::NR;

/// Rows of a tile. Their 12 × 2 sums leave 8 of the 32 vector registers for operands.
pub const MR: usize = 12;
/// f32 entries of a vector; also the side of the squares that are transposed in registers.
pub const LANES: usize = 16;

/// Packs columns `columns` of `rows` `[count, d]` into `panel` `[columns, NR]`, as far as whole squares go.
///
/// Returns the number of rows and columns packed. The processor must have AVX-512.
pub fn transpose_into_panel(
    rows: &[f32],
    d: usize,
    columns: Range<usize>,
    panel: &mut [f32],
) -> (usize, usize) {
    let count = rows.len() / d.max(1);
    let done = (count / LANES * LANES, columns.len() / LANES * LANES);
    assert!(count <= NR && columns.end <= d && panel.len() == columns.len() * NR);
    for row in (0..done.0).step_by(LANES) {
        for column in (0..done.1).step_by(LANES) {
            // SAFETY: the caller detected AVX-512. Row i < LANES is read at (row + i)·d + columns.start +
            // column, where row + LANES ≤ count and columns.start + column + LANES ≤ d. Column i is written
            // at (column + i)·NR + row, where row + LANES ≤ NR. The assertion above bounds both.
            #[expect(unsafe_code, reason = "instruction set chosen at run time")]
            unsafe {
                let from = rows.as_ptr().add(row * d + columns.start + column);
                store_transposed::<LANES>(from, d, panel.as_mut_ptr().add(column * NR + row), NR);
            }
        }
    }
    done
}

/// Packs `rows` `[MR, d]` into `tile` `[d, MR]`, except the last columns. Returns the number of columns
/// packed.
pub fn transpose_into_tile(rows: &[f32], d: usize, tile: &mut [f32]) -> usize {
    assert!(rows.len() == MR * d && tile.len() == rows.len());
    // Storing a column of MR entries writes LANES entries; later columns overwrite the excess. The last
    // columns are left to the caller, so that no store passes the end of the tile.
    let done = d.saturating_sub(1) / LANES * LANES;
    for column in (0..done).step_by(LANES) {
        // SAFETY: the caller detected AVX-512. Row i < MR is read at i·d + column, where column + LANES < d.
        // Column i is written to LANES entries from (column + i)·MR on, which end before (column + LANES +
        // 1)·MR ≤ d·MR.
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        unsafe {
            let from = rows.as_ptr().add(column);
            store_transposed::<MR>(from, d, tile.as_mut_ptr().add(column * MR), MR);
        }
    }
    done
}

/// Transposes `R` rows of [`LANES`] entries: reads row i at `from + i·stride`, writes column j at `to +
/// j·step`.
///
/// Columns are written in ascending order as whole vectors, with zeros for rows `R` and beyond.
///
/// # Safety
/// The processor has AVX-512. `from` has `R` ≤ [`LANES`] rows of [`LANES`] entries, `stride` apart; `to` has
/// [`LANES`] entries at each j·`step`.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are written through a pointer")]
unsafe fn store_transposed<const R: usize>(from: *const f32, stride: usize, to: *mut f32, step: usize) {
    // SAFETY: guaranteed by the caller.
    let columns = unsafe { load_transposed::<R>(from, stride) };
    for (j, column) in columns.into_iter().enumerate() {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm512_storeu_ps(to.add(j * step), column) };
    }
}

/// Returns the columns of `R` rows, row i at `from + i·stride`, with zeros for rows `R` and beyond.
///
/// # Safety
/// The processor has AVX-512. `from` has `R` ≤ [`LANES`] rows of [`LANES`] entries, `stride` apart.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read through a pointer")]
unsafe fn load_transposed<const R: usize>(from: *const f32, stride: usize) -> [__m512; LANES] {
    let mut rows = [_mm512_setzero_ps(); LANES];
    for (i, row) in rows.iter_mut().enumerate().take(R) {
        // SAFETY: guaranteed by the caller.
        *row = unsafe { _mm512_loadu_ps(from.add(i * stride)) };
    }
    transpose(rows)
}

/// Transposes a 16 × 16 square in three steps: entries, pairs, then 128-bit quarters.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512; LANES]) -> [__m512; LANES] {
    /// Interleaves the entries of rows 2i and 2i + 1.
    #[target_feature(enable = "avx512f")]
    fn interleave_entries(rows: [__m512; LANES]) -> [__m512; LANES] {
        let mut out = rows;
        for i in (0..LANES).step_by(2) {
            out[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
            out[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
        }
        out
    }
    /// Interleaves pairs, so that four entries of one column lie in each quarter.
    #[target_feature(enable = "avx512f")]
    fn interleave_pairs(rows: [__m512; LANES]) -> [__m512; LANES] {
        let mut out = rows;
        for i in (0..LANES).step_by(4) {
            for j in 0..2 {
                let (a, b) = (_mm512_castps_pd(rows[i + j]), _mm512_castps_pd(rows[i + j + 2]));
                out[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
                out[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
            }
        }
        out
    }
    // `fours[4i + j]` holds, in quarter q, column 4q + j of rows 4i to 4i + 3.
    let fours = interleave_pairs(interleave_entries(rows));
    let mut columns = [_mm512_setzero_ps(); LANES];
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

/// `sums[i] += x · rows[selected[i]]`, `x` `[d]`, `rows` `[n, d]`, each sum in ascending order of columns.
/// Panics if a row does not exist. The processor must have AVX-512.
pub fn add_selected_products(x: &[f32], rows: &[f32], selected: &[u32; LANES], sums: &mut [f32; LANES]) {
    let d = x.len();
    assert!(selected.iter().all(|&row| (row as usize + 1) * d <= rows.len()), "rows that are there");
    let whole = d / LANES * LANES;
    // SAFETY: the caller detected AVX-512. A row begins at row·d and has d entries inside `rows`, as
    // asserted. Vectors begin at multiples of LANES and end at `whole` ≤ d.
    #[expect(unsafe_code, reason = "instruction set chosen at run time")]
    unsafe {
        selected_kernel(&x[..whole], selected.map(|row| rows.as_ptr().add(row as usize * d)), sums);
    }
    for (column, value) in x.iter().enumerate().skip(whole) {
        for (sum, &row) in sums.iter_mut().zip(selected) {
            *sum = value.mul_add(rows[row as usize * d + column], *sum);
        }
    }
}

/// [`add_selected_products`] for a `d` that is a multiple of [`LANES`].
///
/// # Safety
/// The processor has AVX-512. Each of `rows` has as many entries as `x`.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn selected_kernel(x: &[f32], rows: [*const f32; LANES], sums: &mut [f32; LANES]) {
    // SAFETY: guaranteed by the caller; `sums` is one vector.
    unsafe {
        let mut sum = _mm512_loadu_ps(sums.as_ptr());
        for (nth, values) in x.chunks_exact(LANES).enumerate() {
            let mut tile = [_mm512_setzero_ps(); LANES];
            for (slot, row) in tile.iter_mut().zip(rows) {
                *slot = _mm512_loadu_ps(row.add(nth * LANES));
            }
            for (entries, &value) in transpose(tile).into_iter().zip(values) {
                sum = _mm512_fmadd_ps(_mm512_set1_ps(value), entries, sum);
            }
        }
        _mm512_storeu_ps(sums.as_mut_ptr(), sum);
    }
}

/// `sums` `[M, NR]` += `left` · `rows`ᵀ, with squares of `rows` transposed in registers instead of packed.
///
/// `left` is `[width, M]`; the first `width` columns of `rows` `[count, stride]` count. With `fresh`, sums
/// start at 0. `count` and `width` must be multiples of [`LANES`]. The processor must have AVX-512.
pub fn multiply_thin<const M: usize>(
    left: &[f32],
    rows: &[f32],
    stride: usize,
    width: usize,
    sums: &mut [f32],
    fresh: bool,
) {
    let count = rows.len() / stride.max(1);
    assert!(count.is_multiple_of(LANES) && count <= NR && width.is_multiple_of(LANES) && width <= stride);
    assert!(rows.len() == count * stride && left.len() == width * M && sums.len() == M * NR);
    for row in (0..count).step_by(LANES) {
        // SAFETY: the caller detected AVX-512. `count` is a multiple of LANES, so LANES rows of `width` ≤
        // `stride` entries and LANES sums begin at `row`.
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        unsafe {
            let from = rows.as_ptr().add(row * stride);
            thin_kernel::<M>(left, from, stride, width, sums.as_mut_ptr().add(row), fresh);
        }
    }
}

/// [`multiply_thin`] for [`LANES`] rows.
///
/// # Safety
/// The processor has AVX-512. `from` has [`LANES`] rows of `width` entries, `stride` apart; `width` is a
/// multiple of [`LANES`]. `left` is `[width, M]`. `to` has [`LANES`] sums for each of `M` rows, `NR` apart.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
unsafe fn thin_kernel<const M: usize>(
    left: &[f32],
    from: *const f32,
    stride: usize,
    width: usize,
    to: *mut f32,
    fresh: bool,
) {
    let mut sums = [_mm512_setzero_ps(); M];
    // SAFETY: guaranteed by the caller.
    unsafe {
        if !fresh {
            for (r, sum) in sums.iter_mut().enumerate() {
                *sum = _mm512_loadu_ps(to.add(r * NR));
            }
        }
        for column in (0..width).step_by(LANES) {
            let columns = load_transposed::<LANES>(from.add(column), stride);
            for (j, entries) in columns.into_iter().enumerate() {
                for (r, sum) in sums.iter_mut().enumerate() {
                    let value = _mm512_set1_ps(*left.get_unchecked((column + j) * M + r));
                    *sum = _mm512_fmadd_ps(value, entries, *sum);
                }
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            _mm512_storeu_ps(to.add(r * NR), sum);
        }
    }
}

/// Microkernel: `to = from + tileᵀ · panel`, `tile` `[d, R]`, `R` ≤ [`MR`], `panel` `[d, NR]`.
///
/// # Safety
/// The processor has AVX-512. Row r < `R` of `from` begins at r·`from_stride`, of `to` at r·`to_stride`, with
/// NR entries each. `tile` has `R` entries for each column of the panel.
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
pub unsafe fn microkernel<const R: usize>(
    tile: &[f32],
    panel: &[f32],
    from: *const f32,
    from_stride: usize,
    to: *mut f32,
    to_stride: usize,
) {
    let d = panel.len() / NR;
    let (tile, panel) = (tile.as_ptr(), panel.as_ptr());
    let mut low = [_mm512_setzero_ps(); R];
    let mut high = [_mm512_setzero_ps(); R];
    // SAFETY: guaranteed by the caller.
    unsafe {
        for r in 0..R {
            low[r] = _mm512_loadu_ps(from.add(r * from_stride));
            high[r] = _mm512_loadu_ps(from.add(r * from_stride + 16));
        }
        for k in 0..d {
            let first = _mm512_loadu_ps(panel.add(k * NR));
            let second = _mm512_loadu_ps(panel.add(k * NR + 16));
            for r in 0..R {
                let value = _mm512_set1_ps(*tile.add(k * R + r));
                low[r] = _mm512_fmadd_ps(value, first, low[r]);
                high[r] = _mm512_fmadd_ps(value, second, high[r]);
            }
        }
        for r in 0..R {
            _mm512_storeu_ps(to.add(r * to_stride), low[r]);
            _mm512_storeu_ps(to.add(r * to_stride + 16), high[r]);
        }
    }
}
