//! Decoders of the quantised encodings for sixteen rows at a time, one per lane. They give the same numbers as `blocks`.

use std::arch::x86_64::*;

use super::bytes::*;
use super::{RowStarts, Sink};

/// What is added to a scaled number.
#[derive(Clone, Copy)]
enum Offset {
    None,
    Plus(__m512),
    Minus(__m512),
}

/// Writes sixteen columns, from `first` on, to the sink: scale · q + offset of signed bytes q.
macro_rules! emit {
    ($to:ident, $first:expr, $q:expr, $scale:expr, $offset:expr) => {{
        let (first, q, scale, offset): (usize, Bytes16, __m512, Offset) = ($first, $q, $scale, $offset);
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
                    _mm512_storeu_ps($to.out.add(column * $to.stride), entries);
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
        // SAFETY: the sink has room for all columns of the unit, which include the sixteen from `first` on.
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

/// A block of `Q4_0` or, with `MINIMUM`, `Q4_1`.
///
/// # Safety
/// Each row has a block at `at`, and the sink has room for its columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
pub unsafe fn four_bits<const MINIMUM: bool, const M: usize>(
    rows: &RowStarts,
    at: usize,
    to: &mut Sink<'_, M>,
) {
    // SAFETY: as above.
    let (header, q) = unsafe { (load_word(rows, at), load_bytes16(rows, at + if MINIMUM { 4 } else { 2 })) };
    let scale = low_f16(header);
    let (low, high) = (low_nibbles(q), high_nibbles(q));
    if MINIMUM {
        let minimum = Offset::Plus(high_f16(header));
        emit!(to, 0, low, scale, minimum);
        emit!(to, 16, high, scale, minimum);
    } else {
        emit!(to, 0, subtract(low, 8), scale, Offset::None);
        emit!(to, 16, subtract(high, 8), scale, Offset::None);
    }
}

/// A block of `Q5_0` or, with `MINIMUM`, `Q5_1`.
///
/// # Safety
/// Each row has a block at `at`, and the sink has room for its columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
pub unsafe fn five_bits<const MINIMUM: bool, const M: usize>(
    rows: &RowStarts,
    at: usize,
    to: &mut Sink<'_, M>,
) {
    let start = at + if MINIMUM { 4 } else { 2 };
    // SAFETY: as above.
    let (header, fifth, q) =
        unsafe { (load_word(rows, at), load_word(rows, start), load_bytes16(rows, start + 4)) };
    let scale = low_f16(header);
    // Quarter k holds byte k of every row: the fifth bits of columns 8k to 8k + 7.
    let fifth = transpose_bytes(fifth);
    let (first, second) = (bit_by_column(0), bit_by_column(4));
    macro_rules! with_fifth {
        ($q:expr, $a:literal, $b:literal) => {{
            let q: Bytes16 = $q;
            let (a, b) = (_mm512_shuffle_i32x4::<$a>(fifth, fifth), _mm512_shuffle_i32x4::<$b>(fifth, fifth));
            [
                with_fifth_bit(q[0], a, first),
                with_fifth_bit(q[1], a, second),
                with_fifth_bit(q[2], b, first),
                with_fifth_bit(q[3], b, second),
            ]
        }};
    }
    let low = with_fifth!(low_nibbles(q), 0x00, 0x55);
    let high = with_fifth!(high_nibbles(q), 0xAA, 0xFF);
    if MINIMUM {
        let minimum = Offset::Plus(high_f16(header));
        emit!(to, 0, low, scale, minimum);
        emit!(to, 16, high, scale, minimum);
    } else {
        emit!(to, 0, subtract(low, 16), scale, Offset::None);
        emit!(to, 16, subtract(high, 16), scale, Offset::None);
    }
}

/// A block of `Q8_0`.
///
/// # Safety
/// Each row has a block at `at`, and the sink has room for its columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
pub unsafe fn eight_bits<const M: usize>(rows: &RowStarts, at: usize, to: &mut Sink<'_, M>) {
    // SAFETY: as above.
    let (header, low, high) =
        unsafe { (load_word(rows, at), load_bytes16(rows, at + 2), load_bytes16(rows, at + 18)) };
    let scale = low_f16(header);
    emit!(to, 0, low, scale, Offset::None);
    emit!(to, 16, high, scale, Offset::None);
}

/// Scale and minimum, 6 bits each, of group `group` of 32 numbers. The words a, b, c hold those of all eight groups; the
/// last four groups have their upper two bits in a and b, and the lower four in c.
#[inline]
#[target_feature(enable = "avx512f")]
fn scale_and_minimum([a, b, c]: [__m512i; 3], group: usize) -> [__m512; 2] {
    let shift = _mm_cvtsi32_si128(8 * (group as i32 % 4));
    let [a, b, c] = [_mm512_srl_epi32(a, shift), _mm512_srl_epi32(b, shift), _mm512_srl_epi32(c, shift)];
    let (four, six) = (_mm512_set1_epi32(0x0F), _mm512_set1_epi32(0x3F));
    let [scale, minimum] = if group < 4 {
        [_mm512_and_si512(a, six), _mm512_and_si512(b, six)]
    } else {
        // The upper two bits of a byte become the upper two of six.
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

/// Half a block of `Q4K` or, with `FIFTH`, `Q5K`.
///
/// # Safety
/// Each row has a block at `at`, and the sink has room for half of its columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
pub unsafe fn groups<const FIFTH: bool, const M: usize>(
    rows: &RowStarts,
    at: usize,
    half: usize,
    to: &mut Sink<'_, M>,
) {
    // SAFETY: as above.
    let [header, a, b, c] = unsafe { load_words(rows, at) };
    let (d, d_min) = (low_f16(header), high_f16(header));
    let numbers = at + if FIFTH { 48 } else { 16 };
    for pair in 2 * half..2 * half + 2 {
        // SAFETY: as above.
        let q = unsafe {
            [load_bytes16(rows, numbers + 32 * pair), load_bytes16(rows, numbers + 32 * pair + 16)]
        };
        for nth_of_pair in 0..2 {
            let group = 2 * pair + nth_of_pair;
            let [scale, minimum] = scale_and_minimum([a, b, c], group);
            let (scale, minimum) = (_mm512_mul_ps(d, scale), Offset::Minus(_mm512_mul_ps(d_min, minimum)));
            for part in 0..2 {
                let mut q = if nth_of_pair == 0 { low_nibbles(q[part]) } else { high_nibbles(q[part]) };
                if FIFTH {
                    // SAFETY: as above.
                    let fifth = unsafe { load_bytes16(rows, at + 16 + 16 * part) };
                    let bit = _mm512_set1_epi8((1u8 << group) as i8);
                    for nth in 0..4 {
                        q[nth] = with_fifth_bit(q[nth], fifth[nth], bit);
                    }
                }
                emit!(to, 64 * (pair % 2) + 32 * nth_of_pair + 16 * part, q, scale, minimum);
            }
        }
    }
}

/// Half a block of `Q6K`.
///
/// # Safety
/// Each row has a block at `at`, and the sink has room for half of its columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
pub unsafe fn six_bits<const M: usize>(rows: &RowStarts, at: usize, half: usize, to: &mut Sink<'_, M>) {
    let lower = at + 64 * half;
    let upper = at + 128 + 32 * half;
    // SAFETY: as above. The scale of the block is its last two bytes.
    let (header, scales, lower, upper) = unsafe {
        (
            load_word(rows, at + 206),
            load_bytes16(rows, at + 192),
            [
                load_bytes16(rows, lower),
                load_bytes16(rows, lower + 16),
                load_bytes16(rows, lower + 32),
                load_bytes16(rows, lower + 48),
            ],
            [load_bytes16(rows, upper), load_bytes16(rows, upper + 16)],
        )
    };
    let d = high_f16(header);
    for quarter in 0..4 {
        for part in 0..2 {
            let four = lower[2 * (quarter % 2) + part];
            let mut q = if quarter < 2 { low_nibbles(four) } else { high_nibbles(four) };
            for (q, upper) in q.iter_mut().zip(upper[part]) {
                let two = _mm512_srl_epi16(upper, _mm_cvtsi32_si128(2 * quarter as i32));
                let two = _mm512_slli_epi16::<4>(_mm512_and_si512(two, _mm512_set1_epi8(3)));
                *q = _mm512_or_si512(*q, two);
            }
            // Vector i holds the scales of groups 4i to 4i + 3.
            let group = 8 * half + 2 * quarter + part;
            let scale = match group % 4 {
                0 => _mm512_extracti32x4_epi32::<0>(scales[group / 4]),
                1 => _mm512_extracti32x4_epi32::<1>(scales[group / 4]),
                2 => _mm512_extracti32x4_epi32::<2>(scales[group / 4]),
                _ => _mm512_extracti32x4_epi32::<3>(scales[group / 4]),
            };
            let scale = _mm512_mul_ps(d, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(scale)));
            emit!(to, 32 * quarter + 16 * part, subtract(q, 32), scale, Offset::None);
        }
    }
}
