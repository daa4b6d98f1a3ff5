//! Foundation: names, file names, digests, named seed streams, matrices, atomic files, attempts and tallies.
//!
//! In: only the standard library and small crates.
//! Out: types that every other folder may use.
//! Never: imports another folder of this crate, knows a model, a corpus or a statistic.

mod atomic;
mod attempt;
mod catalog;
mod characters;
mod contained;
mod content;
mod cpu;
mod cpu_share;
mod device;
mod digest;
mod distinct;
mod file_name;
mod hook_point;
mod lease;
mod leftovers;
mod mapped;
mod matrix;
mod memory;
mod process;
mod program;
mod safetensors_header;
mod sealed;
mod shell_word;
mod stand_in;
mod stopwatch;
mod stored_block;
mod stream;
mod terminal_text;
mod token_batch;

pub use atomic::{
    AtomicFile, create_dir_all, has_entry, open, open_stored, read, read_at, read_regular, read_regular_text,
    read_to_string, remove_unfinished, set_aside, write_atomic, write_new,
};
pub use attempt::{Attempt, Missing, Tally};
pub use catalog::{Of, Row};
pub use characters::{is_combining, is_format, is_invisible, is_private_use};
pub use contained::{contained, is_contained};
pub use content::{Content, ContentHasher, Flaw, ListedFile};
pub use cpu::{cpu_name, instruction_set, peak_memory_bytes};
pub use cpu_share::{WorkClock, WorkTime, cores};
pub use device::DeviceName;
pub use digest::{Digest, Digester};
pub use distinct::distinct;
pub use file_name::{FileName, is_inside};
pub use hook_point::{HookPoint, HookPointError, HookSelector, Site};
pub use lease::{Claim, Holder, Lease, Pulse};
pub use leftovers::{remove_own_leftovers, remove_shared_leftovers};
pub use mapped::MappedFile;
pub use matrix::Matrix;
pub use memory::memory_limit_bytes;
pub use process::{is_gone, machine_tag, own_start};
pub use program::Program;
pub use safetensors_header::safetensors_header;
pub use sealed::{Sealed, write_sealed};
pub use shell_word::shell_word;
pub use stand_in::{STAND_IN_BYTES, stand_in};
pub use stopwatch::Stopwatch;
pub use stored_block::StoredBlock;
pub use stream::Stream;
pub use terminal_text::{short_message, terminal_json, terminal_text};
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
