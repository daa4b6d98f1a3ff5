//! Paths, device and keys of a run, and the stop request.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::{DeviceName, Program};
use crate::llm::{Budget, Secret};
use crate::remote::Mirror;
use crate::report::Layout;
use crate::run::RunError;

/// Paths, device, keys and network settings of a run. They never change a result.
#[derive(Debug, Clone)]
pub struct Places {
    /// Cache folder. Its contents can be computed or downloaded again.
    pub cache: PathBuf,
    /// The run folder.
    pub out: PathBuf,
    /// The address of the run folder in object storage. [`Self::out`] is then its local folder. None for a run folder on
    /// this disk.
    pub remote: Option<Arc<Mirror>>,
    /// Folder of the suite file. Relative paths in the suite are also looked up here.
    pub suite_folder: PathBuf,
    /// Device for subject models and autoencoder training.
    pub device: DeviceName,
    /// Address of the Hugging Face hub.
    pub hub_endpoint: String,
    /// Access token for the hub.
    pub hub_token: Option<String>,
    /// Hub cache shared with other programs. It is searched before a download.
    pub hub_shared: Option<PathBuf>,
    /// API keys of language models, by environment variable name.
    pub keys: BTreeMap<String, Secret>,
    /// Base URL of OpenAI-compatible models whose suite entry has no `base_url`; none means the vendor's.
    pub openai_base_url: Option<String>,
    /// Limit on the cost of language models, in dollars.
    pub budget: Option<Budget>,
    /// Forbids network access.
    pub offline: bool,
    /// How to start this program again. Untrusted files are parsed in a child process of it, because they could abort the
    /// process. If none, they are parsed in this process.
    pub program: Option<Program>,
}

impl Places {
    /// Where the files of the run folder lie.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.out)
    }

    /// Folder of harvested activations. The machines of a run in parts have caches of their own, so what they share lies
    /// in the run folder.
    pub fn activations(&self) -> PathBuf {
        match self.is_in_parts() {
            true => self.layout().part_activations(),
            false => self.cache.join("activations"),
        }
    }

    /// Folder of the answers of language models.
    pub fn answers(&self) -> PathBuf {
        match self.is_in_parts() {
            true => self.layout().part_answers(),
            false => self.cache.join("answers"),
        }
    }

    /// Whether parts of a run are or were at work in the run folder.
    pub fn is_in_parts(&self) -> bool {
        self.layout().parts().is_dir()
    }

    /// The run folder or its address, as it was given.
    pub fn name(&self) -> String {
        match &self.remote {
            Some(remote) => remote.address(),
            None => self.out.display().to_string(),
        }
    }

    /// Every key and token that this run knows.
    pub fn all_keys(&self) -> Vec<Secret> {
        let token = self.hub_token.as_deref().and_then(Secret::new);
        self.keys.values().cloned().chain(token).collect()
    }
}

/// Stop request of the user, checked between units of work.
#[derive(Debug, Clone, Copy)]
pub struct Stop(pub &'static AtomicBool);

impl Stop {
    /// Returns [`RunError::Stopped`] after a stop request.
    pub fn check(&self) -> Result<(), RunError> {
        if self.asked() { Err(RunError::Stopped) } else { Ok(()) }
    }

    /// Whether a stop was requested.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
