//! The flow from a plan to a run folder, resumable. [`pipeline`] names every stage in order.
//!
//! In: a checked suite, and where things are.
//! Out: a run folder.
//! Never: prints, reads the environment.
//!
//! `plan` works out what a run will take. `inputs` opens the subject and the text and harvests activations. `rows` fits
//! the dictionaries of a hook point and schedules their evaluation. `evaluate` explains, simulates and scores the
//! features of one dictionary. `results` turns what came of all rows into estimates, the manifest and the report.
//!
//! Beside the scores' evidence, a run folder keeps what pages and charts show of explained features, so that these need
//! no model: `profiles/HOOK/DICTIONARY.jsonl` (distribution of the code, effect on logits, loss when ablated) is written
//! with the row; `neighbours/HOOK/DICTIONARY.jsonl` (nearest directions of all dictionaries of the hook point) is
//! written once all rows are there. Controls have neither. Neither changes a score.

mod all_failed;
mod context;
mod error;
mod evaluate;
mod events;
mod inputs;
mod json_lines;
mod parallel;
mod pipeline;
mod places;
mod plan;
mod results;
mod rows;
mod stage;

pub use all_failed::AllFailed;
pub use context::{Finished, LanguageModels};
pub use error::RunError;
pub use evaluate::outcomes::Outcome;
pub use events::{Event, RowCount};
pub use inputs::prepare::{OpenSubject, open_subject};
pub use pipeline::run;
pub use places::{Places, Stop};
pub use plan::bill::{Beside, Planned, time_text};
pub use plan::estimate::{Estimate, estimate};
pub use plan::role::RoleUsage;
pub use plan::who::{Step, Who};
pub use results::manifest::Manifest;
pub use stage::{StageKey, StageStore};
