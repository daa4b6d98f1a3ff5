//! Files that inputs are written to: one folder per thread, used again for every input.

use std::cell::RefCell;
use std::fs::{File, create_dir_all, read_dir, remove_dir_all, remove_file};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::super::mutator::unpacked;

thread_local! {
    static FOLDER: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// Longest accepted name of a file.
const LONGEST_NAME: usize = 200;

/// This thread's folder.
pub fn home() -> Option<PathBuf> {
    FOLDER.with_borrow_mut(|folder| {
        if folder.is_none() {
            *folder = TempDir::new().ok();
        }
        folder.as_ref().map(|folder| folder.path().to_path_buf())
    })
}

fn write(path: &Path, bytes: &[u8]) -> Option<()> {
    let _ = remove_file(path);
    File::create(path).ok()?.write_all(bytes).ok()
}

/// Calls `work` with a file that holds `bytes`, alone in its folder.
pub fn with_file(name: &str, bytes: &[u8], work: impl FnOnce(&Path)) {
    let Some(folder) = home().map(|home| home.join("file")) else { return };
    if create_dir_all(&folder).is_ok() && write(&folder.join(name), bytes).is_some() {
        work(&folder.join(name));
    }
}

/// Calls `work` with a folder of the files that an input holds.
pub fn with_folder(input: &[u8], work: impl FnOnce(&Path)) {
    let Some(folder) = home().map(|home| home.join("folder")) else { return };
    if emptied(&folder).is_none() {
        return;
    }
    for (name, bytes) in unpacked(input) {
        let path = folder.join(&name);
        // A name that leads out of the folder is no file of it.
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if name.len() < LONGEST_NAME
            && name.chars().all(plain)
            && !name.contains("..")
            && !name.starts_with('/')
        {
            let _ = path.parent().map(create_dir_all);
            let _ = write(&path, bytes);
        }
    }
    work(&folder);
}

/// An empty folder.
fn emptied(folder: &Path) -> Option<()> {
    create_dir_all(folder).ok()?;
    for entry in read_dir(folder).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() { remove_dir_all(path).ok()? } else { remove_file(path).ok()? }
    }
    Some(())
}
