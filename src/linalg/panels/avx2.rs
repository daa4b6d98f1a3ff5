//! AVX2 microkernels of [`super`]: MR = 3, four vectors of 8 f32 per row of sums.

use std::ops::Range;

use std::arch::x86_64::{
    __m256, _mm256_castpd_ps, _mm256_castps_pd, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_permute2f128_ps,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm256_unpackhi_pd, _mm256_unpackhi_ps,
    _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

use super::NR;

/// Rows of a tile. Their 3 × 4 sums leave 4 of the 16 vector registers for operands.
pub const MR: usize = 3;
/// f32 entries of a vector; also the side of the squares that are transposed in registers.
const LANES: usize = 8;
/// Vectors across a panel.
const VECTORS: usize = NR / LANES;

/// See [`avx512::transpose_into_panel`](super::avx512::transpose_into_panel).
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
            // SAFETY: the caller detected AVX2. Row i < LANES is read at (row + i)·d + columns.start +
            // column, where row + LANES ≤ count and columns.start + column + LANES ≤ d. Column i is written
            // at (column + i)·NR + row, where row + LANES ≤ NR. The assertion above bounds both.
            #[expect(unsafe_code, reason = "instruction set chosen at run time")]
            unsafe {
                let from = rows.as_ptr().add(row * d + columns.start + column);
                let to = panel.as_mut_ptr().add(column * NR + row);
                store_transposed(from, d, to);
            }
        }
    }
    done
}

/// Transposes a square: row i is read at `from + i·stride`, column j is written at `to + j·NR`.
///
/// # Safety
/// The processor has AVX2. `from` has [`LANES`] rows of [`LANES`] entries, `stride` apart; `to` has [`LANES`]
/// entries at each j·`NR`.
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "vectors are written through a pointer")]
unsafe fn store_transposed(from: *const f32, stride: usize, to: *mut f32) {
    // SAFETY: guaranteed by the caller.
    let columns = unsafe { load_transposed(from, stride) };
    for (j, column) in columns.into_iter().enumerate() {
        // SAFETY: guaranteed by the caller.
        unsafe { _mm256_storeu_ps(to.add(j * NR), column) };
    }
}

/// Returns the columns of a square whose row i is at `from + i·stride`.
///
/// # Safety
/// The processor has AVX2. `from` has [`LANES`] rows of [`LANES`] entries, `stride` apart.
#[inline]
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "vectors are read through a pointer")]
unsafe fn load_transposed(from: *const f32, stride: usize) -> [__m256; LANES] {
    let mut rows = [_mm256_setzero_ps(); LANES];
    for (i, row) in rows.iter_mut().enumerate() {
        // SAFETY: guaranteed by the caller.
        *row = unsafe { _mm256_loadu_ps(from.add(i * stride)) };
    }
    // Interleave entries, then pairs: `fours[4i + j]` holds, in half h, column 4h + j of rows 4i to 4i + 3.
    let mut fours = rows;
    for i in (0..LANES).step_by(4) {
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

/// See [`avx512::multiply_thin`](super::avx512::multiply_thin). Whole panels: four sums hide the FMA latency.
pub fn multiply_thin<const M: usize>(
    left: &[f32],
    rows: &[f32],
    stride: usize,
    width: usize,
    sums: &mut [f32],
    fresh: bool,
) {
    assert!(rows.len() == NR * stride && width.is_multiple_of(LANES) && width <= stride);
    assert!(left.len() == width * M && sums.len() == M * NR);
    // SAFETY: the caller detected AVX2 and FMA. There are NR rows of `width` ≤ `stride` entries, `width` is a
    // multiple of LANES, and each of the M rows has NR sums.
    #[expect(unsafe_code, reason = "instruction set chosen at run time")]
    unsafe {
        thin_kernel::<M>(left, rows.as_ptr(), stride, width, sums.as_mut_ptr(), fresh);
    }
}

/// # Safety
/// The processor has AVX2 and FMA. `from` has [`NR`] rows of `width` entries, `stride` apart; `width` is a
/// multiple of [`LANES`]. `left` is `[width, M]`. `to` is `[M, NR]`.
#[target_feature(enable = "avx2,fma")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
unsafe fn thin_kernel<const M: usize>(
    left: &[f32],
    from: *const f32,
    stride: usize,
    width: usize,
    to: *mut f32,
    fresh: bool,
) {
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; M];
    // SAFETY: guaranteed by the caller.
    unsafe {
        if !fresh {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = _mm256_loadu_ps(to.add(r * NR + vector * LANES));
                }
            }
        }
        for column in (0..width).step_by(LANES) {
            for vector in 0..VECTORS {
                let columns = load_transposed(from.add(vector * LANES * stride + column), stride);
                for (j, entries) in columns.into_iter().enumerate() {
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let value = _mm256_set1_ps(*left.get_unchecked((column + j) * M + r));
                        sums[vector] = _mm256_fmadd_ps(value, entries, sums[vector]);
                    }
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (vector, sum) in sums.into_iter().enumerate() {
                _mm256_storeu_ps(to.add(r * NR + vector * LANES), sum);
            }
        }
    }
}

/// See [`avx512::microkernel`](super::avx512::microkernel); `R` ≤ [`MR`].
///
/// # Safety
/// The processor has AVX2 and FMA. Row r < `R` of `from` begins at r·`from_stride`, of `to` at r·`to_stride`,
/// with NR entries each. `tile` has `R` entries for each column of the panel.
#[target_feature(enable = "avx2,fma")]
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
    let mut sums = [[_mm256_setzero_ps(); VECTORS]; R];
    let mut values = [_mm256_setzero_ps(); R];
    // SAFETY: guaranteed by the caller.
    unsafe {
        for (r, sums) in sums.iter_mut().enumerate() {
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = _mm256_loadu_ps(from.add(r * from_stride + vector * LANES));
            }
        }
        for k in 0..d {
            for (r, value) in values.iter_mut().enumerate() {
                *value = _mm256_set1_ps(*tile.add(k * R + r));
            }
            for vector in 0..VECTORS {
                let entries = _mm256_loadu_ps(panel.add(k * NR + vector * LANES));
                for (sums, &value) in sums.iter_mut().zip(&values) {
                    sums[vector] = _mm256_fmadd_ps(value, entries, sums[vector]);
                }
            }
        }
        for (r, sums) in sums.into_iter().enumerate() {
            for (vector, sum) in sums.into_iter().enumerate() {
                _mm256_storeu_ps(to.add(r * to_stride + vector * LANES), sum);
            }
        }
    }
}
