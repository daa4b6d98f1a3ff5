//! Memory maps of model files.

use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

use super::{FileError, open};

/// The bytes of a file, read by the operating system page by page when they are touched.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a regular file; see [`open`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let file = open(path)?;
        // SAFETY: the map is private and read-only. No bytes are invalid as `u8`; readers check all that they take from
        // it, so a file that another program changes meanwhile gives wrong values and nothing worse. A file that is cut
        // short while it is mapped ends the process, as it does with every program that maps weights.
        #[expect(unsafe_code, reason = "a file is mapped into memory")]
        let map = unsafe { Mmap::map(&file) };
        map.map(Self).map_err(|source| FileError { action: "read", path: path.to_path_buf(), source })
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_atomic;
    use super::*;

    #[test]
    fn a_map_shows_the_bytes_of_files_and_refuses_what_is_no_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        for content in [&b""[..], b"weights"] {
            let path = folder.path().join("file");
            write_atomic(&path, content).expect("written");
            assert_eq!(&*MappedFile::open(&path).expect("mapped"), content);
        }
        for path in [folder.path().to_path_buf(), folder.path().join("missing")] {
            assert_eq!(MappedFile::open(&path).expect_err("no file").action, "read");
        }
    }
}
