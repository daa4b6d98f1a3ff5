//! Activations as little-endian bytes.

use half::f16;
use half::slice::HalfFloatSliceExt;

/// Number format of stored activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Two bytes per value.
    F16,
    /// Four bytes per value.
    F32,
}

impl Precision {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

pub(super) fn encode(values: &[f32], precision: Precision) -> Vec<u8> {
    match precision {
        Precision::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Precision::F16 => {
            // Finite values beyond the range of f16 become its largest finite value, not infinity.
            let limit = f16::MAX.to_f32();
            let clamp = |&value: &f32| if value.is_finite() { value.clamp(-limit, limit) } else { value };
            let clamped: Vec<f32> = values.iter().map(clamp).collect();
            let mut halves = vec![f16::ZERO; clamped.len()];
            halves.convert_from_f32_slice(&clamped);
            halves.iter().flat_map(|value| value.to_le_bytes()).collect()
        }
    }
}

pub(super) fn decode(bytes: &[u8], precision: Precision, out: &mut [f32]) {
    match precision {
        Precision::F32 => {
            for (slot, four) in out.iter_mut().zip(bytes.as_chunks().0) {
                *slot = f32::from_le_bytes(*four);
            }
        }
        Precision::F16 => {
            // In parts that stay in the cache.
            let mut halves = [f16::ZERO; 1024];
            for (out, bytes) in out.chunks_mut(halves.len()).zip(bytes.chunks(2 * halves.len())) {
                let halves = &mut halves[..out.len()];
                for (half, two) in halves.iter_mut().zip(bytes.as_chunks().0) {
                    *half = f16::from_le_bytes(*two);
                }
                halves.convert_to_f32_slice(out);
            }
        }
    }
}
