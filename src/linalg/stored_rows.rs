use std::ops::Range;

use rayon::prelude::*;

use super::panels::{self, Arranged, COLUMNS, PANEL, stand_side_by_side};

/// Columns that are read at once: whole blocks of every form in which rows are stored, and enough that the rows of a
/// panel are most often read from the first column to the last, in the order they lie in memory. What is read, 384 KB
/// at most, stays in a core's second cache.
const READ_COLUMNS: usize = 3072;
/// Entries between rows that were read: a power of two from one row to the next would make them push each other out of
/// the cache.
const APART: usize = 16;
/// Entries that one thread arranges sooner than it could share the work.
const FEW: usize = 1 << 14;
/// A number of rows that is whole blocks for every kernel.
const ROWS_OF_BLOCK: usize = 12;
/// Panels up to which one more or less makes a thread wait for another.
const FEW_PANELS: usize = 256;
/// Panels that are multiplied together, so that the other factor is read half as often.
const TOGETHER: usize = 2;

/// Rows of a matrix `[n, d]` in whatever form they are stored.
pub trait StoredRows: Sync {
    /// n and d.
    fn dims(&self) -> [usize; 2];

    /// Columns `columns` of a row as f32. They begin and end at a multiple of 3072, or end at the last.
    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]);

    /// Whether rows can be read side by side: [`StoredRows::stand`] and [`StoredRows::sum_few`].
    fn can_stand(&self) -> bool {
        false
    }

    /// Columns `columns` of `rows` side by side: column after column goes to `panel`, as many entries apart as the panel
    /// has for each. Where there are fewer rows, the rest is anything. The columns begin at a multiple of 128 and are
    /// 128, or end at the last.
    fn stand(&self, rows: Range<usize>, columns: Range<usize>, panel: &mut [f32]) {
        let _ = (rows, columns, panel);
    }

    /// `sums` `[m, 32]` ← products of `rows`, 32 at most, with at most four others, which come column by column
    /// in `left`. Each is one sum from the first column to the last.
    fn sum_few(&self, rows: Range<usize>, left: &[f32], sums: &mut [f32]) {
        let _ = (rows, left, sums);
    }
}

/// Asks for entries that are read soon, so that they are on their way while others are worked on. It changes nothing
/// but time.
pub fn fetch_ahead<T>(entries: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in entries.chunks((64 / size_of::<T>().max(1)).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address is that of an entry of the slice, and nothing is read or written through it.
        #[expect(unsafe_code, reason = "the instruction takes an address")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = entries;
}

/// Rows as they are.
impl StoredRows for (&[f32], usize) {
    fn dims(&self) -> [usize; 2] {
        [self.0.len() / self.1.max(1), self.1]
    }

    fn read(&self, row: usize, columns: Range<usize>, out: &mut [f32]) {
        out.copy_from_slice(&self.0[row * self.1..][columns]);
    }
}

/// What one thread works with.
#[derive(Default)]
struct Scratch {
    /// Rows of the panels, as many columns as are read at once.
    read: Vec<f32>,
    /// Some of these columns, side by side.
    panels: Vec<f32>,
    sums: Vec<f32>,
}

/// `x · rowsᵀ` `[m, n]` of `x` `[m, d]`, row after row, without ever holding all of the rows as f32. Panics where `x` is
/// no whole number of rows.
///
/// Uses all threads, or with `alone` only the calling one. Each sum runs from the first column to the last: the same
/// numbers come out for a row of `x` whatever is beside it, and for any number of threads.
pub fn multiply_stored(x: &[f32], rows: &impl StoredRows, alone: bool) -> Vec<f32> {
    multiply_each(x, &[rows], alone).swap_remove(0)
}

/// [`multiply_stored`] with each of several matrices that are equally wide, in one hand-over to the threads. Panics
/// where they are not equally wide.
pub fn multiply_each<R: StoredRows>(x: &[f32], matrices: &[&R], alone: bool) -> Vec<Vec<f32>> {
    let d = matrices.first().map_or(0, |rows| rows.dims()[1]);
    assert!(matrices.iter().all(|rows| rows.dims()[1] == d), "the matrices are equally wide");
    if d == 0 || x.is_empty() {
        return matrices
            .iter()
            .map(|rows| vec![0.0; x.len().checked_div(d).unwrap_or(0) * rows.dims()[0]])
            .collect();
    }
    assert!(x.len().is_multiple_of(d), "a product needs whole rows");
    let m = x.len() / d;
    // Few rows need no panel twice. Where there are few panels as well, tasks of one share the work more evenly.
    let panels: usize = matrices.iter().map(|rows| rows.dims()[0].div_ceil(PANEL)).sum();
    let of_group = if m <= panels::FEW && panels <= FEW_PANELS { PANEL } else { TOGETHER * PANEL };
    // The matrix and the rows of each group of panels.
    let group = |(nth, rows): (usize, &&R)| {
        let n = rows.dims()[0];
        (0..n).step_by(of_group).map(move |first| (nth, first..n.min(first + of_group)))
    };
    let groups: Vec<(usize, Range<usize>)> = matrices.iter().enumerate().flat_map(group).collect();
    let of_part = if alone { m } else { rows_of_part(m, groups.len().max(1)) };
    let parts: Vec<Arranged> =
        x.chunks(of_part * d).map(|x| Arranged::new(x, d, alone || x.len() <= FEW)).collect();
    let mut products: Vec<Vec<f32>> =
        matrices.iter().map(|rows| Vec::with_capacity(m * rows.dims()[0])).collect();
    let columns: Vec<OutColumns> = products
        .iter_mut()
        .zip(matrices)
        .map(|(out, rows)| OutColumns { out: out.as_mut_ptr(), m, n: rows.dims()[0] })
        .collect();
    let task = |scratch: &mut Scratch, nth: usize| {
        let (matrix, some) = groups[nth / parts.len()].clone();
        let part = nth % parts.len();
        let from = part * of_part;
        sum_panels(&parts[part], of_part.min(m - from), matrices[matrix], some.clone(), scratch);
        columns[matrix].write(from..m.min(from + of_part), some, &scratch.sums);
    };
    let tasks = 0..groups.len() * parts.len();
    if alone {
        let mut scratch = Scratch::default();
        tasks.for_each(|nth| task(&mut scratch, nth));
    } else {
        tasks.into_par_iter().for_each_init(Scratch::default, task);
    }
    for (out, rows) in products.iter_mut().zip(matrices) {
        // SAFETY: there is room for that many, and the tasks have written every row of every column.
        #[expect(unsafe_code, reason = "zeros would only be overwritten")]
        unsafe {
            out.set_len(m * rows.dims()[0]);
        }
    }
    products
}

/// Rows of x that one task multiplies with a group of panels. Where there are few groups the rows are divided as well,
/// or one thread would wait for another; each part unpacks the panels again, so it has rows enough to pay for it.
fn rows_of_part(m: usize, groups: usize) -> usize {
    const TASKS: usize = 16;
    const LEAST: usize = 96;
    let parts = TASKS.div_ceil(groups).min(m / LEAST).max(1);
    m.div_ceil(parts).next_multiple_of(ROWS_OF_BLOCK)
}

/// `scratch.sums` `[panels, m, PANEL]` ← products with the panels of some of the rows.
fn sum_panels(left: &Arranged, m: usize, rows: &impl StoredRows, some: Range<usize>, scratch: &mut Scratch) {
    let [_, d] = rows.dims();
    let panels = some.len().div_ceil(PANEL);
    scratch.sums.resize(panels * m * PANEL, 0.0);
    if rows.can_stand() {
        return sum_standing(left, m, rows, some, scratch);
    }
    for start in (0..d).step_by(READ_COLUMNS) {
        let width = READ_COLUMNS.min(d - start);
        let stride = width + APART;
        scratch.read.resize(some.len() * stride, 0.0);
        for (row, entries) in some.clone().zip(scratch.read.chunks_exact_mut(stride)) {
            rows.read(row, start..start + width, &mut entries[..width]);
        }
        let of_panels = scratch.read.chunks(PANEL * stride);
        if left.is_few(some.len(), width) {
            for (rows, sums) in of_panels.zip(scratch.sums.chunks_exact_mut(m * PANEL)) {
                left.add_few(start, (rows, stride), width, sums, start == 0);
            }
            continue;
        }
        for part in (0..width).step_by(COLUMNS) {
            let columns = part..width.min(part + COLUMNS);
            let size = columns.len() * PANEL;
            scratch.panels.resize(panels * size, 0.0);
            for (panel, rows) in scratch.panels.chunks_exact_mut(size).zip(of_panels.clone()) {
                stand_side_by_side(rows, stride, columns.clone(), panel);
            }
            let (from, to) = (start + columns.start, start + columns.end);
            left.add_products(from..to, &scratch.panels, &mut scratch.sums, from == 0);
        }
    }
}

/// [`sum_panels`] of rows that can be read side by side.
fn sum_standing(
    left: &Arranged,
    m: usize,
    rows: &impl StoredRows,
    some: Range<usize>,
    scratch: &mut Scratch,
) {
    let [_, d] = rows.dims();
    let panels = || some.clone().step_by(PANEL).map(|first| first..some.end.min(first + PANEL));
    if let Some(left) = left.few() {
        for (rows_of_panel, sums) in panels().zip(scratch.sums.chunks_exact_mut(m * PANEL)) {
            rows.sum_few(rows_of_panel, left, sums);
        }
        return;
    }
    for start in (0..d).step_by(COLUMNS) {
        let columns = start..d.min(start + COLUMNS);
        let size = columns.len() * PANEL;
        scratch.panels.resize(panels().len() * size, 0.0);
        for (rows_of_panel, panel) in panels().zip(scratch.panels.chunks_exact_mut(size)) {
            rows.stand(rows_of_panel, columns.clone(), panel);
        }
        left.add_products(columns, &scratch.panels, &mut scratch.sums, start == 0);
    }
}

/// A product `[m, n]` whose columns several tasks write, each its own.
struct OutColumns {
    out: *mut f32,
    m: usize,
    n: usize,
}

// SAFETY: `multiply_each` alone makes them, and gives every column of a row to one task.
#[expect(unsafe_code, reason = "tasks write columns of their own")]
unsafe impl Sync for OutColumns {}

impl OutColumns {
    /// Columns of some rows ← sums `[panels, rows, PANEL]`. No other task may be given any of them.
    fn write(&self, rows: Range<usize>, columns: Range<usize>, sums: &[f32]) {
        let of_panel = rows.len() * PANEL;
        assert!(rows.end <= self.m && columns.end <= self.n);
        assert!(sums.len() == columns.len().div_ceil(PANEL) * of_panel);
        for (panel, sums) in sums.chunks_exact(of_panel.max(1)).enumerate() {
            let first = columns.start + panel * PANEL;
            let width = PANEL.min(columns.end - first);
            for (row, sums) in rows.clone().zip(sums.chunks_exact(PANEL)) {
                // SAFETY: row < m and first + width ≤ n, so this is a part of a row of `out`, which is `[m, n]` and
                // outlives the tasks; nobody else writes these columns of it, and nobody reads before all are done.
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
            // Few rows go another way and come out the same.
            for few in 1..=5.min(m) {
                let alone = multiply_stored(&x[(m - few) * d..], &(rows.as_slice(), d), false);
                assert_eq!(alone, out[(m - few) * n..], "{m} {n} {d} {few}");
            }
        }
        // Several matrices at once come out as each by itself.
        let (x, a, b) = (vec![0.5; 2 * 64], vec![0.25; 40 * 64], vec![-1.0; 3 * 64]);
        let (a, b) = ((a.as_slice(), 64), (b.as_slice(), 64));
        let alone = [multiply_stored(&x, &a, true), multiply_stored(&x, &b, true)];
        assert_eq!(multiply_each(&x, &[&a, &b], false), alone);
        let none: &[f32] = &[];
        assert!(multiply_stored(none, &(none, 3), false).is_empty());
    }
}
