//! Files that a killed process left: unfinished files, leases and beats.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lease::ENDINGS;
use super::process::{is_gone, machine_tag};

/// Age after which a file whose process cannot be looked up is left over. Clocks of machines may disagree by less.
const OLD: Duration = Duration::from_secs(86_400);

/// The end of the name of an unfinished file: `.NAME.PROCESS-MACHINE.NUMBER.part`.
pub(super) fn part_ending(number: u64) -> String {
    format!("{}-{}.{number}.part", std::process::id(), machine_tag())
}

/// The process of an unfinished file, and its machine. Older versions of this program named no machine.
fn owner(name: &str) -> Option<(u32, Option<&str>)> {
    let name = name.strip_prefix('.')?.strip_suffix(".part")?;
    let (name, number) = name.rsplit_once('.')?;
    let (_, process) = name.rsplit_once('.')?;
    number.parse::<u64>().ok()?;
    match process.split_once('-') {
        Some((process, machine)) => Some((process.parse().ok()?, Some(machine))),
        None => Some((process.parse().ok()?, None)),
    }
}

/// Removes the unfinished files below a folder in which only this process is at work, whatever machine began them. Those
/// of other processes that run here are kept: they may be drawing a report. Returns their number.
pub fn remove_own_leftovers(folder: &Path) -> usize {
    remove(folder, &|_, name| {
        owner(name).is_some_and(|(process, machine)| {
            let is_here = machine.is_none_or(|machine| machine == machine_tag());
            !is_here || is_gone(machine_tag(), process, "")
        })
    })
}

/// Removes what ended processes left below a folder that several processes share: unfinished files, leases and beats.
/// Files whose process cannot be looked up are removed when they are old. Returns their number.
pub fn remove_shared_leftovers(folder: &Path) -> usize {
    remove(folder, &|path, name| {
        if ENDINGS.iter().any(|ending| name.starts_with('.') && name.ends_with(ending)) {
            return is_old(path);
        }
        match owner(name) {
            Some((process, Some(machine))) => is_gone(machine, process, "") || is_old(path),
            // A download that can be resumed may be called the same as an unfinished file of an older version.
            _ => false,
        }
    })
}

fn is_old(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > OLD))
}

/// Symbolic links are not followed: what they lead to is not below the folder.
fn remove(folder: &Path, is_left: &dyn Fn(&Path, &str) -> bool) -> usize {
    let (mut removed, mut folders) = (0, vec![folder.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path: PathBuf = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() => {
                    let is_left = is_left(&path, &entry.file_name().to_string_lossy());
                    removed += usize::from(is_left && fs::remove_file(&path).is_ok());
                }
                _ => {}
            }
        }
    }
    removed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{AtomicFile, write_atomic};

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "ended processes are known on Linux")]
    fn only_what_ended_processes_left_is_removed() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = std::process::Command::new("true").spawn().expect("a process");
        let (dead, here, alive) = (child.id(), machine_tag(), std::process::id());
        child.wait().expect("ended");
        let names = [
            format!(".a.json.{dead}-{here}.0.part"),
            format!(".a.json.{dead}-00000000.0.part"),
            format!(".a.json.{dead}.0.part"),
            format!(".a.json.{alive}.0.part"),
            ".model.safetensors.part".to_string(),
            ".a.json.lease".to_string(),
            "a.json".to_string(),
            "a.12-34.5.part.json".to_string(),
        ];
        let write = || {
            for name in &names {
                write_atomic(&folder.path().join("deep").join(name), b"x").expect("written");
            }
        };
        let left = || -> Vec<&String> {
            names.iter().filter(|name| folder.path().join("deep").join(name).exists()).collect()
        };
        write();
        let unfinished = AtomicFile::create(&folder.path().join("deep/b.json")).expect("begun");
        assert_eq!(remove_shared_leftovers(folder.path()), 1);
        assert_eq!(left(), names.iter().skip(1).collect::<Vec<_>>());
        write();
        assert_eq!(remove_own_leftovers(folder.path()), 3);
        assert_eq!(left(), names.iter().skip(3).collect::<Vec<_>>());
        unfinished.commit().expect("its own files are kept");

        let old =
            fs::File::options().write(true).open(folder.path().join("deep/.a.json.lease")).expect("open");
        old.set_modified(SystemTime::now() - 2 * OLD).expect("a time");
        assert_eq!(remove_shared_leftovers(folder.path()), 1);
    }
}
