#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rayon::prelude::*;

use super::dispatch::dispatched;
use super::room::Room;
use super::stored_rows::fetch_ahead;
use super::vector::mul_add;

/// Rows of the matrix that stand side by side in a panel: two vectors of 512 bits, or four of 256.
pub(super) const PANEL: usize = 32;
/// Rows for which panels are not worth making; with narrow vectors they are one block too.
pub(super) const FEW: usize = 4;
/// Columns that are multiplied in one go: so much of a panel stays in the first cache while rows pass by.
pub(super) const COLUMNS: usize = 128;

/// The rows of a matrix `[n, d]`, rearranged once so that products with many pieces of another matrix need not do
/// it again each time.
///
/// Every product is one sum from the first column to the last, so it does not depend on what is multiplied beside
/// it.
#[derive(Debug, Default)]
pub struct Panels {
    vectors: Vectors,
    n: usize,
    d: usize,
    /// Panel after panel; of each, column after column `PANEL` entries, zeros where there are fewer rows.
    data: Room,
}

/// The vectors that products are made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Vectors {
    /// Whatever the compiler takes.
    #[default]
    Any,
    /// 256 bits (AVX2 with FMA).
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "other processors have none of these"))]
    Bits256,
    /// 512 bits (AVX-512).
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "other processors have none of these"))]
    Bits512,
}

impl Vectors {
    /// The widest that this processor has and that there is a kernel for.
    fn here() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Bits512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Bits256;
            }
        }
        Self::Any
    }

    /// Rows of the other factor that are multiplied at once.
    fn rows(self) -> usize {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Any => {}
            Self::Bits256 => return avx2::ROWS,
            Self::Bits512 => return avx512::ROWS,
        }
        2
    }
}

/// Whether the processor has vectors of 512 bits, and as many registers for them.
pub(super) fn has_wide_vectors() -> bool {
    Vectors::here() == Vectors::Bits512
}

impl Panels {
    /// Takes rows of width `d`, in place of those that were there. Panics where `d` is 0 or cuts a row.
    pub fn fill(&mut self, rows: &[f32], d: usize) {
        self.fill_for(Vectors::here(), rows, d);
    }

    fn fill_for(&mut self, vectors: Vectors, rows: &[f32], d: usize) {
        assert!(d > 0 && rows.len().is_multiple_of(d), "panels are made of whole rows");
        (self.vectors, self.n, self.d) = (vectors, rows.len() / d, d);
        self.data.fit(self.n.div_ceil(PANEL) * PANEL * d);
        let panels = self.data.par_chunks_mut(PANEL * d).zip(rows.par_chunks(PANEL * d));
        panels.for_each(|(panel, rows)| stand_for(vectors, rows, d, 0..d, panel));
    }

    /// `out = x · rowsᵀ + bias`, `x` `[m, d]`, `out` `[m, n]`, on the calling thread. Panics where shapes disagree.
    pub fn multiply(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let (n, d) = (self.n, self.d);
        let m = x.len() / d.max(1);
        assert!(x.len() == m * d && bias.len() == n && out.len() == m * n, "shapes of a product disagree");
        let (vectors, at_once) = (self.vectors, self.vectors.rows());
        let left = Arranged::by(vectors, x, d, true);
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
                // What comes next is on its way while this is multiplied.
                let here = nth * PANEL * d + part * COLUMNS * PANEL + panel.len();
                let next = &self.data[here..self.data.len().min(here + panel.len())];
                let mut ahead = next.chunks(next.len().div_ceil(left.count_blocks()).max(1));
                let blocks = left.blocks().zip(sums.chunks_mut(at_once * PANEL));
                for ((block, sums), out) in blocks.zip(out.chunks_mut(at_once * n)) {
                    ahead.next().into_iter().for_each(fetch_ahead);
                    let rows = block.len() / d;
                    let block = &block[part * COLUMNS * rows..][..columns * rows];
                    let start = (part == 0).then_some(&own);
                    let out = straight.then_some((&mut out[first..], n));
                    add_products(vectors, rows, block, panel, start, sums, out);
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

/// Replaces each number of `sums` by itself plus the product of `x` `[d]` with the row of `[n, d]` beside it in `chosen`:
/// the same bits as [`Panels::multiply`] gives where `sums` are the biases. Panics where a row is not there, or where
/// the processor has no vectors of 512 bits.
pub(super) fn add_chosen(x: &[f32], rows: &[f32], chosen: &[u32], sums: &mut [f32]) {
    assert!(chosen.len() == sums.len() && has_wide_vectors(), "a sum for each row");
    #[cfg(target_arch = "x86_64")]
    for (chosen, sums) in chosen.chunks(avx512::TILE).zip(sums.chunks_mut(avx512::TILE)) {
        // A tile that is not full repeats its first row.
        let mut of_tile = [chosen[0]; avx512::TILE];
        let mut own = [0.0; avx512::TILE];
        of_tile[..chosen.len()].copy_from_slice(chosen);
        own[..sums.len()].copy_from_slice(sums);
        avx512::add_chosen(x, rows, &of_tile, &mut own);
        sums.copy_from_slice(&own[..sums.len()]);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, rows);
}

/// `panel` ← columns `columns` of rows `[n, d]`, row after row, with zeros where they are fewer than `PANEL`.
pub(super) fn panel_of_columns(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) {
    for (slot, row) in panel.as_chunks_mut::<PANEL>().0.iter_mut().zip(rows.chunks_exact(d)) {
        let entries = &row[columns.clone()];
        if let Ok(whole) = entries.try_into() {
            *slot = whole;
        } else {
            slot[..entries.len()].copy_from_slice(entries);
            slot[entries.len()..].fill(0.0);
        }
    }
}

/// Rows `[m, d]` as products with panels read them: entries that are multiplied after each other lie after each other,
/// for rows a power of two apart would push each other out of the cache.
#[derive(Debug, Default)]
pub(super) struct Arranged {
    vectors: Vectors,
    d: usize,
    /// Block after block of as many rows as are multiplied at once, the last maybe fewer; of each, column after column.
    data: Vec<f32>,
}

impl Arranged {
    /// Takes whole rows of width `d`, on all threads or on the calling one `alone`.
    pub fn new(x: &[f32], d: usize, alone: bool) -> Self {
        Self::by(Vectors::here(), x, d, alone)
    }

    fn by(vectors: Vectors, x: &[f32], d: usize, alone: bool) -> Self {
        let at_once = vectors.rows();
        let mut data = vec![0.0; x.len()];
        let arrange = |(block, rows): (&mut [f32], &[f32])| {
            let of_block = rows.len() / d;
            #[cfg(target_arch = "x86_64")]
            let done = match vectors {
                Vectors::Bits512 if of_block == at_once => avx512::turn_rows(rows, d, block),
                _ => 0,
            };
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
        Self { vectors, d, data }
    }

    /// Takes the columns of rows `[d, m]` as rows, in place of those that were there.
    pub fn fill_with_columns(&mut self, x: &[f32], m: usize) {
        (self.vectors, self.d) = (Vectors::here(), x.len() / m.max(1));
        let (d, at_once) = (self.d, self.vectors.rows());
        self.data.resize(x.len(), 0.0);
        for (nth, block) in self.data.chunks_mut((at_once * d).max(1)).enumerate() {
            let first = nth * at_once;
            match block.len() / d {
                // As many copies of a length that is known.
                12 => copy_columns::<12>(block, x, m, first),
                3 => copy_columns::<3>(block, x, m, first),
                of_block => {
                    for (slot, row) in block.chunks_exact_mut(of_block).zip(x.chunks_exact(m)) {
                        slot.copy_from_slice(&row[first..][..of_block]);
                    }
                }
            }
        }
    }

    /// Rows of the whole blocks that hold the first `rows`.
    pub fn whole_blocks(&self, rows: usize) -> usize {
        rows.next_multiple_of(self.vectors.rows()).min(self.rows())
    }

    fn rows(&self) -> usize {
        self.data.len() / self.d.max(1)
    }

    fn count_blocks(&self) -> usize {
        self.rows().div_ceil(self.vectors.rows()).max(1)
    }

    fn blocks(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks(self.vectors.rows() * self.d)
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
                let start = fresh.then_some(&[0.0; PANEL]);
                add_products(self.vectors, rows, block, panel, start, sums, None);
            }
            first += rows * PANEL;
        }
    }

    /// Whether [`Arranged::add_few`] can multiply with so many rows of so many columns: what is quickest where there
    /// are few rows here.
    pub fn is_few(&self, count: usize, width: usize) -> bool {
        let tiles = match self.vectors {
            Vectors::Any => false,
            Vectors::Bits256 => count.is_multiple_of(PANEL) && width.is_multiple_of(8),
            Vectors::Bits512 => count.is_multiple_of(16) && width.is_multiple_of(16),
        };
        tiles && self.rows() <= FEW.min(self.vectors.rows())
    }

    /// All entries column by column, where there are few rows.
    pub fn few(&self) -> Option<&[f32]> {
        (self.rows() <= FEW.min(self.vectors.rows())).then_some(&self.data)
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
            macro_rules! of {
                ($($m:literal)*) => {
                    match (self.vectors, m) {
                        $((Vectors::Bits512, $m) => avx512::few::<$m>(left, rows, stride, width, sums, fresh),
                        (Vectors::Bits256, $m) => avx2::few::<$m>(left, rows, stride, width, sums, fresh),)*
                        _ => unreachable!("few are at most {FEW} rows"),
                    }
                };
            }
            of!(1 2 3 4);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (first, rows, stride, width, sums, fresh);
    }
}

/// Column after column of a block ← `R` entries of each row of `x` `[d, m]` from `first` on.
fn copy_columns<const R: usize>(block: &mut [f32], x: &[f32], m: usize, first: usize) {
    for (slot, row) in block.as_chunks_mut::<R>().0.iter_mut().zip(x.chunks_exact(m)) {
        slot.copy_from_slice(&row[first..first + R]);
    }
}

/// `panel` ← columns `columns` of rows `[count ≤ PANEL, d]`, one after the other, zeros where there are fewer rows than
/// `PANEL`.
pub(super) fn stand_side_by_side(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) {
    stand_for(Vectors::here(), rows, d, columns, panel);
}

fn stand_for(vectors: Vectors, rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) {
    let count = rows.len() / d.max(1);
    assert!(count <= PANEL && rows.len() == count * d && columns.end <= d, "rows fit a panel");
    assert!(panel.len() == columns.len() * PANEL, "columns fit a panel");
    if count < PANEL {
        panel.fill(0.0);
    }
    #[cfg(target_arch = "x86_64")]
    let done = match vectors {
        Vectors::Any => (0, 0),
        Vectors::Bits256 => avx2::turn_tiles(rows, d, columns.clone(), panel),
        Vectors::Bits512 => avx512::turn_tiles(rows, d, columns.clone(), panel),
    };
    #[cfg(not(target_arch = "x86_64"))]
    let (done, _) = ((0, 0), vectors);
    for (nth, row) in rows.chunks_exact(d.max(1)).enumerate() {
        let first = if nth < done.0 { done.1 } else { 0 };
        for (column, &value) in row[columns.clone()].iter().enumerate().skip(first) {
            panel[column * PANEL + nth] = value;
        }
    }
}

#[inline(always)]
fn plain_loop<const FMA: bool>(sums: &mut [f32], left: &[f32], panel: &[f32]) {
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
    /// Adds `left · panel` to `sums` for one or two rows.
    add_plain = plain_loop(sums: &mut [f32], left: &[f32], panel: &[f32])
}

/// Adds `left · panel` for as many rows as these vectors take at once, or fewer, to `start`, or without one to `sums`
/// `[rows, PANEL]`; the result goes to `out`, of whose rows the number given are apart, or without one to `sums`.
fn add_products(
    vectors: Vectors,
    rows: usize,
    left: &[f32],
    panel: &[f32],
    start: Option<&[f32; PANEL]>,
    sums: &mut [f32],
    out: Option<(&mut [f32], usize)>,
) {
    assert!(left.len() == rows * panel.len() / PANEL && panel.len().is_multiple_of(PANEL));
    assert!(rows > 0 && sums.len() == rows * PANEL);
    assert!(out.as_ref().is_none_or(|(out, stride)| out.len() >= (rows - 1) * stride + PANEL));
    #[cfg(target_arch = "x86_64")]
    if vectors != Vectors::Any {
        let own = sums.as_mut_ptr();
        let (from, step) = start.map_or((own.cast_const(), PANEL), |start| (start.as_ptr(), 0));
        let (to, stride) = out.map_or((own, PANEL), |(out, stride)| (out.as_mut_ptr(), stride));
        macro_rules! of {
            ($kernels:ident: $($r:literal)*) => {
                match rows {
                    // SAFETY: the processor has these vectors. Row r < rows of what is read begins at r·step and of what
                    // is written at r·stride, and each has PANEL entries; where both are `sums`, a row is read before it is
                    // written.
                    $($r => unsafe { $kernels::block::<$r>(left, panel, from, step, to, stride) },)*
                    _ => unreachable!("a block has at most {} rows", $kernels::ROWS),
                }
            };
        }
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        match vectors {
            Vectors::Any => unreachable!("no kernel of its own"),
            Vectors::Bits256 => of!(avx2: 1 2 3),
            Vectors::Bits512 => of!(avx512: 1 2 3 4 5 6 7 8 9 10 11 12),
        }
        return;
    }
    let _ = vectors;
    if let Some(start) = start {
        sums.as_chunks_mut::<PANEL>().0.fill(*start);
    }
    add_plain(sums, left, panel);
    if let Some((out, stride)) = out {
        for (out, sums) in out.chunks_mut(stride).zip(sums.chunks_exact(PANEL)) {
            out[..PANEL].copy_from_slice(sums);
        }
    }
}
