//! Operations that candle lacks, or has only as many passes over memory: top-k of rows, and Adam in place.
//!
//! Each is a loop for the CPU and a CUDA kernel (`kernels.cu`), which is compiled at its first use.

use candle_core::{CpuStorage, CustomOp1, InplaceOp2, InplaceOp3, Layout, Result, Shape, Tensor};

use super::super::adam::{BETA1, BETA2, adam_descend, adam_first, adam_second};
use crate::linalg::Selector;

/// Keeps the `k` largest positive entries of each row of `[rows, columns]`; all others are 0. Of equal entries the lower
/// columns win.
pub fn keep_largest(x: &Tensor, k: usize) -> Result<Tensor> {
    x.contiguous()?.apply_op1_no_bwd(&KeepLargest { k })
}

/// One step of Adam in place, for tensors of the same shape: see [`Optimiser`](super::super::adam::Optimiser).
pub fn adam_step(
    values: &Tensor,
    [first, second]: [&Tensor; 2],
    gradient: &Tensor,
    rate: f32,
    second_correction: f32,
) -> Result<()> {
    first.inplace_op2(gradient, &MoveMoment { kernel: "adam_first", beta: BETA1, update: adam_first })?;
    second.inplace_op2(gradient, &MoveMoment { kernel: "adam_second", beta: BETA2, update: adam_second })?;
    values.inplace_op3(first, second, &Descend { rate, second_correction })
}

struct KeepLargest {
    k: usize,
}

/// Update of one of Adam's moments: name of the CUDA kernel, its decay rate, and the function for the CPU.
struct MoveMoment {
    kernel: &'static str,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the function for the CPU contains it"))]
    beta: f32,
    update: fn(f32, f32) -> f32,
}

struct Descend {
    rate: f32,
    second_correction: f32,
}

/// Range of a contiguous tensor's entries in its storage.
fn range_of(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("a kernel needs contiguous entries, got {layout:?}"),
    }
}

fn entries<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    Ok(&storage.as_slice::<f32>()?[range_of(layout)?])
}

fn entries_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match storage {
        CpuStorage::F32(all) => Ok(&mut all[range_of(layout)?]),
        _ => candle_core::bail!("a kernel needs f32 entries"),
    }
}

impl CustomOp1 for KeepLargest {
    fn name(&self) -> &'static str {
        "keep_largest"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = entries(storage, layout)?;
        let (_, columns) = layout.shape().dims2()?;
        let mut out = vec![0.0; x.len()];
        let mut selector = Selector::new(columns, self.k);
        for (row, out) in x.chunks_exact(columns.max(1)).zip(out.chunks_exact_mut(columns.max(1))) {
            for &(value, column) in selector.positive(row, self.k) {
                out[column as usize] = value;
            }
        }
        Ok((CpuStorage::F32(out), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        cuda::keep_largest(self.k, storage, layout)
    }
}

impl InplaceOp2 for MoveMoment {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(
        &self,
        moment: &mut CpuStorage,
        at: &Layout,
        gradient: &CpuStorage,
        from: &Layout,
    ) -> Result<()> {
        let gradient = entries(gradient, from)?;
        entries_mut(moment, at)?.iter_mut().zip(gradient).for_each(|(m, &g)| *m = (self.update)(*m, g));
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        moment: &mut candle_core::CudaStorage,
        at: &Layout,
        gradient: &candle_core::CudaStorage,
        from: &Layout,
    ) -> Result<()> {
        cuda::move_moment(self.kernel, self.beta, moment, at, gradient, from)
    }
}

impl InplaceOp3 for Descend {
    fn name(&self) -> &'static str {
        "adam_descend"
    }

    fn cpu_fwd(
        &self,
        values: &mut CpuStorage,
        at: &Layout,
        first: &CpuStorage,
        first_at: &Layout,
        second: &CpuStorage,
        second_at: &Layout,
    ) -> Result<()> {
        let moments = entries(first, first_at)?.iter().zip(entries(second, second_at)?);
        for (value, (&m, &v)) in entries_mut(values, at)?.iter_mut().zip(moments) {
            *value = adam_descend(*value, m, v, self.rate, self.second_correction);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        values: &mut candle_core::CudaStorage,
        at: &Layout,
        first: &candle_core::CudaStorage,
        first_at: &Layout,
        second: &candle_core::CudaStorage,
        second_at: &Layout,
    ) -> Result<()> {
        cuda::descend(
            [self.rate, self.second_correction],
            (values, at),
            (first, first_at),
            (second, second_at),
        )
    }
}

#[cfg(feature = "cuda")]
mod cuda;
