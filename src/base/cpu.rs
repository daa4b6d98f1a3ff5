//! Facts about the processor and this process.

/// The widest vector instruction set found at run time; it decides which matrix kernels run.
pub fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return "x86-64 avx512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "x86-64 avx2";
        }
        "x86-64"
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        std::env::consts::ARCH
    }
}

/// The processor's model name, if the system reports it without privileges.
pub fn cpu_name() -> Option<String> {
    field("/proc/cpuinfo", "model name")
}

/// Peak resident memory of this process, in bytes; known on Linux only.
pub fn peak_memory_bytes() -> Option<u64> {
    let kilobytes: u64 = field("/proc/self/status", "VmHWM")?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The first `name: value` line of a system file.
pub(super) fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_string())
}
