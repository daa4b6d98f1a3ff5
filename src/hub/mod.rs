//! Files of models, dictionaries and data sets by hub id.
//!
//! In: an id, a revision, endpoint, token and cache folder (as arguments: only `cli` reads the environment).
//! Out: a folder with checked files, and their commit.
//! Never: interprets the files; prints a token.
//!
//! `hf-hub` gives the addresses of repositories and the layout of the cache of other programs (`HF_HOME`). The transfer
//! is our own, on `ureq`, because hf-hub 0.5 checks no hash, sends the token to storage hosts after a redirect, appends
//! a whole file to a part if a server ignores the range, and by default gives up at the first broken connection. `ureq`
//! honours proxy variables; an endpoint on loopback is reached directly.
//!
//! The cache: `hub/models--OWNER--NAME/COMMIT/…` has the files, `COMMIT.json` beside it the listing, and `refs/REVISION`
//! the commit of a branch when it was last requested.

#[cfg(feature = "hub")]
mod client;
#[cfg(feature = "hub")]
mod dictionary;
#[cfg(not(feature = "hub"))]
mod disabled;
mod error;
#[cfg(feature = "hub")]
mod listing;
#[cfg(test)]
#[cfg(feature = "hub")]
mod tests;
#[cfg(feature = "hub")]
mod transfer;
#[cfg(feature = "hub")]
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::Flaw;

#[cfg(feature = "hub")]
pub use client::{Dataset, HubClient};
#[cfg(feature = "hub")]
pub use dictionary::DictionaryFiles;
#[cfg(not(feature = "hub"))]
pub use disabled::{Dataset, DictionaryFiles, HubClient, verify};
pub use error::HubError;
#[cfg(feature = "hub")]
pub use verify::verify;

/// The default endpoint.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Models that the hub lists under a name without an owner, with the ids that they have now.
pub const LEGACY_IDS: [(&str, &str); 5] = [
    ("gpt2", "openai-community/gpt2"),
    ("gpt2-medium", "openai-community/gpt2-medium"),
    ("gpt2-large", "openai-community/gpt2-large"),
    ("gpt2-xl", "openai-community/gpt2-xl"),
    ("distilgpt2", "distilbert/distilgpt2"),
];

/// Chooses files out of the paths of a repository, or says why it cannot.
pub type Choose<'a> = &'a dyn Fn(&[&str]) -> Result<Vec<String>, String>;

/// Files of a model or dictionary at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Their folder, laid out like the repository. For a dictionary, its own folder or file inside.
    pub folder: PathBuf,
    /// The commit of the revision, 40 hex digits.
    pub commit: String,
    /// The requested files, in the order of their names.
    pub files: Vec<PathBuf>,
}

/// A file of the cache, and what a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Where it is.
    pub path: PathBuf,
    /// How it is known to be what the hub has.
    pub found: Result<Proof, Flaw>,
}

/// How a stored file is known to be what the hub has. The number is its size in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By its SHA-256.
    Digest(u64),
    /// By its size alone: the hub states no SHA-256 of small files.
    Size(u64),
    /// Not at all.
    None,
}

/// Progress of the download of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download<'a> {
    /// Path in the repository.
    pub file: &'a str,
    /// Bytes on disk.
    pub done: u64,
    /// Size in bytes, if the hub states it.
    pub total: Option<u64>,
}

/// Called while files are downloaded.
pub type OnDownload = Arc<dyn Fn(Download<'_>) + Send + Sync>;
