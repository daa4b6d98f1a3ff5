//! Files that are written completely or not at all, and file operations whose errors name the path.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::FileError;
use super::leftovers::part_ending;

/// Number of files started by this process. It keeps temporary names distinct.
static STARTED: AtomicU64 = AtomicU64::new(0);

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FileError + 'a {
    move |source| FileError { action, path: path.to_path_buf(), source }
}

/// A file that appears under its name only when complete: it is written under a temporary name beside it,
/// flushed to disk, then renamed. A killed run leaves no half-written result.
#[derive(Debug)]
pub struct AtomicFile {
    writer: BufWriter<File>,
    temporary: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Starts the file and creates its folder if missing.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if let Some(folder) = path.parent() {
            create_dir_all(folder)?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}", part_ending(number)));
        let file = File::create(&temporary).map_err(failed("write", path))?;
        Ok(Self {
            writer: BufWriter::with_capacity(1 << 20, file),
            temporary,
            path: path.to_path_buf(),
            committed: false,
        })
    }

    /// Appends bytes at the current position.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.writer.write_all(bytes).map_err(failed("write", &self.path))
    }

    /// Moves the position to byte `place` from the start.
    pub fn seek(&mut self, place: u64) -> Result<(), FileError> {
        self.writer.seek(SeekFrom::Start(place)).map_err(failed("write", &self.path)).map(drop)
    }

    /// Makes the file visible under its name.
    pub fn commit(mut self) -> Result<(), FileError> {
        self.writer.flush().map_err(failed("write", &self.path))?;
        self.writer.get_ref().sync_data().map_err(failed("write", &self.path))?;
        fs::rename(&self.temporary, &self.path).map_err(failed("write", &self.path))?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // A leftover temporary file is harmless.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Writes a whole file, or leaves the former one unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}

/// Renames a damaged file or folder to a name beside it, `NAME.damaged`, where nobody reads it and a person can look at
/// it. Returns the new name; none if it cannot be renamed, and then it is removed.
pub fn set_aside(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_os_string();
    name.push(".damaged");
    let aside = path.with_file_name(name);
    // What was set aside before makes room: the newest damage is the one to look at.
    remove_any(&aside);
    if fs::rename(path, &aside).is_ok() {
        return Some(aside);
    }
    remove_any(path);
    None
}

fn remove_any(path: &Path) {
    // A failure shows in the next read or write of the path.
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

/// Creates a folder and its parents.
pub fn create_dir_all(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(failed("create", path))
}

/// Opens a model file. Rejects pipes and devices at once: reading them may block or never end.
pub fn open(path: &Path) -> Result<File, FileError> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "is a folder" } else { "is a pipe or a device" };
        return Err(failed("read", path)(std::io::Error::other(format!("it {kind}, not a regular file"))));
    }
    File::open(path).map_err(failed("read", path))
}

/// Reads a whole model file; see [`open`].
pub fn read_regular(path: &Path) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(bytes)
}

/// Fills `bytes` from byte `offset` of a file; `path` is for the message.
pub fn read_at(file: &File, path: &Path, bytes: &mut [u8], offset: u64) -> Result<(), FileError> {
    read_exact_at(file, bytes, offset).map_err(failed("read", path))
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let n = std::os::windows::fs::FileExt::seek_read(file, &mut bytes[done..], offset + done as u64)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        done += n;
    }
    Ok(())
}

/// Reads a whole file.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(failed("read", path))
}

/// Reads a whole text file.
pub fn read_to_string(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(failed("read", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_file_leaves_nothing_and_a_committed_one_is_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("deep/result.json");
        let mut file = AtomicFile::create(&path).expect("created");
        file.write(b"half").expect("written");
        drop(file);
        assert_eq!(fs::read_dir(folder.path().join("deep")).expect("listed").count(), 0);
        write_atomic(&path, b"whole").expect("written");
        assert_eq!(read(&path).expect("read"), b"whole");
    }

    #[test]
    fn the_newest_damaged_file_lies_beside_its_name() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("stage.json");
        for text in [b"first", b"later"] {
            write_atomic(&path, text).expect("written");
            let aside = set_aside(&path).expect("renamed");
            assert_eq!(aside.file_name().and_then(|name| name.to_str()), Some("stage.json.damaged"));
            assert_eq!(read(&aside).expect("read"), text);
            assert!(!path.exists());
        }
    }
}
