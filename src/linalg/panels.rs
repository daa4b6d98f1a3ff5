//! Matrix products with a packed right factor, in f32, on the calling thread.
//!
//!   out = x · wᵀ + bias      x [m, d], w [n, d], bias [n], out [m, n]
//!
//! The layout follows Goto and van de Geijn (2008, *Anatomy of high-performance matrix multiplication*) and
//! BLIS (Van Zee and van de Geijn 2015):
//!
//!   w is packed into panels of NR rows; a panel is stored column by column: [d, NR]
//!   x is packed into tiles of MR rows; a tile is stored column by column: [d, MR]
//!   the microkernel multiplies a tile by a panel over at most KC columns; the MR × NR sums stay in registers
//!
//! Each entry of `out` is one sum over columns 0..d in ascending order. Rows are independent: the result for
//! one row never depends on the others.

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
use super::vector::mul_add;

/// Rows of `w` in a panel: two vectors of 512 bits, or four of 256.
pub(super) const NR: usize = 32;
/// Up to this many rows of `x`, packing `w` costs more than it saves. They fit one tile on every processor.
pub(super) const MAX_THIN_ROWS: usize = 4;
/// Columns per microkernel call: this part of a panel (16 KiB) stays in the L1 cache while the tiles pass.
pub(super) const KC: usize = 128;

/// A matrix `w` `[n, d]` packed into panels once, for many products.
#[derive(Debug, Default)]
pub struct Panels {
    simd: Simd,
    n: usize,
    d: usize,
    /// `[ceil(n / NR), d, NR]`; missing rows of the last panel are zero.
    data: Room,
}

/// The instruction set of a microkernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Simd {
    /// Plain Rust, vectorised by the compiler.
    #[default]
    Portable,
    /// 256 bits: AVX2 with FMA.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "x86-64 only"))]
    Avx2,
    /// 512 bits: AVX-512F.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "x86-64 only"))]
    Avx512,
}

impl Simd {
    /// The widest instruction set of this processor that has a microkernel.
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// MR: rows of `x` in a tile.
    fn mr(self) -> usize {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Portable => {}
            Self::Avx2 => return avx2::MR,
            Self::Avx512 => return avx512::MR,
        }
        2
    }
}

/// Prefetches `entries` into the L1 cache. This affects speed only.
pub fn prefetch<T>(entries: &[T]) {
    #[cfg(target_arch = "x86_64")]
    for line in entries.chunks((64 / size_of::<T>().max(1)).max(1)) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the address lies in the slice, and a prefetch neither reads nor writes.
        #[expect(unsafe_code, reason = "the instruction takes an address")]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = entries;
}

/// Whether the processor has AVX-512F.
pub(super) fn has_avx512() -> bool {
    Simd::detect() == Simd::Avx512
}

impl Panels {
    /// Packs `rows` `[n, d]`, replacing the former matrix. Panics if `d` is 0 or the last row is incomplete.
    pub fn fill(&mut self, rows: &[f32], d: usize) {
        self.fill_for(Simd::detect(), rows, d);
    }

    fn fill_for(&mut self, simd: Simd, rows: &[f32], d: usize) {
        assert!(d > 0 && rows.len().is_multiple_of(d), "panels are packed from whole rows");
        (self.simd, self.n, self.d) = (simd, rows.len() / d, d);
        self.data.fit(self.n.div_ceil(NR) * NR * d);
        let panels = self.data.par_chunks_mut(NR * d).zip(rows.par_chunks(NR * d));
        panels.for_each(|(panel, rows)| pack_panel_for(simd, rows, d, 0..d, panel));
    }

    /// `out = x · wᵀ + bias`, on the calling thread. Panics if the shapes disagree.
    pub fn multiply(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let (n, d) = (self.n, self.d);
        let m = x.len() / d.max(1);
        assert!(x.len() == m * d && bias.len() == n && out.len() == m * n, "shapes of a product disagree");
        let (simd, mr) = (self.simd, self.simd.mr());
        let left = PackedTiles::pack(simd, x, d, true);
        // Partial sums `[m, NR]` between column blocks, and the result of a panel that is not full.
        let mut sums = vec![0.0; x.len() / d * NR];
        let parts = d.div_ceil(KC);
        for (nth, panel) in self.data.chunks_exact(NR * d).enumerate() {
            let first = nth * NR;
            let width = NR.min(n - first);
            let mut start = [0.0; NR];
            start[..width].copy_from_slice(&bias[first..first + width]);
            for (part, panel) in panel.chunks(KC * NR).enumerate() {
                let columns = panel.len() / NR;
                let is_final = part + 1 == parts && width == NR;
                // Prefetch the next column block, one share per tile.
                let end = nth * NR * d + part * KC * NR + panel.len();
                let next = &self.data[end..self.data.len().min(end + panel.len())];
                let mut shares = next.chunks(next.len().div_ceil(left.tile_count()).max(1));
                let tiles = left.tiles().zip(sums.chunks_mut(mr * NR));
                for ((tile, sums), out) in tiles.zip(out.chunks_mut(mr * n)) {
                    shares.next().into_iter().for_each(prefetch);
                    let rows = tile.len() / d;
                    let tile = &tile[part * KC * rows..][..columns * rows];
                    let start = (part == 0).then_some(&start);
                    let out = is_final.then_some((&mut out[first..], n));
                    multiply_tile(simd, rows, tile, panel, start, sums, out);
                }
            }
            if width < NR {
                for (sums, out) in sums.chunks_exact(NR).zip(out.chunks_exact_mut(n)) {
                    out[first..][..width].copy_from_slice(&sums[..width]);
                }
            }
        }
    }
}

/// `sums[i] += x · rows[selected[i]]` for `x` `[d]` and `rows` `[n, d]`. Starting from the biases, this gives
/// the same bits as [`Panels::multiply`]. Panics if a row does not exist or the processor lacks AVX-512.
pub(super) fn add_selected_products(x: &[f32], rows: &[f32], selected: &[u32], sums: &mut [f32]) {
    assert!(selected.len() == sums.len() && has_avx512(), "one sum per selected row, and AVX-512");
    #[cfg(target_arch = "x86_64")]
    for (selected, sums) in selected.chunks(avx512::LANES).zip(sums.chunks_mut(avx512::LANES)) {
        // Unused lanes repeat the first row.
        let mut lanes = [selected[0]; avx512::LANES];
        let mut lane_sums = [0.0; avx512::LANES];
        lanes[..selected.len()].copy_from_slice(selected);
        lane_sums[..sums.len()].copy_from_slice(sums);
        avx512::add_selected_products(x, rows, &lanes, &mut lane_sums);
        sums.copy_from_slice(&lane_sums[..sums.len()]);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, rows);
}

/// Packs columns `columns` of `rows` `[n, d]` into `panel` `[n, NR]`, padded with zeros on the right.
pub(super) fn pack_columns(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) {
    for (slot, row) in panel.as_chunks_mut::<NR>().0.iter_mut().zip(rows.chunks_exact(d)) {
        let entries = &row[columns.clone()];
        if let Ok(whole) = entries.try_into() {
            *slot = whole;
        } else {
            slot[..entries.len()].copy_from_slice(entries);
            slot[entries.len()..].fill(0.0);
        }
    }
}

/// The left factor `x` `[m, d]` packed into tiles of MR rows, which the microkernel reads sequentially.
///
/// Unpacked rows a power of two apart would cause cache-set conflicts.
#[derive(Debug, Default)]
pub(super) struct PackedTiles {
    simd: Simd,
    d: usize,
    /// Tile after tile, each `[d, MR]`; the last may have fewer rows.
    data: Vec<f32>,
}

impl PackedTiles {
    /// Packs `x` `[m, d]`, on all threads or, if `single_threaded`, on the calling one.
    pub fn new(x: &[f32], d: usize, single_threaded: bool) -> Self {
        Self::pack(Simd::detect(), x, d, single_threaded)
    }

    fn pack(simd: Simd, x: &[f32], d: usize, single_threaded: bool) -> Self {
        let mr = simd.mr();
        let mut data = vec![0.0; x.len()];
        let pack = |(tile, rows): (&mut [f32], &[f32])| {
            let tile_rows = rows.len() / d;
            #[cfg(target_arch = "x86_64")]
            let done = match simd {
                Simd::Avx512 if tile_rows == mr => avx512::transpose_into_tile(rows, d, tile),
                _ => 0,
            };
            #[cfg(not(target_arch = "x86_64"))]
            let done = 0;
            for (nth, row) in rows.chunks_exact(d).enumerate() {
                for (column, &value) in row.iter().enumerate().skip(done) {
                    tile[column * tile_rows + nth] = value;
                }
            }
        };
        if single_threaded {
            data.chunks_mut(mr * d).zip(x.chunks(mr * d)).for_each(pack);
        } else {
            data.par_chunks_mut(mr * d).zip(x.par_chunks(mr * d)).for_each(pack);
        }
        Self { simd, d, data }
    }

    /// Packs the transpose of `x` `[d, m]`, replacing the former content.
    pub fn fill_transposed(&mut self, x: &[f32], m: usize) {
        (self.simd, self.d) = (Simd::detect(), x.len() / m.max(1));
        let (d, mr) = (self.d, self.simd.mr());
        self.data.resize(x.len(), 0.0);
        for (nth, tile) in self.data.chunks_mut((mr * d).max(1)).enumerate() {
            let first = nth * mr;
            match tile.len() / d {
                // A constant length lets the compiler unroll the copy.
                12 => copy_columns::<12>(tile, x, m, first),
                3 => copy_columns::<3>(tile, x, m, first),
                rows => {
                    for (slot, row) in tile.chunks_exact_mut(rows).zip(x.chunks_exact(m)) {
                        slot.copy_from_slice(&row[first..][..rows]);
                    }
                }
            }
        }
    }

    /// Number of rows in the tiles that hold the first `rows` rows.
    pub fn rows_of_whole_tiles(&self, rows: usize) -> usize {
        rows.next_multiple_of(self.simd.mr()).min(self.rows())
    }

    fn rows(&self) -> usize {
        self.data.len() / self.d.max(1)
    }

    fn tile_count(&self) -> usize {
        self.rows().div_ceil(self.simd.mr()).max(1)
    }

    fn tiles(&self) -> impl Iterator<Item = &[f32]> {
        self.data.chunks(self.simd.mr() * self.d)
    }

    /// Adds products over `columns` (at most [`KC`]) to `sums` `[panels, m, NR]`, or to 0 if `fresh`.
    ///
    /// `panels` is `[panels, columns, NR]`. `sums` may cover only the first rows if these are whole tiles.
    pub fn add_products(&self, columns: Range<usize>, panels: &[f32], sums: &mut [f32], fresh: bool) {
        let size = columns.len() * NR;
        assert!(size > 0 && panels.len().is_multiple_of(size), "panels must hold these columns");
        assert!(columns.len() <= KC && columns.end <= self.d, "at most KC columns, inside the matrix");
        let panel_sums = sums.len() / (panels.len() / size);
        let mut first = 0;
        for tile in self.tiles() {
            let rows = tile.len() / self.d;
            if first == panel_sums {
                break;
            }
            let tile = &tile[columns.start * rows..columns.end * rows];
            for (panel, sums) in panels.chunks_exact(size).zip(sums.chunks_exact_mut(panel_sums)) {
                let sums = &mut sums[first..first + rows * NR];
                let start = fresh.then_some(&[0.0; NR]);
                multiply_tile(self.simd, rows, tile, panel, start, sums, None);
            }
            first += rows * NR;
        }
    }

    fn is_thin(&self) -> bool {
        self.rows() <= MAX_THIN_ROWS.min(self.simd.mr())
    }

    /// Whether [`PackedTiles::add_thin_products`] applies to a right factor `[count, width]`.
    pub fn can_multiply_thin(&self, count: usize, width: usize) -> bool {
        let whole_vectors = match self.simd {
            Simd::Portable => false,
            Simd::Avx2 => count.is_multiple_of(NR) && width.is_multiple_of(8),
            Simd::Avx512 => count.is_multiple_of(16) && width.is_multiple_of(16),
        };
        whole_vectors && self.is_thin()
    }

    /// All entries, column by column, if there are at most [`MAX_THIN_ROWS`] rows.
    pub fn thin_entries(&self) -> Option<&[f32]> {
        self.is_thin().then_some(&self.data)
    }

    /// [`PackedTiles::add_products`] for a thin `x`, without packing the right factor; same bits.
    ///
    /// The first `width` columns of `rows` `[count, stride]` meet columns `first..` of `x`. `sums` is `[m,
    /// NR]`.
    pub fn add_thin_products(
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
            macro_rules! multiply {
                ($($m:literal)*) => {
                    match (self.simd, m) {
                        $((Simd::Avx512, $m) => {
                            avx512::multiply_thin::<$m>(left, rows, stride, width, sums, fresh)
                        }
                        (Simd::Avx2, $m) => avx2::multiply_thin::<$m>(left, rows, stride, width, sums, fresh),)*
                        _ => unreachable!("a thin matrix has at most {MAX_THIN_ROWS} rows"),
                    }
                };
            }
            multiply!(1 2 3 4);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (first, rows, stride, width, sums, fresh);
    }
}

/// Copies `R` entries of each row of `x` `[d, m]`, from `first` on, to a tile `[d, R]`.
fn copy_columns<const R: usize>(tile: &mut [f32], x: &[f32], m: usize, first: usize) {
    for (slot, row) in tile.as_chunks_mut::<R>().0.iter_mut().zip(x.chunks_exact(m)) {
        slot.copy_from_slice(&row[first..first + R]);
    }
}

/// Packs columns `columns` of `rows` `[at most NR, d]` into `panel` `[columns, NR]`; missing rows are zero.
pub(super) fn pack_panel(rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) {
    pack_panel_for(Simd::detect(), rows, d, columns, panel);
}

fn pack_panel_for(simd: Simd, rows: &[f32], d: usize, columns: Range<usize>, panel: &mut [f32]) {
    let count = rows.len() / d.max(1);
    assert!(count <= NR && rows.len() == count * d && columns.end <= d, "at most NR whole rows per panel");
    assert!(panel.len() == columns.len() * NR, "NR entries per column of a panel");
    if count < NR {
        panel.fill(0.0);
    }
    #[cfg(target_arch = "x86_64")]
    let done = match simd {
        Simd::Portable => (0, 0),
        Simd::Avx2 => avx2::transpose_into_panel(rows, d, columns.clone(), panel),
        Simd::Avx512 => avx512::transpose_into_panel(rows, d, columns.clone(), panel),
    };
    #[cfg(not(target_arch = "x86_64"))]
    let (done, _) = ((0, 0), simd);
    for (nth, row) in rows.chunks_exact(d.max(1)).enumerate() {
        let first = if nth < done.0 { done.1 } else { 0 };
        for (column, &value) in row[columns.clone()].iter().enumerate().skip(first) {
            panel[column * NR + nth] = value;
        }
    }
}

#[inline(always)]
fn portable_loop<const FMA: bool>(sums: &mut [f32], tile: &[f32], panel: &[f32]) {
    let rows = sums.len() / NR;
    let Some((first, second)) = sums.split_at_mut_checked(NR) else { return };
    let mut a: [f32; NR] = std::array::from_fn(|lane| first[lane]);
    // A single row is multiplied twice; the second result is dropped.
    let mut b: [f32; NR] = std::array::from_fn(|lane| second.get(lane).copied().unwrap_or(0.0));
    for (values, panel) in tile.chunks_exact(rows).zip(panel.chunks_exact(NR)) {
        let (x, y) = (values[0], values[rows - 1]);
        for lane in 0..NR {
            a[lane] = mul_add::<FMA>(x, panel[lane], a[lane]);
        }
        for lane in 0..NR {
            b[lane] = mul_add::<FMA>(y, panel[lane], b[lane]);
        }
    }
    first.copy_from_slice(&a);
    second.iter_mut().zip(b).for_each(|(slot, sum)| *slot = sum);
}

dispatched! {
    /// Portable microkernel: `sums += tile · panel` for one or two rows.
    add_portable = portable_loop(sums: &mut [f32], tile: &[f32], panel: &[f32])
}

/// Multiplies a tile `[columns, rows]`, rows ≤ MR, by a panel `[columns, NR]`.
///
/// Sums start from `start` in every row, or else from `sums` `[rows, NR]`. They are written to `out`, a slice
/// and its row stride, or else to `sums`.
fn multiply_tile(
    simd: Simd,
    rows: usize,
    tile: &[f32],
    panel: &[f32],
    start: Option<&[f32; NR]>,
    sums: &mut [f32],
    out: Option<(&mut [f32], usize)>,
) {
    assert!(tile.len() == rows * panel.len() / NR && panel.len().is_multiple_of(NR));
    assert!(rows > 0 && sums.len() == rows * NR);
    assert!(out.as_ref().is_none_or(|(out, stride)| out.len() >= (rows - 1) * stride + NR));
    #[cfg(target_arch = "x86_64")]
    if simd != Simd::Portable {
        let own = sums.as_mut_ptr();
        let (from, from_stride) = start.map_or((own.cast_const(), NR), |start| (start.as_ptr(), 0));
        let (to, to_stride) = out.map_or((own, NR), |(out, stride)| (out.as_mut_ptr(), stride));
        macro_rules! run {
            ($kernels:ident: $($r:literal)*) => {
                match rows {
                    // SAFETY: `simd` was detected. Row r < rows is read at r·from_stride and written at
                    // r·to_stride, with NR entries each. If both are `sums`, a row is read before it is
                    // written.
                    $($r => unsafe {
                        $kernels::microkernel::<$r>(tile, panel, from, from_stride, to, to_stride)
                    },)*
                    _ => unreachable!("a tile has at most {} rows", $kernels::MR),
                }
            };
        }
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        match simd {
            Simd::Portable => unreachable!("handled below"),
            Simd::Avx2 => run!(avx2: 1 2 3),
            Simd::Avx512 => run!(avx512: 1 2 3 4 5 6 7 8 9 10 11 12),
        }
        return;
    }
    let _ = simd;
    if let Some(start) = start {
        sums.as_chunks_mut::<NR>().0.fill(*start);
    }
    add_portable(sums, tile, panel);
    if let Some((out, stride)) = out {
        for (out, sums) in out.chunks_mut(stride).zip(sums.chunks_exact(NR)) {
            out[..NR].copy_from_slice(sums);
        }
    }
}
