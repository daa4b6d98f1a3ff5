//! x·Wᵀ over tiles of W that are unpacked one at a time.

use rayon::prelude::*;

use super::Packed;
use crate::nn::kernels::{LANES, mul_add};

/// Rows of W that are unpacked at once.
const TILE_ROWS: usize = 64;
/// Columns of W that are unpacked at once, whole blocks of every encoding. With the rows: 256 KB, which stay in
/// a core's second cache while all of x passes by.
const TILE_COLS: usize = 1024;

/// Rows of W and of x whose products are summed side by side, for vectors of 512 bits and for shorter ones,
/// where the sums of the first would not fit the registers.
const WIDE: [usize; 2] = [4, 6];
const NARROW: [usize; 2] = [2, 2];

/// See [`Packed::multiply`].
pub(super) fn multiply(w: &Packed, x: &[f32]) -> Vec<f32> {
    let [rows, cols] = w.dims();
    let n = x.len() / cols;
    let tiles: Vec<Vec<f32>> = (0..rows.div_ceil(TILE_ROWS))
        .into_par_iter()
        .map_init(Vec::new, |unpacked, tile| {
            let first = tile * TILE_ROWS;
            of_tile(w, first, TILE_ROWS.min(rows - first), x, n, unpacked)
        })
        .collect();
    let mut out = vec![0.0; n * rows];
    for (row, out) in out.chunks_exact_mut(rows.max(1)).enumerate() {
        for (tile, out) in tiles.iter().zip(out.chunks_mut(TILE_ROWS)) {
            out.copy_from_slice(&tile[row * out.len()..][..out.len()]);
        }
    }
    out
}

/// Products `[n, count]` with rows `first..first + count` of W.
fn of_tile(w: &Packed, first: usize, count: usize, x: &[f32], n: usize, unpacked: &mut Vec<f32>) -> Vec<f32> {
    let [_, cols] = w.dims();
    let mut out = vec![0.0; n * count];
    for start in (0..cols).step_by(TILE_COLS) {
        let width = TILE_COLS.min(cols - start);
        unpacked.resize(count * width, 0.0);
        for (row, entries) in unpacked.chunks_exact_mut(width).enumerate() {
            w.unpack(first + row, start..start + width, entries);
        }
        add_products(&mut out, unpacked, x, [count, width, start, cols], has_wide_vectors());
    }
    out
}

fn has_wide_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    let wide = is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let wide = false;
    wide
}

#[inline(always)]
fn products_loop<const FMA: bool>(
    out: &mut [f32],
    w: &[f32],
    x: &[f32],
    dims: [usize; 4],
    in_512_bits: bool,
) {
    if in_512_bits {
        blocks::<FMA, { WIDE[0] }, { WIDE[1] }>(out, w, x, dims);
    } else {
        blocks::<FMA, { NARROW[0] }, { NARROW[1] }>(out, w, x, dims);
    }
}

dispatched! {
    /// out `[n, count]` ← out + x·wᵀ for a tile w `[count, width]` against columns from `start` on of x
    /// `[n, cols]`; `dims` are count, width, start and cols.
    add_products = products_loop(out: &mut [f32], w: &[f32], x: &[f32], dims: [usize; 4], in_512_bits: bool)
}

/// All of the tile, `W` of its rows and `X` rows of x at a time, singly where fewer are left.
#[inline(always)]
fn blocks<const FMA: bool, const W: usize, const X: usize>(
    out: &mut [f32],
    w: &[f32],
    x: &[f32],
    [count, width, start, cols]: [usize; 4],
) {
    let n = x.len() / cols;
    let x_row = |row: usize| &x[row * cols + start..][..width];
    let w_row = |row: usize| &w[row * width..][..width];
    let (whole_x, whole_w) = (n - n % X, count - count % W);
    for x_first in (0..whole_x).step_by(X) {
        let xs: [&[f32]; X] = std::array::from_fn(|i| x_row(x_first + i));
        for w_first in (0..whole_w).step_by(W) {
            let ws: [&[f32]; W] = std::array::from_fn(|i| w_row(w_first + i));
            let sums = dots::<FMA, W, X>(&ws, &xs);
            for (i, sums) in sums.iter().enumerate() {
                let out = &mut out[(x_first + i) * count + w_first..][..W];
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            }
        }
        for row in whole_w..count {
            let sums = dots::<FMA, 1, X>(&[w_row(row)], &xs);
            for (i, [sum]) in sums.iter().enumerate() {
                out[(x_first + i) * count + row] += sum;
            }
        }
    }
    for row in whole_x..n {
        let out = &mut out[row * count..][..count];
        for w_first in (0..whole_w).step_by(W) {
            let ws: [&[f32]; W] = std::array::from_fn(|i| w_row(w_first + i));
            let [sums] = dots::<FMA, W, 1>(&ws, &[x_row(row)]);
            out[w_first..][..W].iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
        }
        for w in whole_w..count {
            let [[sum]] = dots::<FMA, 1, 1>(&[w_row(w)], &[x_row(row)]);
            out[w] += sum;
        }
    }
}

/// The product of every row of `ws` with every row of `xs`, all as long. Each is summed in [`LANES`] lanes, from
/// the first column to the last, and the lanes by halves; that order is the same for every block size.
#[inline(always)]
fn dots<const FMA: bool, const W: usize, const X: usize>(
    ws: &[&[f32]; W],
    xs: &[&[f32]; X],
) -> [[f32; W]; X] {
    let width = ws[0].len();
    let whole = width - width % LANES;
    let mut sums = [[[0.0f32; LANES]; W]; X];
    for at in (0..whole).step_by(LANES) {
        let w: [[f32; LANES]; W] = std::array::from_fn(|i| vector(&ws[i][at..]));
        for (sums, x) in sums.iter_mut().zip(xs) {
            let x = vector(&x[at..]);
            for (sum, w) in sums.iter_mut().zip(&w) {
                for lane in 0..LANES {
                    sum[lane] = mul_add::<FMA>(w[lane], x[lane], sum[lane]);
                }
            }
        }
    }
    for (sums, x) in sums.iter_mut().zip(xs) {
        for (sum, w) in sums.iter_mut().zip(ws) {
            for ((sum, w), x) in sum.iter_mut().zip(&w[whole..]).zip(&x[whole..]) {
                *sum = mul_add::<FMA>(*w, *x, *sum);
            }
        }
    }
    sums.map(|sums| sums.map(|sum| total(&sum)))
}

#[inline(always)]
fn vector(entries: &[f32]) -> [f32; LANES] {
    let mut vector = [0.0; LANES];
    vector.copy_from_slice(&entries[..LANES]);
    vector
}

#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
