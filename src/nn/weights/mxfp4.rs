//! MXFP4 (OCP Microscaling Formats 1.0), the format of gpt-oss: 32 numbers of 4 bits share a power of two.
//!
//!   x[m, 32 g + j, o] = VALUES[bits j of x_blocks[m, o, g]] · 2^(x_scales[m, o, g] − 127)
//!
//! `x_blocks` `[matrices, out, groups, 16]` has two numbers a byte, the lower half first; `x_scales` is
//! `[matrices, out, groups]`; `x` is `[matrices, in, out]`, with `in` = 32 · groups.

use candle_core::{Device, Tensor};
use safetensors::tensor::{Dtype, TensorInfo};

use super::{NnError, Weights, check_finite};
use crate::nn::error::corrupt;

const BLOCKS: &str = "_blocks";
const SCALES: &str = "_scales";

/// Bytes of a group.
const GROUP: usize = 16;

/// The number of each 4-bit code: a sign, two bits of exponent, one of mantissa.
const VALUES: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// True for the two stored tensors of an MXFP4 tensor.
pub(super) fn is_half(name: &str, dtype: Dtype) -> bool {
    dtype == Dtype::U8 && (name.ends_with(BLOCKS) || name.ends_with(SCALES))
}

/// Number of weights in a stored tensor.
pub(super) fn weight_count(name: &str, info: &TensorInfo) -> u64 {
    let entries = info.shape.iter().product::<usize>() as u64;
    match is_half(name, info.dtype) {
        true if name.ends_with(BLOCKS) => 2 * entries,
        true => 0,
        false => entries,
    }
}

impl Weights {
    /// Replaces the two stored tensors of each MXFP4 tensor by the tensor in f32.
    pub(super) fn unpack_mxfp4(&mut self) -> Result<(), NnError> {
        let names: Vec<String> =
            self.halves.keys().filter_map(|name| name.strip_suffix(BLOCKS)).map(str::to_string).collect();
        for name in names {
            let [blocks, scales] = [BLOCKS, SCALES].map(|half| self.halves.remove(&format!("{name}{half}")));
            let file = self.files.get(&format!("{name}{BLOCKS}")).unwrap_or(&self.source).clone();
            let Some((shape, tensor)) =
                blocks.zip(scales).and_then(|(blocks, scales)| unpack(&blocks, &scales))
            else {
                let reason = format!(
                    "`{name}{BLOCKS}` should be [matrices, out, groups, {GROUP}] with `{name}{SCALES}` \
                     [matrices, out, groups] beside it"
                );
                return Err(corrupt(&file, &reason));
            };
            check_finite(&tensor, &name, &file)?;
            self.files.insert(name.clone(), file);
            self.tensors.insert(name, Tensor::from_vec(tensor, &shape[..], &Device::Cpu)?);
        }
        match self.halves.keys().next() {
            None => Ok(()),
            Some(name) => {
                let file = self.files.get(name).unwrap_or(&self.source);
                Err(corrupt(file, &format!("`{name}` has no blocks of 4-bit numbers beside it")))
            }
        }
    }
}

/// Shape `[matrices, in, out]` and numbers; none if the shapes of blocks and scales disagree.
fn unpack(
    (blocks_shape, blocks): &(Vec<usize>, Vec<u8>),
    (scales_shape, scales): &(Vec<usize>, Vec<u8>),
) -> Option<([usize; 3], Vec<f32>)> {
    let &[matrices, out, groups, GROUP] = blocks_shape.as_slice() else { return None };
    if scales_shape.as_slice() != [matrices, out, groups] {
        return None;
    }
    let d_in = groups * 2 * GROUP;
    let mut numbers = vec![0.0; matrices * d_in * out];
    for (nth, (group, &scale)) in blocks.chunks_exact(GROUP).zip(scales).enumerate() {
        let (row, first) = (nth / groups, nth % groups * 2 * GROUP);
        let (matrix, column) = (row / out, row % out);
        let factor = (f64::from(scale) - 127.0).exp2() as f32;
        for (at, byte) in group.iter().enumerate() {
            for (half, bits) in [byte & 15, byte >> 4].into_iter().enumerate() {
                let place = matrix * d_in + first + 2 * at + half;
                numbers[place * out + column] = VALUES[usize::from(bits)] * factor;
            }
        }
    }
    Some(([matrices, d_in, out], numbers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_a_byte_times_a_power_of_two() {
        // One matrix [2 out, 32 in]: the first row counts through all 16 values twice, the second is all 6·2⁻³.
        let counting: Vec<u8> = (0..16u8).map(|nth| (2 * nth % 16) | (((2 * nth + 1) % 16) << 4)).collect();
        let blocks = (vec![1, 2, 1, 16], [counting, vec![0x77; 16]].concat());
        let (shape, numbers) = unpack(&blocks, &(vec![1, 2, 1], vec![128, 124])).expect("belongs together");
        assert_eq!(shape, [1, 32, 2]);
        for place in 0..32 {
            assert_eq!(numbers[2 * place], 2.0 * VALUES[place % 16]);
            assert_eq!(numbers[2 * place + 1], 0.75);
        }
        assert!(unpack(&blocks, &(vec![2, 1, 1], vec![128, 124])).is_none());
    }

    #[test]
    fn halves_without_each_other_are_named() {
        let mut weights = Weights::empty("folder");
        weights.halves.insert("a_scales".into(), (vec![1, 1, 1], vec![127]));
        let message = weights.unpack_mxfp4().expect_err("refused").to_string();
        assert!(message.contains("a_scales"), "{message}");
        let mut weights = Weights::empty("folder");
        weights.halves.insert("a_blocks".into(), (vec![1, 1, 1, 16], vec![0; 16]));
        let message = weights.unpack_mxfp4().expect_err("refused").to_string();
        assert!(message.contains("a_blocks") && message.contains("a_scales"), "{message}");
        // 255 stands for no number.
        weights.halves.insert("a_blocks".into(), (vec![1, 1, 1, 16], vec![0x77; 16]));
        weights.halves.insert("a_scales".into(), (vec![1, 1, 1], vec![255]));
        let error = weights.unpack_mxfp4().expect_err("refused");
        assert!(matches!(error, NnError::NotFinite { .. }), "{error}");
    }
}
