//! Blocks of sixteen rows as columns of f32, by vectors of 512 bits: the same numbers as `blocks` makes of them, put
//! into a panel or multiplied at once.

use std::arch::x86_64::{
    __m512, __m512i, _mm_cvtsi32_si128, _mm_loadu_si128, _mm_set_epi32, _mm512_add_ps, _mm512_and_si512,
    _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_cvtepi8_epi32, _mm512_cvtepi32_epi16,
    _mm512_cvtepi32_ps, _mm512_cvtph_ps, _mm512_extracti32x4_epi32, _mm512_fmadd_ps, _mm512_inserti32x4,
    _mm512_loadu_si512, _mm512_mask_add_epi8, _mm512_mul_ps, _mm512_or_si512, _mm512_permutexvar_epi32,
    _mm512_set_epi32, _mm512_set1_epi8, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps,
    _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_slli_epi16, _mm512_srl_epi16, _mm512_srl_epi32,
    _mm512_srli_epi16, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_sub_epi8, _mm512_sub_ps,
    _mm512_test_epi8_mask, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};
use std::ops::Range;

use super::Encoding;
use crate::linalg::fetch_ahead;

/// Rows of a tile: entries of a vector.
pub const ROWS: usize = 16;
/// Tiles that are multiplied side by side, so that there are sums enough to hide the latency of an addition.
const TILES: usize = 2;

/// Whether the processor has what this needs.
pub fn are_there() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

/// Columns of a quantised encoding that are unpacked by themselves: half a block of 256, else a block.
pub fn unit(encoding: Encoding) -> Option<usize> {
    match encoding {
        Encoding::F32 | Encoding::F16 | Encoding::Bf16 => None,
        Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q5_0 | Encoding::Q5_1 | Encoding::Q8_0 => Some(32),
        Encoding::Q4K | Encoding::Q5K | Encoding::Q6K => Some(128),
    }
}

/// Rows of whole blocks, one after the other.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// How their numbers are stored.
    pub encoding: Encoding,
    /// Their bytes, those of the first row first.
    pub bytes: &'a [u8],
    /// Bytes of a row.
    pub of_row: usize,
    /// Bytes that are read after these, and fetched meanwhile.
    pub next: &'a [u8],
}

impl Rows<'_> {
    fn count(&self) -> usize {
        self.bytes.len() / self.of_row.max(1)
    }

    /// Where the rows of a tile begin; where there are no more, the last one stands in.
    fn tile(&self, nth: usize) -> [*const u8; ROWS] {
        std::array::from_fn(|r| {
            let row = (nth * ROWS + r).min(self.count() - 1);
            self.bytes[row * self.of_row..][..self.of_row].as_ptr()
        })
    }

    /// Panics unless columns up to `end`, whole units, are there.
    fn check(&self, columns: &Range<usize>) -> usize {
        let (unit, block) = (unit(self.encoding).unwrap_or(0), self.encoding.block());
        let bytes = columns.end.div_ceil(block) * self.encoding.block_bytes();
        assert!(
            are_there() && unit > 0 && self.count() > 0 && bytes <= self.of_row,
            "rows have these columns"
        );
        assert!(columns.start.is_multiple_of(unit) && columns.len().is_multiple_of(unit), "whole units");
        unit
    }

    /// Columns `columns`, whole units, of the rows: column after column goes to `panel`, a multiple of [`ROWS`] entries
    /// from one to the next. Panics where there are no such columns or the processor lacks the vectors.
    pub fn stand(&self, columns: Range<usize>, panel: &mut [f32]) {
        let unit = self.check(&columns);
        let apart = panel.len() / columns.len().max(1);
        assert!(
            panel.len() == columns.len() * apart && apart.is_multiple_of(ROWS),
            "a panel has whole tiles"
        );
        let width = self.of_row / self.encoding.block_bytes() * self.encoding.block();
        let at = |column: usize| self.next.len() * column / width;
        fetch_ahead(&self.next[at(columns.start)..at(columns.end)]);
        for nth in 0..apart / ROWS {
            let tile = self.tile(nth);
            for (column, start) in columns.clone().step_by(unit).enumerate() {
                let out = &mut panel[column * unit * apart + nth * ROWS..];
                let mut to = Sink { left: &[], out: out.as_mut_ptr(), apart, sums: [] };
                // SAFETY: the processor has the vectors and the rows the columns, as was just checked; the panel has
                // room for a vector at each column.
                #[expect(unsafe_code, reason = "instruction set chosen at run time")]
                unsafe {
                    columns_of_unit(self.encoding, &tile, start, &mut to);
                }
            }
        }
    }

    /// `sums` `[M, 32]` ← products of `M` rows, which come column by column in `left`, with these, of which there are at
    /// most 32. Each is one sum from the first column to the last.
    pub fn sum_few<const M: usize>(&self, left: &[f32], sums: &mut [f32]) {
        let width = left.len() / M;
        let unit = self.check(&(0..width));
        let apart = TILES * ROWS;
        assert!(M > 0 && left.len() == width * M && sums.len() == M * apart && self.count() <= apart);
        let tiles = [self.tile(0), self.tile(1)];
        // SAFETY: the processor has the vectors, the rows the columns and `left` as many, as was just checked; each row
        // of `sums` has a vector for each tile.
        #[expect(unsafe_code, reason = "instruction set chosen at run time")]
        unsafe {
            sum_tiles::<M>(self.encoding, &tiles, left, unit, self.next, sums);
        }
    }
}

/// # Safety
/// The processor has the vectors, the rows of the tiles have as many columns as `left`, whole units, and `sums` are
/// `[M, TILES · ROWS]`.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read and written through pointers")]
unsafe fn sum_tiles<const M: usize>(
    encoding: Encoding,
    tiles: &[[*const u8; ROWS]; TILES],
    left: &[f32],
    unit: usize,
    next: &[u8],
    sums: &mut [f32],
) {
    let mut sinks: [Sink<'_, M>; TILES] = std::array::from_fn(|_| Sink {
        left: &[],
        out: std::ptr::null_mut(),
        apart: 0,
        sums: [_mm512_setzero_ps(); M],
    });
    let mut next = next.chunks(next.len().div_ceil(left.len() / (unit * M)).max(1));
    for (nth, left) in left.chunks_exact(unit * M).enumerate() {
        next.next().into_iter().for_each(fetch_ahead);
        for (tile, sink) in tiles.iter().zip(&mut sinks) {
            sink.left = left;
            // SAFETY: as above.
            unsafe { columns_of_unit(encoding, tile, nth * unit, sink) };
        }
    }
    for (nth, sink) in sinks.iter().enumerate() {
        for (r, sum) in sink.sums.iter().enumerate() {
            // SAFETY: as above.
            unsafe { _mm512_storeu_ps(sums.as_mut_ptr().add((r * TILES + nth) * ROWS), *sum) };
        }
    }
}

/// Where the columns of a unit go: with `M` = 0 to memory, else into `M` products.
struct Sink<'a, const M: usize> {
    /// `M` factors for each column.
    left: &'a [f32],
    sums: [__m512; M],
    out: *mut f32,
    /// Entries from one column to the next.
    apart: usize,
}

/// # Safety
/// The processor has the vectors, each row has the unit that begins at column `start`, and the sink takes as many
/// columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn columns_of_unit<const M: usize>(
    encoding: Encoding,
    rows: &[*const u8; ROWS],
    start: usize,
    to: &mut Sink<'_, M>,
) {
    let (block, unit) = (encoding.block(), unit(encoding).unwrap_or(1));
    assert!(M == 0 || to.left.len() == unit * M, "factors for each column");
    let (at, half) = (start / block * encoding.block_bytes(), start % block / unit);
    // SAFETY: as above.
    unsafe {
        match encoding {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => {}
            Encoding::Q4_0 => four_bits::<false, M>(rows, at, to),
            Encoding::Q4_1 => four_bits::<true, M>(rows, at, to),
            Encoding::Q5_0 => five_bits::<false, M>(rows, at, to),
            Encoding::Q5_1 => five_bits::<true, M>(rows, at, to),
            Encoding::Q8_0 => eight_bits::<M>(rows, at, to),
            Encoding::Q4K => groups::<false, M>(rows, at, half, to),
            Encoding::Q5K => groups::<true, M>(rows, at, half, to),
            Encoding::Q6K => six_bits::<M>(rows, at, half, to),
        }
    }
}

/// What is done to a scaled number.
#[derive(Clone, Copy)]
enum Offset {
    None,
    Plus(__m512),
    Minus(__m512),
}

/// Bytes of sixteen columns: a vector has four of them one after the other, each with a byte of every row.
type Sixteen = [__m512i; 4];

/// Gives the sink sixteen columns from `first` on: scale · q, or that with the offset, of signed bytes q.
macro_rules! give {
    ($to:ident, $first:expr, $q:expr, $scale:expr, $offset:expr) => {{
        let (first, q, scale, offset): (usize, Sixteen, __m512, Offset) = ($first, $q, $scale, $offset);
        let mut sums = $to.sums;
        macro_rules! column {
            ($four:literal, $nth:literal) => {
                let q = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm512_extracti32x4_epi32::<$nth>(q[$four])));
                let product = _mm512_mul_ps(scale, q);
                let entries = match offset {
                    Offset::None => product,
                    Offset::Plus(offset) => _mm512_add_ps(product, offset),
                    Offset::Minus(offset) => _mm512_sub_ps(product, offset),
                };
                let column = first + 4 * $four + $nth;
                if M == 0 {
                    _mm512_storeu_ps($to.out.add(column * $to.apart), entries);
                } else {
                    for r in 0..M {
                        let value = _mm512_set1_ps(*$to.left.get_unchecked(column * M + r));
                        sums[r] = _mm512_fmadd_ps(value, entries, sums[r]);
                    }
                }
            };
        }
        macro_rules! four {
            ($four:literal) => {
                column!($four, 0);
                column!($four, 1);
                column!($four, 2);
                column!($four, 3);
            };
        }
        // SAFETY: the sink takes all columns of the unit, `first` and fifteen more are among them.
        #[expect(unsafe_code, reason = "vectors are written through a pointer")]
        unsafe {
            four!(0);
            four!(1);
            four!(2);
            four!(3);
        }
        $to.sums = sums;
    }};
}

/// Four bytes of every row, row after row, from four places after each other.
///
/// # Safety
/// Each row has 16 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn words(rows: &[*const u8; ROWS], at: usize) -> [__m512i; 4] {
    macro_rules! every_fourth {
        ($first:literal) => {{
            let all = _mm512_castsi128_si512(_mm_loadu_si128(rows[$first].add(at).cast()));
            let all = _mm512_inserti32x4::<1>(all, _mm_loadu_si128(rows[4 + $first].add(at).cast()));
            let all = _mm512_inserti32x4::<2>(all, _mm_loadu_si128(rows[8 + $first].add(at).cast()));
            _mm512_inserti32x4::<3>(all, _mm_loadu_si128(rows[12 + $first].add(at).cast()))
        }};
    }
    // SAFETY: as above.
    let [a, b, c, d] = unsafe { [every_fourth!(0), every_fourth!(1), every_fourth!(2), every_fourth!(3)] };
    let (low_ab, low_cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
    let (high_ab, high_cd) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(low_ab, low_cd),
        _mm512_unpackhi_epi64(low_ab, low_cd),
        _mm512_unpacklo_epi64(high_ab, high_cd),
        _mm512_unpackhi_epi64(high_ab, high_cd),
    ]
}

/// The four bytes of every row from `at` on.
///
/// # Safety
/// Each row has them.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "words are read through pointers")]
unsafe fn word(rows: &[*const u8; ROWS], at: usize) -> __m512i {
    let mut all = [0u32; ROWS];
    for (word, row) in all.iter_mut().zip(rows) {
        // SAFETY: as above.
        *word = unsafe { row.add(at).cast::<u32>().read_unaligned() };
    }
    // SAFETY: an array of sixteen words is one vector.
    unsafe { _mm512_loadu_si512(all.as_ptr().cast()) }
}

/// Four bytes of every row, row after row, as four columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn four_columns(word: __m512i) -> __m512i {
    // In a quarter, which has four rows, the first byte of each comes first, then their second bytes.
    let by_byte = _mm512_broadcast_i32x4(_mm_set_epi32(0x0F0B_0703, 0x0E0A_0602, 0x0D09_0501, 0x0C08_0400));
    let by_column = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    _mm512_permutexvar_epi32(by_column, _mm512_shuffle_epi8(word, by_byte))
}

/// Sixteen bytes of every row as columns.
///
/// # Safety
/// Each row has 16 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn sixteen(rows: &[*const u8; ROWS], at: usize) -> Sixteen {
    // SAFETY: as above.
    let [a, b, c, d] = unsafe { words(rows, at) };
    [four_columns(a), four_columns(b), four_columns(c), four_columns(d)]
}

/// The lower halves of words, which are IEEE floats of 16 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn lower_half(word: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(word))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn upper_half(word: __m512i) -> __m512 {
    lower_half(_mm512_srli_epi32::<16>(word))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn low_bits([a, b, c, d]: Sixteen) -> Sixteen {
    let mask = _mm512_set1_epi8(0x0F);
    [
        _mm512_and_si512(a, mask),
        _mm512_and_si512(b, mask),
        _mm512_and_si512(c, mask),
        _mm512_and_si512(d, mask),
    ]
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn high_bits([a, b, c, d]: Sixteen) -> Sixteen {
    low_bits([
        _mm512_srli_epi16::<4>(a),
        _mm512_srli_epi16::<4>(b),
        _mm512_srli_epi16::<4>(c),
        _mm512_srli_epi16::<4>(d),
    ])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn less([a, b, c, d]: Sixteen, by: i8) -> Sixteen {
    let by = _mm512_set1_epi8(by);
    [_mm512_sub_epi8(a, by), _mm512_sub_epi8(b, by), _mm512_sub_epi8(c, by), _mm512_sub_epi8(d, by)]
}

/// q + 16 where a bit of `bits` is set in the byte beside it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn with_fifth_bit(q: __m512i, bytes: __m512i, bits: __m512i) -> __m512i {
    _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(bytes, bits), q, _mm512_set1_epi8(16))
}

/// # Safety
/// Each row has a block at `at`, and the sink takes as many columns.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn four_bits<const MINIMUM: bool, const M: usize>(
    rows: &[*const u8; ROWS],
    at: usize,
    to: &mut Sink<'_, M>,
) {
    // SAFETY: as above.
    let (header, q) = unsafe { (word(rows, at), sixteen(rows, at + if MINIMUM { 4 } else { 2 })) };
    let scale = lower_half(header);
    let (low, high) = (low_bits(q), high_bits(q));
    if MINIMUM {
        let minimum = Offset::Plus(upper_half(header));
        give!(to, 0, low, scale, minimum);
        give!(to, 16, high, scale, minimum);
    } else {
        give!(to, 0, less(low, 8), scale, Offset::None);
        give!(to, 16, less(high, 8), scale, Offset::None);
    }
}

/// # Safety
/// Each row has a block at `at`, and the sink takes as many columns.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn five_bits<const MINIMUM: bool, const M: usize>(
    rows: &[*const u8; ROWS],
    at: usize,
    to: &mut Sink<'_, M>,
) {
    let start = at + if MINIMUM { 4 } else { 2 };
    // SAFETY: as above.
    let (header, fifth, q) = unsafe { (word(rows, at), word(rows, start), sixteen(rows, start + 4)) };
    let scale = lower_half(header);
    // Quarter k has byte k of every row: the fifth bits of columns 8k to 8k + 7.
    let fifth = four_columns(fifth);
    let (first, second) = (bit_by_column(0), bit_by_column(4));
    macro_rules! with_fifth {
        ($q:expr, $a:literal, $b:literal) => {{
            let q: Sixteen = $q;
            let (a, b) = (_mm512_shuffle_i32x4::<$a>(fifth, fifth), _mm512_shuffle_i32x4::<$b>(fifth, fifth));
            [
                with_fifth_bit(q[0], a, first),
                with_fifth_bit(q[1], a, second),
                with_fifth_bit(q[2], b, first),
                with_fifth_bit(q[3], b, second),
            ]
        }};
    }
    let low = with_fifth!(low_bits(q), 0x00, 0x55);
    let high = with_fifth!(high_bits(q), 0xAA, 0xFF);
    if MINIMUM {
        let minimum = Offset::Plus(upper_half(header));
        give!(to, 0, low, scale, minimum);
        give!(to, 16, high, scale, minimum);
    } else {
        give!(to, 0, less(low, 16), scale, Offset::None);
        give!(to, 16, less(high, 16), scale, Offset::None);
    }
}

/// Bit `first` + c in every byte of column c < 4.
#[inline]
#[target_feature(enable = "avx512f")]
fn bit_by_column(first: u32) -> __m512i {
    let [a, b, c, d] = [
        i32::from_le_bytes([1 << first; 4]),
        i32::from_le_bytes([2 << first; 4]),
        i32::from_le_bytes([4 << first; 4]),
        i32::from_le_bytes([8 << first; 4]),
    ];
    _mm512_set_epi32(d, d, d, d, c, c, c, c, b, b, b, b, a, a, a, a)
}

/// # Safety
/// Each row has a block at `at`, and the sink takes as many columns.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn eight_bits<const M: usize>(rows: &[*const u8; ROWS], at: usize, to: &mut Sink<'_, M>) {
    // SAFETY: as above.
    let (header, low, high) = unsafe { (word(rows, at), sixteen(rows, at + 2), sixteen(rows, at + 18)) };
    let scale = lower_half(header);
    give!(to, 0, low, scale, Offset::None);
    give!(to, 16, high, scale, Offset::None);
}

/// Scale and minimum of group `group` of 32 numbers, 6 bits each, from the three words that have those of all groups:
/// the last four groups' are put together from two places.
#[inline]
#[target_feature(enable = "avx512f")]
fn scale_and_minimum([a, b, c]: [__m512i; 3], group: usize) -> [__m512; 2] {
    let shift = _mm_cvtsi32_si128(8 * (group as i32 % 4));
    let [a, b, c] = [_mm512_srl_epi32(a, shift), _mm512_srl_epi32(b, shift), _mm512_srl_epi32(c, shift)];
    let (four, six) = (_mm512_set1_epi32(0x0F), _mm512_set1_epi32(0x3F));
    let [scale, minimum] = if group < 4 {
        [_mm512_and_si512(a, six), _mm512_and_si512(b, six)]
    } else {
        // The two upper bits of a byte, as the upper two of six.
        let upper = _mm512_set1_epi32(0x30);
        [
            _mm512_or_si512(_mm512_and_si512(c, four), _mm512_and_si512(_mm512_srli_epi32::<2>(a), upper)),
            _mm512_or_si512(
                _mm512_and_si512(_mm512_srli_epi32::<4>(c), four),
                _mm512_and_si512(_mm512_srli_epi32::<2>(b), upper),
            ),
        ]
    };
    [_mm512_cvtepi32_ps(scale), _mm512_cvtepi32_ps(minimum)]
}

/// Half a block of 4 or, with `FIFTH`, 5 bits in groups.
///
/// # Safety
/// Each row has a block at `at`, and the sink takes as many columns as half of it.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn groups<const FIFTH: bool, const M: usize>(
    rows: &[*const u8; ROWS],
    at: usize,
    half: usize,
    to: &mut Sink<'_, M>,
) {
    // SAFETY: as above.
    let [header, a, b, c] = unsafe { words(rows, at) };
    let (d, d_min) = (lower_half(header), upper_half(header));
    let numbers = at + if FIFTH { 48 } else { 16 };
    for pair in 2 * half..2 * half + 2 {
        // SAFETY: as above.
        let q = unsafe { [sixteen(rows, numbers + 32 * pair), sixteen(rows, numbers + 32 * pair + 16)] };
        for of_pair in 0..2 {
            let group = 2 * pair + of_pair;
            let [scale, minimum] = scale_and_minimum([a, b, c], group);
            let (scale, minimum) = (_mm512_mul_ps(d, scale), Offset::Minus(_mm512_mul_ps(d_min, minimum)));
            for part in 0..2 {
                let mut q = if of_pair == 0 { low_bits(q[part]) } else { high_bits(q[part]) };
                if FIFTH {
                    // SAFETY: as above.
                    let fifth = unsafe { sixteen(rows, at + 16 + 16 * part) };
                    let bit = _mm512_set1_epi8((1u8 << group) as i8);
                    for nth in 0..4 {
                        q[nth] = with_fifth_bit(q[nth], fifth[nth], bit);
                    }
                }
                give!(to, 64 * (pair % 2) + 32 * of_pair + 16 * part, q, scale, minimum);
            }
        }
    }
}

/// Half a block of 6 bits.
///
/// # Safety
/// Each row has a block at `at`, and the sink takes as many columns as half of it.
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
unsafe fn six_bits<const M: usize>(rows: &[*const u8; ROWS], at: usize, half: usize, to: &mut Sink<'_, M>) {
    let lower = at + 64 * half;
    let upper = at + 128 + 32 * half;
    // SAFETY: as above. The scale of the block is its last two bytes.
    let (header, scales, lower, upper) = unsafe {
        (
            word(rows, at + 206),
            sixteen(rows, at + 192),
            [
                sixteen(rows, lower),
                sixteen(rows, lower + 16),
                sixteen(rows, lower + 32),
                sixteen(rows, lower + 48),
            ],
            [sixteen(rows, upper), sixteen(rows, upper + 16)],
        )
    };
    let d = upper_half(header);
    for quarter in 0..4 {
        for part in 0..2 {
            let four = lower[2 * (quarter % 2) + part];
            let mut q = if quarter < 2 { low_bits(four) } else { high_bits(four) };
            for (q, upper) in q.iter_mut().zip(upper[part]) {
                let two = _mm512_srl_epi16(upper, _mm_cvtsi32_si128(2 * quarter as i32));
                let two = _mm512_slli_epi16::<4>(_mm512_and_si512(two, _mm512_set1_epi8(3)));
                *q = _mm512_or_si512(*q, two);
            }
            // Scales of groups 4i to 4i + 3 are in vector i.
            let group = 8 * half + 2 * quarter + part;
            let scale = match group % 4 {
                0 => _mm512_extracti32x4_epi32::<0>(scales[group / 4]),
                1 => _mm512_extracti32x4_epi32::<1>(scales[group / 4]),
                2 => _mm512_extracti32x4_epi32::<2>(scales[group / 4]),
                _ => _mm512_extracti32x4_epi32::<3>(scales[group / 4]),
            };
            let scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(scale)));
            give!(to, 32 * quarter + 16 * part, less(q, 32), scale, Offset::None);
        }
    }
}
