pub use candle_core::Device;

use super::NnError;
use crate::base::DeviceName;

/// Opens a device. Fails if no such device exists or if this build lacks the feature that it needs.
pub fn open_device(name: DeviceName) -> Result<Device, NnError> {
    match name {
        DeviceName::Cpu => Ok(Device::Cpu),
        DeviceName::Cuda(_) if cfg!(not(feature = "cuda")) => Err(NnError::NoDevice {
            device: name,
            reason: "this program was built without CUDA; build it with `--features cuda`, or leave `--device` out".into(),
        }),
        DeviceName::Cuda(nth) => Device::new_cuda(nth).map_err(|error| NnError::NoDevice {
            device: name,
            reason: format!("{error}; `nvidia-smi -L` lists the GPUs that there are"),
        }),
    }
}

/// Number of usable GPUs; `None` if the program was built without CUDA.
pub fn gpu_count() -> Option<usize> {
    #[cfg(feature = "cuda")]
    {
        let count = candle_core::cuda_backend::cudarc::driver::CudaContext::device_count();
        Some(count.map_or(0, |count| count.max(0) as usize))
    }
    #[cfg(not(feature = "cuda"))]
    None
}

/// The first GPU, or `None` and a printed reason.
#[cfg(test)]
pub fn gpu_for_tests() -> Option<Device> {
    open_device(DeviceName::Cuda(0)).inspect_err(|error| eprintln!("not tested on a GPU: {error}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_cuda_says_how_to_get_one_with_it() {
        assert!(open_device(DeviceName::Cpu).expect("main memory").is_cpu());
        if cfg!(not(feature = "cuda")) {
            let error = open_device(DeviceName::Cuda(0)).expect_err("no such device");
            assert!(error.to_string().contains("--features cuda"), "{error}");
        }
    }
}
