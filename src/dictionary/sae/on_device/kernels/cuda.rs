//! Launches of the CUDA kernels. They are `unsafe` because a kernel does not check the lengths it is given.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::cuda_backend::cudarc::nvrtc::compile_ptx;
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{CudaStorage, Layout, Result, Shape};

use super::super::super::adam::EPSILON;
use super::range_of;

const SOURCE: &str = include_str!("kernels.cu");
/// Name under which a device keeps the compiled kernels.
const MODULE: &str = "autointerp_sae";
/// Threads per block where a block handles one row.
const ROW_THREADS: u32 = 256;
/// Threads per block where a thread handles one entry.
const ENTRY_THREADS: u32 = 256;

/// The kernels as PTX, compiled once per process.
fn compiled() -> Result<&'static str> {
    static COMPILED: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compiled = COMPILED.get_or_init(|| match compile_ptx(SOURCE) {
        Ok(code) => Ok(code.to_src()),
        Err(error) => Err(error.to_string()),
    });
    match compiled {
        Ok(code) => Ok(code),
        Err(error) => candle_core::bail!("NVRTC could not compile the kernels: {error}"),
    }
}

fn entrywise(n: usize) -> LaunchConfig {
    let blocks = n.div_ceil(ENTRY_THREADS as usize).max(1) as u32;
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (ENTRY_THREADS, 1, 1), shared_mem_bytes: 0 }
}

fn same_length(lengths: &[usize]) -> Result<usize> {
    match lengths.iter().all(|length| *length == lengths[0]) {
        true => Ok(lengths[0]),
        false => candle_core::bail!("a kernel needs tensors of one length, got {lengths:?}"),
    }
}

pub fn keep_largest(k: usize, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
    let device: &CudaDevice = storage.device();
    let (rows, columns) = layout.shape().dims2()?;
    let x = storage.as_cuda_slice::<f32>()?.slice(range_of(layout)?);
    let mut out = device.alloc_zeros::<f32>(rows * columns)?;
    if rows > 0 && columns > 0 && k > 0 {
        let function = device.get_or_load_custom_func("keep_largest", MODULE, compiled()?)?;
        let (columns, k) = (columns as u64, k.min(columns) as u32);
        let mut launch = function.builder();
        launch.arg(&x).arg(&mut out).arg(&columns).arg(&k);
        let config = LaunchConfig {
            grid_dim: (rows as u32, 1, 1),
            block_dim: (ROW_THREADS, 1, 1),
            shared_mem_bytes: 0,
        };
        // SAFETY: `x` and `out` have `rows · columns` entries; block r accesses row r only.
        unsafe { launch.launch(config) }.w()?;
    }
    Ok((CudaStorage::wrap_cuda_slice(out, device.clone()), layout.shape().clone()))
}

pub fn move_moment(
    name: &'static str,
    beta: f32,
    moment: &mut CudaStorage,
    at: &Layout,
    gradient: &CudaStorage,
    from: &Layout,
) -> Result<()> {
    let device = moment.device().clone();
    let (to, from) = (range_of(at)?, range_of(from)?);
    let n = same_length(&[to.len(), from.len()])?;
    let gradient = gradient.as_cuda_slice::<f32>()?.slice(from);
    let mut moment = moment.as_cuda_slice_mut::<f32>()?.slice_mut(to);
    let function = device.get_or_load_custom_func(name, MODULE, compiled()?)?;
    let count = n as u64;
    let mut launch = function.builder();
    launch.arg(&mut moment).arg(&gradient).arg(&beta).arg(&count);
    // SAFETY: both have `count` entries, and each thread checks its index against `count`.
    unsafe { launch.launch(entrywise(n)) }.w()?;
    Ok(())
}

pub fn descend(
    [rate, second_correction]: [f32; 2],
    (values, at): (&mut CudaStorage, &Layout),
    (first, first_at): (&CudaStorage, &Layout),
    (second, second_at): (&CudaStorage, &Layout),
) -> Result<()> {
    let device = values.device().clone();
    let (to, first_at, second_at) = (range_of(at)?, range_of(first_at)?, range_of(second_at)?);
    let n = same_length(&[to.len(), first_at.len(), second_at.len()])?;
    let first = first.as_cuda_slice::<f32>()?.slice(first_at);
    let second = second.as_cuda_slice::<f32>()?.slice(second_at);
    let mut values = values.as_cuda_slice_mut::<f32>()?.slice_mut(to);
    let function = device.get_or_load_custom_func("adam_descend", MODULE, compiled()?)?;
    let (count, epsilon) = (n as u64, EPSILON);
    let mut launch = function.builder();
    launch
        .arg(&mut values)
        .arg(&first)
        .arg(&second)
        .arg(&rate)
        .arg(&second_correction)
        .arg(&epsilon)
        .arg(&count);
    // SAFETY: all three have `count` entries, and each thread checks its index against `count`.
    unsafe { launch.launch(entrywise(n)) }.w()?;
    Ok(())
}
