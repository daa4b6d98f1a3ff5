use rayon::prelude::*;

use super::product::{View, product_into};
use super::room::Room;

/// Rows of the matrix that stand side by side in a panel: two vectors of 512 bits.
const PANEL: usize = 32;
/// Rows of the other factor that are multiplied at once: with two vectors of sums each they leave room for what
/// is multiplied in the 32 registers of a core.
#[cfg(target_arch = "x86_64")]
const ROWS: usize = 12;
/// Columns that are multiplied in one go: so much of a panel stays in the first cache while rows pass by.
#[cfg(target_arch = "x86_64")]
const COLUMNS: usize = 128;

/// The rows of a matrix `[n, d]`, rearranged once so that products with many pieces of another matrix need not do
/// it again each time.
///
/// Every product is one sum from the first column to the last, so it does not depend on what is multiplied beside
/// it. Where the processor has no vectors of 512 bits, the rows are kept as they are.
#[derive(Debug, Default)]
pub struct Panels {
    n: usize,
    d: usize,
    /// Panel after panel; of each, column after column `PANEL` entries, zeros where there are fewer rows.
    data: Room,
}

fn has_wide_vectors() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

impl Panels {
    /// Takes rows of width `d`, in place of those that were there. Panics where `d` is 0 or cuts a row.
    pub fn fill(&mut self, rows: &[f32], d: usize) {
        assert!(d > 0 && rows.len().is_multiple_of(d), "panels are made of whole rows");
        (self.n, self.d) = (rows.len() / d, d);
        if !has_wide_vectors() {
            self.data.fit(rows.len());
            self.data.copy_from_slice(rows);
            return;
        }
        self.data.fit(self.n.div_ceil(PANEL) * PANEL * d);
        self.data.par_chunks_mut(PANEL * d).zip(rows.par_chunks(PANEL * d)).for_each(|(panel, rows)| {
            if rows.len() < panel.len() {
                panel.fill(0.0);
            }
            for (nth, row) in rows.chunks_exact(d).enumerate() {
                for (slot, &value) in panel[nth..].iter_mut().step_by(PANEL).zip(row) {
                    *slot = value;
                }
            }
        });
    }

    /// `out = x · rowsᵀ + bias`, `x` `[m, d]`, `out` `[m, n]`, on the calling thread. Panics where shapes disagree.
    pub fn multiply(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let (n, d) = (self.n, self.d);
        let m = x.len() / d.max(1);
        assert!(x.len() == m * d && bias.len() == n && out.len() == m * n, "shapes of a product disagree");
        if !has_wide_vectors() {
            product_into(out, View::new(x, m, d), View::new(&self.data, n, d).transposed(), false);
            for row in out.chunks_exact_mut(n.max(1)) {
                row.iter_mut().zip(bias).for_each(|(slot, bias)| *slot += bias);
            }
            return;
        }
        #[cfg(target_arch = "x86_64")]
        self.multiply_wide(x, bias, out);
    }

    #[cfg(target_arch = "x86_64")]
    fn multiply_wide(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let (n, d) = (self.n, self.d);
        // Entries that are multiplied after each other lie after each other: rows a power of two apart would push
        // each other out of the cache.
        let mut left = vec![0.0; x.len()];
        for (block, rows) in left.chunks_mut(ROWS * d).zip(x.chunks(ROWS * d)) {
            let of_block = rows.len() / d;
            for (nth, row) in rows.chunks_exact(d).enumerate() {
                for (slot, &value) in block[nth..].iter_mut().step_by(of_block).zip(row) {
                    *slot = value;
                }
            }
        }
        // What a panel's sums are while not all columns have been added, or where a panel is not full.
        let mut sums = vec![0.0; x.len() / d * PANEL];
        let parts = d.div_ceil(COLUMNS);
        for (nth, panel) in self.data.chunks_exact(PANEL * d).enumerate() {
            let first = nth * PANEL;
            let width = PANEL.min(n - first);
            let mut own = [0.0; PANEL];
            own[..width].copy_from_slice(&bias[first..first + width]);
            for (part, panel) in panel.chunks(COLUMNS * PANEL).enumerate() {
                let columns = panel.len() / PANEL;
                let straight = part + 1 == parts && width == PANEL;
                let blocks = left.chunks(ROWS * d).zip(sums.chunks_mut(ROWS * PANEL));
                for ((block, sums), out) in blocks.zip(out.chunks_mut(ROWS * n)) {
                    let rows = block.len() / d;
                    let block = &block[part * COLUMNS * rows..][..columns * rows];
                    let start = (part == 0).then_some(&own);
                    let out = straight.then_some((&mut out[first..], n));
                    add_products(rows, block, panel, start, sums, out);
                }
            }
            if width < PANEL {
                for (sums, out) in sums.chunks_exact(PANEL).zip(out.chunks_exact_mut(n)) {
                    out[first..][..width].copy_from_slice(&sums[..width]);
                }
            }
        }
    }
}

/// Adds `left · panel` for up to [`ROWS`] rows to `start`, or without one to `sums` `[rows, PANEL]`; the result
/// goes to `out`, of whose rows the number given are apart, or without one to `sums`.
#[cfg(target_arch = "x86_64")]
fn add_products(
    rows: usize,
    left: &[f32],
    panel: &[f32],
    start: Option<&[f32; PANEL]>,
    sums: &mut [f32],
    out: Option<(&mut [f32], usize)>,
) {
    assert!(left.len() == rows * panel.len() / PANEL && panel.len().is_multiple_of(PANEL));
    assert!(rows > 0 && sums.len() == rows * PANEL);
    let own = sums.as_mut_ptr();
    let (from, step) = start.map_or((own.cast_const(), PANEL), |start| (start.as_ptr(), 0));
    let (to, stride) = match out {
        Some((out, stride)) => {
            assert!(out.len() >= (rows - 1) * stride + PANEL);
            (out.as_mut_ptr(), stride)
        }
        None => (own, PANEL),
    };
    macro_rules! of {
        ($($r:literal)*) => {
            match rows {
                // SAFETY: whoever calls has asked the processor for these vectors. Row r < rows of what is read
                // begins at r·step and of what is written at r·stride, and each has PANEL entries, as was just
                // asserted; where both are `sums`, a row is read before it is written.
                $($r => unsafe { wide::block::<$r>(left, panel, from, step, to, stride) },)*
                _ => unreachable!("a block has at most {ROWS} rows"),
            }
        };
    }
    #[expect(unsafe_code, reason = "instruction set chosen at run time")]
    {
        of!(1 2 3 4 5 6 7 8 9 10 11 12);
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::PANEL;

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn products_match_plain_sums_at_odd_sizes_and_do_not_depend_on_neighbours() {
        let mut stream = Stream::new(3, "panels");
        let mut panels = Panels::default();
        for (m, n, d) in [(1, 1, 1), (13, 33, 7), (29, 64, 50), (5, 31, 129), (12, 32, 16), (40, 95, 3)] {
            let mut draw =
                |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
            let (rows, x, bias) = (draw(n * d), draw(m * d), draw(n));
            panels.fill(&rows, d);
            let mut out = vec![0.0; m * n];
            panels.multiply(&x, &bias, &mut out);
            for (row, out) in out.chunks_exact(n).enumerate() {
                for (col, got) in out.iter().enumerate() {
                    let products = (0..d).map(|k| f64::from(x[row * d + k]) * f64::from(rows[col * d + k]));
                    let exact = f64::from(bias[col]) + products.sum::<f64>();
                    assert!((f64::from(*got) - exact).abs() < 1e-4, "{m} {n} {d} at {row} {col}");
                }
                let mut alone = vec![0.0; n];
                panels.multiply(&x[row * d..(row + 1) * d], &bias, &mut alone);
                assert_eq!(alone, out, "{m} {n} {d} at {row}");
            }
        }
    }
}
