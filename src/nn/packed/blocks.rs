//! Decodes blocks of stored numbers to f32. The layouts are those of ggml, the reference implementation of GGUF.
//!
//!   x = d · q,  x = d · q + m  or  x = d · scale_g · q − d_min · minimum_g         q an integer, g its group

use std::slice::ChunksExact;

use half::{bf16, f16};

use super::Encoding;
use crate::linalg::dispatched;

/// Groups in a block of 256, each with a scale and a minimum.
const GROUPS: usize = 8;

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[inline(always)]
fn low(byte: u8) -> u8 {
    byte & 0xF
}

#[inline(always)]
fn high(byte: u8) -> u8 {
    byte >> 4
}

#[inline(always)]
fn unpack_loop<const FMA: bool>(out: &mut [f32], bytes: &[u8], encoding: Encoding) {
    let blocks = bytes.chunks_exact(encoding.block_bytes());
    match encoding {
        Encoding::F32 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Encoding::F16 => halves(out, bytes),
        Encoding::Bf16 => {
            for (x, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *x = bf16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        Encoding::Q4_0 => each_block(out, 32, blocks, q4_0),
        Encoding::Q4_1 => each_block(out, 32, blocks, q4_1),
        Encoding::Q5_0 => each_block(out, 32, blocks, q5_0),
        Encoding::Q5_1 => each_block(out, 32, blocks, q5_1),
        Encoding::Q8_0 => each_block(out, 32, blocks, q8_0),
        Encoding::Q4K => each_block(out, 256, blocks, k_groups::<false>),
        Encoding::Q5K => each_block(out, 256, blocks, k_groups::<true>),
        Encoding::Q6K => each_block(out, 256, blocks, q6_k),
    }
}

/// Calls `decode` with the numbers and the bytes of each block.
#[inline(always)]
fn each_block(
    out: &mut [f32],
    width: usize,
    blocks: ChunksExact<'_, u8>,
    decode: impl Fn(&mut [f32], &[u8]),
) {
    for (out, block) in out.chunks_exact_mut(width).zip(blocks) {
        decode(out, block);
    }
}

/// f16 to f32 by the bits: exponent and mantissa move up, and the factor 2¹¹² corrects the exponent's bias, also of
/// subnormals. Infinities and NaN come out wrong; weights are checked to be finite.
#[inline(always)]
fn halves(out: &mut [f32], bytes: &[u8]) {
    const REBIAS: f32 = f32::from_bits((127 + 112) << 23);
    for (x, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        let bits = u32::from(u16::from_le_bytes([b[0], b[1]]));
        let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * REBIAS;
        *x = f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16);
    }
}

#[inline(always)]
fn q4_0(out: &mut [f32], block: &[u8]) {
    let d = half_at(block, 0);
    nibbles(out, &block[2..18], |q| d * f32::from(q as i8 - 8));
}

#[inline(always)]
fn q4_1(out: &mut [f32], block: &[u8]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    nibbles(out, &block[4..20], |q| d * f32::from(q) + m);
}

#[inline(always)]
fn q5_0(out: &mut [f32], block: &[u8]) {
    let d = half_at(block, 0);
    with_fifth_bits(out, &block[2..6], &block[6..22], |q| d * (f32::from(q) - 16.0));
}

#[inline(always)]
fn q5_1(out: &mut [f32], block: &[u8]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    with_fifth_bits(out, &block[4..8], &block[8..24], |q| d * f32::from(q) + m);
}

#[inline(always)]
fn q8_0(out: &mut [f32], block: &[u8]) {
    let d = half_at(block, 0);
    for (x, &q) in out.iter_mut().zip(&block[2..34]) {
        *x = d * f32::from(q as i8);
    }
}

/// 32 numbers of 4 bits: the low nibbles, then the high ones.
#[inline(always)]
fn nibbles(out: &mut [f32], nibbles: &[u8], value: impl Fn(u8) -> f32) {
    let (a, b) = out.split_at_mut(16);
    for i in 0..16 {
        a[i] = value(low(nibbles[i]));
        b[i] = value(high(nibbles[i]));
    }
}

/// 32 numbers of 5 bits, whose fifth bits are in `fifth`.
#[inline(always)]
fn with_fifth_bits(out: &mut [f32], fifth: &[u8], nibbles: &[u8], value: impl Fn(u8) -> f32) {
    let fifth = u32::from_le_bytes([fifth[0], fifth[1], fifth[2], fifth[3]]);
    let (a, b) = out.split_at_mut(16);
    for i in 0..16 {
        let bit = |at: usize| ((fifth >> at) as u8 & 1) << 4;
        a[i] = value(low(nibbles[i]) | bit(i));
        b[i] = value(high(nibbles[i]) | bit(i + 16));
    }
}

/// Scale and minimum of each group of a block, 6 bits each. The last four groups have their upper two bits apart.
#[inline(always)]
fn scales_and_minima(block: &[u8]) -> [(f32, f32); GROUPS] {
    let (d, d_min) = (half_at(block, 0), half_at(block, 2));
    let q = &block[4..16];
    std::array::from_fn(|group| {
        let (scale, minimum) = if group < 4 {
            (q[group] & 63, q[group + 4] & 63)
        } else {
            (low(q[group + 4]) | (q[group - 4] >> 6) << 4, high(q[group + 4]) | (q[group] >> 6) << 4)
        };
        (d * f32::from(scale), d_min * f32::from(minimum))
    })
}

/// 256 numbers of 4 or, with `FIFTH`, 5 bits in groups of 32.
#[inline(always)]
fn k_groups<const FIFTH: bool>(out: &mut [f32], block: &[u8]) {
    let groups = scales_and_minima(block);
    let (fifth, nibbles) = (&block[16..48], if FIFTH { &block[48..176] } else { &block[16..144] });
    for (pair, (out, q)) in out.chunks_exact_mut(64).zip(nibbles.chunks_exact(32)).enumerate() {
        let [(d1, m1), (d2, m2)] = [groups[2 * pair], groups[2 * pair + 1]];
        let (a, b) = out.split_at_mut(32);
        for i in 0..32 {
            let bits = if FIFTH { fifth[i] >> (2 * pair) } else { 0 };
            a[i] = d1 * f32::from(low(q[i]) | (bits & 1) << 4) - m1;
            b[i] = d2 * f32::from(high(q[i]) | (bits >> 1 & 1) << 4) - m2;
        }
    }
}

#[inline(always)]
fn q6_k(out: &mut [f32], block: &[u8]) {
    let d = half_at(block, 208);
    for (part, out) in out.chunks_exact_mut(128).enumerate() {
        let lower = &block[64 * part..][..64];
        let upper = &block[128 + 32 * part..][..32];
        let scales = &block[192 + 8 * part..][..8];
        let scale = |group: usize| d * f32::from(scales[group] as i8);
        for (quarter, out) in out.chunks_exact_mut(32).enumerate() {
            let lower = &lower[32 * (quarter % 2)..][..32];
            for (half, out) in out.chunks_exact_mut(16).enumerate() {
                let scale = scale(2 * quarter + half);
                for (i, x) in out.iter_mut().enumerate() {
                    let at = 16 * half + i;
                    let four = if quarter < 2 { low(lower[at]) } else { high(lower[at]) };
                    let q = four | (upper[at] >> (2 * quarter) & 3) << 4;
                    *x = scale * f32::from(q as i8 - 32);
                }
            }
        }
    }
}

dispatched! {
    /// Decodes whole blocks into `out`, whose length is the number of their entries.
    unpack = unpack_loop(out: &mut [f32], bytes: &[u8], encoding: Encoding)
}
