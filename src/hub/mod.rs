//! Files of models and data sets by hub id.
//!
//! In: an id, a revision, endpoint, token and cache folder (as arguments: only `cli` reads the
//! environment).
//! Out: a folder with checked files, and the commit they are of.
//! Never: knows what is in the files; prints a token.
//!
//! `hf-hub` gives the addresses of repositories and the layout of the cache that other programs
//! share (`HF_HOME`), from which files are taken over. The transfer itself is our own, on `ureq`,
//! because hf-hub 0.5 never checks a file's hash, sends the token on to the storage host that a
//! download is redirected to, appends a whole file to a part where a server ignores the range, and
//! gives up at the first broken connection unless told how often to try. Proxy variables are
//! honoured by `ureq`; an endpoint on loopback is reached directly.
//!
//! Layout of the cache: `hub/models--OWNER--NAME/COMMIT/…` holds the files, `COMMIT.json` beside it
//! the listing, `refs/REVISION` the commit that a branch was last seen at.

#[cfg(feature = "hub")]
mod client;
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

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "hub")]
pub use client::{Dataset, HubClient};
#[cfg(not(feature = "hub"))]
pub use disabled::{Dataset, HubClient};
pub use error::HubError;

/// Where models and data sets come from unless another endpoint is named.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";

/// Files of a model at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Folder that holds them, laid out as the repository is.
    pub folder: PathBuf,
    /// The commit, 40 hex digits: what a branch or tag stood for.
    pub commit: String,
    /// The files that were asked for, in the order of their names.
    pub files: Vec<PathBuf>,
}

/// How far the download of a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Download<'a> {
    /// Path in the repository.
    pub file: &'a str,
    /// Bytes on disk.
    pub done: u64,
    /// Bytes in all, where the hub says so.
    pub total: Option<u64>,
}

/// Called while files are downloaded.
pub type OnDownload = Arc<dyn Fn(Download<'_>) + Send + Sync>;
