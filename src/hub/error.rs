//! Why files could not be fetched.

use std::path::PathBuf;

use crate::base::FileError;

/// Why a file could not be fetched from the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The program was built without the feature `hub`.
    #[error(
        "{wanted} must be fetched from the hub, which this build lacks: build with the feature `hub`, or give a \
         local folder"
    )]
    Disabled {
        /// The file or repository.
        wanted: String,
    },
    /// The network is needed but switched off.
    #[error(
        "{wanted} is not in the cache `{}` and the network is off: run once without `--offline`, or give a local \
         folder", cache.display()
    )]
    Offline {
        /// The file or repository.
        wanted: String,
        /// The folder searched.
        cache: PathBuf,
    },
    /// An invalid id, revision, endpoint or token.
    #[error("hub {what} `{text}` is not valid: {expected}")]
    Name {
        /// `id`, `revision`, `endpoint` or `token`.
        what: &'static str,
        /// The text as given; never a token.
        text: String,
        /// What is valid.
        expected: &'static str,
    },
    /// Access denied: status 401 or 403.
    #[error("the hub refuses {wanted} (status {status}): {hint}")]
    Refused {
        /// The file or repository.
        wanted: String,
        /// The status.
        status: u16,
        /// What to do, with or without a token.
        hint: &'static str,
    },
    /// Not found: status 404 or 410.
    #[error("the hub has no {wanted}: check the id, the revision and the file name")]
    NotFound {
        /// The file or repository.
        wanted: String,
    },
    /// The network or a server failed repeatedly.
    #[error("fetching {wanted} failed: {why}; the received part is kept, run again to resume")]
    Network {
        /// The file or repository.
        wanted: String,
        /// Status or transport error.
        why: String,
    },
    /// An answer in an unexpected form.
    #[error("the hub's answer for {wanted} has an unexpected form: {why}")]
    Answer {
        /// The file or repository.
        wanted: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file with another size or hash than the hub states.
    #[error("{wanted} arrived damaged: its {what} is {got}, expected {expected}; it was deleted, run again")]
    Damaged {
        /// The file or repository.
        wanted: String,
        /// "SHA-256" or "size".
        what: &'static str,
        /// The hub's value.
        expected: String,
        /// The value on disk.
        got: String,
    },
    /// A repository without a file that is needed.
    #[error("{repository} has no {needed}; it has {found}")]
    Lacks {
        /// The repository.
        repository: String,
        /// The missing file, and what to do.
        needed: String,
        /// Some of its files.
        found: String,
    },
    /// A repository without the wanted folder or file.
    #[error("{repository} has no folder or file `{folder}`; {near}")]
    NoFolder {
        /// The repository.
        repository: String,
        /// The folder as given.
        folder: String,
        /// What it has.
        near: String,
    },
    /// A folder of which it is not clear which files make up the dictionary.
    #[error("{repository}: {why}")]
    Unclear {
        /// The repository.
        repository: String,
        /// What was found, and what to do.
        why: String,
    },
    /// The cache could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl HubError {
    /// True if something is missing, unreachable or unreadable (exit code 6). False if it arrived and is invalid (exit
    /// code 8) or could not be written (see [`HubError::is_write`]).
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Answer { .. } => false,
            Self::File(error) => !error.is_write(),
            _ => true,
        }
    }

    /// True if the cache could not be written (exit code 9).
    pub fn is_write(&self) -> bool {
        matches!(self, Self::File(error) if error.is_write())
    }
}
