//! How much memory this process may use.

use std::path::{Path, PathBuf};

/// Memory that this process may use, in bytes: that of the machine, or the limit of its control group (as containers
/// have) or of its address space, if one is lower. None where the system does not say: memory is known on Linux only.
pub fn memory_limit_bytes() -> Option<u64> {
    [machine(), control_group(Path::new("/sys/fs/cgroup")), address_space()].into_iter().flatten().min()
}

fn machine() -> Option<u64> {
    let kilobytes: u64 =
        super::cpu::field("/proc/meminfo", "MemTotal")?.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The lowest limit of the process's control group and those around it.
fn control_group(mounted: &Path) -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    groups.lines().flat_map(|line| limit_files(line, mounted)).filter_map(|file| limit_in(&file)).min()
}

/// The files that may hold the limit of a line `ID:CONTROLLERS:PATH`, from the group itself outwards.
fn limit_files(line: &str, mounted: &Path) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { return Vec::new() };
    let (root, name) = match controllers {
        // Version 2 has one tree for all controllers.
        "" => (mounted.to_path_buf(), "memory.max"),
        some if some.split(',').any(|one| one == "memory") => {
            (mounted.join("memory"), "memory.limit_in_bytes")
        }
        _ => return Vec::new(),
    };
    let inner = Path::new(path.trim_start_matches('/'));
    inner.ancestors().map(|part| root.join(part).join(name)).collect()
}

/// The number of a limit file; none for `max`.
fn limit_in(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(unix)]
fn address_space() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::As).current
}

#[cfg(not(unix))]
fn address_space() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_of_outer_groups_count() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        std::fs::create_dir_all(root.join("outer/inner")).expect("folders");
        crate::base::write_atomic(&root.join("outer/inner/memory.max"), b"max\n").expect("written");
        crate::base::write_atomic(&root.join("outer/memory.max"), b"1048576\n").expect("written");
        let limit = |line: &str| limit_files(line, root).iter().filter_map(|file| limit_in(file)).min();
        assert_eq!(limit("0::/outer/inner"), Some(1 << 20));
        assert_eq!(limit("0::/elsewhere"), None);
        assert_eq!(limit("4:cpu,cpuacct:/outer"), None);
        assert_eq!(limit_files("5:memory:/a", root).len(), 2);
        assert_eq!(limit("nonsense"), None);
    }
}
