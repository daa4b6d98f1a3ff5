//! Digests of stored files. They show whether a file still holds what was written.
//!
//! BLAKE3, because it is read at the speed of memory: files are hashed each time they are taken up again.

use std::io::{ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Digest, FileError, open_stored};

/// Bytes of a file in memory at a time.
const BUFFER_BYTES: usize = 4 << 20;

/// From this length on, several threads hash together.
const SHARED_BYTES: usize = 256 << 10;

/// Size and BLAKE3 digest of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Content {
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 digest of all bytes.
    pub blake3: Digest,
}

impl Content {
    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = ContentHasher::default();
        hasher.add(bytes);
        hasher.finish()
    }

    /// Of a regular file, read once. Memory does not grow with the file.
    pub fn of_file(path: &Path) -> Result<Self, FileError> {
        let mut file = open_stored(path)?;
        let mut buffer = vec![0; BUFFER_BYTES.min(file.metadata().map_or(0, |meta| meta.len() as usize) + 1)];
        let mut hasher = ContentHasher::default();
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => hasher.add(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(FileError { action: "read", path: path.to_path_buf(), source }),
            }
        }
    }
}

/// Digests content that comes in parts.
#[derive(Debug, Clone, Default)]
pub struct ContentHasher {
    hasher: blake3::Hasher,
    bytes: u64,
}

impl ContentHasher {
    /// Adds the next bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        if bytes.len() < SHARED_BYTES {
            self.hasher.update(bytes);
        } else {
            self.hasher.update_rayon(bytes);
        }
        self.bytes += bytes.len() as u64;
    }

    /// Size and digest of everything added.
    pub fn finish(&self) -> Content {
        Content { bytes: self.bytes, blake3: Digest::from(*self.hasher.finalize().as_bytes()) }
    }
}

/// Why a stored file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// There is no such file.
    Missing,
    /// It does not hold what was written. The text says why.
    Damaged(String),
}

impl Flaw {
    /// What a file of other content than expected is called.
    pub fn other_content() -> Self {
        Self::Damaged("does not hold what was written (its digest differs)".into())
    }

    /// For a message, after the file's name.
    pub fn words(&self) -> &str {
        match self {
            Self::Missing => "is missing",
            Self::Damaged(why) => why,
        }
    }
}

impl From<FileError> for Flaw {
    fn from(error: FileError) -> Self {
        match error.source.kind() {
            ErrorKind::NotFound => Self::Missing,
            _ => Self::Damaged(format!("cannot be read ({})", error.source)),
        }
    }
}

/// A file below a folder, with what it should hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ListedFile {
    /// Path inside the folder, with `/` between its parts.
    pub path: String,
    /// What the file holds.
    #[serde(flatten)]
    pub content: Content,
}

impl ListedFile {
    /// Lists a file of known content.
    pub fn new(root: &Path, path: &Path, content: Content) -> Self {
        let inside = path.strip_prefix(root).unwrap_or(path);
        let parts: Vec<_> = inside.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        Self { path: parts.join("/"), content }
    }

    /// Reads a file below `root` and lists it.
    pub fn read(root: &Path, path: &Path) -> Result<Self, FileError> {
        Ok(Self::new(root, path, Content::of_file(path)?))
    }

    /// Its path below `root`; none if the listed path leads out of it.
    pub fn below(&self, root: &Path) -> Option<PathBuf> {
        let inside = Path::new(&self.path);
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        (!self.path.is_empty() && inside.components().all(plain)).then(|| root.join(inside))
    }

    /// Checks that the file below `root` holds what is listed. All of it is read, unless its size differs.
    pub fn check(&self, root: &Path) -> Result<(), Flaw> {
        let outside = || Flaw::Damaged("is listed with a path that leads out of the folder".into());
        let path = self.below(root).ok_or_else(outside)?;
        self.content.check(&path)
    }
}

impl Content {
    /// Checks that a file holds this content. All of it is read, unless its size differs.
    pub fn check(&self, path: &Path) -> Result<(), Flaw> {
        let found = open_stored(path)?.metadata().map_or(self.bytes, |meta| meta.len());
        if found != self.bytes {
            return Err(Flaw::Damaged(format!(
                "does not hold what was written ({found} bytes, expected {})",
                self.bytes
            )));
        }
        if Self::of_file(path)? == *self { Ok(()) } else { Err(Flaw::other_content()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_atomic;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn files_and_parts_have_the_digest_of_the_whole() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("large");
        let bytes: Vec<u8> = (0..BUFFER_BYTES + 12_345).map(|place| (place * 7 % 251) as u8).collect();
        write_atomic(&path, &bytes).expect("written");
        let whole = Content::of(&bytes);
        assert_eq!(whole.blake3.bytes(), *blake3::hash(&bytes).as_bytes());
        assert_eq!(Content::of_file(&path).expect("read"), whole);
        let mut hasher = ContentHasher::default();
        bytes.chunks(300_001).for_each(|part| hasher.add(part));
        assert_eq!(hasher.finish(), whole);
    }

    proptest! {
        #[test]
        fn any_changed_byte_cut_or_growth_is_noticed(
            bytes in prop::collection::vec(any::<u8>(), 1..300), place in any::<prop::sample::Index>(), bit in 0..8u8
        ) {
            let folder = tempfile::tempdir().expect("temporary folder");
            let path = folder.path().join("a/file");
            write_atomic(&path, &bytes).expect("written");
            let listed = ListedFile::read(folder.path(), &path).expect("listed");
            prop_assert_eq!((listed.path.as_str(), listed.check(folder.path())), ("a/file", Ok(())));
            let mut flipped = bytes.clone();
            flipped[place.index(bytes.len())] ^= 1 << bit;
            let grown = [bytes.as_slice(), &[0]].concat();
            for other in [&flipped[..], &bytes[..place.index(bytes.len())], &grown] {
                write_atomic(&path, other).expect("written");
                prop_assert!(matches!(listed.check(folder.path()), Err(Flaw::Damaged(_))));
            }
            std::fs::remove_file(&path).expect("removed");
            prop_assert_eq!(listed.check(folder.path()), Err(Flaw::Missing));
        }
    }

    #[test]
    fn a_listed_path_cannot_lead_out_of_its_folder() {
        let content = Content::of(b"");
        for path in ["", "..", "../x", "a/../../x", "/etc/passwd", "./../x"] {
            let listed = ListedFile { path: path.into(), content };
            assert_eq!(listed.below(Path::new("run")), None, "{path}");
        }
        let listed = ListedFile { path: "a/b.json".into(), content };
        assert_eq!(listed.below(Path::new("run")), Some(Path::new("run/a/b.json").into()));
    }
}
