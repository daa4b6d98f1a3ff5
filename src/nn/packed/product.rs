//! x·Wᵀ over tiles of W that are unpacked one at a time.

use rayon::prelude::*;

use super::Packed;
use crate::nn::kernels::{LANES, mul_add};

/// Rows of W that are unpacked at once.
const TILE_ROWS: usize = 32;
/// Columns of W that are unpacked at once, whole blocks of every encoding; long, for every block of sums ends with
/// adding up its lanes. With the rows: 384 KB, which stay in a core's second cache while all of x passes by.
const TILE_COLS: usize = 3072;

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
        // Fewer rows than half of a block are quicker one by one.
        let [count, _, _, cols] = dims;
        let n = x.len() / cols;
        let in_blocks = if n % 6 < 3 { n - n % 6 } else { n };
        let (blocks, single) = out.split_at_mut(in_blocks * count);
        four_by_six::<FMA>(blocks, w, &x[..in_blocks * cols], dims);
        four_by_one::<FMA>(single, w, &x[in_blocks * cols..], dims);
    } else {
        // More sums would not fit the registers.
        two_by_two::<FMA>(out, w, x, dims);
    }
}

dispatched! {
    /// out `[n, count]` ← out + x·wᵀ for a tile w `[count, width]` against columns from `start` on of x
    /// `[n, cols]`; `dims` are count, width, start and cols.
    add_products = products_loop(out: &mut [f32], w: &[f32], x: &[f32], dims: [usize; 4], in_512_bits: bool)
}

/// Defines the products of all of a tile with x, as [`add_products`] has them: some rows of each at a time; where
/// fewer are left the last is repeated. Each product is summed in [`LANES`] lanes, from the first column to the
/// last, and the lanes by halves; that order is the same for every block size.
///
/// The sums are named one by one: an array of them would live in memory rather than in registers. Nothing here
/// can be a closure, for that would be compiled without the vectors that its caller is compiled for.
macro_rules! products {
    ($name:ident, [$($w:ident),*], [$($x:ident: [$($sum:ident),*]),*]) => {
        #[inline(always)]
        fn $name<const FMA: bool>(
            out: &mut [f32],
            w: &[f32],
            x: &[f32],
            [count, width, start, cols]: [usize; 4],
        ) {
            const W: usize = [$(stringify!($w)),*].len();
            const X: usize = [$(stringify!($x)),*].len();
            let n = x.len() / cols;
            for x_first in (0..n).step_by(X) {
                let xs = std::array::from_fn(|i| &x[(x_first + i).min(n - 1) * cols + start..][..width]);
                for w_first in (0..count).step_by(W) {
                    let ws = std::array::from_fn(|i| &w[(w_first + i).min(count - 1) * width..][..width]);
                    let sums = block::<FMA>(&ws, &xs);
                    for (i, sums) in sums.iter().enumerate().take(n - x_first) {
                        let out = &mut out[(x_first + i) * count..][..count][w_first..];
                        out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
                    }
                }
            }

            #[inline(always)]
            fn block<const FMA: bool>(ws: &[&[f32]; W], xs: &[&[f32]; X]) -> [[f32; W]; X] {
                let [$($w),*] = ws;
                let [$($x),*] = xs;
            // Slices that are known to be as long need no check inside the loop.
            let length = ws[0].len();
            let whole = length - length % LANES;
            $(let $w = &$w[..length];)*
            $(let $x = &$x[..length];)*
            $($(let mut $sum = [0.0f32; LANES];)*)*
            let mut at = 0;
            while at + LANES <= length {
                let ws = [$(&$w[at..at + LANES]),*];
                $({
                    let x = &$x[at..at + LANES];
                    let mut next = ws.iter();
                    $(if let Some(w) = next.next() { add_product::<FMA>(&mut $sum, w, x); })*
                })*
                at += LANES;
            }
            let ws = [$(&$w[whole..]),*];
            $({
                let mut next = ws.iter();
                $(if let Some(w) = next.next() { add_rest::<FMA>(&mut $sum, w, &$x[whole..]); })*
            })*
            [$([$(total(&$sum)),*]),*]
            }
        }
    };
}

products!(four_by_six, [wa, wb, wc, wd], [
    xa: [aa, ab, ac, ad],
    xb: [ba, bb, bc, bd],
    xc: [ca, cb, cc, cd],
    xd: [da, db, dc, dd],
    xe: [ea, eb, ec, ed],
    xf: [fa, fb, fc, fd]
]);

products!(four_by_one, [wa, wb, wc, wd], [xa: [aa, ab, ac, ad]]);

products!(two_by_two, [wa, wb], [xa: [aa, ab], xb: [ba, bb]]);

/// sum ← sum + w·x for as many entries as there are lanes.
#[inline(always)]
fn add_product<const FMA: bool>(sum: &mut [f32; LANES], w: &[f32], x: &[f32]) {
    for lane in 0..LANES {
        sum[lane] = mul_add::<FMA>(w[lane], x[lane], sum[lane]);
    }
}

/// The same for fewer entries.
#[inline(always)]
fn add_rest<const FMA: bool>(sum: &mut [f32; LANES], w: &[f32], x: &[f32]) {
    for ((sum, w), x) in sum.iter_mut().zip(w).zip(x) {
        *sum = mul_add::<FMA>(*w, *x, *sum);
    }
}

#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f32 {
    let eight: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}
