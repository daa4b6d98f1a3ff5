//! Writes what a run holds in the forms that other programs read.
//!
//! In: a run folder.
//! Out: a folder in one of the forms of `catalog`, with `export.json`, which lists its files and what was left out.
//! Never: needs a model, a key or the network; replaces a file that it did not write; gives a number under a name that
//! means another quantity in that form.
//!
//! Only the real subject's dictionaries are exported. Those of controls belong to a model that nobody else has.

mod catalog;
mod error;
mod evidence;
mod exported;
mod folder;
mod job;
mod neuron_record;
mod neuronpedia;
mod run_folder;
mod saebench;
mod saelens;
mod write;

#[cfg(test)]
mod tests;

pub use catalog::{Form, FormRow};
pub use error::ExportError;
pub use exported::{Exported, ExportedDictionary, SkippedDictionary};
pub use run_folder::Wanted;
pub use write::{default_folder, export};
