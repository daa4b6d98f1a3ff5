//! Norms, sums, gates and cross-entropies of rows `[batch · positions, width]`, and how rows are spread over threads.
//!
//! Each operation exists twice: fused over slices, for CPU inference, and composed of candle's differentiable
//! operations for everything else. A test compares the two.

use std::cell::Cell;
use std::ops::Deref;

use candle_core::{CpuStorage, D, Device, InplaceOp1, Layout, Result, Storage, StorageRef, Tensor, bail};
use rayon::prelude::*;

use super::architecture::NormKind;
use super::kernels;

/// Whether the fused kernels apply: all tensors are on the CPU and none tracks gradients.
pub(super) fn can_fuse<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> bool {
    tensors.into_iter().all(|tensor| tensor.device().is_cpu() && !tensor.track_op())
}

/// Entries of rows per task.
const PART: usize = 1 << 15;

thread_local! {
    /// Whether this thread may use the whole pool although it belongs to it.
    static OWNS_POOL: Cell<bool> = const { Cell::new(false) };
}

/// Runs a pass inside the thread pool, so that each of its operations starts there instead of being handed over.
pub(super) fn on_all_threads<T: Send>(pass: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| {
        let before = OWNS_POOL.replace(true);
        let done = pass();
        OWNS_POOL.set(before);
        done
    })
}

/// Whether the calling thread is one of several that share a batch, and so should not start others.
pub(super) fn is_alone() -> bool {
    rayon::current_thread_index().is_some() && !OWNS_POOL.get()
}

/// Calls `work(offset, part)` on parts of `rows`, whole rows of `width`. Uses all threads unless [`is_alone`].
pub(super) fn in_parts(rows: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    if rows.len() <= PART || is_alone() {
        return work(0, rows);
    }
    let part = PART.next_multiple_of(width.max(1));
    rows.par_chunks_mut(part).enumerate().for_each(|(nth, rows)| work(nth * part, rows));
}

/// The entries of a contiguous f32 tensor in main memory.
pub(super) fn entries(tensor: &Tensor) -> Result<impl Deref<Target = [f32]>> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a kernel needs contiguous rows, got {layout:?}");
    };
    let entries = StorageRef::try_map(storage, |storage| match storage {
        Storage::Cpu(CpuStorage::F32(all)) => Some(&all[start..end]),
        _ => None,
    });
    match entries {
        Ok(entries) => Ok(entries),
        Err(_) => bail!("a kernel needs f32 numbers in main memory"),
    }
}

/// gate · up, elementwise. The storage of `gate` is overwritten, so nothing else may share it.
pub(super) fn gated(gate: Tensor, up: &Tensor) -> Result<Tensor> {
    struct MultiplyBy<'a>(&'a [f32]);
    impl InplaceOp1 for MultiplyBy<'_> {
        fn name(&self) -> &'static str {
            "gate"
        }
        fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
            let CpuStorage::F32(gate) = storage else { bail!("expected f32 rows") };
            in_parts(gate, 1, |at, gate| kernels::multiply_into(gate, &self.0[at..at + gate.len()]));
            Ok(())
        }
    }
    if !can_fuse([&gate, up]) {
        return &gate * up;
    }
    gate.inplace_op1(&MultiplyBy(&entries(up)?))?;
    Ok(gate)
}

/// Weight and, in most layer norms, bias `[d_model]`. A norm of heads has `[d_head]` (shared by all heads),
/// `[heads, d_head]` (one per head) or `[heads · d_head]` (over all heads together).
#[derive(Debug, Clone)]
pub(super) struct Norm {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Norm {
    pub fn tensors(&mut self) -> impl Iterator<Item = &mut Tensor> {
        [&mut self.weight].into_iter().chain(&mut self.bias)
    }
}

/// Norm of each row. A weight `[heads, width]` norms every group of `width` entries separately.
pub(super) fn norm(x: &Tensor, norm: &Norm, kind: NormKind, eps: f64) -> Result<Tensor> {
    if can_fuse([x, &norm.weight].into_iter().chain(&norm.bias)) {
        let x = x.contiguous()?;
        let mut out = vec![0.0; x.elem_count()];
        let (xs, weight): (&[f32], &[f32]) = (&entries(&x)?, &entries(&norm.weight)?);
        let bias = norm.bias.as_ref().map(entries).transpose()?;
        let bias = bias.as_deref();
        let width = norm.weight.dim(D::Minus1)?;
        in_parts(&mut out, weight.len(), |at, out| {
            kernels::normalise(out, &xs[at..at + out.len()], width, kind, weight, bias, eps as f32);
        });
        return Tensor::from_vec(out, x.shape(), x.device());
    }
    let shape = x.shape();
    let x = x.reshape([&[x.elem_count() / norm.weight.elem_count()], norm.weight.dims()].concat())?;
    let centred = match kind {
        NormKind::Layer => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
        NormKind::Rms => x,
    };
    let scale = (centred.sqr()?.mean_keepdim(D::Minus1)? + eps)?.sqrt()?;
    let scaled = centred.broadcast_div(&scale)?.broadcast_mul(&norm.weight)?;
    let normed = match &norm.bias {
        Some(bias) => scaled.broadcast_add(bias)?,
        None => scaled,
    };
    normed.reshape(shape)
}

/// x + a (+ b).
pub(super) fn add(x: &Tensor, a: &Tensor, b: Option<&Tensor>) -> Result<Tensor> {
    if !(can_fuse([x, a].into_iter().chain(b)) && x.is_contiguous() && a.is_contiguous()) {
        let sum = (x + a)?;
        return match b {
            Some(b) => sum + b,
            None => Ok(sum),
        };
    }
    let mut out = vec![0.0; x.elem_count()];
    let (xs, a): (&[f32], &[f32]) = (&entries(x)?, &entries(a)?);
    let b = b.map(entries).transpose()?;
    let b = b.as_deref();
    in_parts(&mut out, 1, |at, out| {
        let part = at..at + out.len();
        kernels::write_sum(out, &xs[part.clone()], &a[part.clone()], b.map(|b| &b[part]));
    });
    Tensor::from_vec(out, x.shape(), x.device())
}

/// −ln softmax(logits)[target] in nats, per row of logits `[rows, vocab]`.
pub(super) fn cross_entropies(logits: &Tensor, targets: &[u32]) -> Result<Vec<f32>> {
    let logits = logits.contiguous()?;
    if !logits.device().is_cpu() {
        let targets = Tensor::from_slice(targets, (targets.len(), 1), logits.device())?;
        let below = logits.broadcast_sub(&logits.max_keepdim(1)?)?;
        let total = below.exp()?.sum_keepdim(1)?.log()?;
        return (total - below.gather(&targets, 1)?)?.flatten_all()?.to_vec1();
    }
    let mut out = vec![0.0; targets.len()];
    kernels::cross_entropies(&mut out, &entries(&logits)?, targets);
    Ok(out)
}

/// Copies the entries of a tensor, row after row, to `out`, which must have the same length.
pub fn copy_entries(tensor: &Tensor, out: &mut [f32]) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = tensor.device() {
        return copy_from_gpu(&tensor.contiguous()?, device, out);
    }
    let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
    let entries = entries(&tensor)?;
    if entries.len() != out.len() {
        bail!("expected {} entries, got {}", out.len(), entries.len());
    }
    out.copy_from_slice(&entries);
    Ok(())
}

/// Entries in one page of memory.
#[cfg(feature = "cuda")]
const PAGE: usize = 1024;

/// [`copy_entries`] from a GPU straight into `out`. All threads touch the pages first: during the copy a single thread
/// would wait for every page fault.
#[cfg(feature = "cuda")]
fn copy_from_gpu(tensor: &Tensor, device: &candle_core::CudaDevice, out: &mut [f32]) -> Result<()> {
    use candle_core::backend::BackendDevice;
    use candle_core::cuda_backend::WrapErr;
    out.par_chunks_mut(PAGE).for_each(|page| page[0] = 0.0);
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, end)) = layout.contiguous_offsets() else {
        bail!("a copy needs contiguous rows, got {layout:?}");
    };
    let Storage::Cuda(storage) = &*storage else { bail!("a copy needs a tensor on a GPU") };
    if end - start != out.len() {
        bail!("expected {} entries, got {}", out.len(), end - start);
    }
    let entries = storage.as_cuda_slice::<f32>()?.slice(start..end);
    device.cuda_stream().memcpy_dtoh(&entries, out).w()?;
    device.synchronize()
}
