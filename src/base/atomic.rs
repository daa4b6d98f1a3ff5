//! Files that are written completely or not at all, and file operations whose errors name the path.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::leftovers::part_ending;
use super::{FileError, STAND_IN_BYTES, stand_in};

/// Number of files started by this process. It keeps temporary names distinct.
static STARTED: AtomicU64 = AtomicU64::new(0);

/// Temporary files that are being written.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes the temporary files that are being written, for a process that is about to end on a signal.
pub fn remove_unfinished() {
    for path in UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        // Nothing is left to tell about a failure.
        let _ = fs::remove_file(path);
    }
}

/// Ends the name of a damaged file that is set aside.
pub(super) const DAMAGED: &str = ".damaged";

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
    /// Starts the file and creates its folder if missing. Rejects pipes, devices and folders: renaming a file onto
    /// `/dev/full` would replace the device.
    pub fn create(path: &Path) -> Result<Self, FileError> {
        if let Ok(metadata) = fs::metadata(path)
            && let Some(kind) = not_regular(&metadata)
        {
            let why = format!("it is {kind}, not a regular file");
            return Err(failed("write", path)(std::io::Error::other(why)));
        }
        if let Some(folder) = path.parent() {
            create_dir_all(folder)?;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".{name}.{}", part_ending(number)));
        let file = File::create(&temporary).map_err(failed("write", path))?;
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).insert(temporary.clone());
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

impl AtomicFile {
    /// As [`Self::commit`], unless a file of that name is there: then it stays as it is, and this returns false. Where
    /// the file system knows no links, of several processes at the same moment the last one wins.
    fn commit_new(mut self) -> Result<bool, FileError> {
        self.writer.flush().map_err(failed("write", &self.path))?;
        self.writer.get_ref().sync_data().map_err(failed("write", &self.path))?;
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
            Err(_) if has_entry(&self.path) => Ok(false),
            Err(_) => self.commit().map(|()| true),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            // A leftover temporary file is harmless.
            let _ = fs::remove_file(&self.temporary);
        }
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.temporary);
    }
}

/// Writes a whole file, or leaves the former one unchanged.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit()
}

/// Writes a whole file if none of that name is there. Returns whether this process has written it.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<bool, FileError> {
    if has_entry(path) {
        return Ok(false);
    }
    let mut file = AtomicFile::create(path)?;
    file.write(bytes)?;
    file.commit_new()
}

/// Renames a damaged file or folder to a name beside it, `NAME.damaged`, where nobody reads it and a person can look at
/// it. Returns the new name; none if it cannot be renamed, and then it is removed.
pub fn set_aside(path: &Path) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_os_string();
    name.push(DAMAGED);
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

/// Most bytes of a file that is read whole as text: configurations, tokenizers, templates. Real ones have up to 40 MB.
const MOST_TEXT: u64 = 128 << 20;

/// Most bytes that are read from a pipe.
const MOST_PIPED: u64 = 64 << 20;

/// Opens a file of a model or a dictionary. Rejects what [`open_stored`] rejects, and pointers and web pages in the place
/// of the file: see [`stand_in`].
pub fn open(path: &Path) -> Result<File, FileError> {
    let mut file = open_stored(path)?;
    let mut first = Vec::with_capacity(STAND_IN_BYTES);
    (&mut file).take(STAND_IN_BYTES as u64).read_to_end(&mut first).map_err(failed("read", path))?;
    file.seek(SeekFrom::Start(0)).map_err(failed("read", path))?;
    match stand_in(&first) {
        Some(what) => Err(refused(path, format!("it {what}"))),
        None => Ok(file),
    }
}

/// Opens a file of any content, such as one that a run wrote. Rejects folders, pipes and devices at once, because reading
/// them may block or never end.
pub fn open_stored(path: &Path) -> Result<File, FileError> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    match not_regular(&metadata) {
        Some(kind) => Err(refused(path, format!("it is {kind}, not a regular file"))),
        None => File::open(path).map_err(failed("read", path)),
    }
}

/// Reads a whole text file of a model or a dictionary; see [`open`]. Rejects files of more than 128 MB.
pub fn read_regular(path: &Path) -> Result<Vec<u8>, FileError> {
    read_most(open(path)?, path, MOST_TEXT)
}

/// [`read_regular`] for UTF-8 text.
pub fn read_regular_text(path: &Path) -> Result<String, FileError> {
    text_of(read_regular(path)?, path)
}

/// Whether the folder has an entry of that name, also a link that leads nowhere or round in a circle. Such a file is
/// then opened and refused by name, not taken for one that the model does not have.
pub fn has_entry(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The file's bytes, if they are at most `most`. The length is checked before anything is allocated, and again while
/// reading, because a pipe states none.
fn read_most(file: File, path: &Path, most: u64) -> Result<Vec<u8>, FileError> {
    let long = |length: u64| {
        refused(path, format!("it has {length} bytes or more, and at most {} MB are read", most >> 20))
    };
    let length = file.metadata().map_err(failed("read", path))?.len();
    if length > most {
        return Err(long(length));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > most { Err(long(bytes.len() as u64)) } else { Ok(bytes) }
}

fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String, FileError> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(path, format!("it is not UTF-8 at byte {at}"))
    })
}

fn refused(path: &Path, why: String) -> FileError {
    failed("read", path)(std::io::Error::other(why))
}

/// What stands in the place of a regular file.
fn not_regular(metadata: &fs::Metadata) -> Option<&'static str> {
    if metadata.is_file() {
        return None;
    }
    if metadata.is_dir() {
        return Some("a folder");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
    }
    Some("a device")
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

/// Reads a whole regular file, or up to 64 MB of a pipe that the shell made (`<(…)` or standard input). Rejects folders,
/// other pipes, sockets and devices, because reading them may block or never end.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let metadata = fs::metadata(path).map_err(failed("read", path))?;
    let of_shell = ["/dev", "/proc"].iter().any(|folder| path.starts_with(folder));
    if let Some(kind) = not_regular(&metadata).filter(|&kind| !(kind == "a pipe" && of_shell)) {
        return Err(refused(path, format!("it is {kind}, not a regular file")));
    }
    let file = File::open(path).map_err(failed("read", path))?;
    read_most(file, path, if of_shell { MOST_PIPED } else { u64::MAX - 1 })
}

/// [`read`] for UTF-8 text.
pub fn read_to_string(path: &Path) -> Result<String, FileError> {
    text_of(read(path)?, path)
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
    #[cfg(unix)]
    fn a_device_is_never_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).expect("a link");
        for path in [link.as_path(), folder.path()] {
            let error = write_atomic(path, b"text").expect_err("no regular file");
            assert!(error.is_write() && error.source.to_string().contains("not a regular file"));
        }
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

    #[test]
    fn what_is_no_readable_file_is_named() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        let told = |error: FileError| error.source.to_string();
        write_atomic(&path("pointer"), b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n")
            .expect("written");
        assert!(told(open(&path("pointer")).expect_err("a pointer")).contains("`git lfs pull`"));
        assert!(told(read_regular(folder.path()).expect_err("a folder")).contains("a folder"));
        write_atomic(&path("latin"), b"caf\xE9").expect("written");
        assert!(told(read_regular_text(&path("latin")).expect_err("latin")).contains("not UTF-8 at byte 3"));
        // Sparse, so that nothing of it is on the disk.
        let large = File::create(path("large")).expect("created");
        large.set_len(10 << 30).expect("grown");
        assert!(told(read_regular(&path("large")).expect_err("too large")).contains("at most 128 MB"));
    }

    #[cfg(unix)]
    #[test]
    fn special_files_are_refused_at_once() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = |name: &str| folder.path().join(name);
        symlink("/dev/zero", path("zero")).expect("linked");
        symlink(path("circle"), path("circle")).expect("linked");
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("bound");
        let made = std::process::Command::new("mkfifo").arg(path("fifo")).status().expect("run");
        assert!(made.success());
        for (name, kind) in [("zero", "a device"), ("socket", "a socket"), ("fifo", "a pipe")] {
            for refusal in [open(&path(name)).map(drop), read(&path(name)).map(drop)] {
                let told = refusal.expect_err(name).source.to_string();
                assert!(told.contains(kind), "{name}: {told}");
            }
        }
        assert!(has_entry(&path("circle")) && !has_entry(&path("nothing")));
        assert!(open(&path("circle")).is_err());
    }
}
