//! Byte vectors of sixteen rows: loads, transposes, nibbles.

use std::arch::x86_64::*;

use super::{ROWS, RowStarts};

/// Bytes of sixteen columns: vector i holds columns 4i to 4i + 3, each with one byte per row.
pub type Bytes16 = [__m512i; 4];

/// Sixteen bytes of every row: vector w holds the w-th 4-byte word of each row.
///
/// # Safety
/// Each row has 16 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
pub unsafe fn load_words(rows: &RowStarts, at: usize) -> [__m512i; 4] {
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

/// The 4-byte word at `at` of each row.
///
/// # Safety
/// Each row has 4 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "words are read through pointers")]
pub unsafe fn load_word(rows: &RowStarts, at: usize) -> __m512i {
    let mut all = [0u32; ROWS];
    for (word, row) in all.iter_mut().zip(rows) {
        // SAFETY: as above.
        *word = unsafe { row.add(at).cast::<u32>().read_unaligned() };
    }
    // SAFETY: an array of sixteen words is one vector.
    unsafe { _mm512_loadu_si512(all.as_ptr().cast()) }
}

/// Transposes a word of each row into four columns of bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn transpose_bytes(word: __m512i) -> __m512i {
    // Within each quarter of four rows: first the first bytes, then the second bytes, and so on.
    let by_byte = _mm512_broadcast_i32x4(_mm_set_epi32(0x0F0B_0703, 0x0E0A_0602, 0x0D09_0501, 0x0C08_0400));
    let by_column = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    _mm512_permutexvar_epi32(by_column, _mm512_shuffle_epi8(word, by_byte))
}

/// Sixteen bytes of every row, as sixteen columns.
///
/// # Safety
/// Each row has 16 bytes from `at` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
#[expect(unsafe_code, reason = "vectors are read through pointers")]
pub unsafe fn load_bytes16(rows: &RowStarts, at: usize) -> Bytes16 {
    // SAFETY: as above.
    let [a, b, c, d] = unsafe { load_words(rows, at) };
    [transpose_bytes(a), transpose_bytes(b), transpose_bytes(c), transpose_bytes(d)]
}

/// The lower halves of words, read as f16.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn low_f16(word: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(word))
}

/// The upper halves of words, read as f16.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn high_f16(word: __m512i) -> __m512 {
    low_f16(_mm512_srli_epi32::<16>(word))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn low_nibbles([a, b, c, d]: Bytes16) -> Bytes16 {
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
pub fn high_nibbles([a, b, c, d]: Bytes16) -> Bytes16 {
    low_nibbles([
        _mm512_srli_epi16::<4>(a),
        _mm512_srli_epi16::<4>(b),
        _mm512_srli_epi16::<4>(c),
        _mm512_srli_epi16::<4>(d),
    ])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn subtract([a, b, c, d]: Bytes16, by: i8) -> Bytes16 {
    let by = _mm512_set1_epi8(by);
    [_mm512_sub_epi8(a, by), _mm512_sub_epi8(b, by), _mm512_sub_epi8(c, by), _mm512_sub_epi8(d, by)]
}

/// q + 16 where `bytes` & `bits` is not zero.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn with_fifth_bit(q: __m512i, bytes: __m512i, bits: __m512i) -> __m512i {
    _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(bytes, bits), q, _mm512_set1_epi8(16))
}

/// 1 << (`first` + c) in every byte of column c < 4.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn bit_by_column(first: u32) -> __m512i {
    let [a, b, c, d] = [
        i32::from_le_bytes([1 << first; 4]),
        i32::from_le_bytes([2 << first; 4]),
        i32::from_le_bytes([4 << first; 4]),
        i32::from_le_bytes([8 << first; 4]),
    ];
    _mm512_set_epi32(d, d, d, d, c, c, c, c, b, b, b, b, a, a, a, a)
}
