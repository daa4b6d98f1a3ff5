use std::ops::Range;

use rayon::prelude::*;

use super::dispatch::dispatched;
use super::product::{View, product_into};
use super::room::Room;
use super::vector::mul_add;

/// Rows of the matrix that stand side by side in a panel: two vectors of 512 bits.
pub(super) const PANEL: usize = 32;
/// Rows of the other factor that are multiplied at once: with two vectors of sums each they leave room for what
/// is multiplied in the 32 registers of a core.
const ROWS: usize = 12;
/// The same where vectors are narrower or registers fewer.
const FEWER_ROWS: usize = 2;
/// Rows for which panels are not worth making.
const FEW: usize = 4;
/// Sides of the tiles that are turned in registers: entries of a vector of 512 bits.
const TILE: usize = 16;
/// Columns that are multiplied in one go: so much of a panel stays in the first cache while rows pass by.
pub(super) const COLUMNS: usize = 128;

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

pub(super) fn has_wide_vectors() -> bool {
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
        let panels = self.data.par_chunks_mut(PANEL * d).zip(rows.par_chunks(PANEL * d));
        panels.for_each(|(panel, rows)| stand_side_by_side(rows, d, 0..d, panel));
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
        let left = Arranged::new(x, d, true);
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
                let blocks = left.blocks().zip(sums.chunks_mut(ROWS * PANEL));
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

fn rows_at_once() -> usize {
    if has_wide_vectors() { ROWS } else { FEWER_ROWS }
}

/// Replaces each number of `sums` by itself plus the product of `x` `[d]` with the row of `[n, d]` beside it in `chosen`:
/// the same bits as [`Panels::multiply`] gives where `sums` are the biases. Panics where a row is not there, or where
/// the processor has no vectors of 512 bits.
pub(super) fn add_chosen(x: &[f32], rows: &[f32], chosen: &[u32], sums: &mut [f32]) {
    assert!(chosen.len() == sums.len() && has_wide_vectors(), "a sum for each row");
    #[cfg(target_arch = "x86_64")]
    for (chosen, sums) in chosen.chunks(TILE).zip(sums.chunks_mut(TILE)) {
        // A tile that is not full repeats its first row.
        let mut of_tile = [chosen[0]; TILE];
        let mut own = [0.0; TILE];
        of_tile[..chosen.len()].copy_from_slice(chosen);
        own[..sums.len()].copy_from_slice(sums);
        wide::add_chosen(x, rows, &of_tile, &mut own);
        sums.copy_from_slice(&own[..sums.len()]);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, rows);
}

/// `panel` ← columns `columns` of rows `[n, d]`, row after row, with zeros where they are fewer than `PANEL`.
pub(super) fn panel_of_columns(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut Vec<f32>) {
    panel.clear();
    panel.resize(rows.len() / d * PANEL, 0.0);
    for (slot, row) in panel.chunks_exact_mut(PANEL).zip(rows.chunks_exact(d)) {
        slot[..columns.len()].copy_from_slice(&row[columns.clone()]);
    }
}

/// Rows `[m, d]` as products with panels read them: entries that are multiplied after each other lie after each other,
/// for rows a power of two apart would push each other out of the cache.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    d: usize,
    at_once: usize,
    /// Block after block of `at_once` rows, the last maybe fewer; of each, column after column.
    data: Vec<f32>,
}

impl Arranged {
    /// Takes whole rows of width `d`, on all threads or on the calling one `alone`.
    pub fn new(x: &[f32], d: usize, alone: bool) -> Self {
        Self::by(rows_at_once(), x, d, alone)
    }

    fn by(at_once: usize, x: &[f32], d: usize, alone: bool) -> Self {
        let mut data = vec![0.0; x.len()];
        let arrange = |(block, rows): (&mut [f32], &[f32])| {
            let of_block = rows.len() / d;
            #[cfg(target_arch = "x86_64")]
            let done = if of_block == ROWS { wide::turn_rows(rows, d, block) } else { 0 };
            #[cfg(not(target_arch = "x86_64"))]
            let done = 0;
            for (nth, row) in rows.chunks_exact(d).enumerate() {
                for (column, &value) in row.iter().enumerate().skip(done) {
                    block[column * of_block + nth] = value;
                }
            }
        };
        if alone {
            data.chunks_mut(at_once * d).zip(x.chunks(at_once * d)).for_each(arrange);
        } else {
            data.par_chunks_mut(at_once * d).zip(x.par_chunks(at_once * d)).for_each(arrange);
        }
        Self { d, at_once, data }
    }

    /// Takes the columns of rows `[d, m]` as rows, in place of those that were there.
    pub fn fill_with_columns(&mut self, x: &[f32], m: usize) {
        let (d, at_once) = (x.len() / m.max(1), rows_at_once());
        (self.d, self.at_once) = (d, at_once);
        self.data.resize(x.len(), 0.0);
        for (nth, block) in self.data.chunks_mut((at_once * d).max(1)).enumerate() {
            let (of_block, first) = (block.len() / d, nth * at_once);
            if of_block == ROWS {
                for (slot, row) in block.as_chunks_mut::<ROWS>().0.iter_mut().zip(x.chunks_exact(m)) {
                    slot.copy_from_slice(&row[first..first + ROWS]);
                }
                continue;
            }
            for (slot, row) in block.chunks_exact_mut(of_block).zip(x.chunks_exact(m)) {
                slot.copy_from_slice(&row[first..][..of_block]);
            }
        }
    }

    /// Rows of the whole blocks that hold the first `rows`.
    pub fn whole_blocks(&self, rows: usize) -> usize {
        rows.next_multiple_of(self.at_once).min(self.rows())
    }

    fn rows(&self) -> usize {
        self.data.len() / self.d.max(1)
    }

    fn blocks(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks(self.at_once * self.d)
    }

    /// Adds to `sums` the products of at most [`COLUMNS`] columns with panels of them, one after the other, each of
    /// whose sums are `[m, PANEL]`; with `fresh` they begin at 0. A sum runs from the first column to the last. Sums of
    /// the first rows only are welcome, if they are whole blocks.
    pub fn add_products(&self, columns: Range<usize>, panels: &[f32], sums: &mut [f32], fresh: bool) {
        let size = columns.len() * PANEL;
        assert!(size > 0 && panels.len().is_multiple_of(size), "panels have these columns");
        assert!(columns.len() <= COLUMNS && columns.end <= self.d, "a panel stays in the first cache");
        let of_panel = sums.len() / (panels.len() / size);
        let mut first = 0;
        for block in self.blocks() {
            let rows = block.len() / self.d;
            if first == of_panel {
                break;
            }
            let block = &block[columns.start * rows..columns.end * rows];
            for (panel, sums) in panels.chunks_exact(size).zip(sums.chunks_exact_mut(of_panel)) {
                let sums = &mut sums[first..first + rows * PANEL];
                #[cfg(target_arch = "x86_64")]
                if self.at_once == ROWS {
                    add_products(rows, block, panel, fresh.then_some(&[0.0; PANEL]), sums, None);
                    continue;
                }
                if fresh {
                    sums.fill(0.0);
                }
                add_narrow(sums, block, panel);
            }
            first += rows * PANEL;
        }
    }

    /// Whether [`Arranged::add_few`] can multiply with so many rows of so many columns: what is quickest where there
    /// are few rows here.
    pub fn is_few(&self, count: usize, width: usize) -> bool {
        self.at_once == ROWS && self.rows() <= FEW && count.is_multiple_of(TILE) && width.is_multiple_of(TILE)
    }

    /// Adds to `sums` `[m, PANEL]`, or with `fresh` to 0, the products with rows `[count, stride]` that have `width`
    /// columns from `first` on, without making a panel of them; [`Arranged::is_few`] must have said yes. The sums are
    /// those of [`Arranged::add_products`].
    pub fn add_few(
        &self,
        first: usize,
        (rows, stride): (&[f32], usize),
        width: usize,
        sums: &mut [f32],
        fresh: bool,
    ) {
        #[cfg(target_arch = "x86_64")]
        {
            let m = self.rows();
            let left = &self.data[first * m..(first + width) * m];
            match m {
                1 => wide::few::<1>(left, rows, stride, width, sums, fresh),
                2 => wide::few::<2>(left, rows, stride, width, sums, fresh),
                3 => wide::few::<3>(left, rows, stride, width, sums, fresh),
                4 => wide::few::<4>(left, rows, stride, width, sums, fresh),
                _ => unreachable!("few are at most {FEW} rows"),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (first, rows, stride, width, sums, fresh);
    }
}

/// `panel` ← columns `columns` of rows `[count ≤ PANEL, d]`, one after the other, zeros where there are fewer rows than
/// `PANEL`.
pub(super) fn stand_side_by_side(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) {
    let count = rows.len() / d.max(1);
    assert!(count <= PANEL && rows.len() == count * d && columns.end <= d, "rows fit a panel");
    assert!(panel.len() == columns.len() * PANEL, "columns fit a panel");
    if count < PANEL {
        panel.fill(0.0);
    }
    #[cfg(target_arch = "x86_64")]
    let done = if has_wide_vectors() { wide::turn_tiles(rows, d, columns.clone(), panel) } else { (0, 0) };
    #[cfg(not(target_arch = "x86_64"))]
    let done = (0, 0);
    for (nth, row) in rows.chunks_exact(d.max(1)).enumerate() {
        let first = if nth < done.0 { done.1 } else { 0 };
        for (column, &value) in row[columns.clone()].iter().enumerate().skip(first) {
            panel[column * PANEL + nth] = value;
        }
    }
}

#[inline(always)]
fn narrow_loop<const FMA: bool>(sums: &mut [f32], left: &[f32], panel: &[f32]) {
    let rows = sums.len() / PANEL;
    let Some((first, second)) = sums.split_at_mut_checked(PANEL) else { return };
    let mut a: [f32; PANEL] = std::array::from_fn(|lane| first[lane]);
    // Where there is one row only, it is multiplied twice.
    let mut b: [f32; PANEL] = std::array::from_fn(|lane| second.get(lane).copied().unwrap_or(0.0));
    for (values, panel) in left.chunks_exact(rows).zip(panel.chunks_exact(PANEL)) {
        let (x, y) = (values[0], values[rows - 1]);
        for lane in 0..PANEL {
            a[lane] = mul_add::<FMA>(x, panel[lane], a[lane]);
        }
        for lane in 0..PANEL {
            b[lane] = mul_add::<FMA>(y, panel[lane], b[lane]);
        }
    }
    first.copy_from_slice(&a);
    second.iter_mut().zip(b).for_each(|(slot, sum)| *slot = sum);
}

dispatched! {
    /// Adds `left · panel` to `sums` for at most [`FEWER_ROWS`] rows.
    add_narrow = narrow_loop(sums: &mut [f32], left: &[f32], panel: &[f32])
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
    use std::ops::Range;

    use std::arch::x86_64::{
        __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps,
        _mm512_unpacklo_pd, _mm512_unpacklo_ps,
    };

    use super::{PANEL, ROWS, TILE as SIDE};

    /// Puts whole tiles of columns of rows `[count, d]` into a panel, columns as rows; the processor must have the
    /// vectors. Returns how many rows and columns these were.
    pub fn turn_tiles(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) -> (usize, usize) {
        let count = rows.len() / d.max(1);
        let done = (count / SIDE * SIDE, columns.len() / SIDE * SIDE);
        assert!(count <= PANEL && columns.end <= d && panel.len() == columns.len() * PANEL);
        for row in (0..done.0).step_by(SIDE) {
            for column in (0..done.1).step_by(SIDE) {
                // SAFETY: whoever calls has asked the processor for these vectors. Row i < SIDE of the tile begins
                // at (row + i)·d + first + column with row + SIDE ≤ count and first + column + SIDE ≤ d; column i
                // goes to (column + i)·PANEL + row, with row + SIDE ≤ PANEL: all inside what was just asserted.
                #[expect(unsafe_code, reason = "instruction set chosen at run time")]
                unsafe {
                    let from = rows.as_ptr().add(row * d + columns.start + column);
                    turn::<SIDE>(from, d, panel.as_mut_ptr().add(column * PANEL + row), PANEL);
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
        let done = d.saturating_sub(1) / SIDE * SIDE;
        for column in (0..done).step_by(SIDE) {
            // SAFETY: whoever calls has asked the processor for these vectors. Row i < ROWS begins at i·d + column with
            // column + SIDE < d; column i is written to (column + i)·ROWS and the SIDE entries from there on, which
            // end before (column + SIDE + 1)·ROWS ≤ d·ROWS.
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
    /// `from` has `R` ≤ [`SIDE`] rows of [`SIDE`] entries `stride` apart, `to` as many entries from each j·`step` on.
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
    /// `from` has `R` ≤ [`SIDE`] rows of [`SIDE`] entries `stride` apart.
    #[inline]
    #[target_feature(enable = "avx512f")]
    #[expect(unsafe_code, reason = "vectors are read through a pointer")]
    unsafe fn turned<const R: usize>(from: *const f32, stride: usize) -> [__m512; SIDE] {
        let mut rows = [_mm512_setzero_ps(); SIDE];
        for (i, row) in rows.iter_mut().enumerate().take(R) {
            // SAFETY: as above.
            *row = unsafe { _mm512_loadu_ps(from.add(i * stride)) };
        }
        turned_rows(rows)
    }

    /// The columns of a tile that is there by rows.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn turned_rows(rows: [__m512; SIDE]) -> [__m512; SIDE] {
        /// Pairs of neighbours exchanged in the halves of 128 bits: entries of two rows take turns.
        #[target_feature(enable = "avx512f")]
        fn by_one(rows: [__m512; SIDE]) -> [__m512; SIDE] {
            let mut out = rows;
            for i in (0..SIDE).step_by(2) {
                out[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
                out[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
            }
            out
        }
        /// Four rows' entries at one column of each quarter side by side.
        #[target_feature(enable = "avx512f")]
        fn by_two(rows: [__m512; SIDE]) -> [__m512; SIDE] {
            let mut out = rows;
            for i in (0..SIDE).step_by(4) {
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
        let mut columns = [_mm512_setzero_ps(); SIDE];
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
    pub fn add_chosen(x: &[f32], rows: &[f32], chosen: &[u32; SIDE], sums: &mut [f32; SIDE]) {
        let d = x.len();
        assert!(chosen.iter().all(|&row| (row as usize + 1) * d <= rows.len()), "rows that are there");
        let whole = d / SIDE * SIDE;
        // SAFETY: whoever calls has asked the processor for these vectors. Every row that is read begins at row·d and has
        // d entries inside `rows`, as was just asserted; vectors of it begin at multiples of SIDE and end at `whole` ≤ d.
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
    unsafe fn add_tiles(x: &[f32], rows: [*const f32; SIDE], sums: &mut [f32; SIDE]) {
        // SAFETY: as above; `sums` is one vector.
        unsafe {
            let mut sum = _mm512_loadu_ps(sums.as_ptr());
            for (nth, values) in x.chunks_exact(SIDE).enumerate() {
                let mut tile = [_mm512_setzero_ps(); SIDE];
                for (slot, row) in tile.iter_mut().zip(rows) {
                    *slot = _mm512_loadu_ps(row.add(nth * SIDE));
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
        assert!(
            count.is_multiple_of(SIDE) && count <= PANEL && width.is_multiple_of(SIDE) && width <= stride
        );
        assert!(rows.len() == count * stride && left.len() == width * M && sums.len() == M * PANEL);
        for row in (0..count).step_by(SIDE) {
            // SAFETY: whoever calls has asked the processor for these vectors. There are `SIDE` rows from `row` < `count`
            // on, for both are whole tiles, with `width` ≤ `stride` entries each, and `sums` have SIDE from `row` on.
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
    /// `from` has [`SIDE`] rows of `width` entries, whole tiles, `stride` apart; `left` has `M` for each of them;
    /// `to` has [`SIDE`] sums for each of `M` rows, which are `PANEL` apart.
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
            for column in (0..width).step_by(SIDE) {
                let columns = turned::<SIDE>(from.add(column), stride);
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

    #[test]
    fn rows_that_stand_side_by_side_are_turned_at_every_size() {
        for (count, d) in [(1, 1), (16, 16), (32, 256), (31, 40), (17, 35), (32, 5)] {
            let rows: Vec<f32> = (0..count * d).map(|i| i as f32).collect();
            let mut panel = vec![f32::NAN; d * PANEL];
            stand_side_by_side(&rows, d, 0..d, &mut panel);
            for (at, got) in panel.iter().enumerate() {
                let (column, row) = (at / PANEL, at % PANEL);
                let expected = if row < count { rows[row * d + column] } else { 0.0 };
                assert_eq!(*got, expected, "{count} x {d} at {row} {column}");
            }
            let some = d / 3..d - d / 4;
            let mut part = vec![f32::NAN; some.len() * PANEL];
            stand_side_by_side(&rows, d, some.clone(), &mut part);
            assert_eq!(part, panel[some.start * PANEL..some.end * PANEL], "{count} x {d}");
        }
    }

    #[test]
    fn narrow_products_are_the_wide_ones_up_to_rounding() {
        let mut stream = Stream::new(5, "arranged");
        for (m, d) in [(1, 1), (2, 130), (25, 300), (13, 128), (12, 16), (24, 17), (36, 40)] {
            let mut draw =
                |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
            let (x, panel) = (draw(m * d), draw(d * PANEL));
            let sums = |left: &Arranged| {
                let mut sums = vec![1.0; 2 * m * PANEL];
                for start in (0..d).step_by(COLUMNS - 1) {
                    let columns = start..d.min(start + COLUMNS - 1);
                    let panel = &panel[columns.start * PANEL..columns.end * PANEL];
                    left.add_products(columns, &[panel, panel].concat(), &mut sums, start == 0);
                }
                assert_eq!(sums[..m * PANEL], sums[m * PANEL..], "two panels that are the same");
                sums.truncate(m * PANEL);
                sums
            };
            let narrow = sums(&Arranged::by(FEWER_ROWS, &x, d, true));
            for (at, (got, narrow)) in sums(&Arranged::new(&x, d, false)).iter().zip(&narrow).enumerate() {
                let (row, lane) = (at / PANEL, at % PANEL);
                let products = (0..d).map(|k| f64::from(x[row * d + k]) * f64::from(panel[k * PANEL + lane]));
                let exact = products.sum::<f64>();
                assert!((f64::from(*got) - exact).abs() < 1e-4, "{m} {d} at {at}");
                assert!((f64::from(*narrow) - exact).abs() < 1e-4, "{m} {d} at {at}");
            }
        }
    }
}
