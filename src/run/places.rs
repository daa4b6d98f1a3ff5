//! Where a run reads and writes, and whether it goes on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::DeviceName;
use crate::llm::{Budget, Secret};
use crate::run::RunError;

/// Where things are. It chooses where, never what.
#[derive(Debug, Clone)]
pub struct Places {
    /// Holds what can be made or fetched again.
    pub cache: PathBuf,
    /// The run folder.
    pub out: PathBuf,
    /// Folder of the suite file, for the paths it names.
    pub suite_folder: PathBuf,
    /// Where subject models run and autoencoders are trained.
    pub device: DeviceName,
    /// Where hub ids are fetched from.
    pub hub_endpoint: String,
    /// Token for it.
    pub hub_token: Option<String>,
    /// Cache that other programs share, looked into before anything is fetched.
    pub hub_shared: Option<PathBuf>,
    /// Keys of language models, by the variable that held them.
    pub keys: BTreeMap<String, Secret>,
    /// Where an OpenAI-compatible model is whose suite gives no address, if not at the vendor's.
    pub openai_base_url: Option<String>,
    /// Dollars that language models may cost.
    pub budget: Option<Budget>,
    /// No network.
    pub offline: bool,
    /// This program, to be run again where a stranger's file could end the process that reads it; none: it is read
    /// in this one.
    pub program: Option<PathBuf>,
}

/// Whether somebody asked to stop; looked at between pieces of work.
#[derive(Debug, Clone, Copy)]
pub struct Stop(pub &'static AtomicBool);

impl Stop {
    /// `Err` once somebody asked.
    pub fn check(&self) -> Result<(), RunError> {
        if self.asked() { Err(RunError::Stopped) } else { Ok(()) }
    }

    /// True once somebody asked.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
