//! The flow from a plan to a run folder, resumable.
//!
//! In: a checked suite, and where things are.
//! Out: a run folder.
//! Never: prints, reads the environment.
//!
//! Beside the evidence of the scores a run folder keeps what pages and charts show of explained features, so that
//! they need no model: `profiles/HOOK/DICTIONARY.jsonl` (distribution of the code, effect on logits, loss when
//! ablated) is written with the row, `neighbours/HOOK/DICTIONARY.jsonl` (closest directions of all dictionaries
//! of the hook point) once all rows are there. Controls have neither. Both are functions of what decides the
//! scores, and change none of them.

mod ablation;
mod all_failed;
mod asked;
mod best_of;
mod bill;
mod calibration;
mod error;
mod estimate;
mod evaluate;
mod events;
mod evidence;
mod fit;
mod fit_means;
mod harvest;
mod judged;
mod kept_codes;
mod manifest;
mod models;
mod neighbours;
mod oracle;
mod outliers;
mod parallel;
mod pipeline;
mod planned;
mod prepare;
mod probes;
mod profile;
mod quality;
mod role;
mod scoring;
mod stage;
mod subject_pass;
mod summary;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::DeviceName;
use crate::llm::{Budget, Secret};

pub use all_failed::AllFailed;
pub use bill::{Beside, Planned, time_text};
pub use error::RunError;
pub use estimate::{Estimate, estimate};
pub use evaluate::Outcome;
pub use events::{Event, RowCount};
pub use manifest::Manifest;
pub use pipeline::{Finished, LanguageModels, run};
pub use prepare::{OpenSubject, open_subject};
pub use role::{RoleUsage, Step, Who};
pub use stage::{StageKey, StageStore};

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
