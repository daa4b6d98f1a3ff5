//! Products with a matrix that is stored in any format, without ever holding all of it as f32.
//!
//!   out = x · wᵀ      x [m, d] f32, w [n, d] in a stored format, out [m, n] f32
//!
//! A task takes one or two panels of `w` ([`NR`] rows each), reads their rows as f32, packs them and
//! multiplies them by a part of the rows of `x`. The microkernels are those of [`panels`]: each entry of
//! `out` is one sum in ascending order of columns, so it depends neither on other rows nor on the number of
//! threads.

use std::ops::Range;

use rayon::prelude::*;

use super::panels::{self, KC, NR, PackedTiles, pack_panel};

/// Columns read at once, a multiple of every format's block: 64 rows of them take 768 KiB, about an L2 cache.
const READ_COLUMNS: usize = 3072;
/// Padding between rows that were read, in entries: strides of a power of two cause cache-set conflicts.
const ROW_PADDING: usize = 16;
/// Up to this many entries, packing on one thread is faster than sharing the work.
const PACK_ALONE: usize = 1 << 14;
/// A multiple of MR for every kernel.
const PART_MULTIPLE: usize = 12;
/// Up to this many panels, groups of one panel balance the threads better.
const MANY_PANELS: usize = 256;
/// Panels multiplied together, so that `x` is read half as often.
const GROUP_PANELS: usize = 2;

/// A matrix `[n, d]` in any storage format.
pub trait StoredRows: Sync {
    /// n and d.
    fn dims(&self) -> [usize; 2];

    /// Writes columns `columns` of a row to `out`. Both ends are multiples of 3072, or the end is d.
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]);

    /// Whether [`StoredRows::pack_panel`] and [`StoredRows::multiply_thin`] are implemented.
    fn can_pack(&self) -> bool {
        false
    }

    /// Packs columns `columns` of `rows` into `panel`, column by column; entries beyond `rows` are
    /// unspecified. The range starts at a multiple of 128 and has 128 columns or ends at d.
    fn pack_panel(&self, _rows: Range<usize>, _columns: Range<usize>, _panel: &mut [f32]) {}

    /// `sums` `[m, 32]` = `left` `[m, d]`, given column by column, times at most 32 `rows`ᵀ; m ≤ 4.
    fn multiply_thin(&self, _rows: Range<usize>, _left: &[f32], _sums: &mut [f32]) {}
}

/// Plain f32 rows and their width.
impl StoredRows for (&[f32], usize) {
    fn dims(&self) -> [usize; 2] {
        [self.0.len() / self.1.max(1), self.1]
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.0[row * self.1..][columns]);
    }
}

/// Buffers of one thread.
#[derive(Default)]
struct Scratch {
    /// Rows as f32, [`READ_COLUMNS`] at a time.
    read: Vec<f32>,
    /// Packed panels, [`KC`] columns at a time.
    panels: Vec<f32>,
    sums: Vec<f32>,
}

/// `x · wᵀ` `[m, n]` for whole rows `x` `[m, d]`, on all threads unless `single_threaded`.
pub fn multiply_stored(x: &[f32], rows: &impl StoredRows, single_threaded: bool) -> Vec<f32> {
    multiply_each(x, &[rows], single_threaded).swap_remove(0)
}

/// [`multiply_stored`] for several matrices of equal width, as one set of tasks. Panics if widths differ.
pub fn multiply_each<R: StoredRows>(x: &[f32], matrices: &[&R], single_threaded: bool) -> Vec<Vec<f32>> {
    let d = matrices.first().map_or(0, |rows| rows.dims()[1]);
    assert!(matrices.iter().all(|rows| rows.dims()[1] == d), "matrices must have equal width");
    if d == 0 || x.is_empty() {
        return vec![Vec::new(); matrices.len()];
    }
    assert!(x.len().is_multiple_of(d), "`x` must be whole rows of width d");
    let m = x.len() / d;
    // A thin `x` gains nothing from grouped panels; smaller tasks balance few panels better.
    let panels: usize = matrices.iter().map(|rows| rows.dims()[0].div_ceil(NR)).sum();
    let group_rows = if m <= panels::MAX_THIN_ROWS && panels <= MANY_PANELS { NR } else { GROUP_PANELS * NR };
    // For each group of panels: the index of its matrix and its rows.
    let group = |(nth, rows): (usize, &&R)| {
        let n = rows.dims()[0];
        (0..n).step_by(group_rows).map(move |first| (nth, first..n.min(first + group_rows)))
    };
    let groups: Vec<(usize, Range<usize>)> = matrices.iter().enumerate().flat_map(group).collect();
    let part_rows = if single_threaded { m } else { rows_per_part(m, groups.len().max(1)) };
    let parts: Vec<PackedTiles> = x
        .chunks(part_rows * d)
        .map(|x| PackedTiles::new(x, d, single_threaded || x.len() <= PACK_ALONE))
        .collect();
    let mut products: Vec<Vec<f32>> =
        matrices.iter().map(|rows| Vec::with_capacity(m * rows.dims()[0])).collect();
    let columns: Vec<OutColumns> = products
        .iter_mut()
        .zip(matrices)
        .map(|(out, rows)| OutColumns { out: out.as_mut_ptr(), m, n: rows.dims()[0] })
        .collect();
    let task = |scratch: &mut Scratch, nth: usize| {
        let (matrix, range) = groups[nth / parts.len()].clone();
        let part = nth % parts.len();
        let from = part * part_rows;
        sum_panels(&parts[part], part_rows.min(m - from), matrices[matrix], range.clone(), scratch);
        columns[matrix].write(from..m.min(from + part_rows), range, &scratch.sums);
    };
    let tasks = 0..groups.len() * parts.len();
    if single_threaded {
        let mut scratch = Scratch::default();
        tasks.for_each(|nth| task(&mut scratch, nth));
    } else {
        tasks.into_par_iter().for_each_init(Scratch::default, task);
    }
    for (out, rows) in products.iter_mut().zip(matrices) {
        // SAFETY: the capacity is that large, and the tasks have written every entry.
        #[expect(unsafe_code, reason = "zeros would only be overwritten")]
        unsafe {
            out.set_len(m * rows.dims()[0]);
        }
    }
    products
}

/// Rows of `x` per task. With few groups, `x` is divided too, so that all threads have work. Each part
/// unpacks the panels again, so it needs enough rows to pay for that.
fn rows_per_part(m: usize, groups: usize) -> usize {
    const TASKS: usize = 16;
    const LEAST: usize = 96;
    let parts = TASKS.div_ceil(groups).min(m / LEAST).max(1);
    m.div_ceil(parts).next_multiple_of(PART_MULTIPLE)
}

/// `scratch.sums` `[panels, m, NR]` = products of `left` with rows `range`.
fn sum_panels(
    left: &PackedTiles,
    m: usize,
    rows: &impl StoredRows,
    range: Range<usize>,
    scratch: &mut Scratch,
) {
    let [_, d] = rows.dims();
    let panels = range.len().div_ceil(NR);
    scratch.sums.resize(panels * m * NR, 0.0);
    if rows.can_pack() {
        return sum_direct(left, m, rows, range, scratch);
    }
    for start in (0..d).step_by(READ_COLUMNS) {
        let width = READ_COLUMNS.min(d - start);
        let stride = width + ROW_PADDING;
        scratch.read.resize(range.len() * stride, 0.0);
        for (row, entries) in range.clone().zip(scratch.read.chunks_exact_mut(stride)) {
            rows.read(row, start..start + width, &mut entries[..width]);
        }
        let panel_rows = scratch.read.chunks(NR * stride);
        if left.can_multiply_thin(range.len(), width) {
            for (rows, sums) in panel_rows.zip(scratch.sums.chunks_exact_mut(m * NR)) {
                left.add_thin_products(start, (rows, stride), width, sums, start == 0);
            }
            continue;
        }
        for part in (0..width).step_by(KC) {
            let columns = part..width.min(part + KC);
            let size = columns.len() * NR;
            scratch.panels.resize(panels * size, 0.0);
            for (panel, rows) in scratch.panels.chunks_exact_mut(size).zip(panel_rows.clone()) {
                pack_panel(rows, stride, columns.clone(), panel);
            }
            let (from, to) = (start + columns.start, start + columns.end);
            left.add_products(from..to, &scratch.panels, &mut scratch.sums, from == 0);
        }
    }
}

/// [`sum_panels`] for formats that pack panels themselves.
fn sum_direct(
    left: &PackedTiles,
    m: usize,
    rows: &impl StoredRows,
    range: Range<usize>,
    scratch: &mut Scratch,
) {
    let [_, d] = rows.dims();
    let panels = || range.clone().step_by(NR).map(|first| first..range.end.min(first + NR));
    if let Some(left) = left.thin_entries() {
        for (rows_of_panel, sums) in panels().zip(scratch.sums.chunks_exact_mut(m * NR)) {
            rows.multiply_thin(rows_of_panel, left, sums);
        }
        return;
    }
    for start in (0..d).step_by(KC) {
        let columns = start..d.min(start + KC);
        let size = columns.len() * NR;
        scratch.panels.resize(panels().len() * size, 0.0);
        for (rows_of_panel, panel) in panels().zip(scratch.panels.chunks_exact_mut(size)) {
            rows.pack_panel(rows_of_panel, columns.clone(), panel);
        }
        left.add_products(columns, &scratch.panels, &mut scratch.sums, start == 0);
    }
}

/// A product `[m, n]` of which each task writes its own columns.
struct OutColumns {
    out: *mut f32,
    m: usize,
    n: usize,
}

// SAFETY: only `multiply_each` creates it, and gives each entry to one task.
#[expect(unsafe_code, reason = "tasks write columns of their own")]
unsafe impl Sync for OutColumns {}

impl OutColumns {
    /// Writes sums `[panels, rows, NR]` to these rows and columns. No other task may write them.
    fn write(&self, rows: Range<usize>, columns: Range<usize>, sums: &[f32]) {
        let panel_len = rows.len() * NR;
        assert!(rows.end <= self.m && columns.end <= self.n);
        assert!(sums.len() == columns.len().div_ceil(NR) * panel_len);
        for (panel, sums) in sums.chunks_exact(panel_len.max(1)).enumerate() {
            let first = columns.start + panel * NR;
            let width = NR.min(columns.end - first);
            for (row, sums) in rows.clone().zip(sums.chunks_exact(NR)) {
                // SAFETY: row < m and first + width ≤ n, so the target lies in `out` `[m, n]`, which outlives
                // the tasks. No other task writes it, and it is read only after all tasks have ended.
                #[expect(unsafe_code, reason = "tasks write columns of their own")]
                unsafe {
                    let to = self.out.add(row * self.n + first);
                    std::ptr::copy_nonoverlapping(sums.as_ptr(), to, width);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn products_match_plain_sums_and_depend_neither_on_neighbours_nor_on_threads() {
        let mut stream = Stream::new(6, "stored rows");
        for (m, n, d) in [(1, 1, 1), (13, 33, 7), (29, 129, 300), (5, 31, 513), (70, 32, 256), (2, 40, 3100)]
        {
            let mut draw =
                |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
            let (rows, x) = (draw(n * d), draw(m * d));
            let out = multiply_stored(&x, &(rows.as_slice(), d), false);
            assert_eq!(multiply_stored(&x, &(rows.as_slice(), d), true), out, "{m} {n} {d}");
            for (at, got) in out.iter().enumerate() {
                let (row, col) = (at / n, at % n);
                let products = (0..d).map(|k| f64::from(x[row * d + k]) * f64::from(rows[col * d + k]));
                let error = f64::from(*got) - products.clone().sum::<f64>();
                let size: f64 = products.map(f64::abs).sum();
                assert!(error.abs() <= 1e-6 * size, "{m} {n} {d} at {at}: {error:e} of {size}");
            }
            // Thin products take another path and give the same bits.
            for few in 1..=5.min(m) {
                let thin = multiply_stored(&x[(m - few) * d..], &(rows.as_slice(), d), false);
                assert_eq!(thin, out[(m - few) * n..], "{m} {n} {d} {few}");
            }
        }
        // Several matrices at once give the same products as each alone.
        let (x, a, b) = (vec![0.5; 2 * 64], vec![0.25; 40 * 64], vec![-1.0; 3 * 64]);
        let (a, b) = ((a.as_slice(), 64), (b.as_slice(), 64));
        let alone = [multiply_stored(&x, &a, true), multiply_stored(&x, &b, true)];
        assert_eq!(multiply_each(&x, &[&a, &b], false), alone);
        let none: &[f32] = &[];
        assert!(multiply_stored(none, &(none, 3), false).is_empty());
    }
}
