use half::bf16;
use rayon::prelude::*;

use super::dispatch::dispatched;
use super::vector::{Vectorised, vectorised};

/// Rows of the matrix in a panel: those that one register of products covers.
const PANEL: usize = 16;
/// Columns are filled up with zeros to whole steps of a tile.
const STEP: usize = 32;
/// Rows of the other factor that are multiplied at once.
const ROWS: usize = 32;

/// The rows of a matrix `[n, d]` in bf16, rearranged for the products that some processors have of such numbers:
/// tiles (AMX), or pairs of them in vectors of 512 bits. Numbers are rounded to nearest, products summed in f32.
///
/// What it gives is near `x · rowsᵀ + bias`, not equal: each of the two factors of a product is off by 2⁻⁸ of it
/// at most.
#[derive(Debug, Default)]
pub struct HalfPanels {
    n: usize,
    d: usize,
    /// Length of the longest row, and of the longest difference of a row to what it was rounded to.
    longest: Lengths,
    /// Panel after panel; of each, for every two columns after each other, `PANEL` pairs of entries.
    data: Vec<bf16>,
}

/// How products of bf16 are made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Tiles,
    Pairs,
}

/// The ways that this processor has, fastest first.
fn ways() -> impl Iterator<Item = Way> {
    #[cfg(target_arch = "x86_64")]
    let (has_tiles, has_pairs) =
        (tiles_are_there(), is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f"));
    #[cfg(not(target_arch = "x86_64"))]
    let (has_tiles, has_pairs) = (false, false);
    [has_tiles.then_some(Way::Tiles), has_pairs.then_some(Way::Pairs)].into_iter().flatten()
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn tiles_are_there() -> bool {
    tiles::are_there()
}

#[cfg(all(target_arch = "x86_64", not(target_os = "linux")))]
fn tiles_are_there() -> bool {
    false
}

/// Whether products of bf16 are faster than those of f32 here.
pub fn has_half_products() -> bool {
    ways().next().is_some()
}

/// Lengths of a row and of its difference to the same rounded to bf16.
#[derive(Debug, Clone, Copy, Default)]
struct Lengths {
    row: f32,
    lost: f32,
}

impl Lengths {
    fn largest(self, other: Self) -> Self {
        Self { row: self.row.max(other.row), lost: self.lost.max(other.lost) }
    }
}

/// More than what sums of squares in f32 lack.
const ROUND_UP: f32 = 1.001;
/// Larger than any product of numbers that are too small for bf16.
const TINY: f32 = 1e-30;

struct Measure<'a>(&'a [f32]);

impl Vectorised for Measure<'_> {
    type Output = Lengths;

    #[inline(always)]
    fn run(self) -> Lengths {
        const LANES: usize = 16;
        let (mut squares, mut lost) = ([0.0f32; LANES], [0.0f32; LANES]);
        let mut add = |lane: usize, value: f32| {
            let difference = value - rounded(value);
            squares[lane] += value * value;
            lost[lane] += difference * difference;
        };
        let strips = self.0.chunks_exact(LANES);
        strips.remainder().iter().enumerate().for_each(|(lane, &value)| add(lane, value));
        for strip in strips {
            for lane in 0..LANES {
                add(lane, strip[lane]);
            }
        }
        let length = |sums: [f32; LANES]| ROUND_UP * sums.iter().sum::<f32>().sqrt();
        Lengths { row: length(squares), lost: length(lost) }
    }
}

/// A finite number rounded to bf16: to nearest, of two that are as near to the even one.
#[inline(always)]
fn rounded(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

impl HalfPanels {
    /// Rows and columns of the matrix.
    pub fn dims(&self) -> [usize; 2] {
        [self.n, self.d]
    }

    /// Columns with those that fill a step up.
    fn padded(&self) -> usize {
        self.d.next_multiple_of(STEP)
    }

    /// Takes rows of width `d`, in place of those that were there. Panics where `d` is 0 or cuts a row.
    pub fn fill(&mut self, rows: &[f32], d: usize) {
        assert!(d > 0 && rows.len().is_multiple_of(d), "panels are made of whole rows");
        (self.n, self.d) = (rows.len() / d, d);
        let lengths = rows.par_chunks(d).map(|row| vectorised(Measure(row)));
        self.longest = lengths.reduce(Lengths::default, Lengths::largest);
        let size = PANEL * self.padded();
        // An even number of panels: two go together.
        self.data.resize(self.n.div_ceil(2 * PANEL) * 2 * size, bf16::ZERO);
        self.data.par_chunks_mut(size).enumerate().for_each(|(nth, panel)| {
            let first = (nth * PANEL * d).min(rows.len());
            let rows = &rows[first..(first + PANEL * d).min(rows.len())];
            if rows.len() < PANEL * d {
                panel.fill(bf16::ZERO);
            }
            let mut rounded = vec![bf16::ZERO; d];
            for (slot, row) in rows.chunks_exact(d).enumerate() {
                round_rows(&mut rounded, d, row, d);
                for (pairs, pair) in panel.chunks_exact_mut(2 * PANEL).zip(rounded.chunks(2)) {
                    pairs[2 * slot..][..pair.len()].copy_from_slice(pair);
                }
            }
        });
    }

    /// How far what [`HalfPanels::multiply`] gives for one row `x` of finite numbers is from the same sums in f32, at
    /// most, with biases up to a size.
    ///
    /// With x̃ and w̃ what x and w are rounded to, `x̃·w̃ − x·w = x̃·(w̃ − w) + (x̃ − x)·w`, which is at most
    /// `(‖x‖ + ‖x̃ − x‖)·‖w̃ − w‖ + ‖x̃ − x‖·‖w‖`. Each of the two sums in f32, bias included, is off by no more than
    /// its number of terms times 2⁻²⁴ of the sum of their sizes.
    pub fn margin(&self, x: &[f32], largest_bias: f32) -> f32 {
        let (x, w) = (vectorised(Measure(x)), self.longest);
        let terms = (self.padded() + 2) as f32;
        let sizes = (x.row + x.lost) * (w.row + w.lost) + largest_bias;
        let summing = terms * f32::EPSILON * sizes;
        ROUND_UP * ((x.row + x.lost) * w.lost + x.lost * w.row + summing) + TINY
    }

    /// `out ≈ x · rowsᵀ + bias`, `x` `[m, d]`, `out` `[m, n]`, on the calling thread. Panics where shapes disagree or
    /// [`has_half_products`] is false.
    pub fn multiply(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let way = ways().next();
        assert!(way.is_some(), "this processor has no products of bf16");
        if let Some(way) = way {
            self.multiply_by(way, x, bias, out);
        }
    }

    fn multiply_by(&self, way: Way, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let (n, d, padded) = (self.n, self.d, self.padded());
        let m = x.len() / d.max(1);
        assert!(x.len() == m * d && bias.len() == n && out.len() == m * n, "shapes of a product disagree");
        let mut left = vec![bf16::ZERO; m.next_multiple_of(ROWS) * padded];
        round_rows(&mut left, padded, x, d);
        let mut sums = [0.0f32; ROWS * 2 * PANEL];
        let tiles = Tiles::begin(way);
        for (nth, panels) in self.data.chunks_exact(2 * PANEL * padded).enumerate() {
            let first = nth * 2 * PANEL;
            let width = (2 * PANEL).min(n - first);
            let bias = &bias[first..first + width];
            for (rows, out) in left.chunks_exact(ROWS * padded).zip(out.chunks_mut(ROWS * n)) {
                tiles.products(rows, panels, padded, &mut sums);
                write_sums(&mut out[first..], n, &sums, bias);
            }
        }
    }
}

#[inline(always)]
fn round_loop<const FMA: bool>(out: &mut [bf16], stride: usize, x: &[f32], d: usize) {
    for (out, row) in out.chunks_exact_mut(stride).zip(x.chunks_exact(d)) {
        for (slot, value) in out.iter_mut().zip(row) {
            *slot = bf16::from_f32(*value);
        }
    }
}

dispatched! {
    /// Rows `[m, d]` rounded to bf16, `stride` entries from one to the next.
    round_rows = round_loop(out: &mut [bf16], stride: usize, x: &[f32], d: usize)
}

#[inline(always)]
fn write_loop<const FMA: bool>(out: &mut [f32], stride: usize, sums: &[f32], bias: &[f32]) {
    for (sums, out) in sums.chunks_exact(2 * PANEL).zip(out.chunks_mut(stride)) {
        for ((slot, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
            *slot = sum + bias;
        }
    }
}

dispatched! {
    /// Columns of rows of `out`, `stride` apart ← sums `[rows, 2 PANEL]` + bias, as many as there are biases.
    write_sums = write_loop(out: &mut [f32], stride: usize, sums: &[f32], bias: &[f32])
}

/// The registers of tiles, set up for this thread while it lives, where those are the way.
struct Tiles(Way);

impl Tiles {
    fn begin(way: Way) -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if way == Way::Tiles {
            tiles::set_up();
        }
        Self(way)
    }

    /// `sums` `[ROWS, 2 PANEL]` of `rows` `[ROWS, d]` and two panels.
    fn products(&self, rows: &[bf16], panels: &[bf16], d: usize, sums: &mut [f32; ROWS * 2 * PANEL]) {
        assert!(rows.len() == ROWS * d && panels.len() == 2 * PANEL * d && d.is_multiple_of(STEP));
        #[cfg(target_arch = "x86_64")]
        match self.0 {
            #[cfg(target_os = "linux")]
            Way::Tiles => tiles::products(rows, panels, d, sums),
            #[cfg(not(target_os = "linux"))]
            Way::Tiles => {}
            Way::Pairs => {
                const AT_ONCE: usize = 8;
                for (rows, sums) in
                    rows.chunks_exact(AT_ONCE * d).zip(sums.chunks_exact_mut(AT_ONCE * 2 * PANEL))
                {
                    // SAFETY: `way` asked the processor for these vectors.
                    #[expect(unsafe_code, reason = "instruction set chosen at run time")]
                    unsafe {
                        pairs::block::<AT_ONCE>(rows, panels, d, sums);
                    }
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (sums, self.0);
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.0 == Way::Tiles {
            tiles::release();
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod pairs {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use half::bf16;

    use super::PANEL;

    /// `sums` `[R, 2 PANEL]` of `R` rows `[R, d]` and two panels.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn block<const R: usize>(rows: &[bf16], panels: &[bf16], d: usize, sums: &mut [f32]) {
        assert!(rows.len() == R * d && panels.len() == 2 * PANEL * d && sums.len() == R * 2 * PANEL);
        let (rows, panels) = (rows.as_ptr().cast::<i32>(), panels.as_ptr().cast::<__m512i>());
        let half = d / 2;
        let mut low = [_mm512_setzero_ps(); R];
        let mut high = [_mm512_setzero_ps(); R];
        // SAFETY: pair k < d/2 of row r < R begins at r·d/2 + k in pairs, and a panel has one vector for each, as
        // was just asserted; reads need not be aligned. A vector of 512 bits is one, whatever stands in it.
        #[expect(unsafe_code, reason = "vectors are read and written through pointers")]
        unsafe {
            let bits = |vector: __m512i| std::mem::transmute::<__m512i, __m512bh>(vector);
            for k in 0..half {
                let first = bits(_mm512_loadu_si512(panels.add(k)));
                let second = bits(_mm512_loadu_si512(panels.add(half + k)));
                for r in 0..R {
                    let pair = bits(_mm512_set1_epi32(rows.add(r * half + k).read_unaligned()));
                    low[r] = _mm512_dpbf16_ps(low[r], pair, first);
                    high[r] = _mm512_dpbf16_ps(high[r], pair, second);
                }
            }
            for r in 0..R {
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * 2 * PANEL), low[r]);
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * 2 * PANEL + PANEL), high[r]);
            }
        }
    }
}

/// Tiles of 16 × 32 numbers (Intel AMX). Their instructions are written out because the compiler's names for them
/// are not stable yet.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "instructions that the language has no stable names for")]
mod tiles {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::OnceLock;

    use half::bf16;

    use super::{PANEL, ROWS, STEP};

    /// Whether the processor has tiles of bf16 and the system lets this process use them.
    pub fn are_there() -> bool {
        static THERE: OnceLock<bool> = OnceLock::new();
        *THERE.get_or_init(|| {
            const TILE: u32 = 1 << 24;
            const BF16: u32 = 1 << 22;
            const SAVED_BY_SYSTEM: u32 = 1 << 27;
            // Leaf 7 is asked for only where there is one.
            let has_leaf = __cpuid(0).eax >= 7 && __cpuid(1).ecx & SAVED_BY_SYSTEM != 0;
            has_leaf && __cpuid_count(7, 0).edx & (TILE | BF16) == TILE | BF16 && ask_system()
        })
    }

    /// Linux saves tiles only for processes that ask: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
    fn ask_system() -> bool {
        const ARCH_PRCTL: u64 = 158;
        const REQUEST: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let result: u64;
        // SAFETY: the call takes two numbers and changes no memory; `rcx` and `r11` are what calls overwrite.
        unsafe {
            asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") REQUEST, in("rsi") TILE_DATA,
                 out("rcx") _, out("r11") _, options(nostack));
        }
        result == 0
    }

    /// How tiles are laid out: palette 1, every tile 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Layout {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// Lays out the tiles of this thread; [`are_there`] must have said yes.
    pub fn set_up() {
        let layout = Layout {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: std::array::from_fn(|tile| if tile < 8 { 64 } else { 0 }),
            rows: std::array::from_fn(|tile| if tile < 8 { 16 } else { 0 }),
        };
        // SAFETY: the layout is valid and 64 bytes long.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const layout, options(nostack, readonly));
        }
    }

    /// Leaves the tiles, so that the system need not save them any more.
    pub fn release() {
        // SAFETY: nothing is kept in tiles between calls.
        unsafe {
            asm!("tilerelease", options(nostack, nomem));
        }
    }

    /// `sums` `[ROWS, 2 PANEL]` of `rows` `[ROWS, d]` and two panels; the tiles must be set up.
    pub fn products(rows: &[bf16], panels: &[bf16], d: usize, sums: &mut [f32; ROWS * 2 * PANEL]) {
        assert!(
            rows.len() == ROWS * d && panels.len() == 2 * PANEL * d && d >= STEP && d.is_multiple_of(STEP)
        );
        let upper = rows.as_ptr();
        let lower = rows[16 * d..].as_ptr();
        let left = panels.as_ptr();
        let right = panels[PANEL * d..].as_ptr();
        // SAFETY: each step reads 16 rows of 32 numbers, `2 d` bytes apart, of either half of `rows`, and 16 rows of
        // 64 bytes after each other of either panel; there are d/32 steps, so that both are read to their ends as
        // asserted. What is written are four tiles of 16 rows of 16 numbers, 128 bytes apart: all of `sums`.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {stride}]",
                "tileloadd tmm6, [{left} + {line}]",
                "tileloadd tmm7, [{right} + {line}]",
                "tileloadd tmm5, [{lower} + {stride}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {upper}, 64",
                "add {lower}, 64",
                "add {left}, 1024",
                "add {right}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {row}], tmm0",
                "tilestored [{sums} + {row} + 64], tmm1",
                "tilestored [{sums} + {row} + 2048], tmm2",
                "tilestored [{sums} + {row} + 2112], tmm3",
                upper = inout(reg) upper => _,
                lower = inout(reg) lower => _,
                left = inout(reg) left => _,
                right = inout(reg) right => _,
                steps = inout(reg) d / STEP => _,
                stride = in(reg) 2 * d,
                line = in(reg) 64usize,
                row = in(reg) 128usize,
                sums = in(reg) sums.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Stream;

    #[test]
    fn numbers_are_rounded_as_elsewhere() {
        let mut stream = Stream::new(8, "rounded");
        let some = (0..2000).map(|_| (stream.normal() * 10f64.powf(40.0 * stream.unit() - 20.0)) as f32);
        for value in some.chain([0.0, -0.0, 1.0, 1.003_906_2, 1.011_718_8, f32::MIN_POSITIVE]) {
            assert_eq!(rounded(value), bf16::from_f32(value).to_f32(), "{value}");
        }
    }

    #[test]
    fn products_are_near_plain_sums_and_equal_those_of_rounded_numbers() {
        if !has_half_products() {
            println!("skipped: this processor has no products of bf16");
            return;
        }
        let mut stream = Stream::new(4, "half panels");
        let mut panels = HalfPanels::default();
        for (m, n, d) in [(1, 1, 1), (33, 17, 7), (29, 64, 50), (64, 95, 129), (5, 31, 512)] {
            let mut draw =
                |count: usize| -> Vec<f32> { (0..count).map(|_| stream.normal() as f32).collect() };
            let (rows, x, bias) = (draw(n * d), draw(m * d), draw(n));
            panels.fill(&rows, d);
            let round = |value: f32| f64::from(bf16::from_f32(value).to_f32());
            for way in ways() {
                let mut out = vec![0.0; m * n];
                panels.multiply_by(way, &x, &bias, &mut out);
                for (row, out) in out.chunks_exact(n).enumerate() {
                    for (col, got) in out.iter().enumerate() {
                        let (x, w) = (&x[row * d..][..d], &rows[col * d..][..d]);
                        let sum = |product: &dyn Fn(f32, f32) -> f64| -> f64 {
                            f64::from(bias[col]) + x.iter().zip(w).map(|(x, w)| product(*x, *w)).sum::<f64>()
                        };
                        let rounded = sum(&|x, w| round(x) * round(w));
                        let exact = sum(&|x, w| f64::from(x) * f64::from(w));
                        let got = f64::from(*got);
                        assert!((got - rounded).abs() < 1e-4, "{m} {n} {d} at {row} {col}: {got} {rounded}");
                        let largest_bias = bias.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                        let margin = f64::from(panels.margin(x, largest_bias));
                        assert!((got - exact).abs() <= margin, "{d}: {got} {exact} {margin}");
                    }
                }
            }
        }
    }
}
