//! JSON files that carry a digest of their own content and name. A file is one JSON object over three lines:
//!
//! ```text
//! {"sealed":1,"blake3":"DIGEST",
//! "of":{"name":"row-0f…","key":"…","files":[…]},
//! "value":…}
//! ```
//!
//! The digest covers all bytes behind the first line. `files` lists the files that belong to this one.
//! The name is that of the file, so that a file under another's name is noticed.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{AtomicFile, Content, Digest, FileError, Flaw, ListedFile, read_regular};

/// Version of the layout.
const VERSION: u32 = 1;

/// What stands around the head and around the value.
const HEAD: (&[u8], &[u8]) = (b"\"of\":", b",");
const VALUE: (&[u8], &[u8]) = (b"\"value\":", b"}\n");

fn between<'a>(bytes: &'a [u8], (before, after): (&[u8], &[u8])) -> Option<&'a [u8]> {
    bytes.strip_prefix(before)?.strip_suffix(after)
}

/// Whether the key of the digest follows that of the version.
fn has_digest(bytes: &[u8]) -> bool {
    bytes.starts_with(b",\"blake3\"")
}

/// The seal in the first line, which ends in the middle of an object.
fn seal_of(line: &[u8]) -> Option<Seal> {
    serde_json::from_slice(&[line.strip_suffix(b",")?, b"}"].concat()).ok()
}

#[derive(Serialize, Deserialize)]
struct Seal {
    sealed: u32,
    blake3: Digest,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    /// File name without extension.
    name: String,
    key: Option<Digest>,
    files: Vec<ListedFile>,
}

/// A sealed file that was read and verified.
#[derive(Debug)]
pub struct Sealed {
    bytes: Vec<u8>,
    value_at: usize,
    head: Head,
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Writes a value with its key and a list of the files that belong to it.
pub fn write_sealed<T: Serialize>(
    path: &Path,
    key: Option<Digest>,
    files: Vec<ListedFile>,
    value: &T,
) -> Result<(), FileError> {
    let unwritable = |error: serde_json::Error| FileError {
        action: "write",
        path: path.to_path_buf(),
        source: error.into(),
    };
    let mut body = HEAD.0.to_vec();
    serde_json::to_writer(&mut body, &Head { name: stem(path), key, files }).map_err(unwritable)?;
    body.extend([HEAD.1, b"\n", VALUE.0].concat());
    serde_json::to_writer(&mut body, value).map_err(unwritable)?;
    body.extend(VALUE.1);
    let seal = Seal { sealed: VERSION, blake3: Content::of(&body).blake3 };
    let mut first = serde_json::to_vec(&seal).map_err(unwritable)?;
    // The object goes on in the next line.
    first.pop();
    first.extend(b",\n");
    let mut file = AtomicFile::create(path)?;
    file.write(&first)?;
    file.write(&body)?;
    file.commit()
}

impl Sealed {
    /// Reads and verifies a file. None if there is none, or if it is plain JSON, as earlier versions wrote it.
    pub fn read(path: &Path) -> Result<Option<Self>, Flaw> {
        let bytes = match read_regular(path).map_err(Flaw::from) {
            Ok(bytes) => bytes,
            Err(Flaw::Missing) => return Ok(None),
            Err(flaw) => return Err(flaw),
        };
        let line = |from: usize| {
            bytes.get(from..)?.iter().position(|byte| *byte == b'\n').map(|length| (from, from + length))
        };
        let seal = line(0).and_then(|(_, end)| Some((seal_of(&bytes[..end])?, end + 1)));
        let Some((seal, body_at)) = seal.filter(|(seal, _)| seal.sealed == VERSION) else {
            // Earlier versions wrote JSON of other keys. Damage does not change both of these.
            let starts_sealed = bytes.starts_with(b"{\"sealed\"") || bytes.get(11..).is_some_and(has_digest);
            let plain = !starts_sealed && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok();
            return if plain { Ok(None) } else { Err(Flaw::other_content()) };
        };
        if Content::of(&bytes[body_at..]).blake3 != seal.blake3 {
            return Err(Flaw::other_content());
        }
        let head = line(body_at).and_then(|(start, end)| {
            let head = between(&bytes[start..end], HEAD)?;
            Some((serde_json::from_slice::<Head>(head).ok()?, end + 1))
        });
        let (head, value_at) = head.ok_or_else(Flaw::other_content)?;
        if head.name != stem(path) {
            return Err(Flaw::Damaged(format!("holds what was written as `{}`", head.name.escape_debug())));
        }
        Ok(Some(Self { bytes, value_at, head }))
    }

    /// The key that it was written with.
    pub fn key(&self) -> Option<Digest> {
        self.head.key
    }

    /// The files that belong to it.
    pub fn files(&self) -> &[ListedFile] {
        &self.head.files
    }

    /// The value; none if it is of another type, as another version of the program may have written it.
    pub fn value<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(between(&self.bytes[self.value_at..], VALUE)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_atomic;
    use super::*;
    use proptest::prelude::*;

    fn damaged<T: std::fmt::Debug>(result: Result<T, Flaw>) -> bool {
        matches!(result, Err(Flaw::Damaged(_)))
    }

    #[test]
    fn a_value_comes_back_with_its_key_and_files() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("row-1.json");
        let files = vec![ListedFile { path: "records/a.jsonl".into(), content: Content::of(b"a") }];
        let key = Some(Digest::of(b"key"));
        write_sealed(&path, key, files.clone(), &vec!["a\nb", "c"]).expect("written");
        let sealed = Sealed::read(&path).expect("sound").expect("there");
        assert_eq!((sealed.key(), sealed.files()), (key, files.as_slice()));
        assert_eq!(sealed.value::<Vec<String>>(), Some(vec!["a\nb".to_string(), "c".to_string()]));
        assert_eq!(sealed.value::<u32>(), None);
        let whole: serde_json::Value =
            serde_json::from_slice(&read_regular(&path).expect("read")).expect("JSON");
        assert_eq!((&whole["of"]["name"], &whole["value"][1]), (&"row-1".into(), &"c".into()));
        let other = folder.path().join("row-2.json");
        std::fs::rename(&path, &other).expect("renamed");
        assert!(damaged(Sealed::read(&other)), "a file under another name");
        assert!(Sealed::read(&path).expect("none").is_none());
    }

    #[test]
    fn files_of_earlier_versions_are_not_called_damaged() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("old.json");
        for (text, is_old) in [("{\"a\": [1]}", true), ("[1]\n", true), ("{\"a\": [1", false), ("", false)] {
            write_atomic(&path, text.as_bytes()).expect("written");
            match is_old {
                true => assert!(Sealed::read(&path).expect("old").is_none(), "{text}"),
                false => assert!(damaged(Sealed::read(&path)), "{text}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_changed_byte_gives_another_value(value in any::<Vec<u32>>(), place in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let folder = tempfile::tempdir().expect("temporary folder");
            let path = folder.path().join("x.json");
            write_sealed(&path, None, Vec::new(), &value).expect("written");
            let mut bytes = super::super::read(&path).expect("read");
            let whole = bytes.len();
            bytes[place.index(whole)] = byte;
            write_atomic(&path, &bytes).expect("written");
            match Sealed::read(&path) {
                Ok(Some(sealed)) => prop_assert_eq!(sealed.value::<Vec<u32>>(), Some(value)),
                other => prop_assert!(damaged(other)),
            }
            bytes.truncate(place.index(whole));
            write_atomic(&path, &bytes).expect("written");
            prop_assert!(damaged(Sealed::read(&path)));
        }
    }
}
