//! Foundation: names, digests, named seed streams, matrices, atomic files, attempts and tallies.
//!
//! In: only the standard library and small crates.
//! Out: types that every other folder may use.
//! Never: imports another folder of this crate, knows a model, a corpus or a statistic.

mod atomic;
mod attempt;
mod catalog;
mod characters;
mod cpu;
mod device;
mod digest;
mod distinct;
mod hook_point;
mod lease;
mod leftovers;
mod mapped;
mod matrix;
mod process;
mod safetensors_header;
mod stopwatch;
mod stream;
mod token_batch;

pub use atomic::{
    AtomicFile, create_dir_all, open, read, read_at, read_regular, read_to_string, set_aside, write_atomic,
};
pub use attempt::{Attempt, Missing, Tally};
pub use catalog::{Of, Row};
pub use characters::{is_combining, is_format, is_invisible, is_private_use};
pub use cpu::{cpu_name, instruction_set, peak_memory_bytes};
pub use device::DeviceName;
pub use digest::{Digest, Digester};
pub use distinct::distinct;
pub use hook_point::{HookPoint, HookPointError, HookSelector, Site};
pub use lease::{Claim, Holder, Lease, Pulse};
pub use leftovers::{remove_own_leftovers, remove_shared_leftovers};
pub use mapped::MappedFile;
pub use matrix::Matrix;
pub use safetensors_header::safetensors_header;
pub use stopwatch::Stopwatch;
pub use stream::Stream;
pub use token_batch::TokenBatch;

/// A file operation that failed, with its path.
#[derive(Debug, thiserror::Error)]
#[error("{action} `{}`", path.display())]
pub struct FileError {
    /// The operation as worded in the message: "read", "write", "create".
    pub action: &'static str,
    /// The file or folder.
    pub path: std::path::PathBuf,
    /// The operating system's error.
    #[source]
    pub source: std::io::Error,
}

impl FileError {
    /// Whether the failed operation was meant to change the disk.
    pub fn is_write(&self) -> bool {
        self.action != "read"
    }
}
