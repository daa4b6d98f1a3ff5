//! Lists of a repository's files at one commit.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::HubError;
use crate::base::{Digest, is_inside, read, write_atomic};

/// One file of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Path in the repository, with `/`.
    pub(super) name: String,
    /// Bytes, if the hub states them.
    pub(super) size: Option<u64>,
    /// Stated for large files only.
    pub(super) sha256: Option<Digest>,
}

/// All files of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    pub(super) commit: String,
    pub(super) files: Vec<Entry>,
}

impl Listing {
    /// Reads the hub's description of a revision.
    pub(super) fn parse(json: &[u8], wanted: &str) -> Result<Self, HubError> {
        let answer = |why: &str| HubError::Answer { wanted: wanted.to_string(), why: why.to_string() };
        let value: Value = serde_json::from_slice(json).map_err(|error| answer(&error.to_string()))?;
        let commit = value["sha"].as_str().filter(|sha| is_commit(sha));
        let commit = commit.ok_or_else(|| answer("no commit in `sha`"))?.to_string();
        let siblings = value["siblings"].as_array().ok_or_else(|| answer("no list `siblings`"))?;
        let mut files = Vec::with_capacity(siblings.len());
        for sibling in siblings {
            let name = sibling["rfilename"].as_str().ok_or_else(|| answer("a file without `rfilename`"))?;
            if !is_inside(name) {
                return Err(answer(&format!("file name {} leaves the repository", quoted(name))));
            }
            let large = &sibling["lfs"];
            files.push(Entry {
                name: name.to_string(),
                size: large["size"].as_u64().or_else(|| sibling["size"].as_u64()),
                sha256: large["sha256"].as_str().and_then(Digest::parse),
            });
        }
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { commit, files })
    }

    /// Reads what [`Listing::save`] wrote; none if the file is missing or invalid.
    pub(super) fn load(path: &Path) -> Option<Self> {
        let listing: Self = serde_json::from_slice(&read(path).ok()?).ok()?;
        let sound = is_commit(&listing.commit) && listing.files.iter().all(|entry| is_inside(&entry.name));
        sound.then_some(listing)
    }

    pub(super) fn save(&self, path: &Path) -> Result<(), HubError> {
        let json = serde_json::to_vec(self)
            .map_err(|error| HubError::Answer { wanted: "a listing".into(), why: error.to_string() })?;
        Ok(write_atomic(path, &json)?)
    }

    /// The file of that name.
    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.files.iter().find(|entry| entry.name == name)
    }

    /// Some of the file names, for messages.
    pub(super) fn shown(&self) -> String {
        if self.files.is_empty() {
            return "no files".into();
        }
        let names: Vec<String> = self.files.iter().take(12).map(|file| quoted(&file.name)).collect();
        let more = self.files.len() - names.len();
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{}{rest}", names.join(", "))
    }
}

/// A name for messages. Names come from elsewhere, so control characters are escaped.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.escape_debug())
}

/// True for a full commit id. The listing of a commit never changes.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
}

/// Whether a path matches a pattern: `?` is one character and `*` any number of them, both without `/`; `**` also
/// matches `/`, and `**/` also matches nothing.
pub(super) fn matches_pattern(pattern: &str, name: &str) -> bool {
    fn matches(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['*', '*', '/', rest @ ..] if matches(rest, name) => true,
            ['*', '*', rest @ ..] => (0..=name.len()).any(|at| matches(rest, &name[at..])),
            ['*', rest @ ..] => {
                let until = name.iter().position(|&c| c == '/').unwrap_or(name.len());
                (0..=until).any(|at| matches(rest, &name[at..]))
            }
            [one, rest @ ..] => name.split_first().is_some_and(|(first, tail)| {
                (if *one == '?' { *first != '/' } else { first == one }) && matches(rest, tail)
            }),
        }
    }
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    matches(&pattern, &name)
}
