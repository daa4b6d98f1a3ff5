//! [`HalfPanels::margin`] adds the rounding of two f32 sums: (terms) · 2⁻²⁴ · (sum of magnitudes) each.

use half::bf16;
use rayon::prelude::*;

use super::dispatch::dispatched;
use super::vector::{Vectorised, vectorised};

/// Rows of `w` in a panel: the f32 entries of a 512-bit vector or of an AMX tile row.
const NR: usize = 16;
/// Columns are padded with zeros to a multiple of an AMX tile's depth.
const K_STEP: usize = 32;
/// Rows of `x` in a tile.
const MR: usize = 32;

/// A matrix `w` `[n, d]` packed in bf16, for approximate products with a known error bound.
#[derive(Debug, Default)]
pub struct HalfPanels {
    n: usize,
    d: usize,
    /// Largest norm of a row, and largest norm of a row's rounding error.
    longest: Norms,
    /// `[panels, padded / 2, NR, 2]`: for each pair of columns, `NR` pairs of entries.
    data: Vec<bf16>,
}

/// Instruction sets with bf16 products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isa {
    Amx,
    Avx512Bf16,
}

/// The instruction sets of this processor that have bf16 products, fastest first.
fn isas() -> impl Iterator<Item = Isa> {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    let has_amx = amx::is_available();
    #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
    let has_amx = false;
    #[cfg(target_arch = "x86_64")]
    let has_pairs = is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    let has_pairs = false;
    [has_amx.then_some(Isa::Amx), has_pairs.then_some(Isa::Avx512Bf16)].into_iter().flatten()
}

/// Whether bf16 products are faster than f32 products on this processor.
pub fn has_bf16_products() -> bool {
    isas().next().is_some()
}

/// Norm of a row, and norm of the difference to the row rounded to bf16.
#[derive(Debug, Clone, Copy, Default)]
struct Norms {
    row: f32,
    error: f32,
}

impl Norms {
    fn largest(self, other: Self) -> Self {
        Self { row: self.row.max(other.row), error: self.error.max(other.error) }
    }
}

/// Exceeds the relative error of the f32 sums of squares.
const ROUND_UP: f32 = 1.001;
/// Exceeds any product lost to bf16 underflow.
const UNDERFLOW: f32 = 1e-30;

struct MeasureNorms<'a>(&'a [f32]);

impl Vectorised for MeasureNorms<'_> {
    type Output = Norms;

    #[inline(always)]
    fn run(self) -> Norms {
        const LANES: usize = 16;
        let (mut squares, mut error) = ([0.0f32; LANES], [0.0f32; LANES]);
        let mut add = |lane: usize, value: f32| {
            let difference = value - round_to_bf16(value);
            squares[lane] += value * value;
            error[lane] += difference * difference;
        };
        let strips = self.0.chunks_exact(LANES);
        strips.remainder().iter().enumerate().for_each(|(lane, &value)| add(lane, value));
        for strip in strips {
            for lane in 0..LANES {
                add(lane, strip[lane]);
            }
        }
        let length = |sums: [f32; LANES]| ROUND_UP * sums.iter().sum::<f32>().sqrt();
        Norms { row: length(squares), error: length(error) }
    }
}

/// A finite number rounded to bf16, to nearest with ties to even.
#[inline(always)]
fn round_to_bf16(value: f32) -> f32 {
    let bits = value.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

impl HalfPanels {
    /// Rows and columns of the matrix.
    pub fn dims(&self) -> [usize; 2] {
        [self.n, self.d]
    }

    /// d, padded to a multiple of [`K_STEP`].
    fn padded(&self) -> usize {
        self.d.next_multiple_of(K_STEP)
    }

    /// Packs `rows` `[n, d]`, replacing the former matrix. Panics if `d` is 0 or the last row is incomplete.
    pub fn fill(&mut self, rows: &[f32], d: usize) {
        assert!(d > 0 && rows.len().is_multiple_of(d), "panels are packed from whole rows");
        (self.n, self.d) = (rows.len() / d, d);
        let lengths = rows.par_chunks(d).map(|row| vectorised(MeasureNorms(row)));
        self.longest = lengths.reduce(Norms::default, Norms::largest);
        let size = NR * self.padded();
        // The microkernel takes two panels, so their number is even.
        self.data.resize(self.n.div_ceil(2 * NR) * 2 * size, bf16::ZERO);
        self.data.par_chunks_mut(size).enumerate().for_each(|(nth, panel)| {
            let first = (nth * NR * d).min(rows.len());
            let rows = &rows[first..(first + NR * d).min(rows.len())];
            if rows.len() < NR * d {
                panel.fill(bf16::ZERO);
            }
            let mut rounded = vec![bf16::ZERO; d];
            for (slot, row) in rows.chunks_exact(d).enumerate() {
                round_rows(&mut rounded, d, row, d);
                for (pairs, pair) in panel.chunks_exact_mut(2 * NR).zip(rounded.chunks(2)) {
                    pairs[2 * slot..][..pair.len()].copy_from_slice(pair);
                }
            }
        });
    }

    /// Upper bound of the error of [`HalfPanels::multiply`] for one finite row `x` and biases up to
    /// `largest_bias`.
    pub fn margin(&self, x: &[f32], largest_bias: f32) -> f32 {
        let (x, w) = (vectorised(MeasureNorms(x)), self.longest);
        let terms = (self.padded() + 2) as f32;
        let sizes = (x.row + x.error) * (w.row + w.error) + largest_bias;
        let summing = terms * f32::EPSILON * sizes;
        ROUND_UP * ((x.row + x.error) * w.error + x.error * w.row + summing) + UNDERFLOW
    }

    /// `out ≈ x · wᵀ + bias`. Panics if shapes disagree or [`has_bf16_products`] is false.
    pub fn multiply(&self, x: &[f32], bias: &[f32], out: &mut [f32]) {
        match isas().next() {
            Some(isa) => self.multiply_with(isa, x, bias, out),
            None => unreachable!("this processor has no bf16 products"),
        }
    }

    fn multiply_with(&self, isa: Isa, x: &[f32], bias: &[f32], out: &mut [f32]) {
        let (n, d, padded) = (self.n, self.d, self.padded());
        let m = x.len() / d.max(1);
        assert!(x.len() == m * d && bias.len() == n && out.len() == m * n, "shapes of a product disagree");
        let mut left = vec![bf16::ZERO; m.next_multiple_of(MR) * padded];
        round_rows(&mut left, padded, x, d);
        let mut sums = [0.0f32; MR * 2 * NR];
        let kernel = Kernel::begin(isa);
        for (nth, panels) in self.data.chunks_exact(2 * NR * padded).enumerate() {
            let first = nth * 2 * NR;
            let width = (2 * NR).min(n - first);
            let bias = &bias[first..first + width];
            for (rows, out) in left.chunks_exact(MR * padded).zip(out.chunks_mut(MR * n)) {
                kernel.multiply(rows, panels, padded, &mut sums);
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
    /// Rounds `x` `[m, d]` to bf16, rows of `out` `stride` apart.
    round_rows = round_loop(out: &mut [bf16], stride: usize, x: &[f32], d: usize)
}

#[inline(always)]
fn write_loop<const FMA: bool>(out: &mut [f32], stride: usize, sums: &[f32], bias: &[f32]) {
    for (sums, out) in sums.chunks_exact(2 * NR).zip(out.chunks_mut(stride)) {
        for ((slot, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
            *slot = sum + bias;
        }
    }
}

dispatched! {
    /// Writes `sums` `[rows, 2 NR]` + `bias` to rows of `out`, `stride` apart, as many columns as biases.
    write_sums = write_loop(out: &mut [f32], stride: usize, sums: &[f32], bias: &[f32])
}

/// A microkernel; for AMX, holds the thread's tile configuration while it lives.
struct Kernel(Isa);

impl Kernel {
    fn begin(isa: Isa) -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if isa == Isa::Amx {
            amx::configure();
        }
        Self(isa)
    }

    /// `sums` `[MR, 2 NR]` = `rows` `[MR, d]` · two panels `[2, NR, d]`ᵀ.
    fn multiply(&self, rows: &[bf16], panels: &[bf16], d: usize, sums: &mut [f32; MR * 2 * NR]) {
        assert!(rows.len() == MR * d && panels.len() == 2 * NR * d && d.is_multiple_of(K_STEP));
        #[cfg(target_arch = "x86_64")]
        match self.0 {
            #[cfg(target_os = "linux")]
            Isa::Amx => amx::microkernel(rows, panels, d, sums),
            #[cfg(not(target_os = "linux"))]
            Isa::Amx => {}
            Isa::Avx512Bf16 => {
                const ROWS: usize = 8;
                for (rows, sums) in rows.chunks_exact(ROWS * d).zip(sums.chunks_exact_mut(ROWS * 2 * NR)) {
                    // SAFETY: `isas` detected these instructions.
                    #[expect(unsafe_code, reason = "instruction set chosen at run time")]
                    unsafe {
                        avx512_bf16::microkernel::<ROWS>(rows, panels, d, sums);
                    }
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (sums, self.0);
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.0 == Isa::Amx {
            amx::release();
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512_bf16 {
    use std::arch::x86_64::{
        __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_setzero_ps,
        _mm512_storeu_ps,
    };

    use half::bf16;

    use super::NR;

    /// `sums` `[R, 2 NR]` = `rows` `[R, d]` · two panels.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn microkernel<const R: usize>(rows: &[bf16], panels: &[bf16], d: usize, sums: &mut [f32]) {
        assert!(rows.len() == R * d && panels.len() == 2 * NR * d && sums.len() == R * 2 * NR);
        let (rows, panels) = (rows.as_ptr().cast::<i32>(), panels.as_ptr().cast::<__m512i>());
        let half = d / 2;
        let mut low = [_mm512_setzero_ps(); R];
        let mut high = [_mm512_setzero_ps(); R];
        // SAFETY: pair k < d/2 of row r < R is the (r·d/2 + k)-th pair of `rows`, and a panel has one vector
        // per pair, as asserted. The reads need no alignment. Any 512 bits are a valid vector.
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
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * 2 * NR), low[r]);
                _mm512_storeu_ps(sums.as_mut_ptr().add(r * 2 * NR + NR), high[r]);
            }
        }
    }
}

/// Intel AMX: tiles of 16 × 32 bf16 numbers. Written in assembly, as the intrinsics are unstable.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
#[expect(unsafe_code, reason = "instructions that the language has no stable names for")]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::OnceLock;

    use half::bf16;

    use super::{K_STEP, MR, NR};

    /// Whether the processor has AMX-BF16 and the system lets this process use it.
    pub fn is_available() -> bool {
        static AVAILABLE: OnceLock<bool> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            const TILE: u32 = 1 << 24;
            const BF16: u32 = 1 << 22;
            const OS_SAVES_STATE: u32 = 1 << 27;
            // Leaf 7 must exist before it is read.
            let has_leaf = __cpuid(0).eax >= 7 && __cpuid(1).ecx & OS_SAVES_STATE != 0;
            has_leaf && __cpuid_count(7, 0).edx & (TILE | BF16) == TILE | BF16 && request_permission()
        })
    }

    /// Linux enables AMX state on request: `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
    fn request_permission() -> bool {
        const ARCH_PRCTL: u64 = 158;
        const REQUEST: u64 = 0x1023;
        const TILE_DATA: u64 = 18;
        let result: u64;
        // SAFETY: the call takes two numbers and writes no memory; system calls overwrite `rcx` and `r11`.
        unsafe {
            asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") REQUEST, in("rsi") TILE_DATA,
                 out("rcx") _, out("r11") _, options(nostack));
        }
        result == 0
    }

    /// The tile configuration: palette 1, each tile 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Layout {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// Configures the tiles of this thread; [`is_available`] must be true.
    pub fn configure() {
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

    /// Releases the tiles, so that the system need not save them.
    pub fn release() {
        // SAFETY: no tile holds data between calls.
        unsafe {
            asm!("tilerelease", options(nostack, nomem));
        }
    }

    /// `sums` `[MR, 2 NR]` = `rows` `[MR, d]` · two panels. [`configure`] must have been called.
    pub fn microkernel(rows: &[bf16], panels: &[bf16], d: usize, sums: &mut [f32; MR * 2 * NR]) {
        assert!(
            rows.len() == MR * d && panels.len() == 2 * NR * d && d >= K_STEP && d.is_multiple_of(K_STEP)
        );
        let upper = rows.as_ptr();
        let lower = rows[16 * d..].as_ptr();
        let left = panels.as_ptr();
        let right = panels[NR * d..].as_ptr();
        // SAFETY: each of the d/32 steps reads 16 rows of 32 numbers, 2·d bytes apart, from either half of
        // `rows`, and 16 consecutive rows of 64 bytes from either panel. By the assertion both are read
        // exactly to their ends. Four blocks of 16 × 16 sums, rows 128 bytes apart, cover `sums`.
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
                steps = inout(reg) d / K_STEP => _,
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
    fn rounding_equals_that_of_the_half_crate() {
        let mut stream = Stream::new(8, "rounded");
        let some = (0..2000).map(|_| (stream.normal() * 10f64.powf(40.0 * stream.unit() - 20.0)) as f32);
        for value in some.chain([0.0, -0.0, 1.0, 1.003_906_2, 1.011_718_8, f32::MIN_POSITIVE]) {
            assert_eq!(round_to_bf16(value), bf16::from_f32(value).to_f32(), "{value}");
        }
    }

    #[test]
    fn products_are_near_plain_sums_and_equal_those_of_rounded_numbers() {
        if !has_bf16_products() {
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
            for isa in isas() {
                let mut out = vec![0.0; m * n];
                panels.multiply_with(isa, &x, &bias, &mut out);
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
