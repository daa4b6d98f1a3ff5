use std::path::PathBuf;

use crate::base::FileError;

/// Files that could not be had from the hub.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// This build has no hub.
    #[error(
        "{wanted} would have to come from the hub, which this build leaves out: build with the feature `hub`, \
         or give a local folder"
    )]
    Disabled {
        /// What was asked for.
        wanted: String,
    },
    /// The network is needed and switched off.
    #[error(
        "{wanted} is not in the cache `{}` and the network is off: run once without `--offline`, or give a local \
         folder", cache.display()
    )]
    Offline {
        /// What was asked for.
        wanted: String,
        /// Where it was looked for.
        cache: PathBuf,
    },
    /// An id, revision, endpoint or token that cannot be one.
    #[error("hub {what} `{text}` is not valid: {expected}")]
    Name {
        /// Which of them.
        what: &'static str,
        /// As given; never a token.
        text: String,
        /// What it may be.
        expected: &'static str,
    },
    /// 401 or 403.
    #[error("the hub refuses {wanted} (status {status}): {hint}")]
    Refused {
        /// What was asked for.
        wanted: String,
        /// 401 or 403.
        status: u16,
        /// What to do, depending on whether there was a token.
        hint: &'static str,
    },
    /// 404.
    #[error("the hub has no {wanted}: check the id, the revision and the file name")]
    NotFound {
        /// What was asked for.
        wanted: String,
    },
    /// The network, or a server, failed for good.
    #[error("fetching {wanted} failed: {why}; what was received is kept, run again to go on")]
    Network {
        /// What was asked for.
        wanted: String,
        /// Status or transport error.
        why: String,
    },
    /// An answer that is not understood.
    #[error("the hub's answer for {wanted} is not understood: {why}")]
    Answer {
        /// What was asked for.
        wanted: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file that is not what the hub says it is.
    #[error("{wanted} arrived damaged: its {what} is {got}, expected {expected}; it was deleted, run again")]
    Damaged {
        /// What was asked for.
        wanted: String,
        /// "SHA-256" or "size".
        what: &'static str,
        /// By the hub.
        expected: String,
        /// On disk.
        got: String,
    },
    /// A repository without what is needed.
    #[error("{repository} has no {needed}; it has {found}")]
    Lacks {
        /// Which.
        repository: String,
        /// What is missing and what to do.
        needed: String,
        /// Some of what is there.
        found: String,
    },
    /// The cache could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl HubError {
    /// True where something is missing, unreachable or unreadable (exit code 6); false where it
    /// arrived and is invalid (exit code 8) or the disk failed (see [`HubError::is_write`]).
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::Answer { .. } => false,
            Self::File(error) => !error.is_write(),
            _ => true,
        }
    }

    /// True where the cache could not be written (exit code 9).
    pub fn is_write(&self) -> bool {
        matches!(self, Self::File(error) if error.is_write())
    }
}
